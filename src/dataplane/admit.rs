//! Tier 2: frames without a connection. Is there a service; may it start one; with which backend; as what source.

use std::net::IpAddr;

use crate::tables::hash::mix;
use crate::tables::{
    Backend, DropReason, Forwarding, NextHopId, Protocol, Service, ServiceId, Snapshot, SynCookies,
};
use crate::wire::ethernet;
use crate::wire::tunnel::Family;
use crate::xsk::Frame;

use super::batch::Meta;
use super::conntrack::{Connection, Direction, FlowKey, Hit, Kind as Rewriting, Marks, Refused, State};
use super::cookies;
use super::family::{Pair, V4, V6};
use super::known;
use super::limits;
use super::outbound;
use super::parse::{self, TCP};
use super::place;
use super::rewrite::{self, Egress};
use super::stateless;
use super::turn::Turn;
use super::verdict::Verdict;

/// Decides on a flow that has no verdict yet. One that neither a service nor outbound NAT takes keeps none.
pub fn run(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) {
    if meta.verdict.is_some() || !parse::has_flow(meta, turn.tables) {
        return;
    }
    let verdict = match meta.parsed.family {
        Family::V4 => flow::<V4>(frame, meta, turn),
        Family::V6 => flow::<V6>(frame, meta, turn),
    };
    meta.verdict = verdict.unwrap_or_else(|reason| Some(Verdict::Drop(reason)));
}

/// Decides on a flow that was named and has no connection. None where no service takes it.
pub fn flow<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Result<Option<Verdict>, DropReason> {
    let key = P::key(meta);
    if meta.parsed.echo.is_some() {
        return outbound::run::<P>(frame, meta, turn);
    }
    let Some(service) = service_of(&key, turn.tables) else {
        stray(&key, turn.tables)?;
        return outbound::run::<P>(frame, meta, turn);
    };
    if service.syn_cookies != SynCookies::Off
        && let Some(decided) = cookies::guard(frame, meta, service, turn)
    {
        return decided.map(Some);
    }
    if service.needs_no_connection() {
        return stateless::open::<P>(frame, meta, service, turn).map(Some);
    }
    let hit: Hit<P> =
        begin(frame, meta, service, turn).inspect_err(|reason| refused(*reason, meta, service, turn))?;
    known::forward_first(frame, meta, &hit, turn).map(Some)
}

/// Creates the connection of a first frame with its service.
#[inline(always)]
pub(super) fn begin<P: Pair>(
    frame: &Frame,
    meta: &mut Meta,
    service: &Service,
    turn: &mut Turn<'_>,
) -> Result<Hit<P>, DropReason> {
    let kind = Rewriting::of(service.forwarding);
    let state = first_state(meta, P::key(meta).protocol)?;
    connect(frame, meta, service, First { state, kind, lost: None }, turn)
}

/// Gives a segment in the middle of the connection `lost` to another backend, as if it were a first one. The connection
/// ends by that; where no backend takes it over, it goes on to have the one that it has.
pub fn resume<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    lost: &Hit<P>,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let service = service_of(&P::key(meta), turn.tables).ok_or(DropReason::BackendDown)?;
    let kind = Rewriting::of(service.forwarding);
    let first = First { state: State::Established, kind, lost: Some(lost) };
    let hit = connect(frame, meta, service, first, turn).inspect_err(|_| count_refused(service, turn))?;
    known::forward_first(frame, meta, &hit, turn)
}

/// Notes that a first frame was refused.
#[cold]
fn refused(reason: DropReason, meta: &Meta, service: &Service, turn: &mut Turn<'_>) {
    cookies::refused(reason, meta, service, turn);
    count_refused(service, turn);
}

pub(super) fn count_refused(service: &Service, turn: &Turn<'_>) {
    if let Some(counters) = turn.counters.service(service.id) {
        counters.refused.add(1);
    }
}

#[inline(always)]
fn protocol<P: Pair>(key: &FlowKey<P>) -> Protocol {
    if key.protocol == TCP { Protocol::Tcp } else { Protocol::Udp }
}

/// The service that a frame is addressed to.
#[inline(always)]
pub fn service_of<'a, P: Pair>(key: &FlowKey<P>, tables: &'a Snapshot) -> Option<&'a Service> {
    let to = key.addresses.destination();
    let id: ServiceId = tables.service_map.get(to, key.destination_port(), protocol(key))?;
    tables.service(id)
}

