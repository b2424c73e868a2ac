//! Making a frame look as it must when it leaves: in place, checksums by difference, the payload never copied.

pub mod link;
pub mod nat;

use crate::tables::{Backend, DropReason, InterfaceId, MssClamp, NextHop, Snapshot};
use crate::wire::tcp::{self, Flags};
use crate::wire::tunnel::{Family, Outer};
use crate::xsk::Frame;

use super::batch::Meta;
use super::conntrack::{Hit, Kind};
use super::cookies::moving;
use super::family::Pair;
use super::fragments::cut;
use super::parse::TCP;
use super::turn::Turn;
use super::verdict::Verdict;

/// Where a frame leaves.
#[derive(Debug, Clone, Copy)]
pub struct Egress<'a> {
    /// Whose MAC address it gets.
    pub next_hop: Hop<'a>,
    /// The backend it goes to, where it goes to one.
    pub backend: Option<&'a Backend>,
}

/// The next hop of a frame.
#[derive(Debug, Clone, Copy)]
pub enum Hop<'a> {
    /// From the tables.
    Row(&'a NextHop),
    /// One that the tables do not have yet.
    Seen(NextHop),
    /// None: the frame goes on over the wire that the switch sits in, through this interface.
    Across {
        /// The other interface.
        interface: InterfaceId,
        /// Largest IP packet there.
        mtu: u16,
    },
}

impl<'a> Egress<'a> {
    /// Through a next hop of the tables.
    pub fn towards(next_hop: &'a NextHop) -> Self {
        Self { next_hop: Hop::Row(next_hop), backend: None }
    }

    /// Through a next hop that the tables do not have yet.
    pub fn towards_copy(next_hop: NextHop) -> Self {
        Self { next_hop: Hop::Seen(next_hop), backend: None }
    }

    /// To a backend.
    pub fn backend(next_hop: &'a NextHop, backend: &'a Backend) -> Self {
        Self { next_hop: Hop::Row(next_hop), backend: Some(backend) }
    }

    /// Out of the other interface of a bridge.
    pub fn across(ingress: InterfaceId, tables: &Snapshot) -> Result<Self, DropReason> {
        let other = tables.interfaces.iter().find(|interface| interface.id != ingress);
        let other = other.ok_or(DropReason::NoEgress)?;
        Ok(Self { next_hop: Hop::Across { interface: other.id, mtu: other.mtu }, backend: None })
    }

    /// Through which interface.
    #[inline]
    pub fn interface(&self) -> InterfaceId {
        match &self.next_hop {
            Hop::Row(next_hop) => next_hop.interface,
            Hop::Seen(next_hop) => next_hop.interface,
            Hop::Across { interface, .. } => *interface,
        }
    }

    /// Largest IP packet that the link carries.
    #[inline]
    pub fn link_mtu(&self) -> u16 {
        match &self.next_hop {
            Hop::Row(next_hop) => next_hop.mtu,
            Hop::Seen(next_hop) => next_hop.mtu,
            Hop::Across { mtu, .. } => *mtu,
        }
    }
}

/// Largest packet that may be put on this way: what the link, or a link beyond of which a router told us, carries,
/// encapsulation deducted.
#[inline]
pub fn largest<P: Pair>(hit: &Hit<P>, egress: &Egress<'_>, turn: &Turn<'_>) -> Result<u16, DropReason> {
    let Some(outer) = outer(hit, egress)? else { return Ok(egress.link_mtu()) };
    let path =
        egress.backend.and_then(|backend| turn.flows.tables().paths.get(backend.id, turn.now.coarse()));
    Ok(egress.link_mtu().min(path.unwrap_or(u16::MAX)).saturating_sub(outer.overhead()))
}

#[inline]
fn outer<'a, P: Pair>(hit: &Hit<P>, egress: &Egress<'a>) -> Result<Option<&'a Outer>, DropReason> {
    match (hit.kind, egress.backend) {
        (Kind::Tunnel, Some(backend)) => backend.outer.as_ref().map(Some).ok_or(DropReason::NoTunnelSource),
        _ => Ok(None),
    }
}

