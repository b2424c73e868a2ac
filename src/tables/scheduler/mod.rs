//! What the schedulers read: plain tables, computed by the control plane when backends or weights change.
//!
//! Picking from them is the data plane's work (`dataplane::schedule`); here is only what can be prepared
//! ahead, so that a pick costs one table access.

mod maglev;
mod round_robin;

pub use maglev::{DEFAULT_TABLE_SIZE, Maglev, MaglevMember, is_prime};
pub use round_robin::{LONGEST_ROUND, RoundRobin, smooth_sequence};

/// The prepared table of one service.
#[derive(Debug, Clone)]
pub enum SchedulerTable {
    /// `rr` and `wrr`: a round to walk through.
    RoundRobin(RoundRobin),
    /// `maglev`: consistent hashing of the flow.
    Maglev(Maglev),
}
