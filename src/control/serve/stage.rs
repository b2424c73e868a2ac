//! How far an exchange is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

const ASKING: u8 = 0;
const WORKING: u8 = 1;
const LISTENING: u8 = 2;
const STREAMING: u8 = 3;

/// How far one exchange is. Handlers find it among their request's extensions.
#[derive(Debug, Clone, Default)]
pub struct Stage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stage: AtomicU8,
    sent: AtomicU64,
}

impl Stage {
    /// The answer is a stream: it is not over after a while, and its listener is not shown out. Whoever says this limits how
    /// many there are, and calls [`Stage::send`] for all that it sends.
    pub fn stream(&self) {
        self.0.stage.store(STREAMING, Relaxed);
    }

    /// A part of the stream is under way, so that what was sent before has been read, nearly.
    pub fn send(&self) {
        self.0.sent.fetch_add(1, Relaxed);
    }

    /// Whether its request is not here yet.
    pub(super) fn is_asking(&self) -> bool {
        self.0.stage.load(Relaxed) == ASKING
    }

    /// Whether it has its answer, or takes it.
    pub(super) fn is_listening(&self) -> bool {
        self.0.stage.load(Relaxed) == LISTENING
    }

    /// Its request is here.
    pub(super) fn work(&self) {
        self.0.stage.store(WORKING, Relaxed);
    }

    /// Its answer is made.
    pub(super) fn listen(&self) {
        // Other than a stream.
        let _ = self.0.stage.compare_exchange(WORKING, LISTENING, Relaxed, Relaxed);
    }

    /// Parts of the stream that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.0.sent.load(Relaxed)
    }
}
