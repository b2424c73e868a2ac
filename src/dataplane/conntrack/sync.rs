//! What the workers share the table through: atomics of the standard library. In the models of [`super::models`]
//! (`--features models`, tests alone) they are loom's, which runs every interleaving and every value that the orderings
//! permit a load to see.

#[cfg(not(all(test, feature = "models")))]
mod chosen {
    pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// Heads of chains of free entries.
    pub type Chains = crossbeam::queue::ArrayQueue<u32>;
}

#[cfg(all(test, feature = "models"))]
mod chosen {
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
    }
}

pub use chosen::*;
