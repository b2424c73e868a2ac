//! What is read of an entry for a frame: as it lies there ([`Glance`]), and in full ([`Hit`]).

use crate::dataplane::family::Pair;
use crate::tables::{BackendId, Coarse, NextHopId};
use crate::wire::checksum::Delta;

use super::entry::{Hit, KIND, Kind, Marks};
use super::route::Route;
use super::tcp::Direction;

/// A consistent copy of what lies in an entry, of which one direction is meant.
#[derive(Debug, Clone, Copy)]
pub struct Glance<P> {
    pub(super) status: u32,
    pub(super) traits: u32,
    /// Addresses with which the frame leaves.
    pub addresses: P,
    /// Ports with which the frame leaves.
    pub ports: u32,
    pub(super) deltas: u32,
    pub(super) route: u64,
    /// Whose it is.
    pub backend: BackendId,
    /// When it was last seen.
    pub last_seen: Coarse,
}

impl<P: Pair> Glance<P> {
    /// Whether it is a connection of this protocol, whose frames are treated like this, and not looked at one by one.
    #[inline(always)]
    pub fn is(&self, kind: Kind, protocol: u8) -> bool {
        self.traits & (KIND | 0xFF) == (kind as u32) << 8 | u32::from(protocol)
    }

    /// Whether only frames from the client pass.
    #[inline(always)]
    pub fn is_one_way(&self) -> bool {
        Kind::from_bits(self.traits >> 8).one_way()
    }

    /// The changes of the IP checksum and of that of TCP or UDP, as they are written.
    #[inline(always)]
    pub fn deltas(&self, direction: Direction) -> (u16, u16) {
        let deltas = match direction {
            Direction::Request => self.deltas,
            Direction::Reply => !self.deltas,
        };
        ((deltas >> 16) as u16, deltas as u16)
    }

    /// Next hop towards the client of a connection of a service, as of these routes.
    #[inline(always)]
    pub fn client_next_hop(&self, routes_epoch: u16) -> NextHopId {
        Route::client_of_service(self.route, routes_epoch, (self.status >> 16) as u16)
    }
}

impl<P: Pair> Hit<P> {
    /// What an entry says about a frame.
    #[inline]
    pub fn of(position: u32, direction: Direction, glance: &Glance<P>) -> Self {
        let kind = Kind::from_bits(glance.traits >> 8);
        let route = match kind {
            Kind::Snat => Route::of_outbound(glance.route),
            _ => Route::of_service(glance.route, (glance.status >> 16) as u16),
        };
        let (address_delta, transport_delta) = glance.deltas(direction);
        Self {
            entry: position,
            status: glance.status,
            kind,
            marks: Marks::of_traits(glance.traits),
            direction,
            addresses: glance.addresses,
            ports: glance.ports,
            address_delta: Delta::of_written(address_delta),
            transport_delta: Delta::of_written(transport_delta),
            backend: glance.backend,
            client_next_hop: route.client,
            server_next_hop: route.server,
            routes_epoch: route.epoch,
            last_seen: glance.last_seen,
        }
    }
}
