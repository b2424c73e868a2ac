//! When a request may fail: while a link is down, while who should answer it is dead.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Every time at which something was broken on purpose.
#[derive(Debug, Default)]
pub struct Windows(Mutex<Vec<Window>>);

#[derive(Debug)]
struct Window {
    /// None: whatever crosses the switch.
    service: Option<&'static str>,
    begin: Instant,
    end: Option<Instant>,
}

impl Windows {
    /// From now until the guard goes, requests to `service`, or all, may fail.
    pub fn open(&self, service: Option<&'static str>) -> Open<'_> {
        let mut windows = self.lock();
        windows.push(Window { service, begin: Instant::now(), end: None });
        Open { windows: self, number: windows.len() - 1 }
    }

    /// Whether a request to `service` between these two moments may have failed.
    pub fn excuse(&self, service: &str, from: Instant, to: Instant) -> bool {
        self.lock().iter().any(|window| {
            window.service.is_none_or(|broken| broken == service)
                && window.begin <= to
                && window.end.is_none_or(|end| from <= end)
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
