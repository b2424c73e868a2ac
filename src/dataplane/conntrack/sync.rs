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
#[path = "sync/models.rs"]
mod chosen;

pub use chosen::*;
