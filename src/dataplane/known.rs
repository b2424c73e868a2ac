//! Tier 1: frames of connections that exist. The stored rewrite is replayed; nothing is decided anew.

use std::net::IpAddr;

use crate::tables::{
    BackendCounters, BackendId, DropReason, Event, Fate, NextHop, NextHopId, Resolution, Snapshot,
    VerifyChecksums, WorkerCounters,
};
use crate::wire::ethernet;
use crate::wire::tcp::Flags;
use crate::wire::tunnel::Family;
use crate::xsk::Frame;

use super::batch::Meta;
use super::conntrack::{Direction, Entry, Hit, Kind as Rewriting, Segment, State};
use super::cookies;
use super::family::{Pair, V4, V6};
use super::limits;
use super::parse::{self, Parsed};
use super::passive;
use super::rewrite::{self, Egress};
use super::turn::{Extras, Turn};
use super::verdict::Verdict;

/// Forwards a frame that belongs to a connection. Looked up only now, so that each sees what the frames before it in the
/// batch have changed.
#[inline]
pub fn run(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) {
    if parse::has_flow(meta, turn.tables) {
        match meta.parsed.family {
            Family::V4 => flow::<V4>(frame, meta, turn),
            Family::V6 => flow::<V6>(frame, meta, turn),
        }
    }
}

/// Forwards a frame of a flow that was named, if it belongs to a connection.
#[inline(always)]
pub fn flow<P: Pair>(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) {
    let Some(hit) = turn.flows.find(P::key(meta), meta.hash) else { return };
    if meta.parsed.echo.is_some_and(|direction| direction != hit.direction) {
        // Both kinds of ping have the same key where the identifier is 0.
        return;
    }
    let is_first = hit.state().is_stateless() || meta.parsed.flags.opens();
    if is_first && starts_over(frame, &hit, meta, turn) {
        // Tier 2 finds no connection then, and makes one.
        turn.flows.end(&hit, turn.counters);
        return;
    }
    if hit.kind == Rewriting::Spliced && cookies::opening::concerns(&hit, meta) {
        meta.verdict = cookies::opening::decide(frame, meta, turn);
        return;
    }
    let verdict = forward(frame, meta, &hit, turn);
    meta.verdict = Some(verdict.unwrap_or_else(Verdict::Drop));
}

/// Whether a SYN or datagram opens a connection anew: a SYN from a port whose last connection is over (TIME-WAIT, RFC 9293
/// §3.6.1), or whose backend is down and has not answered; and either where the backend was removed or ends its
/// connections. A damaged frame ends nothing.
#[inline(always)]
fn starts_over<P: Pair>(frame: &Frame, hit: &Hit<P>, meta: &Meta, turn: &mut Turn<'_>) -> bool {
    if !hit.state().is_stateless() {
        return syn_starts_over(frame, hit, meta, turn);
    }
    hit.kind != Rewriting::Snat
        && turn.tables.backend(hit.backend).is_none_or(|backend| backend.fate != Fate::Keep)
        && opens(frame, hit, meta, turn)
}

/// The same of a SYN. One that does not is repeated, or is none of this connection's.
#[cold]
fn syn_starts_over<P: Pair>(frame: &Frame, hit: &Hit<P>, meta: &Meta, turn: &mut Turn<'_>) -> bool {
    let backend = turn.tables.backend(hit.backend);
    let unanswered = hit.state() == State::SynReceived;
    let is_lost = hit.kind != Rewriting::Snat
        && backend.is_none_or(|backend| backend.fate != Fate::Keep || (backend.down && unanswered));
    if hit.is_finished() || is_lost {
        return !meta.parsed.flags.absurd() && opens(frame, hit, meta, turn);
    }
    if unanswered {
        passive::asked_again(hit, turn);
    }
    false
}

/// Whether the frame may open a connection, if one was opened like this before.
#[cold]
fn opens<P: Pair>(frame: &Frame, hit: &Hit<P>, meta: &Meta, turn: &Turn<'_>) -> bool {
    opens_it(hit, P::key(meta).addresses)
        && rewrite::has_time(meta, hit.kind, turn).is_ok()
        && parse::verify(frame.bytes(), &meta.parsed, &P::key(meta)).is_ok()
}

/// Whether the frame comes from where connections are opened: from the client, or from inside through outbound NAT,
/// where the source is translated.
#[inline]
fn opens_it<P: Pair>(hit: &Hit<P>, addresses: P) -> bool {
    hit.direction == Direction::Request
        || (hit.kind == Rewriting::Snat && hit.addresses.source() != addresses.source())
}

/// Forwards one frame of the connection `hit`: checks, state, rewrite, counters.
#[inline(always)]
pub fn forward<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    hit: &Hit<P>,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let next_state = next_state(hit, meta, turn.flows.entry(hit.entry))?;
    if turn.tables.verify_checksums == VerifyChecksums::Always || next_state != hit.state() {
        parse::verify(frame.bytes(), &meta.parsed, &P::key(meta))?;
    }
    forward_intact(frame, meta, hit, (next_state, false), turn)
}