/// Whether the frame's time is not up. A router takes one from the TTL. A bridge is no router, and in direct return the
/// frame stays on its link.
#[inline]
pub fn has_time(meta: &Meta, kind: Kind, turn: &Turn<'_>) -> Result<(), DropReason> {
    if meta.parsed.ttl <= 1 && !turn.tables.bridge && kind != Kind::Dsr {
        return Err(DropReason::TtlExpired);
    }
    Ok(())
}

/// Whether the frame may go this way: its time is not up, and it fits or may be fragmented.
#[inline]
pub fn admits<P: Pair>(
    meta: &mut Meta,
    hit: &Hit<P>,
    egress: &Egress<'_>,
    turn: &Turn<'_>,
) -> Result<(), DropReason> {
    has_time(meta, hit.kind, turn)?;
    let largest = largest(hit, egress, turn)?;
    if meta.parsed.ip_len > largest {
        meta.mtu = largest;
        if meta.parsed.dont_fragment || largest < cut::SMALLEST_MTU {
            return Err(DropReason::TooBig);
        }
        cut::has_spares(meta, turn.extras)?;
    }
    Ok(())
}

/// Rewrites a frame that [`admits`] let pass.
#[inline(always)]
pub fn apply<P: Pair>(
    frame: &mut Frame,
    meta: &Meta,
    hit: &Hit<P>,
    egress: &Egress<'_>,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    match hit.kind {
        Kind::Nat | Kind::Snat | Kind::Mapping => {
            nat::apply(frame.bytes_mut(), meta, hit, !turn.tables.bridge);
        }
        Kind::Spliced => {
            moving::splice(frame, meta, hit, turn)?;
            nat::apply(frame.bytes_mut(), meta, hit, !turn.tables.bridge);
        }
        Kind::Tunnel => {
            if let Some(packet) = frame.bytes_mut().get_mut(usize::from(meta.parsed.ip)..) {
                P::decrement_ttl(packet);
            }
        }
        Kind::Dsr => {}
    }
    if turn.tables.clamps && P::key(meta).protocol == TCP && meta.parsed.flags.any(Flags::SYN) {
        clamp_mss(frame, meta, hit, egress, turn);
    }
    leave(frame, meta, hit, egress, turn)
}

/// Puts in front of a rewritten frame what it leaves with; in pieces where it must be.
#[inline(always)]
pub fn leave<P: Pair>(
    frame: &mut Frame,
    meta: &Meta,
    hit: &Hit<P>,
    egress: &Egress<'_>,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let outer = outer(hit, egress)?;
    if meta.mtu == 0 {
        link::leave::<P>(frame, meta, egress, outer, turn)?;
    } else {
        cut::leave::<P>(frame, meta, egress, outer, turn)?;
    }
    Ok(Verdict::Forward(egress.interface()))
}

/// Lowers the largest segment size that a SYN announces, where the service asks for it.
#[cold]
fn clamp_mss<P: Pair>(frame: &mut Frame, meta: &Meta, hit: &Hit<P>, egress: &Egress<'_>, turn: &Turn<'_>) {
    let tables = turn.tables;
    let Some(backend) = tables.backend(hit.backend) else { return };
    let clamp = tables.service(backend.service).map_or(MssClamp::Off, |service| service.mss_clamp);
    let headers = match meta.parsed.family {
        Family::V4 => 40,
        Family::V6 => 60,
    };
    let limit = match clamp {
        MssClamp::Off => return,
        MssClamp::Bytes(bytes) => bytes,
        MssClamp::Auto => {
            let ingress = tables.interfaces.get(meta.ingress.index()).map_or(u16::MAX, |i| i.mtu);
            let Ok(largest) = largest(hit, egress, turn) else { return };
            largest.min(ingress).saturating_sub(headers)
        }
    };
    if let Some(segment) = frame.bytes_mut().get_mut(meta.parsed.payload()) {
        tcp::clamp_mss(segment, limit);
    }
}
