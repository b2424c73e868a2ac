//! Valid configuration and network become a snapshot: the one place where they do, for `run`, reload and `replay`.
//!
//! A connection outlives many snapshots, so every id keeps its meaning: [`Compiler`] remembers which row belongs to
//! which service, backend and next hop, and [`Rows`] gives none away while a connection may refer to it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::network::NetworkView;
use super::rows::Rows;
use super::standing::Standings;
use super::steering;
use super::topology::Topology;
use crate::config::valid::{self, Config};
use crate::tables::counters::{MAX_BACKENDS, MAX_SERVICES};
use crate::tables::exact::{ExactKey, ExactMap};
use crate::tables::{
    Backend, BackendId, Budgets, Coarse, Forwarding, InterfaceId, MssClamp, NextHopId, Opening, Protocol,
    Rate, Resolution, Routes, Service, ServiceId, Snapshot, SnatPool, SnatRule, Steering, SynCookies,
    Timeouts,
};
use crate::wire::tunnel::Outer;

mod affinities;
mod left;
mod paths;
mod schedulers;
#[cfg(test)]
mod tests;
mod tunnels;

pub use left::Left;

/// What so many milliseconds bring may come at once, of what `icmp_budget` and `fragment_budget` let pass.
const BUDGET_BURST_MS: u32 = 100;
/// Rows of removed backends that are kept for their return. Those of more are given to others: where addresses come and go,
/// the table does not grow for ever.
const SPARE_BACKENDS: usize = 1024;

/// What cannot be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompileError {
    /// Services, living and retired with connections left.
    #[error("more than {MAX_SERVICES} services, counting removed ones that still have connections")]
    TooManyServices,
    /// Backends, living and retired with connections left.
    #[error("more than {MAX_BACKENDS} backends, counting removed ones that still have connections")]
    TooManyBackends,
    /// Backends and gateways alone exceed the table.
    #[error("more than {} next hops", paths::MAX_NEXT_HOPS)]
    TooManyNextHops,
    /// `replay` has no kernel to ask.
    #[error("interface {0} has no MAC address: without a kernel, an [[interface]] entry must give its `mac`")]
    NoMac(String),
}

/// What workers still refer to, for deciding whether a retired row may be reused.
pub struct Usage<'a> {
    /// The oldest epoch that a worker still uses.
    pub adopted: u64,
    /// Connections of a backend row, those included that both ends are done with.
    pub active: &'a dyn Fn(BackendId) -> u64,
    /// Connections of a backend row that are still in use.
    pub open: &'a dyn Fn(BackendId) -> u64,
}

impl Usage<'_> {
    /// Nothing runs yet.
    pub const NONE: Usage<'static> = Usage { adopted: 0, active: &|_| 0, open: &|_| 0 };

    /// Connections of a backend that somebody may still wait for. Where answers go past the switch, a client that has nothing
    /// more to say may still listen.
    pub fn in_use(&self, backend: &Backend) -> u64 {
        let count = if backend.forwarding.returns_directly() { self.active } else { self.open };
        count(backend.id)
    }

    fn unused(&self, backend: u32, retired: u64) -> bool {
        retired <= self.adopted && (self.active)(BackendId(backend)) == 0
    }
}

/// A next hop whose MAC address the switch needs whether or not there is traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// On whose link it is.
    pub interface: InterfaceId,
    /// The backend or gateway.
    pub address: IpAddr,
    /// Its MAC address is known.
    pub resolved: bool,
}

/// Everything that follows from one configuration and one network.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// For the workers.
    pub snapshot: Snapshot,
    /// For the XDP program.
    pub steering: Steering,
    /// For the resolver: backends and gateways, except those with a static neighbour.
    pub wanted: Vec<Wanted>,
}

/// Compiles, and remembers whose row is which.
#[derive(Debug)]
pub struct Compiler {
    epoch: u64,
    services: Rows<(SocketAddr, Protocol)>,
    backends: Rows<(ServiceId, SocketAddr)>,
    paths: paths::Paths,
    schedulers: schedulers::Schedulers,
    tunnels: tunnels::Tunnels,
    affinities: affinities::Affinities,
    left: Left,
    /// The outer headers that backends had last: connections that began in a tunnel stay in it when their service has
    /// another way.
    outers: HashMap<(ServiceId, SocketAddr), Outer>,
}

