//! The whole path of a frame on one screen.
//!
//! | tier | frames | cost |
//! |---|---|---|
//! | 1, [`express`] | plain, of a connection in which data flows | one lookup, a stored rewrite |
//! | 1, [`known`] | any other of a connection that exists | the same, and every condition |
//! | 2, [`opening`] | plain, that start one with a `nat` service | service, scheduler, insert |
//! | 2, [`admit`] | any other that may start one | the same, and every condition |
//! | both, [`fragments`] | that are pieces of a datagram | a lookup more; the first has the ports |
//! | 3, [`answer`] | ARP, neighbour discovery, ICMP, what no service takes | rare |

use crate::tables::{Snapshot, Tick, WorkerCounters};
use crate::xsk::Frame;

use super::batch::{Batch, Meta, Slot};
use super::conntrack::Flows;
use super::express::Express;
use super::turn::Turn;
use super::verdict::Verdict;
use super::{admit, answer, express, fragments, known, opening, parse, sweep};

/// Gives every frame of `batch` its verdict, and makes those that leave look as they must.
///
/// Fragments whose first was not seen stay with the batch: it is to be called while there are any, if with an empty batch.
/// Likewise while there may be clients who must be told that their connection is over ([`Flows::has_to_tell`]).
///
/// Pure: no clock, no I/O, no lock, no allocation. Live rings, `replay`, tests, fuzzers and benchmarks all call this.
pub fn process(
    batch: &mut Batch,
    tables: &Snapshot,
    flows: &mut Flows,
    now: Tick,
    counters: &WorkerCounters,
) {
    counters.received.add(batch.len() as u64);
    let shared = flows.shared();
    let all_v4 = parse::run(batch, tables, &shared);
    express::prefetch(batch, all_v4, &shared);
    let express = Express {
        tables,
        shared: &shared,
        v4: shared.v4.entries(),
        v6: shared.v6.entries(),
        counters: &counters.backends,
        now: now.coarse(),
    };
    let kernel_reachable = batch.kernel_reachable();
    let (slots, extras) = batch.parts();
    let mut turn = Turn { tables, flows, now, counters, extras };
    for Slot { meta, frame } in slots {
        if !express.run(frame, meta, turn.flows) && !opening::run(frame, meta, &mut turn) {
            in_full(frame, meta, &mut turn, &express, kernel_reachable);
        }
    }
    fragments::finish(batch, tables, flows, now, counters);
    sweep::run(batch, tables, flows, now, counters);
}

/// What is in none of the lanes, or was refused there.
#[inline(never)]
fn in_full(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
    express: &Express<'_>,
    kernel_reachable: bool,
) {
    if meta.verdict.is_none() {
        if express.run_late(frame, meta, turn.flows) {
            return;
        }
        parse::complete(frame.bytes(), meta);
        known::run(frame, meta, turn);
        admit::run(frame, meta, turn);
    }
    fragments::run(frame, meta, turn);
    if !meta.waits {
        answer::run(frame, meta, turn, kernel_reachable);
    }
}

/// Counts the final verdict of one frame. The driver calls it once it knows whether the egress ring took the frame.
#[inline]
pub fn settle(verdict: Verdict, counters: &WorkerCounters) {
    match verdict {
        Verdict::Forward(_) => counters.forwarded.add(1),
        Verdict::Reply(_) => counters.replied.add(1),
        Verdict::ToKernel => counters.to_kernel.add(1),
        Verdict::Drop(reason) => counters.dropped(reason).add(1),
    }
}
