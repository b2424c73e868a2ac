//! The backends of one service: who belongs to it, and what is out of the ordinary about some of them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use super::record::{Leaving, Record, Terms};
use crate::config::valid::{self, AdminState, Backend};
use crate::control::standing::Standing;

/// Who belongs to the service.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    /// Those of the file, by their position there.
    listed: HashMap<SocketAddr, usize>,
    /// The last set that was discovered.
    discovered: BTreeMap<SocketAddr, Backend>,
}

impl Set {
    /// One of them, as the file has it, or else as it was discovered.
    fn get<'a>(&'a self, service: &'a valid::Service, address: &SocketAddr) -> Option<&'a Backend> {
        let listed = self.listed.get(address).and_then(|position| service.backends.get(*position));
        listed.or_else(|| self.discovered.get(address))
    }

    fn contains(&self, address: &SocketAddr) -> bool {
        self.listed.contains_key(address) || self.discovered.contains_key(address)
    }
}

/// The backends of one service.
#[derive(Debug, Clone)]
pub(super) struct Members {
    /// Position of the service in the file.
    pub position: usize,
    /// An operator's order about the whole service.
    pub state: Option<AdminState>,
    /// Since when the whole service drains.
    draining: Option<Instant>,
    /// The caller knows that the whole service's drain timeout has passed.
    ended: bool,
    set: Set,
    records: HashMap<SocketAddr, Record>,
    /// The service began with a source that has said nothing yet: what it says first are no newcomers.
    begins: bool,
}

impl Members {
    /// Those of a service that begins now: nothing starts slowly.
    pub fn new(position: usize, service: &valid::Service, now: Instant) -> Self {
        let mut members = Self {
            position,
            state: None,
            draining: None,
            ended: false,
            set: Set { listed: listed(service), discovered: BTreeMap::new() },
            records: HashMap::new(),
            begins: service.discover.is_some(),
        };
        members.settle(service, now);
        members
    }