impl Default for Compiler {
    fn default() -> Self {
        Self {
            epoch: 0,
            services: Rows::new(MAX_SERVICES, usize::MAX),
            backends: Rows::new(MAX_BACKENDS, SPARE_BACKENDS),
            paths: paths::Paths::default(),
            schedulers: schedulers::Schedulers::default(),
            tunnels: tunnels::Tunnels::default(),
            affinities: affinities::Affinities::default(),
            left: Left::default(),
            outers: HashMap::new(),
        }
    }
}

/// The snapshot for `replay`, which has nothing but the configuration.
pub fn compile_static(config: &Config) -> Result<(Snapshot, Steering), CompileError> {
    let topology = Topology::new(config, &NetworkView::default());
    if let Some(port) = topology.ports.iter().find(|port| !port.has_mac) {
        return Err(CompileError::NoMac(port.interface.name.clone()));
    }
    let compiled = Compiler::default().compile(config, &topology, &Standings::default(), &Usage::NONE)?;
    Ok((compiled.snapshot, compiled.steering))
}

impl Compiler {
    /// The next snapshot. An error leaves all rows where they are.
    pub fn compile(
        &mut self,
        config: &Config,
        topology: &Topology,
        standings: &Standings,
        usage: &Usage<'_>,
    ) -> Result<Compiled, CompileError> {
        self.services.look_again();
        self.backends.look_again();
        let services = self.assign_services(config, usage)?;
        let routes = self.paths.assign_gateways(topology)?;
        let exits = Routes::build(routes.iter().copied(), []);
        let backends = self.assign_backends(config, topology, &services, &exits, (standings, usage))?;
        self.epoch += 1;
        self.retire(&services, &backends);
        let needed = self.paths.settle(routes, topology, &backends, self.epoch);
        let next_hops = self.paths.table(topology);
        // Before anything runs nobody can have been asked for a MAC address.
        let reachable = |backend: &Backend| {
            usage.adopted == 0 || next_hops.get(backend.next_hop.index()).is_some_and(|hop| hop.resolved)
        };
        let service_table = self.service_table(config, &services, &backends, (standings, &reachable));
        let (announced, vips) = (steering::announced(config, topology), steering::vips(config));
        let mut snapshot = Snapshot {
            epoch: self.epoch,
            routes_epoch: self.paths.routes_epoch(),
            services: service_table,
            backends: self.backend_table(&backends),
            announced: set(&announced),
            interfaces: topology.ports.iter().map(|port| port.interface.clone()).collect(),
            routes: self.paths.routes(),
            snat: SnatPool::of(&config.switch.snat_addresses, config.switch.snat_ports),
            snat_rules: config.snat.iter().map(snat_rule).collect(),
            bridge: topology.bridge,
            icmp_rate: config.switch.icmp_rate,
            budgets: Budgets {
                icmp: Rate::of(u64::from(config.switch.icmp_budget), BUDGET_BURST_MS),
                fragments: Rate::of(u64::from(config.switch.fragment_budget), BUDGET_BURST_MS),
            },
            hosts: set(vips.difference(&topology.locals)),
            timeouts: timeouts(&config.timeouts),
            verify_checksums: config.switch.verify_checksums,
            next_hops,
            ..Snapshot::default()
        };
        snapshot.index();
        let wanted = wanted(topology, &snapshot, &needed);
        let left = self.left.decide(&snapshot, usage);
        let steering = steering::build(config, topology, announced, vips, left);
        Ok(Compiled { snapshot, steering, wanted })
    }

    /// Which services are left to the kernel.
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// The snapshot just made is complete: what was remembered only for those who have been gone for long is forgotten.
    pub fn forget(&mut self, now: Instant) {
        self.affinities.forget(now);
    }

    fn assign_services(
        &mut self,
        config: &Config,
        usage: &Usage<'_>,
    ) -> Result<Vec<ServiceId>, CompileError> {
        let backends = &self.backends;
        let idle = |service: u32, retired: u64| {
            retired <= usage.adopted
                && backends
                    .iter_all()
                    .filter(|((owner, _), _)| owner.0 == service)
                    .all(|(_, row)| usage.unused(row, retired))
        };
        config
            .services
            .iter()
            .map(|service| self.services.assign(&(service.vip, service.protocol), idle).map(ServiceId))
            .collect::<Option<_>>()
            .ok_or(CompileError::TooManyServices)
    }

