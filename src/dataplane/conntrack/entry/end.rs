//! How a connection ends, and its entry is used again.
//!
//! ```text
//!            fill              kill                    bury
//!   free ──────────▶ live ──────────────▶ being ──────────────▶ free
//!                     ▲                 taken out
//!                     └─────── fill ───────┘   by who killed it, for a successor (the table is full)
//! ```
//!
//! Whoever kills it alone takes its keys from the index, and alone says what follows. Its owner frees it, which it can
//! tell from nothing but [`Entry::is_free`].

use super::{DYING, Entry, GENERATION, Kind, LIVE, Marks, PHASE};
use crate::dataplane::conntrack::key::FlowKey;
use crate::dataplane::conntrack::sync::Ordering;
use crate::dataplane::conntrack::tcp::State;
use crate::dataplane::family::Pair;
use crate::tables::BackendId;

/// What an entry held when it was looked at: one connection, in one state.
#[derive(Debug, Clone, Copy)]
pub struct Held(pub(super) u32);

impl Held {
    /// Whether that was a connection.
    pub(in crate::dataplane::conntrack) fn is_live(self) -> bool {
        self.0 & PHASE == LIVE
    }

    /// The state that it was in.
    pub(in crate::dataplane::conntrack) fn state(self) -> State {
        State::from_bits(self.0)
    }
}

/// A connection that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<P> {
    /// The state that it was in.
    pub(in crate::dataplane::conntrack) state: State,
    /// What was done to its frames.
    pub(in crate::dataplane::conntrack) kind: Kind,
    /// What else was said of it.
    pub(in crate::dataplane::conntrack) marks: Marks,
    /// Frames from the client.
    pub(in crate::dataplane::conntrack) request: FlowKey<P>,
    /// Frames from the backend.
    pub(in crate::dataplane::conntrack) reply: FlowKey<P>,
    /// Whose it was.
    pub(in crate::dataplane::conntrack) backend: BackendId,
}

impl<P: Pair> Entry<P> {
    /// What it holds now.
    pub(in crate::dataplane::conntrack) fn held(&self) -> Held {
        Held(self.status.load(Ordering::Acquire))
    }

    /// Whether it holds that connection still, in whatever state.
    pub(in crate::dataplane::conntrack) fn holds(&self, held: Held) -> bool {
        (self.status.load(Ordering::Relaxed) ^ held.0) & (GENERATION | PHASE) == 0
    }

    /// Takes the connection `held` out of service while its state is one that `may_end`. For the one caller that succeeds: what it was. Its
    /// keys are to be taken from the index before [`Entry::bury`].
    pub(in crate::dataplane::conntrack) fn kill(
        &self,
        held: Held,
        may_end: impl Fn(State) -> bool,
    ) -> Option<Ended<P>> {
        let mut status = self.status.load(Ordering::Acquire);
        loop {
            let is_another = (held.0 ^ status) & GENERATION != 0;
            if status & PHASE != LIVE || is_another || !may_end(State::from_bits(status)) {
                return None;
            }
            // What it is changes with its generation only, and whoever kills it keeps it from changing.
            let (request, reply) = self.keys();
            let traits = self.traits.load(Ordering::Relaxed);
            let ended = Ended {
                state: State::from_bits(status),
                kind: Kind::from_bits(traits >> 8),
                marks: Marks::of_traits(traits),
                request,
                reply,
                backend: self.age().1,
            };
            match self.status.compare_exchange_weak(
                status,
                status & !PHASE | DYING,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(ended),
                Err(changed) => status = changed,
            }
        }
    }

    /// Says that no index refers to a killed entry any more: its owner may use it again.
    pub(in crate::dataplane::conntrack) fn bury(&self) {
        self.status.fetch_and(!PHASE, Ordering::Release);
    }

    /// Whether the entry is neither live nor being taken out.
    pub(in crate::dataplane::conntrack) fn is_free(&self) -> bool {
        self.status.load(Ordering::Acquire) & PHASE == 0
    }

    /// Whether the entry is live.
    pub fn is_live(&self) -> bool {
        self.held().is_live()
    }
}
