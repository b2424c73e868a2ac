//! Who serves, in touch with those who know: health checks, sources of backends, the traffic, time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use crate::config::valid::{Config, Via};
use crate::control::compile::{Left, Usage};
use crate::control::discover::{Discovery, Found};
use crate::control::health::{Health, News, Report, Suspicion, Target};
use crate::control::orders::Reloads;
use crate::control::requests::View;
use crate::control::roster::Roster;
use crate::control::standing::{BackendKey, service_key};
use crate::control::topology::Topology;
use crate::tables::loads::Failures;
use crate::tables::{Backend, BackendId, Loads, Snapshot};

use super::fading::Fading;
use super::way::way;

/// How often drains, slow starts and those who leave are looked at.
const ROSTER_TURN: Duration = Duration::from_millis(100);

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
    next_turn: Instant,
    /// What became of reloads, for showing.
    pub(super) reloads: Reloads,
}

impl Serving {
    /// Takes over `roster`. Nothing is checked or watched before the first [`Serving::published`].
    pub(super) fn new(roster: Roster, loads: Arc<Loads>, now: Instant) -> Self {
        let (health, reports) = Health::start(Arc::clone(&loads));
        let (discovery, found) = Discovery::start();
        let (rows, fading, targets) = (HashMap::new(), Fading::default(), Vec::new());
        let (next_turn, reloads) = (now, Reloads::default());
        Self { roster, health, reports, discovery, found, loads, targets, rows, fading, next_turn, reloads }
    }

    /// Hears what is new. Whether anything follows from it.
    pub(super) fn turn(&mut self, snapshot: &Snapshot, left: &Left, usage: &Usage<'_>, now: Instant) -> bool {
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
            let rows = &self.rows;
            let in_use = |key: &BackendKey| {
                let backend = rows.get(key).and_then(|row| snapshot.backend(*row));
                backend.map_or(0, |backend| usage.in_use(backend))
            };
            changed |= self.roster.turn(&in_use, now);
            self.fading.turn(snapshot, &self.loads, now);
            changed |= left.is_due(snapshot, usage);
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
        if let Some(suspicion) =
            threshold.and_then(|threshold| suspicion(&self.loads.failures(id), threshold))
        {
            self.health.suspect(key, suspicion);
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
            durations: self.health.durations(),
            reloads: self.reloads,
        }
    }
}

/// What so many failures give cause for, where `threshold` in a row do.
fn suspicion(failures: &Failures, threshold: u32) -> Option<Suspicion> {
    if failures.told_in_a_row >= threshold {
        return Some(Suspicion::Told);
    }
    (failures.in_a_row >= threshold).then_some(Suspicion::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_backends_side_tells_often_enough_counts_as_told() {
        let of = |in_a_row, told_in_a_row| {
            suspicion(&Failures { in_a_row, told_in_a_row, ..Failures::default() }, 3)
        };
        assert_eq!([of(2, 2), of(3, 0)], [None, Some(Suspicion::Silent)]);
        assert_eq!(
            of(1000, 2),
            Some(Suspicion::Silent),
            "clients that ask in vain cannot make up for the third"
        );
        assert_eq!(of(3, 3), Some(Suspicion::Told));
    }
}
