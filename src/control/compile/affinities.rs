//! Numbers that affinity is remembered by, across snapshots: of groups of services, and of servers within a group.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::valid;
use crate::control::standing::{ServiceKey, service_key};
use crate::tables::{Affinity, Backend, Coarse};

/// Services that send a client to the same server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Group {
    /// Those that name it.
    Named(String),
    /// One by itself.
    Only(ServiceKey),
}

/// What is the same server: in a named group, where ports differ from service to service, the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Server {
    Host(IpAddr),
    Listener(SocketAddr),
}

/// Numbers given so far. They are never given again, so that what the data plane remembers never changes its meaning.
#[derive(Debug, Default)]
pub(super) struct Affinities {
    groups: HashMap<Group, u32>,
    servers: HashMap<(u32, Server), u32>,
}

impl Affinities {
    /// The number of a backend's server; 0 without affinity.
    pub(super) fn server(&mut self, service: &valid::Service, address: SocketAddr) -> u32 {
        let Some(affinity) = &service.affinity else { return 0 };
        let server = match affinity.group {
            Some(_) => Server::Host(address.ip()),
            None => Server::Listener(address),
        };
        let group = self.group(service, affinity);
        let next = self.servers.len() as u32 + 1;
        *self.servers.entry((group, server)).or_insert(next)
    }

    /// What the data plane is told of a service's affinity; `takers` may take new connections.
    pub(super) fn rule(&mut self, service: &valid::Service, takers: &[(&Backend, u8)]) -> Option<Affinity> {
        let affinity = service.affinity.as_ref()?;
        let mut servers: Vec<_> = takers.iter().map(|(backend, _)| (backend.server, backend.id)).collect();
        servers.sort_unstable();
        Some(Affinity {
            group: self.group(service, affinity),
            timeout: Coarse::from_seconds(affinity.timeout_s),
            prefix_v4: affinity.prefix_ipv4,
            prefix_v6: affinity.prefix_ipv6,
            servers: servers.into(),
        })
    }

    fn group(&mut self, service: &valid::Service, affinity: &valid::Affinity) -> u32 {
        let group = match &affinity.group {
            Some(name) => Group::Named(name.clone()),
            None => Group::Only(service_key(service)),
        };
        let next = self.groups.len() as u32 + 1;
        *self.groups.entry(group).or_insert(next)
    }
}
