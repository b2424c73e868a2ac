//! What the schedulers read: plain tables, computed by the control plane when backends or weights change.
//!
//! Picking from them is the data plane's work (`dataplane::schedule`); here is only what can be prepared
//! ahead, so that a pick costs one table access.

mod classes;
mod maglev;
mod round_robin;
mod weighted;

pub use maglev::{DEFAULT_TABLE_SIZE, Maglev, MaglevMember, is_prime};
pub use round_robin::{LONGEST_ROUND, RoundRobin, smooth_sequence};
pub use weighted::Weighted;

/// The prepared table of one service.
#[derive(Debug, Clone)]
pub enum SchedulerTable {
    /// `rr`, `wrr` and `resource`: a round to walk through.
    RoundRobin(RoundRobin),
    /// `hash`: the turns of a round, by the hash of the flow.
    FlowHash(RoundRobin),
    /// `maglev`: consistent hashing of the flow.
    Maglev(Maglev),
    /// `sh`: consistent hashing of the client's address.
    SourceHash(Maglev),
    /// `lc` and `wlc`: the fewest open connections for its weight.
    LeastConnections(Weighted),
    /// `lrt`: the least open connections × response time for its weight.
    LeastResponseTime(Weighted),
    /// `p2c`: the better of two that chance proposes.
    TwoChoices(Weighted),
}

impl SchedulerTable {
    /// Whether no backend may be picked.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::RoundRobin(round) | Self::FlowHash(round) => round.turns.is_empty(),
            Self::Maglev(maglev) | Self::SourceHash(maglev) => maglev.is_empty(),
            Self::LeastConnections(members)
            | Self::LeastResponseTime(members)
            | Self::TwoChoices(members) => members.members.is_empty(),
        }
    }

    /// Whether a flow has the same backend every time, as long as backends stay the same; and most flows when they do not.
    pub fn is_consistent(&self) -> bool {
        matches!(self, Self::Maglev(_) | Self::SourceHash(_))
    }

    /// Whether a pick goes by hashes.
    #[inline]
    pub fn is_hashed(&self) -> bool {
        match self {
            Self::FlowHash(_) | Self::Maglev(_) | Self::SourceHash(_) | Self::TwoChoices(_) => true,
            Self::RoundRobin(_) | Self::LeastConnections(_) | Self::LeastResponseTime(_) => false,
        }
    }
}

/// A number below `bound`, as far along as `hash` is among all 64-bit numbers: the high half of their product, without a
/// division. 0 if `bound` is 0.
#[inline]
pub fn below(hash: u64, bound: u64) -> u64 {
    ((u128::from(hash) * u128::from(bound)) >> 64) as u64
}

/// The greatest number that divides both; of 0 and another number it is that number.
pub fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
