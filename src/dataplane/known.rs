//! Tier 1: frames of connections that exist. The stored rewrite is replayed; nothing is decided anew.

use std::net::{IpAddr, Ipv4Addr};

use crate::tables::{
    DropReason, Event, NextHop, NextHopId, Resolution, Snapshot, Tick, VerifyChecksums, WorkerCounters,
};
use crate::wire::tcp::Flags;
use crate::xsk::Frame;

use super::batch::{Batch, Events, Meta};
use super::conntrack::{Direction, Entry, Flows, Hit, State};
use super::parse::{self, Kind, Parsed};
use super::rewrite::nat;
use super::verdict::Verdict;

/// Looks up every flow of the batch. Entries are asked for one loop ahead, so that their misses overlap.
pub fn find(batch: &mut Batch, flows: &Flows) {
    let table = flows.table();
    let metas = batch.metas_mut();
    for meta in metas.iter().filter(|meta| meta.parsed.kind == Kind::Flow) {
        table.prefetch_entry(meta.hash);
    }
    for meta in metas.iter_mut().filter(|meta| meta.parsed.kind == Kind::Flow) {
        meta.hit = table.find(meta.key, meta.hash);
    }
}

/// Forwards every frame whose connection was found.
pub fn run(batch: &mut Batch, tables: &Snapshot, flows: &Flows, now: Tick, counters: &WorkerCounters) {
    let (entries, events) = batch.parts();
    for (frame, meta) in entries {
        let Some(mut hit) = meta.hit else { continue };
        if !flows.table().entry(hit.entry).refresh(&mut hit) {
            // An earlier frame of this batch started over: this one belongs to the connection that follows.
            meta.hit = None;
            continue;
        }
        if starts_over(frame, &hit, meta) {
            flows.end(&hit, counters);
            meta.hit = None;
            continue;
        }
        let verdict = forward(frame, meta, &hit, tables, flows, now, counters, events);
        meta.verdict = Some(verdict.unwrap_or_else(Verdict::Drop));
    }
}

/// A client that opens a connection anew from a port whose last connection is over (TIME-WAIT, RFC 9293 §3.6.1).
/// A damaged frame ends nothing.
pub fn starts_over(frame: &Frame, hit: &Hit, meta: &Meta) -> bool {
    let flags = meta.parsed.flags;
    hit.direction == Direction::Request
        && flags.opens()
        && hit.state().is_over()
        && !flags.absurd()
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
    let next_hop = match hit.direction {
        Direction::Request => toward_backend(hit, tables, events)?,
        Direction::Reply => toward_client(hit, entry, tables, events)?,
    };
    if meta.parsed.ip_len > next_hop.mtu {
        return Err(DropReason::TooBig);
    }
    entry.touch(hit, meta.parsed.sequence, now.coarse());
    if next_state != hit.state() {
        entry.transition(hit, next_state, meta.parsed.sequence);
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
    if state == State::Udp {
        return Ok(state);
    }
    if meta.parsed.flags.absurd() {
        return Err(DropReason::TcpFlags);
    }
    let Parsed { flags, sequence, acknowledgment, .. } = meta.parsed;
    if flags.any(Flags::RST.with(Flags::FIN)) && !entry.plausible(hit, sequence, acknowledgment) {
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
    entry.set_client_route(next_hop, tables.routes_epoch);
    resolved(next_hop, tables, events)
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
