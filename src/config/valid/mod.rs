//! The configuration after validation: types that cannot hold a mistake.

mod acl;
mod discover;
mod health;
mod limits;
mod service;
mod snat;
mod statics;
mod switch;

pub use acl::Acl;
pub use discover::{Discover, Source};
pub use health::{Check, Health, Http, Tls, Via};
pub use limits::Limits;
pub use service::{AdminState, Affinity, Backend, Cookies, Scheduler, Service};
pub use snat::Snat;
pub use statics::{StaticInterface, StaticNeighbor, StaticRoute};
pub use switch::{HugePages, Idle, Switch, Timeouts, Topology, XdpMode, ZeroCopy};

/// A whole configuration file, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[switch]`.
    pub switch: Switch,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[acl]`, if there: for all services.
    pub acl: Option<Acl>,
    /// `[[service]]`.
    pub services: Vec<Service>,
    /// `[[snat]]`.
    pub snat: Vec<Snat>,
    /// `[[neighbor]]`.
    pub neighbors: Vec<StaticNeighbor>,
    /// `[[route]]`.
    pub routes: Vec<StaticRoute>,
    /// `[[interface]]`.
    pub interfaces: Vec<StaticInterface>,
}
