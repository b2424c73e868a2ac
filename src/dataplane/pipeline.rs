//! The whole path of a frame on one screen.
//!
//! | tier | frames | cost |
//! |---|---|---|
//! | 1, [`known`] | of a connection that exists | one lookup, a stored rewrite |
//! | 2, [`admit`] | that may start one | service, scheduler, insert |
//! | 3 | ARP, and what is not ours | rare |

use crate::tables::{DropReason, Snapshot, Tick, WorkerCounters};

use super::batch::Batch;
use super::conntrack::{FlowTable, Flows};
use super::parse::{self, Kind};
use super::rewrite::arp;
use super::verdict::Verdict;
use super::{admit, known};

/// Gives every frame of `batch` its verdict, and makes those that leave look as they must.
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
    parse::run(batch, tables, flows.table());
    known::prefetch(batch, flows);
    known::run(batch, tables, flows, now, counters);
    admit::run(batch, tables, flows, now, counters);
    answer(batch, tables, flows.table(), now);
}

/// Tier 3: ARP is answered, the rest stays with the kernel.
fn answer(batch: &mut Batch, tables: &Snapshot, flows: &FlowTable, now: Tick) {
    let kernel_reachable = batch.kernel_reachable();
    let (entries, events) = batch.parts();
    for (frame, meta) in entries {
        if meta.verdict.is_none() {
            meta.verdict = Some(match meta.parsed.kind {
                Kind::Arp => arp::answer(frame, meta, tables, flows, now, events),
                _ => Verdict::ToKernel,
            });
        }
        if meta.verdict == Some(Verdict::ToKernel) && !kernel_reachable {
            meta.verdict = Some(Verdict::Drop(DropReason::NotSteered));
        }
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
