//! Plain data that both planes share. The control plane writes it, the workers read it, and neither calls the
//! other: they meet here.
//!
//! | file | holds |
//! |---|---|
//! | [`snapshot`] | the immutable tables of one moment |
//! | [`service`], [`scheduler`] | services, backends, and what a scheduler picks from |
//! | [`neighbor`] | interfaces, next hops, routes |
//! | [`way`] | the same of next hops and backends, written out for the express lane |
//! | [`steering`] | what the XDP program must know |
//! | [`mailbox`] | snapshots in, used ones out, events |
//! | [`counters`], [`drop_reason`] | statistics, one writer each |
//! | [`capture`] | frames as a worker saw them, for whoever asks |
//! | [`connection`] | connections to be shown, counted and ended by name |
//! | [`limits`] | rates, budgets, marks: the rules |
//! | [`loads`] | what schedulers weigh: open connections, response times, failures seen in the traffic |

pub mod acl;
pub mod capture;
pub mod connection;
pub mod counters;
pub mod drop_reason;
pub mod exact;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod loads;
pub mod mailbox;
pub mod neighbor;
pub mod scheduler;
pub mod service;
pub mod snapshot;
pub mod steering;
pub mod tick;
pub mod way;

pub use acl::{Access, Acl};
pub use connection::{ConnectionName, SeenConnection};
pub use counters::{BackendCounters, Counter, WorkerCounters};
pub use drop_reason::DropReason;
pub use ids::{BackendId, InterfaceId, NextHopId, ServiceId};
pub use limits::{Budgets, Dscp, Limits, Rate};
pub use loads::Loads;
pub use mailbox::{Event, Mailbox};
pub use neighbor::{Interface, NextHop, Resolution, Route, Routes};
pub use scheduler::{Maglev, MaglevMember, RoundRobin, SchedulerTable, Weighted};
pub use service::{
    Affinity, Backend, Fate, Forwarding, MssClamp, OnNoBackend, Opening, Protocol, Service, ServiceMap,
    SynCookies,
};
pub use snapshot::{Filtering, Mapping, Snapshot, SnatPool, SnatRule, Timeouts, VerifyChecksums};
pub use steering::{Endpoint, PortRanges, Steering};
pub use tick::{Coarse, Tick};
pub use way::{Way, Ways};
