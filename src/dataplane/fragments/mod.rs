//! Fragments of what clients and backends send (RFC 791 §3.2, RFC 8200 §4.5): all of one datagram go the way of the first.
//!
//! Nothing is put together. The first fragment has the ports and goes through tiers 1 and 2 like any frame; a later one takes
//! the same way, its addresses rewritten as those of the first were. See docs/design/0012.
//!
//! | file | holds |
//! |---|---|
//! | [`header`] | what a fragment says by itself |
//! | [`table`] | the datagrams in pieces, shared by all workers |
//! | [`waiting`] | fragments that came before the first of their datagram |
//! | [`cut`] | packets that leave in pieces |

pub mod cut;
pub mod header;
pub mod table;
pub mod waiting;

use crate::tables::{DropReason, Snapshot, Tick, WorkerCounters};
use crate::wire::tunnel::Family;
use crate::xsk::Frame;

use super::batch::{BATCH, Batch, Meta};
use super::conntrack::{FlowKey, Flows};
use super::family::{Pair, V4, V6};
use super::parse::{Kind, TCP, UDP};
use super::rewrite;
use super::turn::Turn;
use super::verdict::Verdict;
use super::{admit, answer, known, limits, stateless};
pub use table::Datagrams;
use table::{Clock, Datagram, Fate};

/// Waiting fragments looked at per call of the pipeline: a lookup each, so 64 × ~100 ns ≈ 6 µs.
pub const LOOKS: usize = BATCH;

/// Decides on a fragment. One of no service keeps no verdict; nor does one that is to wait, which says so.
#[inline]
pub fn run(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) {
    if meta.parsed.kind == Kind::Fragment && meta.verdict.is_none() {
        match limits::takes_fragment(turn) {
            Ok(()) => decide(frame, meta, turn),
            Err(reason) => meta.verdict = Some(Verdict::Drop(reason)),
        }
    }
}

#[cold]
fn decide(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) {
    let verdict = match (meta.parsed.family, meta.parsed.fragment_offset) {
        (Family::V4, 0) => first::<V4>(frame, meta, turn),
        (Family::V6, 0) => first::<V6>(frame, meta, turn),
        (Family::V4, _) => later::<V4>(frame, meta, turn),
        (Family::V6, _) => later::<V6>(frame, meta, turn),
    };
    meta.verdict = verdict.unwrap_or_else(|reason| Some(Verdict::Drop(reason)));
}

/// What the fragments of one datagram have in common: the identification stands in place of the ports. Over IPv6 the
/// protocol is that which the first says (RFC 8200 §4.5).
fn name<P: Pair>(meta: &Meta) -> FlowKey<P> {
    let key = P::key(meta);
    let protocol = match meta.parsed.family {
        Family::V4 => key.protocol,
        Family::V6 => 0,
    };
    FlowKey { addresses: key.addresses, ports: meta.parsed.fragment_id, protocol }
}

fn clock(turn: &Turn<'_>) -> Clock {
    Clock { now: turn.now.coarse(), lifetime: turn.tables.timeouts.fragment }
}

/// Lets the payload of the fragment pass once.
fn pass(meta: &Meta, datagram: Datagram, turn: &Turn<'_>) -> Result<(), DropReason> {
    let start = u32::from(meta.parsed.fragment_offset);
    let end = start + meta.parsed.payload().len() as u32;
    let fragments = &turn.flows.tables().fragments;
    fragments.pass(datagram, (start, end), !meta.parsed.more_fragments, turn.now.coarse())
}

/// Sends the first fragment through tiers 1 and 2, and says to the others what became of it.
fn first<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Result<Option<Verdict>, DropReason> {
    let (key, name) = (P::key(meta), name::<P>(meta));
    let shared = turn.flows.tables();
    let datagram = shared.fragments.enter(name, shared.secret().hash(name), clock(turn));
    let datagram = datagram.ok_or(DropReason::FragmentTableFull)?;
    pass(meta, datagram, turn)?;
    meta.hash = shared.secret().hash(key);
    let verdict = way_of_first::<P>(frame, meta, turn);
    let fate = match verdict {
        Ok(Some(Verdict::Forward(_))) => Fate::Flow(key.ports, key.protocol),
        Ok(_) => Fate::Kernel,
        // The flow may exist all the same (a way that is too narrow, say): then each is judged by itself.
        Err(_) if turn.flows.find(key, meta.hash).is_some() => Fate::Flow(key.ports, key.protocol),
        Err(reason) => Fate::Dropped(reason),
    };
    turn.flows.tables().fragments.decide(datagram, fate);
    verdict
}