/// Forwards the first frame of a connection that was made for it, and so after it was verified and noted. (Where another worker was
/// faster it is noted there.)
#[inline(always)]
pub fn forward_first<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    hit: &Hit<P>,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let next_state = next_state(hit, meta, turn.flows.entry(hit.entry))?;
    forward_intact(frame, meta, hit, (next_state, true), turn)
}

#[inline(always)]
fn forward_intact<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    hit: &Hit<P>,
    (next_state, noted): (State, bool),
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let egress = egress(hit, meta, turn)?;
    rewrite::admits(meta, hit, &egress, turn)?;
    limits::attend(frame, meta, hit, turn)?;
    if !noted {
        let Parsed { sequence, acknowledgment, .. } = meta.parsed;
        turn.flows.entry::<P>(hit.entry).touch_with(hit, sequence, acknowledgment, turn.now.coarse());
    }
    if next_state != hit.state() {
        change_state(hit, meta, turn);
    }
    count(turn.counters, hit, frame.len());
    rewrite::apply(frame, meta, hit, &egress, turn)
}

/// Moves the connection to the state that the segment leads to, and notes what that says about the backend.
#[inline(never)]
fn change_state<P: Pair>(hit: &Hit<P>, meta: &Meta, turn: &mut Turn<'_>) {
    let Parsed { flags, sequence, acknowledgment, .. } = meta.parsed;
    let entry = turn.flows.entry::<P>(hit.entry);
    let asked_us = entry.asked_us();
    let segment = Segment { sequence, acknowledgment };
    let Some(states) = turn.flows.transition(hit, |state| advance(state, hit, flags), segment) else {
        return;
    };
    if turn.tables.metered && states.0.is_half_open() && !states.1.is_half_open() {
        cookies::completed(hit.backend, turn);
    }
    passive::heed(hit, states, asked_us, turn);
}

/// Notes that the connection is over as of this segment, as after a RST, whatever the segment itself says.
pub fn reset<P: Pair>(hit: &Hit<P>, meta: &Meta, turn: &Turn<'_>) {
    let Parsed { sequence, acknowledgment, .. } = meta.parsed;
    turn.flows.entry::<P>(hit.entry).touch(hit, sequence, turn.now.coarse());
    turn.flows.transition(hit, |_| State::Reset, Segment { sequence, acknowledgment });
}

/// The state that the segment leads to. One that only pretends to end the connection leads nowhere; it is forwarded all
/// the same, for the endpoint to judge.
#[inline]
fn next_state<P: Pair>(hit: &Hit<P>, meta: &Meta, entry: &Entry<P>) -> Result<State, DropReason> {
    let state = hit.state();
    let Parsed { flags, sequence, acknowledgment, .. } = meta.parsed;
    let segment = Segment { sequence, acknowledgment };
    if state.is_stateless() || (state == State::Established && flags.carries_on()) {
        return Ok(state);
    }
    if flags.absurd() {
        return Err(DropReason::TcpFlags);
    }
    if flags.any(Flags::RST.with(Flags::FIN)) && !entry.plausible(hit, flags, segment) {
        return Ok(state);
    }
    let answers = state == State::SynAnswered && hit.direction == Direction::Request;
    if answers && !flags.any(Flags::RST) && !(flags.any(Flags::ACK) && entry.confirms(acknowledgment)) {
        return Ok(state);
    }
    Ok(advance(state, hit, flags))
}

#[inline]
fn advance<P: Pair>(state: State, hit: &Hit<P>, flags: Flags) -> State {
    if hit.kind.one_way() { state.after_unseen_replies(flags) } else { state.after(hit.direction, flags) }
}

/// Where the frame leaves, and towards which backend.
#[inline(always)]
pub fn egress<'a, P: Pair>(hit: &Hit<P>, meta: &Meta, turn: &mut Turn<'a>) -> Result<Egress<'a>, DropReason> {
    let tables = turn.tables;
    match (hit.kind, hit.direction) {
        (Rewriting::Mapping, _) => Err(DropReason::NoConnection),
        (Rewriting::Snat, _) => {
            let found = routed(hit, turn);
            or_just_seen(found, hit.addresses.destination(), turn)
        }
        (_, Direction::Request) => {
            let backend = tables.backend(hit.backend).ok_or(DropReason::BackendGone)?;
            if backend.fate != Fate::Keep {
                // What becomes of it is decided in tier 3: see `answer::fates`.
                return Err(DropReason::BackendDown);
            }
            Ok(Egress::backend(resolved(backend.next_hop, tables, turn.extras)?, backend))
        }
        (_, Direction::Reply) if tables.bridge => Egress::across(meta.ingress, tables),
        (_, Direction::Reply) => {
            let found = toward_client(hit, turn);
            or_just_seen(found, hit.addresses.destination(), turn)
        }
    }
}

