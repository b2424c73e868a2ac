//! When a request may fail: while a link is down, while who should answer it is dead. And when one may be forgotten before its
//! handshake is complete: while a flood fills the table.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Every time at which something was broken on purpose.
#[derive(Debug, Default)]
pub struct Windows(Mutex<Vec<Window>>);

/// Whose requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns {
    /// Of all services.
    All,
    /// Of this one.
    Service(&'static str),
    /// Of all services, as long as their handshake is not complete.
    Handshakes,
}

#[derive(Debug)]
struct Window {
    concerns: Concerns,
    begin: Instant,
    end: Option<Instant>,
}

impl Windows {
    /// From now until the guard goes, these may fail.
    pub fn open(&self, concerns: Concerns) -> Open<'_> {
        let mut windows = self.lock();
        windows.push(Window { concerns, begin: Instant::now(), end: None });
        Open { windows: self, number: windows.len() - 1 }
    }

    /// Whether something of this kind was so between these two moments.
    pub fn excuse(&self, concerns: Concerns, from: Instant, to: Instant) -> bool {
        self.lock().iter().any(|window| {
            window.concerns == concerns && window.begin <= to && window.end.is_none_or(|end| from <= end)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something is broken until this goes out of scope.
#[must_use]
pub struct Open<'windows> {
    windows: &'windows Windows,
    number: usize,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.windows.lock()[self.number].end = Some(Instant::now());
    }
}
