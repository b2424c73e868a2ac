//! Tier 2: frames without a connection. Is there a service; may it start one; with which backend; as what source.

use std::net::{IpAddr, Ipv4Addr};

use crate::tables::hash::flow_hash;
use crate::tables::{
    Backend, DropReason, Forwarding, NextHopId, Protocol, Service, ServiceId, Snapshot, Tick, WorkerCounters,
};
use crate::wire::ethernet;
use crate::xsk::Frame;

use super::batch::{Batch, Events, Meta};
use super::conntrack::{Connection, FlowKey, Flows, Hit, Refused, State};
use super::known;
use super::parse::{self, Kind, TCP};
use super::schedule::{self, Candidate};
use super::verdict::Verdict;

/// Decides on every flow and fragment that has no verdict yet.
pub fn run(batch: &mut Batch, tables: &Snapshot, flows: &mut Flows, now: Tick, counters: &WorkerCounters) {
    let (entries, events) = batch.parts();
    for (frame, meta) in entries.filter(|(_, meta)| meta.verdict.is_none()) {
        let verdict = match meta.parsed.kind {
            Kind::Flow => flow(frame, meta, tables, flows, now, counters, events),
            Kind::Fragment => Ok(fragment(meta, tables)),
            Kind::Arp | Kind::Other => continue,
        };
        meta.verdict = Some(verdict.unwrap_or_else(Verdict::Drop));
    }
}

fn flow(
    frame: &mut Frame,
    meta: &Meta,
    tables: &Snapshot,
    flows: &mut Flows,
    now: Tick,
    counters: &WorkerCounters,
    events: &mut Events,
) -> Result<Verdict, DropReason> {
    let Some(service) = service_of(&meta.key, tables) else {
        return stray(&meta.key, tables);
    };
    // An earlier frame of this very batch may have created the connection, and even have reset it.
    let hit = match flows.table().find(meta.key, meta.hash) {
        Some(hit) if known::starts_over(frame, &hit, meta, tables) => {
            flows.end(&hit, counters);
            connect(frame, meta, service, tables, flows, now, counters, events)
        }
        Some(hit) => Ok(hit),
        None => connect(frame, meta, service, tables, flows, now, counters, events),
    };
    let hit = hit.inspect_err(|_| {
        if let Some(counters) = counters.service(service.id) {
            counters.refused.add(1);
        }
    })?;
    known::forward(frame, meta, &hit, tables, flows, now, counters, events)
}

fn service_of<'a>(key: &FlowKey, tables: &'a Snapshot) -> Option<&'a Service> {
    let protocol = if key.protocol == TCP { Protocol::Tcp } else { Protocol::Udp };
    let id: ServiceId = tables.service_map.get(destination(key), key.ports as u16, protocol)?;
    tables.service(id)
}

/// A flow that belongs to no service: a late frame of a forgotten connection, or none of our business.
fn stray(key: &FlowKey, tables: &Snapshot) -> Result<Verdict, DropReason> {
    let protocol = if key.protocol == TCP { Protocol::Tcp } else { Protocol::Udp };
    let source = IpAddr::V4(Ipv4Addr::from((key.addresses >> 32) as u32));
    let to_pool = tables.snat.contains(destination(key), key.ports as u16);
    if to_pool {
        return Err(DropReason::NoConnection);
    }
    let to_switch =
        tables.interfaces.iter().flat_map(|i| &i.addresses).any(|(address, _)| *address == destination(key));
    if !to_switch && tables.replies.get(source, (key.ports >> 16) as u16, protocol).is_some() {
        return Err(DropReason::NoConnection);
    }
    Ok(Verdict::ToKernel)
}

fn fragment(meta: &Meta, tables: &Snapshot) -> Verdict {
    if tables.is_vip(destination(&meta.key)) {
        Verdict::Drop(DropReason::FragmentTimeout)
    } else {
        Verdict::ToKernel
    }
}

fn destination(key: &FlowKey) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(key.addresses as u32))
}

