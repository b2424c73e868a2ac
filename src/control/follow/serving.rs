//! Who serves, in touch with those who know: health checks, sources of backends, the traffic, time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use crate::config::valid::{Config, Via};
use crate::control::compile::left_to_kernel;
use crate::control::discover::{Discovery, Found};
use crate::control::health::{Health, News, Report, Target, Through};
use crate::control::requests::View;
use crate::control::roster::Roster;
use crate::control::standing::{BackendKey, ServiceKey, service_key};
use crate::control::topology::Topology;
use crate::tables::{Backend, BackendId, Loads, Snapshot};
use crate::wire::ethernet;
use crate::wire::tunnel::Family;

use super::fading::Fading;

/// How often drains, slow starts and those who leave are looked at.
const ROSTER_TURN: Duration = Duration::from_millis(100);

/// Services that are left to the kernel as soon as the last connection of their drained backends has ended: nothing but the
/// counts of connections tells when that is.
#[derive(Debug, Default)]
struct LeftToKernel(HashSet<ServiceKey>);

impl LeftToKernel {
    /// Whether there is one more of them than at the last look.
    fn turn(&mut self, snapshot: &Snapshot, loads: &Loads) -> bool {
        let left = left_to_kernel(snapshot, &|id| u64::from(loads.open(id)));
        let more = !left.is_subset(&self.0);
        self.0 = left;
        more
    }
}

/// Who serves.
pub(super) struct Serving {
    /// Decides it.
    pub(super) roster: Roster,
    health: Health,
    reports: UnboundedReceiver<Report>,
    discovery: Discovery,
    found: UnboundedReceiver<Found>,
    loads: Arc<Loads>,
    /// What is checked.
    targets: Vec<Target>,
    /// Of the newest snapshot.
    rows: HashMap<BackendKey, BackendId>,
    fading: Fading,
    left: LeftToKernel,
    next_turn: Instant,
}

impl Serving {
    /// Takes over `roster`. Nothing is checked or watched before the first [`Serving::published`].
    pub(super) fn new(roster: Roster, loads: Arc<Loads>, now: Instant) -> Self {
        let (health, reports) = Health::start(Arc::clone(&loads));
        let (discovery, found) = Discovery::start();
        let (rows, fading, left) = (HashMap::new(), Fading::default(), LeftToKernel::default());
        let targets = Vec::new();
        Self { roster, health, reports, discovery, found, loads, targets, rows, fading, left, next_turn: now }
    }

    /// Hears what is new. Whether anything follows from it. `active` says how many connections a backend has, those included
    /// that the ends are done with.
    pub(super) fn turn(
        &mut self,
        snapshot: &Snapshot,
        active: &dyn Fn(BackendId) -> u64,
        now: Instant,
    ) -> bool {
        let mut changed = false;
        while let Ok(report) = self.reports.try_recv() {
            let follows = self.roster.report(&report, now);
            self.log(&report, follows, snapshot);
            changed |= follows;
        }
        while let Ok(found) = self.found.try_recv() {
            let service = found.service;
            changed |= self.roster.found(found, now);
            if let Some(remark) = self.roster.remark(&service) {
                let (vip, protocol) = service;
                tracing::warn!(service = %format!("{vip}/{}", protocol.name()), remark, "discovery");
            }
        }
        if self.next_turn <= now {
            self.next_turn = now + ROSTER_TURN;
            let (rows, loads) = (&self.rows, &self.loads);
            let open = |key: &BackendKey| match rows.get(key).and_then(|row| snapshot.backend(*row)) {
                // Where answers go past the switch, a client that has nothing more to say may still listen.
                Some(backend) if backend.forwarding.returns_directly() => active(backend.id),
                Some(backend) => u64::from(loads.open(backend.id)),
                None => 0,
            };
            changed |= self.roster.turn(&open, now);
            self.fading.turn(snapshot, loads, now);
            changed |= self.left.turn(snapshot, loads);
        }
        changed
    }

    /// One line for every change in health from which something follows: not for each backend that is up at start.
    fn log(&self, report: &Report, follows: bool, snapshot: &Snapshot) {
        let Report { key, news } = report;
        let named = |row: &Backend| Some(snapshot.service(row.service)?.name.as_str());
        let row = self.rows.get(key).and_then(|row| snapshot.backend(*row));
        let service = row.and_then(named).unwrap_or("?");
        let backend = key.address;
        match news {
            _ if !follows => tracing::debug!(service, %backend, ?news, "nothing follows from a check"),
            News::Up => tracing::info!(service, %backend, "backend is up"),
            News::Down(cause) => tracing::warn!(service, %backend, cause, "backend is down"),
            News::Agent(agent) => tracing::info!(service, %backend, ?agent, "the backend's agent says"),
        }
    }

    /// The traffic showed that a backend failed to take a connection.
    pub(super) fn failing(&self, id: BackendId, snapshot: &Snapshot) {
        let Some(backend) = snapshot.backend(id) else { return };
        let Some(service) = snapshot.service(backend.service) else { return };
        let key = BackendKey { service: (service.vip, service.protocol), address: backend.address };
        let threshold = self.roster.passive_failures(&key.service);
        if threshold.is_some_and(|threshold| self.loads.failures(id).in_a_row >= threshold) {
            self.health.suspect(key);
        }
    }

