//! Tier 3: what is no flow of a service. ARP is answered, the rest stays with the kernel.

use crate::tables::DropReason;
use crate::xsk::Frame;

use super::batch::Meta;
use super::parse::Kind;
use super::rewrite::arp;
use super::turn::Turn;
use super::verdict::Verdict;

/// Gives a frame that has no verdict yet its last one.
#[inline]
pub fn run(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>, kernel_reachable: bool) {
    if meta.verdict.is_none() {
        meta.verdict = Some(match meta.parsed.kind {
            Kind::Arp => arp::answer(frame, meta, turn),
            _ => Verdict::ToKernel,
        });
    }
    if meta.verdict == Some(Verdict::ToKernel) && !kernel_reachable {
        meta.verdict = Some(Verdict::Drop(DropReason::NotSteered));
    }
}