/// Creates the connection of a first frame. Nothing is created for a frame that would be dropped afterwards.
#[allow(clippy::too_many_arguments, reason = "everything a frame meets on its way, passed on as it came")]
fn connect(
    frame: &Frame,
    meta: &Meta,
    service: &Service,
    tables: &Snapshot,
    flows: &mut Flows,
    now: Tick,
    counters: &WorkerCounters,
    events: &mut Events,
) -> Result<Hit, DropReason> {
    let state = first_state(meta)?;
    parse::verify(frame.bytes(), &meta.parsed, &meta.key)?;
    if meta.parsed.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let client = Ipv4Addr::from((meta.key.addresses >> 32) as u32);
    if !may_connect(client, tables) {
        return Err(DropReason::BadSource);
    }
    let backend = pick(service, &meta.key, tables, flows)?;
    if meta.parsed.ip_len > known::resolved(backend.next_hop, tables, events)?.mtu {
        return Err(DropReason::TooBig);
    }
    // Asked for now, so that it is known by the time the backend answers.
    let client_next_hop = match known::client_next_hop(client, tables, events) {
        Ok(id) => id,
        Err(DropReason::NextHopUnresolved) => NextHopId::NONE,
        Err(reason) => return Err(reason),
    };
    if client_next_hop == NextHopId::NONE || known::resolved(client_next_hop, tables, events).is_err() {
        note_sender(frame, meta, client, flows, now);
    }
    let connection = Connection {
        request: meta.key,
        reply: reply_key(service, backend, &meta.key, tables, flows)?,
        backend: backend.id,
        client_next_hop,
        routes_epoch: tables.routes_epoch,
        state,
        sequence: meta.parsed.sequence,
    };
    flows.create(&connection, now, &tables.timeouts, counters).or_else(|refused| match refused {
        Refused::TableFull => Err(DropReason::TableFull),
        Refused::BucketFull => Err(DropReason::BucketFull),
        Refused::Conflict => Err(DropReason::TupleConflict),
        Refused::Raced => flows.table().find(meta.key, meta.hash).ok_or(DropReason::TupleConflict),
    })
}

/// Remembers which MAC address the client has, should it be on the link.
fn note_sender(frame: &Frame, meta: &Meta, client: Ipv4Addr, flows: &Flows, now: Tick) {
    if let Some(mac) = ethernet::source(frame.bytes()) {
        flows.table().nearby().note(meta.ingress, client, mac, now.coarse());
    }
}

/// Whether this can be a client's address: no host, or we ourselves, would answer to it (RFC 1812 §5.3.7).
fn may_connect(client: Ipv4Addr, tables: &Snapshot) -> bool {
    let reserved = matches!(client.octets()[0], 0 | 127 | 224..);
    let address = IpAddr::V4(client);
    let ours = || tables.interfaces.iter().flat_map(|i| &i.addresses).any(|(own, _)| *own == address);
    !reserved && !tables.is_vip(address) && !ours()
}

fn first_state(meta: &Meta) -> Result<State, DropReason> {
    if meta.key.protocol != TCP {
        return Ok(State::Udp);
    }
    let flags = meta.parsed.flags;
    if flags.absurd() {
        Err(DropReason::TcpFlags)
    } else if flags.opens() {
        Ok(State::SynReceived)
    } else {
        Err(DropReason::NoConnection)
    }
}

fn pick<'a>(
    service: &Service,
    key: &FlowKey,
    tables: &'a Snapshot,
    flows: &mut Flows,
) -> Result<&'a Backend, DropReason> {
    let source = IpAddr::V4(Ipv4Addr::from((key.addresses >> 32) as u32));
    let flow_hash = flow_hash(
        source,
        (key.ports >> 16) as u16,
        service.vip.ip(),
        service.vip.port(),
        service.protocol as u8,
    );
    let cursor = flows.cursor(service.id).ok_or(DropReason::NoBackend)?;
    let id = schedule::of(&service.table).pick(Candidate { flow_hash, cursor });
    id.and_then(|id| tables.backend(id)).ok_or(DropReason::NoBackend)
}

/// What frames from the backend will bear. Full NAT chooses the source here.
fn reply_key(
    service: &Service,
    backend: &Backend,
    request: &FlowKey,
    tables: &Snapshot,
    flows: &mut Flows,
) -> Result<FlowKey, DropReason> {
    let IpAddr::V4(address) = backend.address.ip() else { return Err(DropReason::NoBackend) };
    let destination = u64::from(u32::from(address));
    let port = u32::from(backend.address.port());
    let key = |source: u64, source_port: u32| FlowKey {
        addresses: destination << 32 | source,
        ports: port << 16 | source_port,
        protocol: request.protocol,
    };
    if service.forwarding == Forwarding::Nat {
        return Ok(key(request.addresses >> 32, request.ports >> 16));
    }
    if tables.snat.v4.is_empty() {
        return Err(DropReason::NoSnatAddress);
    }
    let (ports, table) = flows.ports();
    let secret = table.secret();
    let free = |source: Ipv4Addr, source_port: u16| {
        let key = key(u64::from(u32::from(source)), u32::from(source_port));
        table.find(key, secret.hash(key)).is_none()
    };
    let destination_word = destination << 32 | u64::from(port) << 8 | u64::from(request.protocol);
    let (source, source_port) =
        ports.take(&tables.snat, destination_word, secret, free).ok_or(DropReason::SnatPortsExhausted)?;
    Ok(key(u64::from(u32::from(source)), u32::from(source_port)))
}
