//! A copy of all that an entry says, for those who only look.

use super::{Entry, GENERATION, Kind, LIVE, PHASE};
use crate::dataplane::conntrack::key::FlowKey;
use crate::dataplane::conntrack::sync::{Ordering, fence};
use crate::dataplane::conntrack::tcp::State;
use crate::dataplane::family::Pair;
use crate::tables::{BackendId, Coarse};

/// All that a live entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<P> {
    /// Which of the connections that were in this entry.
    pub generation: u16,
    /// State.
    pub state: State,
    /// What is done to its frames.
    pub kind: Kind,
    /// The worker that created it.
    pub owner: u16,
    /// Whose it is.
    pub backend: BackendId,
    /// When it was last seen.
    pub last_seen: Coarse,
    /// Frames from the client.
    pub request: FlowKey<P>,
    /// Frames from the backend.
    pub reply: FlowKey<P>,
    /// As [`Entry::sequences`].
    pub sequences: [u32; 2],
}

impl<P: Pair> Entry<P> {
    /// The worker that created it and will expire it.
    pub(in crate::dataplane::conntrack) fn owner(&self) -> u16 {
        (self.traits.load(Ordering::Relaxed) >> 16) as u16
    }

    /// Whether its client has not shown yet that it is there: a handshake that is not complete, or a UDP flow that is not
    /// [confirmed](super::datagram). Of a connection with a service alone, and none whose client has shown it with a SYN cookie.
    pub(in crate::dataplane::conntrack) fn is_unconfirmed(&self, state: State) -> bool {
        let of_service = !matches!(self.kind(), Kind::Snat | Kind::Mapping | Kind::Spliced);
        of_service && (state.is_half_open() || (state == State::Udp && !self.is_confirmed_datagram()))
    }

    /// Copies the entry, if it is live and stays the same connection meanwhile.
    #[inline]
    pub fn look(&self) -> Option<Seen<P>> {
        let status = self.status.load(Ordering::Acquire);
        if status & PHASE != LIVE {
            return None;
        }
        let (request, reply) = self.keys();
        let (last_seen, backend) = self.age();
        let seen = Seen {
            generation: (status >> 16) as u16,
            state: State::from_bits(status),
            kind: self.kind(),
            owner: self.owner(),
            backend,
            last_seen,
            request,
            reply,
            sequences: self.sequences(),
        };
        fence(Ordering::Acquire);
        let again = self.status.load(Ordering::Relaxed);
        ((again ^ status) & (GENERATION | PHASE) == 0).then_some(seen)
    }
}