    /// Forgets what was measured of rows that have another owner in the snapshot about to be published.
    pub(super) fn hand_over(&self, before: &Snapshot, after: &Snapshot) {
        for backend in after.backends.iter().flatten() {
            let same =
                |former: &Backend| (former.address, former.service) == (backend.address, backend.service);
            if !before.backend(backend.id).is_some_and(same) {
                self.loads.forget(backend.id);
            }
        }
    }

    /// From now on, what this snapshot has is checked and watched.
    pub(super) fn published(&mut self, config: &Config, topology: &Topology, snapshot: &Snapshot) {
        self.rows.clear();
        for backend in snapshot.backends.iter().flatten() {
            let Some(service) = snapshot.service(backend.service) else { continue };
            let service = (service.vip, service.protocol);
            self.rows.insert(BackendKey { service, address: backend.address }, backend.id);
        }
        let mut targets = Vec::new();
        for service in &config.services {
            let Some(health) = service.health.clone().map(Arc::new) else { continue };
            for backend in &service.backends {
                let key = BackendKey::of(service, backend);
                let Some(row) = self.rows.get(&key).filter(|_| self.roster.is_checked(&key)) else {
                    continue;
                };
                let through = match health.via {
                    Via::Direct => None,
                    Via::Forwarding => snapshot.backend(*row).and_then(|row| way(row, topology, snapshot)),
                };
                targets.push(Target { key, row: *row, check: Arc::clone(&health), through });
            }
        }
        // Taking over a hundred thousand targets holds checks up for a moment: only where they differ.
        if targets != self.targets {
            self.health.set(targets.clone());
            self.targets = targets;
        }
        let sources = config.services.iter().filter_map(|service| {
            let discover = service.discover.clone()?;
            Some((service_key(service), discover))
        });
        self.discovery.set(sources.collect(), &config.switch.resolvers);
    }

    /// For showing.
    pub(super) fn view(&self, now: Instant) -> View {
        let shown = |key: &BackendKey| Some((*key, self.roster.shown(key, now)?));
        let mut watched = self.discovery.watched();
        for (service, remark) in self.roster.remarks() {
            if let Some(watched) = watched.get_mut(&service) {
                watched.problem.get_or_insert(remark);
            }
        }
        View {
            shown: self.rows.keys().filter_map(shown).collect(),
            services: self.roster.summaries(now),
            checked: self.health.checked(),
            watched,
            pace: self.health.pace(),
        }
    }
}

/// The way that the packets of its service take to a backend.
fn way(backend: &Backend, topology: &Topology, snapshot: &Snapshot) -> Option<Through> {
    let service = snapshot.service(backend.service)?;
    let next_hop = snapshot.next_hop(backend.next_hop).filter(|next_hop| next_hop.resolved)?;
    if backend.forwarding.is_tunnel() && backend.outer.is_none() {
        return None;
    }
    let port = topology.port(next_hop.interface)?;
    let family = backend.outer.map_or(Family::of(service.vip.ip()), |outer| outer.family());
    let mut link = vec![0; next_hop.tags.header_len()];
    let ethertype = if family == Family::V4 { ethernet::IPV4 } else { ethernet::IPV6 };
    ethernet::write_header(&mut link, &next_hop.macs, &next_hop.tags, ethertype);
    // The backend answers to it directly: rather one on its own link, but any will do that it has a route to.
    let near = std::iter::once(&port.interface);
    let addresses = near.chain(&snapshot.interfaces).flat_map(|interface| &interface.addresses);
    let usable = addresses.map(|(address, _)| *address).find(|address| {
        let link_local = matches!(address, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local());
        address.is_ipv4() == service.vip.is_ipv4() && !link_local
    });
    Some(Through {
        ifindex: port.ifindex?,
        link,
        outer: backend.outer.filter(|_| backend.forwarding.is_tunnel()),
        source: usable?,
        vip: service.vip,
        protocol: service.protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::valid::AdminState;
    use crate::control::compile::compile_static;
    use crate::control::testing::{config, interfaces};
    use crate::tables::OnNoBackend;

    #[test]
    fn a_drained_service_goes_to_the_kernel_when_its_last_connection_ends() {
        let mut config = config();
        config.interfaces = interfaces();
        config.services[0].state = AdminState::Drain;
        config.services[0].on_no_backend = OnNoBackend::ToKernel;
        let (snapshot, _) = compile_static(&config).unwrap();
        let (loads, mut left) = (Loads::new(1, 8), LeftToKernel::default());
        let last = snapshot.services[0].as_ref().unwrap().backends[0];
        loads.opened(0, last);
        assert!(!left.turn(&snapshot, &loads));
        loads.closed(0, last);
        assert!(left.turn(&snapshot, &loads));
        assert!(!left.turn(&snapshot, &loads), "that is said once");
    }
}
