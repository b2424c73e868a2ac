//! The configuration after validation: types that cannot hold a mistake.

use std::path::{Path, PathBuf};

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

impl Config {
    /// The files that are read with this one.
    pub fn lists(&self) -> impl Iterator<Item = &Path> {
        let of_services = self.services.iter().filter_map(|service| service.acl.as_ref());
        let acls = self.acl.iter().chain(of_services);
        acls.flat_map(|acl| acl.allow_files.iter().chain(acl.deny_files.iter())).map(PathBuf::as_path)
    }
}
