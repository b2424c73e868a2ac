//! ICMP errors about packets of the switch's own tunnels. It is the sender of those packets, but cannot mend anything: the
//! client is told, as if what is inside had met the router itself (RFC 2003 §5, RFC 2473 §8).
//!
//! Believed is only what quotes enough to show a live connection, which at least 8 bytes of the inner packet behind its IP
//! header do. Routers quote that much since RFC 1812 §4.3.2.3.

use std::net::IpAddr;
use std::ops::Range;

use crate::dataplane::conntrack::{Direction, Kind as Rewriting};
use crate::dataplane::family::{V4, V6};
use crate::dataplane::known;
use crate::dataplane::passive;
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::{DropReason, Fate, InterfaceId, NextHop};
use crate::wire::ethernet;
use crate::wire::icmp::{Kind, Quote};
use crate::wire::tunnel::{self, Decapsulated, Family};
use crate::xsk::Frame;

use super::complain::build;
use super::relay::{has_passed, is_believable, quoted_key};
use super::source::own_address;
use super::version::{Complaint, Version};

/// No path is taken to be narrower (Linux: ip-sysctl, `min_pmtu`). One client's connection is enough to be believed, and the
/// path is that of all clients.
const NARROWEST: u16 = 552;

/// Tells the client what befell a packet of its connection on the way to the backend. None where the error, which quotes
/// what stands at `quoted` in the frame, is about no packet of ours.
pub(super) fn relay(
    frame: &mut Frame,
    quoted: Range<usize>,
    kind: Kind,
    ingress: InterfaceId,
    turn: &mut Turn<'_>,
) -> Option<Result<Verdict, DropReason>> {
    let seen = tunnel::decapsulate(frame.bytes().get(quoted.clone())?)?;
    let inner = quoted.start + usize::from(seen.offset)..quoted.end;
    match seen.family {
        Family::V4 => about::<V4>(frame, inner, &seen, kind, ingress, turn),
        Family::V6 => about::<V6>(frame, inner, &seen, kind, ingress, turn),
    }
}

fn about<P: Version>(
    frame: &mut Frame,
    inner: Range<usize>,
    seen: &Decapsulated,
    kind: Kind,
    ingress: InterfaceId,
    turn: &mut Turn<'_>,
) -> Option<Result<Verdict, DropReason>> {
    let quote = Quote::parse(frame.bytes().get(inner.clone())?)?;
    let vip = P::unpack(quote.addresses)?.destination();
    if !turn.tables.is_vip(vip) {
        return None;
    }
    let verdict = complaint::<P>(frame, inner.clone(), &quote, seen, kind, ingress, turn)
        .and_then(|complaint| tell::<P>(frame, inner, &quote, complaint, turn));
    Some(verdict)
}

/// What to tell the client. What is learnt of the path is learnt here.
fn complaint<P: Version>(
    frame: &Frame,
    inner: Range<usize>,
    quote: &Quote,
    seen: &Decapsulated,
    kind: Kind,
    ingress: InterfaceId,
    turn: &mut Turn<'_>,
) -> Result<Complaint, DropReason> {
    const FORGED: DropReason = DropReason::IcmpForged;
    let bytes = frame.bytes().get(inner).ok_or(FORGED)?;
    let hit = quoted_key::<P>(quote).and_then(|key| turn.flows.look_up(key)).ok_or(FORGED)?;
    let backend = turn.tables.backend(hit.backend).ok_or(FORGED)?;
    let outer = backend.outer.as_ref().filter(|outer| outer.addresses() == Some(seen.outer)).ok_or(FORGED)?;
    let believable = match outer.family() {
        Family::V4 => is_believable::<V4>(kind) && kind != (Kind::TooBig { mtu: 0 }),
        Family::V6 => is_believable::<V6>(kind),
    };
    if hit.kind != Rewriting::Tunnel
        || hit.direction != Direction::Request
        || !believable
        || !has_passed(&hit, Direction::Request, quote, bytes, turn)
    {
        return Err(FORGED);
    }
    if backend.fate != Fate::Keep {
        return Err(DropReason::BackendDown);
    }
    let Kind::TooBig { mtu } = kind else {
        if matches!(kind, Kind::Unreachable { .. }) {
            passive::unreachable(backend.id, ingress, turn);
        }
        return Ok(Complaint::HostUnreachable);
    };
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX).max(NARROWEST);
    turn.flows.tables().paths.note(backend.id, mtu, turn.now.coarse());
    P::too_big(mtu.saturating_sub(outer.overhead()), quote.total_len).ok_or(DropReason::TooBig)
}

/// Turns the frame into an error about the packet that stands at `inner` in it, to that packet's sender.
fn tell<P: Version>(
    frame: &mut Frame,
    inner: Range<usize>,
    quote: &Quote,
    complaint: Complaint,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let addresses = P::unpack(quote.addresses).ok_or(DropReason::IcmpForged)?;
    let (client, vip) = (addresses.source(), addresses.destination());
    let hop = towards(client, turn)?;
    let source = own_address(turn.tables, hop.interface, client).unwrap_or(vip);
    if !turn.may_speak() {
        return Err(match complaint {
            Complaint::TooBig { .. } => DropReason::TooBig,
            _ => DropReason::NoRoute,
        });
    }
    let (link, length, id) = (hop.tags.header_len(), inner.len(), turn.flows.next_id());
    let moved = frame.resize(inner.end) && frame.set_header(inner.start, link);
    if !moved || build::<P>(frame, link, length, complaint, source, id).is_none() {
        return Err(DropReason::NoHeadroom);
    }
    ethernet::write_header(frame.bytes_mut(), &hop.macs, &hop.tags, P::ETHERTYPE);
    turn.counters.icmp_errors.add(1);
    Ok(Verdict::Reply(hop.interface))
}

/// The next hop towards the client, as for any reply.
fn towards(client: IpAddr, turn: &mut Turn<'_>) -> Result<NextHop, DropReason> {
    let tables = turn.tables;
    let hop = known::next_hop_towards(client, tables, turn.extras)
        .and_then(|id| known::resolved(id, tables, turn.extras).copied());
    match hop {
        Err(DropReason::NextHopUnresolved) => {
            known::just_seen(client, turn).ok_or(DropReason::NextHopUnresolved)
        }
        hop => hop,
    }
}
