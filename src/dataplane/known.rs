//! Tier 1: frames of connections that exist. The stored rewrite is replayed; nothing is decided anew.

use std::net::{IpAddr, Ipv4Addr};

use crate::tables::{
    DropReason, Event, NextHop, NextHopId, Resolution, Snapshot, Tick, VerifyChecksums, WorkerCounters,
};
use crate::wire::ethernet;
use crate::wire::tcp::Flags;
use crate::xsk::Frame;

use super::batch::{Batch, Events, Meta};
use super::conntrack::{Direction, Entry, Flows, Hit, State};
use super::parse::{self, Kind, Parsed};
use super::rewrite::nat;
use super::verdict::Verdict;

/// Asks for the entries that the flows of the batch most likely lead to, so that their cache misses overlap.
pub fn prefetch(batch: &Batch, flows: &Flows) {
    for meta in batch.metas().iter().filter(|meta| meta.parsed.kind == Kind::Flow) {
        flows.table().prefetch_entry(meta.hash);
    }
}

/// Forwards every frame that belongs to a connection. Looked up only now, so that each sees what the frames before it
/// in the batch have changed.
pub fn run(batch: &mut Batch, tables: &Snapshot, flows: &Flows, now: Tick, counters: &WorkerCounters) {
    let (entries, events) = batch.parts();
    for (frame, meta) in entries.filter(|(_, meta)| meta.parsed.kind == Kind::Flow) {
        let Some(hit) = flows.table().find(meta.key, meta.hash) else { continue };
        if starts_over(frame, &hit, meta, tables) {
            // Tier 2 finds no connection then, and makes one.
            flows.end(&hit, counters);
            continue;
        }
        let verdict = forward(frame, meta, &hit, tables, flows, now, counters, events);
        meta.verdict = Some(verdict.unwrap_or_else(Verdict::Drop));
    }
}

/// A client that opens a connection anew: from a port whose last connection is over (TIME-WAIT, RFC 9293 §3.6.1), or
/// whose backend was removed; there a UDP datagram does as well. A damaged frame ends nothing.
#[inline]
pub fn starts_over(frame: &Frame, hit: &Hit, meta: &Meta, tables: &Snapshot) -> bool {
    let flags = meta.parsed.flags;
    let (state, udp) = (hit.state(), hit.state() == State::Udp);
    hit.direction == Direction::Request
        && (udp || flags.opens())
        && (state.is_over() || tables.backend(hit.backend).is_none())
        && (udp || !flags.absurd())
        && meta.parsed.ttl > 1
        && parse::verify(frame.bytes(), &meta.parsed, &meta.key).is_ok()
}

/// Forwards one frame of the connection `hit`: checks, state, rewrite, counters.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "everything a frame meets on its way, passed on as it came")]
pub fn forward(
    frame: &mut Frame,
    meta: &Meta,
    hit: &Hit,
    tables: &Snapshot,
    flows: &Flows,
    now: Tick,
    counters: &WorkerCounters,
    events: &mut Events,
) -> Result<Verdict, DropReason> {
    let entry = flows.table().entry(hit.entry);
    let next_state = next_state(hit, meta, entry)?;
    if tables.verify_checksums == VerifyChecksums::Always || next_state != hit.state() {
        parse::verify(frame.bytes(), &meta.parsed, &meta.key)?;
    }
    if meta.parsed.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let seen;
    let next_hop = match hit.direction {
        Direction::Request => toward_backend(hit, tables, events)?,
        Direction::Reply => match toward_client(hit, entry, tables, events) {
            Err(DropReason::NextHopUnresolved) => {
                seen = just_seen(hit, tables, flows, now).ok_or(DropReason::NextHopUnresolved)?;
                &seen
            }
            found => found?,
        },
    };
    if meta.parsed.ip_len > next_hop.mtu {
        return Err(DropReason::TooBig);
    }
    entry.touch(hit, meta.parsed.sequence, now.coarse());
    if next_state != hit.state() {
        let Parsed { flags, sequence, .. } = meta.parsed;
        entry.transition(hit, |state| state.after(hit.direction, flags), sequence);
    }
    count(counters, hit, frame.len());
    nat::apply(frame.bytes_mut(), meta, hit, next_hop);
    Ok(Verdict::Forward(next_hop.interface))
}

