//! Tier 2 at full speed: plain first frames of connections with `nat` services.
//!
//! Nothing becomes of a frame here that [`super::known`] and [`super::admit`] would not have made of it. Whatever is unusual
//! is left to them, unchanged, and with it all reasons to refuse a frame, but for those that show only once a backend was
//! picked. `tests/property` runs the same frames with and without.
//!
//! ```text
//!   opens? ─▶ service ─▶ new? ─▶ intact? ─▶ allowed? ─▶ way back? ─▶ backend ─▶ way open? ─▶ insert, rewrite, count
//! ```

use crate::tables::{Backend, DropReason, Opening, Service, Snapshot, Way};
use crate::wire::ethernet;
use crate::wire::plain::{Details, Translation};
use crate::xsk::Frame;

use super::batch::{Lane, Meta};
use super::conntrack::{Connection, Direction, FlowKey, Kind, Marks, Refused, State};
use super::family::{Pair, V4, V6};
use super::parse::{self, TCP};
use super::place::{self, Choice};
use super::turn::Turn;
use super::verdict::Verdict;
use super::{admit, known};

/// Decides on a frame that opens a connection as almost all do. Whether it is forwarded: one that is refused has its verdict, and
/// is for those who may say so; any other is as it was.
#[inline(always)]
pub fn run(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) -> bool {
    let decided = match meta.lane {
        Lane::V4 => flow::<V4>(frame, meta, turn),
        Lane::V6 => flow::<V6>(frame, meta, turn),
        Lane::Full => return false,
    };
    match decided {
        Some(Ok(verdict)) => {
            meta.verdict = Some(verdict);
            return true;
        }
        Some(Err(reason)) => meta.verdict = Some(Verdict::Drop(reason)),
        None => {}
    }
    false
}

/// None where it decides nothing, and nothing has changed.
#[inline(never)]
fn flow<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Option<Result<Verdict, DropReason>> {
    // Put together anew, as to copy it would be to copy the bytes between its fields, too.
    let FlowKey { addresses, ports, protocol } = P::key(meta);
    let (tables, key) = (turn.tables, FlowKey { addresses, ports, protocol });
    let details = P::details(frame.bytes(), key.protocol);
    let state = first_state(key.protocol, details)?;
    let service = admit::service_of(&key, tables).filter(|service| service.opening != Opening::Full)?;
    let is_known = P::side(turn.flows).table().has(key, meta.hash);
    if is_known || frame.has_room() || !P::is_intact(frame.bytes(), key.protocol, details.ip_len) {
        return None;
    }
    let client = key.addresses.source();
    if !admit::may_connect(client, tables) {
        return None;
    }
    if service.opening == Opening::Listed && !service.admits(client) {
        return Some(Err(refuse(frame, meta, service, DropReason::Denied, turn)));
    }
    let client_next_hop = tables.routes.next_hop(client);
    if !tables.next_hop(client_next_hop)?.resolved {
        return None;
    }
    let choice = match place::by_turn(service, &key, turn) {
        Ok(choice) => choice,
        Err(reason) => return Some(Err(refuse(frame, meta, service, reason, turn))),
    };
    let Some((way, reply)) = way_to(choice.backend, &key, details, tables) else {
        choice.give_turn_back(turn);
        return None;
    };
    let connection = Connection {
        kind: Kind::Nat,
        request: key,
        reply,
        marks: Marks::NONE,
        backend: choice.backend.id,
        client_next_hop,
        routes_epoch: tables.routes_epoch,
        state,
        sequence: details.sequence,
    };
    let new = (&connection, meta.hash, way.deltas);
    match turn.flows.open(new, turn.now, &tables.timeouts, turn.counters) {
        Ok(_) => Some(Ok(translate(frame, &connection, way, turn))),
        Err(refused) => Some(not_opened::<P>(frame, meta, (service, choice, refused), turn)),
    }
}

/// The state in which the frame puts a connection, if it may open one and is not spent.
#[inline(always)]
fn first_state(protocol: u8, details: Details) -> Option<State> {
    if details.ttl <= 1 {
        return None;
    }
    match protocol {
        TCP if details.flags.opens() && !details.flags.absurd() => Some(State::SynReceived),
        TCP => None,
        _ => Some(State::Udp),
    }
}

/// The way to a backend, and what its answers bear. None where the frame cannot go there as it is.
#[inline(always)]
fn way_to<'a, P: Pair>(
    backend: &Backend,
    request: &FlowKey<P>,
    details: Details,
    tables: &'a Snapshot,
) -> Option<(&'a Way, FlowKey<P>)> {
    let way = tables.ways.to_backend(backend.id)?;
    if details.ip_len > way.mtu {
        return None;
    }
    let addresses = P::of(backend.address.ip(), request.addresses.source())?;
    let ports = u32::from(backend.address.port()) << 16 | u32::from(request.source_port());
    Some((way, FlowKey { addresses, ports, protocol: request.protocol }))
}

/// Counts the frame and rewrites it.
#[inline(always)]
fn translate<P: Pair>(frame: &mut Frame, connection: &Connection<P>, way: &Way, turn: &Turn<'_>) -> Verdict {
    if let Some(backend) = turn.counters.backend(connection.backend) {
        backend.connections_new.add(1);
        known::count_at(backend, Direction::Request, frame.len());
    }
    let leaves = connection.reply.reversed();
    let translation = Translation {
        addresses: leaves.addresses,
        ports: leaves.ports,
        address_delta: (way.deltas >> 16) as u16,
        transport_delta: way.deltas as u16,
    };
    let bytes = frame.bytes_mut();
    P::translate(bytes, connection.request.protocol, &translation);
    ethernet::set_macs(bytes, &way.macs);
    Verdict::Forward(way.interface)
}

/// Prepares a frame that is dropped for those that may say so.
#[cold]
fn refuse(
    frame: &Frame,
    meta: &mut Meta,
    service: &Service,
    reason: DropReason,
    turn: &Turn<'_>,
) -> DropReason {
    parse::complete(frame.bytes(), meta);
    admit::count_refused(service, turn);
    reason
}

/// The connection could not be entered: the frame is dropped, or has that which another worker entered at the same moment.
#[cold]
fn not_opened<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    (service, choice, refused): (&Service, Choice<'_>, Refused),
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    parse::complete(frame.bytes(), meta);
    let theirs = admit::not_entered::<P>(refused, P::key(meta), meta.hash, turn);
    let hit = choice
        .settle(theirs.map(|theirs| (theirs, false)), turn)
        .inspect_err(|_| admit::count_refused(service, turn))?;
    known::forward_first(frame, meta, &hit, turn)
}