fn way_of_first<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Result<Option<Verdict>, DropReason> {
    let has_flow = matches!(P::key(meta).protocol, TCP | UDP) || meta.parsed.echo.is_some();
    if !has_flow {
        return Ok(None);
    }
    known::flow::<P>(frame, meta, turn);
    match meta.verdict.take() {
        Some(Verdict::Drop(reason)) => Err(reason),
        Some(verdict) => Ok(Some(verdict)),
        None => admit::flow::<P>(frame, meta, turn),
    }
}

/// Sends a later fragment where the first went, or lets it wait for that.
fn later<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Result<Option<Verdict>, DropReason> {
    let name = name::<P>(meta);
    let shared = turn.flows.tables();
    let hash = shared.secret().hash(name);
    let datagram = shared.fragments.find(name, hash, clock(turn));
    match datagram.map(|datagram| (datagram, shared.fragments.fate(datagram))) {
        None | Some((_, Fate::Open)) => {
            (meta.hash, meta.waits) = (hash, true);
            turn.extras.waiting.wanted += 1;
            Ok(None)
        }
        Some((_, Fate::Kernel)) => Ok(None),
        Some((_, Fate::Dropped(reason))) => Err(reason),
        Some((datagram, Fate::Flow(ports, protocol))) => {
            pass(meta, datagram, turn)?;
            let key = FlowKey { addresses: name.addresses, ports, protocol };
            meta.hash = shared.secret().hash(key);
            *P::key_mut(meta) = key;
            follow::<P>(frame, meta, turn).map(Some)
        }
    }
}

/// Forwards a later fragment: of a connection that exists, about whose state it says nothing, or of none where the first needed none.
fn follow<P: Pair>(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) -> Result<Verdict, DropReason> {
    let Some(hit) = turn.flows.find(P::key(meta), meta.hash) else {
        return stateless::follow::<P>(frame, meta, turn);
    };
    let egress = known::egress(&hit, meta, turn)?;
    rewrite::admits(meta, &hit, &egress, turn)?;
    limits::attend(frame, meta, &hit, turn)?;
    known::count(turn.counters, &hit, frame.len());
    rewrite::apply(frame, meta, &hit, &egress, turn)
}

/// The end of every call of the pipeline: puts aside what is to wait, and looks whether the waiting of others is over.
/// Those whose is leave the batch behind its own frames, and so behind the first of their datagram.
#[inline]
pub fn finish(batch: &mut Batch, tables: &Snapshot, flows: &mut Flows, now: Tick, counters: &WorkerCounters) {
    if batch.has_waiting() {
        wait_and_release(batch, tables, flows, now, counters);
    }
}

#[cold]
fn wait_and_release(
    batch: &mut Batch,
    tables: &Snapshot,
    flows: &mut Flows,
    now: Tick,
    counters: &WorkerCounters,
) {
    batch.put_aside(now);
    let kernel_reachable = batch.kernel_reachable();
    let (_, extras) = batch.parts();
    let mut turn = Turn { tables, flows, now, counters, extras };
    for _ in 0..LOOKS.min(turn.extras.waiting.count()) {
        release_one(&mut turn, kernel_reachable);
    }
    counters.held.set(turn.extras.waiting.count() as u64);
}

fn release_one(turn: &mut Turn<'_>, kernel_reachable: bool) {
    let (clock, fragments) = (clock(turn), &turn.flows.tables().fragments);
    let is_over = |meta: &Meta, since: Tick| {
        let datagram = match meta.parsed.family {
            Family::V4 => fragments.find(name::<V4>(meta), meta.hash, clock),
            Family::V6 => fragments.find(name::<V6>(meta), meta.hash, clock),
        };
        clock.now.since(since.coarse()) > clock.lifetime
            || datagram.is_some_and(|datagram| fragments.fate(datagram) != Fate::Open)
    };
    let Some((mut frame, mut meta)) = turn.extras.waiting.look(is_over) else { return };
    meta.waits = false;
    decide(&mut frame, &mut meta, turn);
    if meta.waits {
        (meta.waits, turn.extras.waiting.wanted) = (false, 0);
        meta.verdict = Some(Verdict::Drop(DropReason::FragmentTimeout));
    }
    answer::run(&mut frame, &mut meta, turn, kernel_reachable);
    turn.extras.add(frame, meta);
}