/// The state that the segment leads to. One that only pretends to end the connection leads nowhere; it is forwarded all
/// the same, for the endpoint to judge.
#[inline]
fn next_state(hit: &Hit, meta: &Meta, entry: &Entry) -> Result<State, DropReason> {
    let state = hit.state();
    let Parsed { flags, sequence, acknowledgment, .. } = meta.parsed;
    if state == State::Udp || (state == State::Established && flags.carries_on()) {
        return Ok(state);
    }
    if flags.absurd() {
        return Err(DropReason::TcpFlags);
    }
    if flags.any(Flags::RST.with(Flags::FIN)) && !entry.plausible(hit, sequence, acknowledgment) {
        return Ok(state);
    }
    let answers = state == State::SynAnswered && hit.direction == Direction::Request;
    if answers && !flags.any(Flags::RST) && !(flags.any(Flags::ACK) && entry.confirms(acknowledgment)) {
        return Ok(state);
    }
    Ok(state.after(hit.direction, flags))
}

#[inline]
fn toward_backend<'a>(
    hit: &Hit,
    tables: &'a Snapshot,
    events: &mut Events,
) -> Result<&'a NextHop, DropReason> {
    let backend = tables.backend(hit.backend).ok_or(DropReason::BackendGone)?;
    resolved(backend.next_hop, tables, events)
}

#[inline]
fn toward_client<'a>(
    hit: &Hit,
    entry: &Entry,
    tables: &'a Snapshot,
    events: &mut Events,
) -> Result<&'a NextHop, DropReason> {
    if hit.routes_epoch == tables.routes_epoch && hit.client_next_hop != NextHopId::NONE {
        return resolved(hit.client_next_hop, tables, events);
    }
    let client = Ipv4Addr::from(hit.addresses as u32);
    let next_hop = client_next_hop(client, tables, events)?;
    entry.set_client_route(hit, next_hop, tables.routes_epoch);
    resolved(next_hop, tables, events)
}

/// An on-link client that the kernel has not resolved yet, but whose MAC address was seen a moment ago.
#[cold]
fn just_seen(hit: &Hit, tables: &Snapshot, flows: &Flows, now: Tick) -> Option<NextHop> {
    let client = Ipv4Addr::from(hit.addresses as u32);
    let address = IpAddr::V4(client);
    let interface = match tables.routes.resolve(address) {
        Resolution::Unknown(interface) => interface,
        Resolution::NextHop(id) => tables.next_hop(id).filter(|hop| hop.address == address)?.interface,
        Resolution::Unroutable => return None,
    };
    let mac = flows.table().nearby().find(interface, client, now.coarse())?;
    let egress = tables.interfaces.get(interface.index())?;
    let macs = ethernet::macs(mac, egress.mac);
    Some(NextHop { macs, tags: egress.tags, interface, resolved: true, mtu: egress.mtu, address })
}

/// The next hop towards a client, asking for its neighbour entry where there is none yet.
pub fn client_next_hop(
    client: Ipv4Addr,
    tables: &Snapshot,
    events: &mut Events,
) -> Result<NextHopId, DropReason> {
    match tables.routes.resolve(IpAddr::V4(client)) {
        Resolution::NextHop(id) => Ok(id),
        Resolution::Unknown(interface) => {
            events.raise(Event::Resolve { interface, address: IpAddr::V4(client) });
            Err(DropReason::NextHopUnresolved)
        }
        Resolution::Unroutable => Err(DropReason::NoRoute),
    }
}

/// The next hop of this row, if frames can be sent there now.
#[inline]
pub fn resolved<'a>(
    id: NextHopId,
    tables: &'a Snapshot,
    events: &mut Events,
) -> Result<&'a NextHop, DropReason> {
    let next_hop = tables.next_hop(id).ok_or(DropReason::NoRoute)?;
    if !next_hop.resolved {
        events.raise(Event::Resolve { interface: next_hop.interface, address: next_hop.address });
        return Err(DropReason::NextHopUnresolved);
    }
    Ok(next_hop)
}

#[inline]
fn count(counters: &WorkerCounters, hit: &Hit, bytes: usize) {
    let Some(backend) = counters.backend(hit.backend) else { return };
    match hit.direction {
        Direction::Request => {
            backend.packets_in.add(1);
            backend.bytes_in.add(bytes as u64);
        }
        Direction::Reply => {
            backend.packets_out.add(1);
            backend.bytes_out.add(bytes as u64);
        }
    }
}