/// A flow that belongs to no service: a late frame of a forgotten connection, or no service's business.
fn stray<P: Pair>(key: &FlowKey<P>, tables: &Snapshot) -> Result<(), DropReason> {
    let (source, destination) = (key.addresses.source(), key.addresses.destination());
    if tables.snat.contains(destination, key.destination_port()) {
        return Err(DropReason::NoConnection);
    }
    let is_reply = tables.replies.get(source, key.source_port(), protocol(key)).is_some();
    if is_reply && !is_own(destination, tables) && !tables.bridge {
        return Err(DropReason::NoConnection);
    }
    Ok(())
}

/// Whether the switch itself has this address.
pub fn is_own(address: IpAddr, tables: &Snapshot) -> bool {
    tables.interfaces.iter().flat_map(|interface| &interface.addresses).any(|(own, _)| *own == address)
}

/// How a connection begins.
#[derive(Debug)]
pub(super) struct First<'a, P> {
    /// In which state.
    pub state: State,
    /// What is done to its frames.
    pub kind: Rewriting,
    /// The connection in whose place it comes.
    pub lost: Option<&'a Hit<P>>,
}

/// Creates the connection of a first frame, in place of one that it has lost, if any. Nothing is created for a frame that
/// would be dropped afterwards.
pub(super) fn connect<P: Pair>(
    frame: &Frame,
    meta: &mut Meta,
    service: &Service,
    First { state, kind, lost }: First<'_, P>,
    turn: &mut Turn<'_>,
) -> Result<Hit<P>, DropReason> {
    let key = P::key(meta);
    parse::verify(frame.bytes(), &meta.parsed, &key)?;
    let client = key.addresses.source();
    if !may_connect(client, turn.tables) {
        return Err(DropReason::BadSource);
    }
    if lost.is_none() && !service.admits(client) {
        return Err(DropReason::Denied);
    }
    if service.limits.opens() && lost.is_none() {
        limits::may_open(service, client, turn)?;
    }
    // Before the scheduler moves on for it.
    rewrite::has_time(meta, kind, turn)?;
    let choice = place::pick(service, &key, turn)?;
    let connection = prepare(frame, meta, service, choice.backend, (state, kind), turn);
    let entered = connection.and_then(|connection| enter_first(&connection, lost, meta.hash, turn));
    choice.settle(entered, turn)
}

/// What the connection of a first frame with this backend will be, if there can be one.
fn prepare<P: Pair>(
    frame: &Frame,
    meta: &mut Meta,
    service: &Service,
    backend: &Backend,
    (state, kind): (State, Rewriting),
    turn: &mut Turn<'_>,
) -> Result<Connection<P>, DropReason> {
    let key = P::key(meta);
    let client = key.addresses.source();
    let egress = Egress::backend(known::resolved(backend.next_hop, turn.tables, turn.extras)?, backend);
    rewrite::admits(meta, &Hit::prospect(kind, key), &egress, turn)?;
    let reply = reply_key(service, backend, &key, turn)?;
    let client_next_hop = client_next_hop(frame, meta, client, kind, turn)?;
    Ok(Connection {
        kind,
        request: key,
        reply,
        // Last: what was counted is entered.
        marks: limits::hold(service, key, state, turn)?,
        backend: backend.id,
        client_next_hop,
        routes_epoch: turn.tables.routes_epoch,
        state,
        sequence: meta.parsed.sequence,
    })
}

/// Enters a connection, or finds the one that another worker entered at the same moment.
pub fn enter<P: Pair>(
    connection: &Connection<P>,
    hash: u64,
    turn: &mut Turn<'_>,
) -> Result<Hit<P>, DropReason> {
    enter_first(connection, None, hash, turn).map(|(hit, _)| hit)
}

/// The same in place of one that is `lost`, if any, and whether it is ours.
fn enter_first<P: Pair>(
    connection: &Connection<P>,
    lost: Option<&Hit<P>>,
    hash: u64,
    turn: &mut Turn<'_>,
) -> Result<(Hit<P>, bool), DropReason> {
    let connection_and_hash = (connection, hash);
    match turn.flows.replace(connection_and_hash, lost, turn.now, &turn.tables.timeouts, turn.counters) {
        Ok(hit) => Ok((hit, true)),
        Err(refused) => {
            if refused == Refused::TableFull && connection.marks.has(Marks::COUNTED) {
                // What got so far as to have an entry is no longer counted.
                turn.flows.tables().limits.release(connection.request);
            }
            not_entered(refused, connection.request, hash, turn).map(|theirs| (theirs, false))
        }
    }
}