    /// Rows of the backends, and of the next hops of those that are on a link.
    fn assign_backends(
        &mut self,
        config: &Config,
        topology: &Topology,
        services: &[ServiceId],
        exits: &Routes,
        (standings, usage): (&Standings, &Usage<'_>),
    ) -> Result<Vec<Backend>, CompileError> {
        let mut backends: Vec<Backend> = Vec::new();
        let tunneled = config.services.iter().any(|service| service.forwarding.is_tunnel());
        let gateways = if tunneled { self.paths.interfaces(topology) } else { HashMap::new() };
        for (service, id) in config.services.iter().zip(services) {
            let mut egress = HashMap::new();
            let first = backends.len();
            for backend in &service.backends {
                let row = self
                    .backends
                    .assign(&(*id, backend.address), |row, retired| usage.unused(row, retired))
                    .ok_or(CompileError::TooManyBackends)?;
                let address = backend.address.ip();
                let (next_hop, interface) = match exits.resolve(address) {
                    Resolution::NextHop(gateway) => (gateway, gateways.get(&gateway).copied()),
                    Resolution::Unknown(interface) => {
                        (self.paths.assign(interface, address)?, Some(interface))
                    }
                    Resolution::Unroutable => (NextHopId::NONE, None),
                };
                egress.extend(interface.map(|interface| (address, interface)));
                let standing = standings.of(service, backend);
                backends.push(Backend {
                    down: standing.down,
                    fate: standing.fate,
                    server: self.affinities.server(service, backend.address),
                    id: BackendId(row),
                    service: *id,
                    address: backend.address,
                    weight: backend.weight,
                    max_connections: backend.max_connections,
                    next_hop,
                    forwarding: service.forwarding,
                    outer: None,
                });
            }
            let outers = self.tunnels.outers(config, topology, service, &egress);
            for backend in &mut backends[first..] {
                backend.outer = outers.get(&backend.address.ip()).copied();
            }
        }
        self.tunnels.retain(&config.services);
        self.keep_tunnels(&mut backends);
        Ok(backends)
    }

    /// Gives backends that are no longer reached through a tunnel the outer headers they had, for connections of before.
    fn keep_tunnels(&mut self, backends: &mut [Backend]) {
        let former = std::mem::take(&mut self.outers);
        for backend in backends {
            let key = (backend.service, backend.address);
            if !backend.forwarding.is_tunnel() {
                backend.outer = former.get(&key).copied();
            }
            self.outers.extend(backend.outer.map(|outer| (key, outer)));
        }
    }

    /// Retires the rows of services and backends that are no longer there.
    fn retire(&mut self, services: &[ServiceId], backends: &[Backend]) {
        let services: HashSet<u32> = services.iter().map(|id| id.0).collect();
        self.services.retain(|_, row| services.contains(&row), self.epoch);
        let backends: HashSet<u32> = backends.iter().map(|backend| backend.id.0).collect();
        self.backends.retain(|_, row| backends.contains(&row), self.epoch);
    }

    fn service_table(
        &mut self,
        config: &Config,
        ids: &[ServiceId],
        backends: &[Backend],
        (standings, reachable): (&Standings, &dyn Fn(&Backend) -> bool),
    ) -> Vec<Option<Service>> {
        let mut members: HashMap<ServiceId, Vec<&Backend>> = HashMap::new();
        for backend in backends {
            members.entry(backend.service).or_default().push(backend);
        }
        let mut table = vec![None; self.services.used()];
        for (service, id) in config.services.iter().zip(ids) {
            let members = members.remove(id).unwrap_or_default();
            let takers = takers(service, &members, standings, reachable);
            let affinity = self.affinities.rule(service, &takers);
            let acls = config.acl.iter().chain(&service.acl).map(|acl| Arc::clone(&acl.list));
            let acls: Box<[_]> = acls.filter(|acl| !acl.allows_all()).collect();
            let limits = valid::Limits::rules(service.limits.as_ref(), service.dscp);
            let capped = members.iter().any(|backend| backend.max_connections > 0);
            let is_limited = limits.opens() || limits.attends() || capped;
            let clamps = service.protocol == Protocol::Tcp && service.mss_clamp != MssClamp::Off;
            let syn_cookies = service.cookies();
            let is_plain = service.forwarding == Forwarding::Nat && syn_cookies == SynCookies::Off;
            table[id.index()] = Some(Service {
                id: *id,
                name: service.name.clone(),
                vip: service.vip,
                protocol: service.protocol,
                forwarding: service.forwarding,
                mss_clamp: service.mss_clamp,
                scheduler: service.scheduler.name(),
                table: self.schedulers.table(*id, service, &takers),
                syn_cookies,
                opening: match is_plain && affinity.is_none() && !clamps && !is_limited {
                    true if acls.is_empty() => Opening::Plain,
                    true => Opening::Listed,
                    false => Opening::Full,
                },
                acls,
                limits,
                capped,
                affinity,
                on_no_backend: service.on_no_backend,
                backends: members.iter().map(|backend| backend.id).collect(),
                takers: takers.iter().map(|(backend, _)| backend.id).collect(),
            });
        }
        self.schedulers.retain(ids);
        table
    }

    fn backend_table(&self, backends: &[Backend]) -> Vec<Option<Backend>> {
        let mut table = vec![None; self.backends.used()];
        for backend in backends {
            table[backend.id.index()] = Some(backend.clone());
        }
        table
    }
}

/// The backends that may take new connections, and the percent of its weight that counts for each: those that are no
/// backups, or else the backups. As long as there are some whose next hop is known, only those: the first frames to one that
/// was just added would be lost while it is asked for its MAC address, and so would all to one that does not answer.
fn takers<'a>(
    service: &valid::Service,
    members: &[&'a Backend],
    standings: &Standings,
    reachable: &dyn Fn(&Backend) -> bool,
) -> Vec<(&'a Backend, u8)> {
    let able = |backup: bool| -> Vec<_> {
        let listed = service.backends.iter().zip(members).filter(|(listed, _)| listed.backup == backup);
        let standing = listed.map(|(listed, member)| (*member, standings.of(service, listed)));
        let able = standing.filter(|(member, standing)| {
            member.weight > 0 && standing.takes_new && !standing.down && standing.share > 0
        });
        able.map(|(member, standing)| (member, standing.share)).collect()
    };
    let first = able(false);
    let able = if first.is_empty() { able(true) } else { first };
    let some_reachable = able.iter().any(|(member, _)| reachable(member));
    able.into_iter().filter(|(member, _)| !some_reachable || reachable(member)).collect()
}

fn wanted(topology: &Topology, snapshot: &Snapshot, needed: &HashSet<paths::Key>) -> Vec<Wanted> {
    snapshot
        .next_hops
        .iter()
        .map(|next_hop| ((topology.segment(next_hop.interface), next_hop.address), next_hop.resolved))
        .filter(|(key, _)| needed.contains(key))
        .filter(|(key, _)| topology.neighbors.get(key).is_none_or(|neighbor| !neighbor.pinned))
        .map(|((interface, address), resolved)| Wanted { interface, address, resolved })
        .collect()
}

pub(super) fn set<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> ExactMap<()> {
    ExactMap::build(addresses.into_iter().map(|address| (ExactKey::new(*address, 0), ())))
}

fn snat_rule(rule: &valid::Snat) -> SnatRule {
    SnatRule {
        name: rule.name.clone(),
        inside: rule.inside.clone(),
        pool: SnatPool::of(&rule.addresses, rule.ports),
        mapping: rule.mapping,
        filtering: rule.filtering,
        hairpinning: rule.hairpinning,
    }
}

fn timeouts(seconds: &valid::Timeouts) -> Timeouts {
    Timeouts {
        tcp_syn: Coarse::from_seconds(seconds.tcp_syn_s),
        tcp_established: Coarse::from_seconds(seconds.tcp_established_s),
        tcp_half_closed: Coarse::from_seconds(seconds.tcp_half_closed_s),
        tcp_closed: Coarse::from_seconds(seconds.tcp_closed_s),
        tcp_reset: Coarse::from_seconds(seconds.tcp_reset_s),
        udp: Coarse::from_seconds(seconds.udp_s),
        icmp: Coarse::from_seconds(seconds.icmp_s),
        fragment: Coarse::from_seconds(seconds.fragment_s),
    }
}
