//! The next hops that a connection remembers, in one word that all workers read and write whole.
//!
//! | connection | 0 | 24 | 32 | 48 |
//! |---|---|---|---|---|
//! | of a service | towards the client (32 bits) | | epoch of the routes | generation of the entry |
//! | of outbound NAT | towards the client (24 bits) | towards the server (24 bits) | | epoch of the routes |
//!
//! A service's backend has its next hop in the tables; the far end of an outbound connection has no row there.

use crate::tables::NextHopId;

/// What 24 bits hold of a row that they cannot hold, and of none.
const NONE: u64 = 0xFF_FFFF;

/// Next hops in both directions, as of an epoch of the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// Towards who sent the first frame.
    pub client: NextHopId,
    /// Towards whom it was sent.
    pub server: NextHopId,
    /// Epoch of the routes that gave them.
    pub epoch: u16,
}

impl Route {
    /// The word of a connection of a service, whose entry has this `generation`.
    #[inline]
    pub fn service_word(client: NextHopId, epoch: u16, generation: u16) -> u64 {
        u64::from(client.0) | u64::from(epoch) << 32 | u64::from(generation) << 48
    }

    /// The next hop towards the client, if the word is of this `epoch` of the routes and this `generation` of the entry.
    #[inline(always)]
    pub fn client_of_service(word: u64, epoch: u16, generation: u16) -> NextHopId {
        let told = u32::from(epoch) | u32::from(generation) << 16;
        if (word >> 32) as u32 == told { NextHopId(word as u32) } else { NextHopId::NONE }
    }

    /// Reads the word of a connection of a service. One that another worker stored for the entry's former connection has
    /// another generation, and says nothing.
    #[inline]
    pub fn of_service(word: u64, generation: u16) -> Self {
        let client = if (word >> 48) as u16 == generation { NextHopId(word as u32) } else { NextHopId::NONE };
        Self { client, server: NextHopId::NONE, epoch: (word >> 32) as u16 }
    }

    /// The word of a connection of outbound NAT.
    #[inline]
    pub fn outbound_word(self) -> u64 {
        narrow(self.client) | narrow(self.server) << 24 | u64::from(self.epoch) << 48
    }

    /// Reads the word of a connection of outbound NAT.
    #[inline]
    pub fn of_outbound(word: u64) -> Self {
        Self { client: widen(word & NONE), server: widen(word >> 24 & NONE), epoch: (word >> 48) as u16 }
    }

    /// The same with what a later epoch says of one direction: nothing of an earlier one is kept.
    pub fn with(self, towards_client: bool, next_hop: NextHopId, epoch: u16) -> Self {
        let known = if epoch == self.epoch {
            self
        } else {
            Self { client: NextHopId::NONE, server: NextHopId::NONE, epoch }
        };
        if towards_client { Self { client: next_hop, ..known } } else { Self { server: next_hop, ..known } }
    }
}

/// A row beyond 16 million is looked up for every frame.
fn narrow(id: NextHopId) -> u64 {
    u64::from(id.0).min(NONE)
}

fn widen(bits: u64) -> NextHopId {
    if bits == NONE { NextHopId::NONE } else { NextHopId(bits as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for (client, server) in [(0, 1), (0xFF_FFFE, 7), (5, 0xFF_FFFE)] {
            let route = Route { client: NextHopId(client), server: NextHopId(server), epoch: 0xABCD };
            assert_eq!(Route::of_outbound(route.outbound_word()), route);
        }
        let word = Route::service_word(NextHopId(1 << 30), 3, 9);
        let read = Route::of_service(word, 9);
        assert_eq!((read.client, read.epoch), (NextHopId(1 << 30), 3));
        assert_eq!(Route::of_service(word, 8).client, NextHopId::NONE);
    }

    #[test]
    fn what_does_not_fit_is_not_known() {
        let route = Route { client: NextHopId(1 << 24), server: NextHopId::NONE, epoch: 1 };
        assert_eq!(Route::of_outbound(route.outbound_word()).client, NextHopId::NONE);
        assert_eq!(Route::of_outbound(route.outbound_word()).server, NextHopId::NONE);
    }

    #[test]
    fn a_new_epoch_forgets_the_other_direction() {
        let route = Route { client: NextHopId(1), server: NextHopId(2), epoch: 1 };
        assert_eq!(route.with(true, NextHopId(3), 1).server, NextHopId(2));
        assert_eq!(route.with(true, NextHopId(3), 2).server, NextHopId::NONE);
        assert_eq!(route.with(false, NextHopId(3), 2).client, NextHopId::NONE);
    }
}
