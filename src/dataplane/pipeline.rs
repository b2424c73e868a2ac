//! The whole path of a frame on one screen.
//!
//! | tier | frames | cost |
//! |---|---|---|
//! | 1, [`known`] | of a connection that exists | one lookup, a stored rewrite |
//! | 2, [`admit`] | that may start one | service, scheduler, insert |
//! | both, [`fragments`] | that are pieces of a datagram | a lookup more; the first has the ports |
//! | 3, [`answer`] | ARP, neighbour discovery, ICMP, what no service takes | rare |

use crate::tables::{Snapshot, Tick, WorkerCounters};

use super::batch::Batch;
use super::conntrack::Flows;
use super::turn::Turn;
use super::verdict::Verdict;
use super::{admit, answer, fragments, known, parse, sweep};

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
    parse::run(batch, tables, flows);
    known::prefetch(batch, flows);
    let kernel_reachable = batch.kernel_reachable();
    let (entries, extras) = batch.parts();
    let mut turn = Turn { tables, flows, now, counters, extras };
    for (frame, meta) in entries {
        known::run(frame, meta, &mut turn);
        admit::run(frame, meta, &mut turn);
        fragments::run(frame, meta, &mut turn);
        if !meta.waits {
            answer::run(frame, meta, &mut turn, kernel_reachable);
        }
    }
    fragments::finish(batch, tables, flows, now, counters);
    sweep::run(batch, tables, flows, now, counters);
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