fn or_just_seen<'a>(
    found: Result<&'a NextHop, DropReason>,
    address: IpAddr,
    turn: &Turn<'_>,
) -> Result<Egress<'a>, DropReason> {
    match found {
        Err(DropReason::NextHopUnresolved) => {
            just_seen(address, turn).map(Egress::towards_copy).ok_or(DropReason::NextHopUnresolved)
        }
        found => found.map(Egress::towards),
    }
}

/// The way to an address that is no backend's.
pub fn by_route<'a>(address: IpAddr, turn: &mut Turn<'a>) -> Result<Egress<'a>, DropReason> {
    let (tables, extras) = (turn.tables, &mut *turn.extras);
    let found = next_hop_towards(address, tables, extras).and_then(|id| resolved(id, tables, extras));
    or_just_seen(found, address, turn)
}

#[inline]
fn toward_client<'a, P: Pair>(hit: &Hit<P>, turn: &mut Turn<'a>) -> Result<&'a NextHop, DropReason> {
    let tables = turn.tables;
    if hit.routes_epoch == tables.routes_epoch && hit.client_next_hop != NextHopId::NONE {
        return resolved(hit.client_next_hop, tables, turn.extras);
    }
    let next_hop = next_hop_towards(hit.addresses.destination(), tables, turn.extras)?;
    turn.flows.entry(hit.entry).set_client_route(hit, next_hop, tables.routes_epoch);
    resolved(next_hop, tables, turn.extras)
}

/// The next hop of a frame of outbound NAT, which is routed whichever way it goes.
fn routed<'a, P: Pair>(hit: &Hit<P>, turn: &mut Turn<'a>) -> Result<&'a NextHop, DropReason> {
    let tables = turn.tables;
    let known = match hit.direction {
        Direction::Request => hit.server_next_hop,
        Direction::Reply => hit.client_next_hop,
    };
    if hit.routes_epoch == tables.routes_epoch && known != NextHopId::NONE {
        return resolved(known, tables, turn.extras);
    }
    let next_hop = next_hop_towards(hit.addresses.destination(), tables, turn.extras)?;
    turn.flows.entry(hit.entry).set_route(hit, next_hop, tables.routes_epoch);
    resolved(next_hop, tables, turn.extras)
}

/// An on-link client that the kernel has not resolved yet, but whose MAC address was seen a moment ago.
#[cold]
pub fn just_seen(client: IpAddr, turn: &Turn<'_>) -> Option<NextHop> {
    let tables = turn.tables;
    let interface = match tables.routes.resolve(client) {
        Resolution::Unknown(interface) => interface,
        Resolution::NextHop(id) => tables.next_hop(id).filter(|hop| hop.address == client)?.interface,
        Resolution::Unroutable => return None,
    };
    let mac = turn.flows.tables().nearby.find(interface, client, turn.now.coarse())?;
    let egress = tables.interfaces.get(interface.index())?;
    let macs = ethernet::macs(mac, egress.mac);
    Some(NextHop { macs, tags: egress.tags, interface, resolved: true, mtu: egress.mtu, address: client })
}

/// The next hop towards an address, asking for its neighbour entry where there is none yet.
pub fn next_hop_towards(
    address: IpAddr,
    tables: &Snapshot,
    extras: &mut Extras,
) -> Result<NextHopId, DropReason> {
    match tables.routes.resolve(address) {
        Resolution::NextHop(id) => Ok(id),
        Resolution::Unknown(interface) => {
            extras.raise(Event::Resolve { interface, address });
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
    extras: &mut Extras,
) -> Result<&'a NextHop, DropReason> {
    let next_hop = tables.next_hop(id).ok_or(DropReason::NoRoute)?;
    if !next_hop.resolved {
        extras.raise(Event::Resolve { interface: next_hop.interface, address: next_hop.address });
        return Err(DropReason::NextHopUnresolved);
    }
    Ok(next_hop)
}

/// Counts a frame for its backend.
#[inline]
pub fn count<P: Pair>(counters: &WorkerCounters, hit: &Hit<P>, bytes: usize) {
    count_in(&counters.backends, hit.backend, hit.direction, bytes);
}

/// The same where the counters of all backends are at hand.
#[inline(always)]
pub fn count_in(counters: &[BackendCounters], backend: BackendId, direction: Direction, bytes: usize) {
    if let Some(backend) = counters.get(backend.index()) {
        count_at(backend, direction, bytes);
    }
}

/// The same where those of its backend are.
#[inline(always)]
pub fn count_at(backend: &BackendCounters, direction: Direction, bytes: usize) {
    match direction {
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
