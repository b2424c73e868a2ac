//! A configuration as the file says it: every value right by itself, defaults filled in, each with its place.

mod acl;
mod health;
mod limits;
mod service;
mod snat;
mod statics;
mod switch;

pub(super) use acl::{Acl, Files, Listed};
pub(super) use health::{Datagram, Health, Http, Tls};
pub(super) use limits::Limits;
pub(super) use service::{Affinity, Backend, Discover, Service};
pub(super) use snat::Snat;
pub(super) use statics::{Interface, Neighbor, Route};
pub(super) use switch::{RawTimeouts, Switch};

use super::reader::Reader;
use super::valid::Timeouts;

/// The whole file.
#[derive(Debug)]
pub(super) struct Raw {
    pub switch: Option<Switch>,
    pub timeouts: RawTimeouts,
    pub acl: Option<Acl>,
    pub services: Vec<Service>,
    pub snat: Vec<Snat>,
    pub neighbors: Vec<Neighbor>,
    pub routes: Vec<Route>,
    pub interfaces: Vec<Interface>,
}

impl Raw {
    /// Reads the whole file.
    pub fn read(file: &mut Reader<'_, '_>) -> Self {
        let switch = file.table("switch", Switch::read);
        let defaults = Timeouts::default();
        Self {
            switch,
            timeouts: file
                .table("timeouts", |table| RawTimeouts::read(table, defaults))
                .unwrap_or_else(|| RawTimeouts::at(0..0, defaults)),
            acl: file.table("acl", Acl::read),
            services: file.tables("service", Service::read),
            snat: file.tables("snat", Snat::read),
            neighbors: file.tables("neighbor", Neighbor::read),
            routes: file.tables("route", Route::read),
            interfaces: file.tables("interface", Interface::read),
        }
    }
}