    /// What the service lays down.
    pub fn terms<'a>(&self, service: &'a valid::Service) -> Terms<'a> {
        Terms { service, state: self.state.unwrap_or(service.state), draining: self.draining }
    }

    /// Whether the file lists this backend.
    pub fn is_listed(&self, address: &SocketAddr) -> bool {
        self.set.listed.contains_key(address)
    }

    /// Whether it belongs to the service, and does not leave.
    pub fn has(&self, address: &SocketAddr) -> bool {
        self.set.contains(address)
    }

    /// How many were discovered last.
    pub fn discovered(&self) -> usize {
        self.set.discovered.len()
    }

    /// What is out of the ordinary about a backend, if anything is.
    pub fn record(&self, address: &SocketAddr) -> Option<&Record> {
        self.records.get(address)
    }

    /// A backend as the file or discovery has it; as it was, if it leaves.
    pub fn backend<'a>(&'a self, service: &'a valid::Service, address: &SocketAddr) -> Option<&'a Backend> {
        let leaving = || self.records.get(address)?.leaving.as_ref().map(|leaving| &leaving.backend);
        self.set.get(service, address).or_else(leaving)
    }

    /// Those that are here to stay, as they are in force: listed ones in the order of the file, then discovered ones.
    pub fn staying<'a>(&'a self, service: &'a valid::Service) -> impl Iterator<Item = Backend> + 'a {
        let discovered =
            self.set.discovered.values().filter(|backend| !self.set.listed.contains_key(&backend.address));
        service.backends.iter().chain(discovered).map(|backend| self.in_force(backend))
    }

    /// Those that leave, as they are in force, in ascending order.
    pub fn leaving(&self) -> Vec<Backend> {
        let leaving = self.records.values().filter_map(|record| {
            let leaving = record.leaving.as_ref()?;
            Some(record.in_force(&leaving.backend))
        });
        let mut leaving: Vec<Backend> = leaving.collect();
        leaving.sort_unstable_by_key(|backend| backend.address);
        leaving
    }

    fn in_force(&self, backend: &Backend) -> Backend {
        match self.records.get(&backend.address) {
            Some(record) => record.in_force(backend),
            None => backend.clone(),
        }
    }

    /// How a backend stands.
    pub fn standing(&self, terms: &Terms<'_>, backend: &Backend, now: Instant) -> Standing {
        match self.records.get(&backend.address) {
            Some(record) => record.standing(terms, backend, now),
            None => Record::default().standing(terms, backend, now),
        }
    }

    /// The backends that may not stand as the configuration in force says, as the file or discovery has them.
    pub fn remarkable<'a>(&'a self, service: &'a valid::Service, now: Instant) -> Vec<&'a Backend> {
        let terms = self.terms(service);
        if terms.draining.and_then(|since| terms.deadline(since)).is_some_and(|deadline| deadline <= now) {
            let discovered = self.set.discovered.values();
            let leaving = self.records.values().filter_map(|record| record.leaving.as_ref());
            let all =
                service.backends.iter().chain(discovered).chain(leaving.map(|leaving| &leaving.backend));
            return all.filter_map(|backend| self.backend(service, &backend.address)).collect();
        }
        self.records.keys().filter_map(|address| self.backend(service, address)).collect()
    }

    /// Changes what is out of the ordinary about a backend. Whether it stands otherwise now; `None` where there is none.
    pub fn change(
        &mut self,
        service: &valid::Service,
        address: SocketAddr,
        now: Instant,
        change: impl FnOnce(&mut Record),
    ) -> Option<bool> {
        let terms = self.terms(service);
        let Some(backend) = self.backend(service, &address).cloned() else {
            // Gone, but an order is kept for its return.
            if let Some(record) = self.records.get_mut(&address) {
                change(record);
            }
            return None;
        };
        let fresh = || {
            let told = Record::default().standing(&terms, &backend, now);
            Record { told, ..Record::default() }
        };
        let record = self.records.entry(address).or_insert_with(fresh);
        let told = record.told;
        change(record);
        record.settle(&terms, &backend, now);
        let differs = record.told != told;
        if record.is_ordinary() {
            self.records.remove(&address);
        }
        Some(differs)
    }

    /// Changes what the operator wants of the whole service.
    pub fn order(&mut self, service: &valid::Service, state: Option<AdminState>, now: Instant) {
        self.state = state;
        self.settle(service, now);
    }

    /// Notes what follows for all of them from a change in the service.
    fn settle(&mut self, service: &valid::Service, now: Instant) {
        let drains = self.terms(service).state == AdminState::Drain;
        self.draining = drains.then(|| self.draining.unwrap_or(now));
        self.ended = false;
        let unusual = service.backends.iter().filter(|backend| backend.state != AdminState::Enabled);
        let unusual: Vec<SocketAddr> = unusual.map(|backend| backend.address).collect();
        let recorded: Vec<SocketAddr> = self.records.keys().copied().collect();
        for address in unusual.into_iter().chain(recorded) {
            let _ = self.change(service, address, now, |_| ());
        }
    }

    /// The file has the service otherwise than `before`.
    pub fn load(&mut self, before: &valid::Service, service: &valid::Service, now: Instant) {
        if before.state != service.state {
            self.state = None;
        }
        let former = std::mem::replace(&mut self.set.listed, listed(service));
        for backend in &service.backends {
            let old = former.get(&backend.address).and_then(|position| before.backends.get(*position));
            let is_newcomer = old.is_none() && !self.set.discovered.contains_key(&backend.address);
            self.overrule(old, backend);
            if is_newcomer {
                self.arrive(service, backend.address, now);
            }
        }
        for old in &before.backends {
            if !self.set.contains(&old.address) {
                self.leave(service, old, false, now);
            }
        }
        if service.discover.is_none() {
            self.discover(service, BTreeMap::new(), now);
            self.begins = false;
            let set = &self.set;
            self.records.retain(|address, record| set.contains(address) || record.leaving.is_some());
        }
        self.forget_health(before, service);
        self.settle(service, now);
    }

    /// Drops orders about which the file says something else than it did.
    fn overrule(&mut self, before: Option<&Backend>, after: &Backend) {
        let Some(record) = self.records.get_mut(&after.address) else { return };
        if before.map_or(AdminState::Enabled, |before| before.state) != after.state {
            record.state = None;
        }
        if before.map(|before| before.weight) != Some(after.weight) {
            record.weight = None;
        }
    }

    /// Drops verdicts of checks that are no longer made, and what agents said that are no longer asked.
    fn forget_health(&mut self, before: &valid::Service, service: &valid::Service) {
        let agent = |service: &valid::Service| service.health.as_ref().and_then(Agent::of);
        let another = agent(before) != agent(service);
        for record in self.records.values_mut() {
            if service.health.is_none() {
                record.down = None;
            }
            if another {
                record.agent = Default::default();
            }
        }
    }

    /// Another set was discovered. Whether it is another.
    pub fn discover(
        &mut self,
        service: &valid::Service,
        found: BTreeMap<SocketAddr, Backend>,
        now: Instant,
    ) -> bool {
        let begins = std::mem::replace(&mut self.begins, false);
        if self.set.discovered == found {
            return false;
        }
        let former = std::mem::replace(&mut self.set.discovered, found);
        for old in former.values() {
            if !self.set.contains(&old.address) {
                self.leave(service, old, true, now);
            }
        }
        let arrived: Vec<SocketAddr> =
            self.set.discovered.keys().copied().filter(|address| !former.contains_key(address)).collect();
        for address in arrived {
            if self.is_listed(&address) {
                continue;
            }
            if begins {
                let _ = self.change(service, address, now, |record| record.leaving = None);
            } else {
                self.arrive(service, address, now);
            }
        }
        true
    }

    /// A backend came to a service that runs: it starts slowly, unless it was about to leave and is warm.
    fn arrive(&mut self, service: &valid::Service, address: SocketAddr, now: Instant) {
        let _ = self.change(service, address, now, |record| {
            if record.leaving.take().is_none() {
                record.growing = Some(now);
            }
        });
    }

    /// Neither the file nor discovery has this backend any longer. An order about a discovered one outlives its absence:
    /// a name server that forgets it for a minute does not undo what an operator did.
    fn leave(&mut self, service: &valid::Service, backend: &Backend, discovered: bool, now: Instant) {
        let leaving = Leaving { backend: backend.clone(), since: now, discovered };
        self.records.entry(backend.address).or_default().leaving = Some(leaving);
        let _ = self.change(service, backend.address, now, |record| {
            record.growing = None;
            if !discovered {
                (record.state, record.weight) = (None, None);
            }
        });
    }

    /// Time passed. Whether something follows, and when something may next.
    pub fn turn(
        &mut self,
        service: &valid::Service,
        open: impl Fn(SocketAddr) -> u64,
        now: Instant,
    ) -> (bool, Option<Instant>) {
        let terms = self.terms(service);
        let mut changed = false;
        let mut next = terms.draining.and_then(|since| terms.deadline(since));
        if next.is_some_and(|deadline| deadline <= now) {
            changed = !std::mem::replace(&mut self.ended, true);
            next = None;
        }
        let set = &self.set;
        self.records.retain(|address, record| {
            if record.is_gone(&terms, || open(*address), now) {
                changed = true;
                let (state, weight) = (record.state, record.weight);
                *record = Record { state, weight, ..Record::default() };
                return record.is_ordered() && service.discover.is_some();
            }
            let leaving = record.leaving.as_ref().map(|leaving| leaving.backend.clone());
            let Some(backend) = leaving.or_else(|| set.get(service, address).cloned()) else { return true };
            changed |= record.tick(&terms, &backend, now);
            next = next.into_iter().chain(record.next(&terms, now)).min();
            !record.is_ordinary()
        });
        (changed, next)
    }
}

/// Which agent is asked: on another port it is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agent {
    /// At the backend's own port.
    Own,
    /// At this port.
    At(u16),
}

impl Agent {
    /// The one of these checks, if any is asked.
    pub fn of(health: &valid::Health) -> Option<Self> {
        let is_check = (health.check == valid::Check::Agent).then(|| health.port.map_or(Self::Own, Self::At));
        health.agent_port.map(Self::At).or(is_check)
    }
}

fn listed(service: &valid::Service) -> HashMap<SocketAddr, usize> {
    let positions = service.backends.iter().enumerate();
    positions.map(|(position, backend)| (backend.address, position)).collect()
}
