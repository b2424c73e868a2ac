//! Loom's atomics, and queues for its models.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;

use loom::sync::Mutex;
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// In the place of crossbeam's queue, of which is taken for granted that what was written before a push is seen after the pop.
#[derive(Debug)]
pub struct Chains(Mutex<VecDeque<u32>>);

impl Chains {
    /// An empty one.
    pub fn new(capacity: usize) -> Self {
        Self(Mutex::new(VecDeque::with_capacity(capacity)))
    }

    /// Adds one at the end.
    pub fn push(&self, head: u32) -> Result<(), u32> {
        self.0.lock().unwrap().push_back(head);
        Ok(())
    }

    /// Takes the first.
    pub fn pop(&self) -> Option<u32> {
        self.0.lock().unwrap().pop_front()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}
