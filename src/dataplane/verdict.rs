//! What becomes of a frame.

pub use crate::tables::DropReason;
use crate::tables::InterfaceId;
use crate::tables::capture::Outcome;

/// The fate of one frame. Every frame that enters [`super::process`] leaves with exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Rewritten, and to leave through this interface.
    Forward(InterfaceId),
    /// Turned into the switch's own answer, to leave through this interface.
    Reply(InterfaceId),
    /// Belongs to no service.
    ToKernel,
    /// Not sent, for a reason that has a name and a counter.
    Drop(DropReason),
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Forward(egress) => Self::Forward(egress),
            Verdict::Reply(egress) => Self::Reply(egress),
            Verdict::ToKernel => Self::ToKernel,
            Verdict::Drop(reason) => Self::Drop(reason),
        }
    }
}