/// What becomes of a frame whose connection could not be entered: it is dropped, or has the one that another worker entered.
pub(super) fn not_entered<P: Pair>(
    refused: Refused,
    request: FlowKey<P>,
    hash: u64,
    turn: &Turn<'_>,
) -> Result<Hit<P>, DropReason> {
    match refused {
        Refused::TableFull => Err(DropReason::TableFull),
        Refused::BucketFull => Err(DropReason::BucketFull),
        Refused::Conflict => Err(DropReason::TupleConflict),
        Refused::Raced => turn.flows.find(request, hash).ok_or(DropReason::TupleConflict),
    }
}

/// Asked for now, so that it is known by the time the backend answers. Where the backend answers directly, or the answer
/// goes on over the wire that it came by, nobody needs it.
pub(super) fn client_next_hop(
    frame: &Frame,
    meta: &Meta,
    client: IpAddr,
    kind: Rewriting,
    turn: &mut Turn<'_>,
) -> Result<NextHopId, DropReason> {
    if kind.one_way() || turn.tables.bridge {
        return Ok(NextHopId::NONE);
    }
    let id = match known::next_hop_towards(client, turn.tables, turn.extras) {
        Ok(id) => id,
        Err(DropReason::NextHopUnresolved) => NextHopId::NONE,
        Err(reason) => return Err(reason),
    };
    if id == NextHopId::NONE || known::resolved(id, turn.tables, turn.extras).is_err() {
        note_sender(frame, meta, client, turn);
    }
    Ok(id)
}

/// Remembers which MAC address the client has, should it be on the link.
fn note_sender(frame: &Frame, meta: &Meta, client: IpAddr, turn: &Turn<'_>) {
    if let Some(mac) = ethernet::source(frame.bytes()) {
        turn.flows.tables().nearby.note(meta.ingress, client, mac, turn.now.coarse());
    }
}

/// Whether this can be a client's address: no host, or we ourselves, would answer to it (RFC 1812 §5.3.7, RFC 4291 §2.7).
#[inline(always)]
pub fn may_connect(client: IpAddr, tables: &Snapshot) -> bool {
    let reserved = match client {
        IpAddr::V4(v4) => matches!(v4.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(v6) => {
            v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.to_ipv4_mapped().is_some()
        }
    };
    !reserved && !tables.is_ours(client)
}

/// The state in which a first frame of this protocol puts a connection, if it may start one.
pub(super) fn first_state(meta: &Meta, protocol: u8) -> Result<State, DropReason> {
    if protocol != TCP {
        return Ok(if meta.parsed.echo.is_some() { State::Icmp } else { State::Udp });
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

/// What frames from the backend will bear. Full NAT chooses the source here.
fn reply_key<P: Pair>(
    service: &Service,
    backend: &Backend,
    request: &FlowKey<P>,
    turn: &mut Turn<'_>,
) -> Result<FlowKey<P>, DropReason> {
    if service.forwarding.returns_directly() {
        return Ok(request.reversed());
    }
    let (address, port) = (backend.address.ip(), backend.address.port());
    let key = |source: IpAddr, source_port: u16| {
        P::of(address, source).map(|addresses| FlowKey {
            addresses,
            ports: u32::from(port) << 16 | u32::from(source_port),
            protocol: request.protocol,
        })
    };
    let (source, source_port) = match service.forwarding {
        Forwarding::FullNat => snat_source(backend, key, request.protocol, turn)?,
        _ => (request.addresses.source(), request.source_port()),
    };
    key(source, source_port).ok_or(DropReason::NoBackend)
}

/// A source address and port of the pool with which the reply's key is free.
fn snat_source<P: Pair>(
    backend: &Backend,
    key: impl Fn(IpAddr, u16) -> Option<FlowKey<P>>,
    protocol: u8,
    turn: &mut Turn<'_>,
) -> Result<(IpAddr, u16), DropReason> {
    let pool = &turn.tables.snat;
    if P::pool_len(pool) == 0 {
        return Err(DropReason::NoSnatAddress);
    }
    let (ports, secret, table) = turn.flows.allocator::<P>();
    let free = |source, source_port| {
        key(source, source_port).is_some_and(|key| table.find(key, secret.hash(key)).is_none())
    };
    let bits = crate::tables::exact::address_bits(backend.address.ip());
    let rest = u64::from(backend.address.port()) << 8 | u64::from(protocol);
    let destination = mix(bits as u64 ^ (bits >> 64) as u64, rest);
    ports.take::<P>(pool, destination, secret, free).ok_or(DropReason::SnatPortsExhausted)
}

impl<P: Pair> Hit<P> {
    /// What the hit of a connection of this kind will be like, as far as deciding about its first frame goes.
    pub(super) fn prospect(kind: Rewriting, request: FlowKey<P>) -> Self {
        Self::of_kind(kind, Direction::Request, request)
    }
}
