//! Who serves: what the file says, what operators changed at run time, what was discovered, what checks and agents say,
//! and what time does to it (drains end, returning backends grow), brought together.
//!
//! Pure: time is passed in, nothing is asked of anybody. What comes out is an effective configuration (backends that were
//! discovered or are leaving included, weights as they are now) and the [`Standings`] of all backends.
//!
//! Most backends serve and have nothing said about them, so only what is out of the ordinary is kept ([`record`]), and
//! the passing of time is looked at only for services where it may matter: a hundred thousand healthy backends cost a
//! turn nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Instant;

use super::discover::Found;
use super::health::{News, Report};
use super::standing::{BackendKey, ServiceKey, Standing, Standings, service_key};
use crate::config::valid::{AdminState, Backend, Config, Service};
use crate::tables::counters::MAX_BACKENDS;
use members::Members;

mod fit;
mod members;
mod order;
mod overruled;
mod record;
mod shown;
#[cfg(test)]
mod tests;

pub use overruled::Orders;
pub use shown::{Shown, Summary};

/// Backends that all services together may discover: half of what the tables hold, so that no name server can keep them
/// from being compiled.
const MOST_DISCOVERED: usize = MAX_BACKENDS / 2;

/// Who serves.
#[derive(Debug, Clone)]
pub struct Roster {
    file: Config,
    members: HashMap<ServiceKey, Members>,
    /// What discovery said last, of every service where it said anything, as it said it.
    found: HashMap<ServiceKey, Vec<Backend>>,
    /// What it said last and was not believed, because the service can have too few of them.
    refused: HashMap<ServiceKey, Vec<Backend>>,
    /// Services to which something may happen as time passes.
    moving: HashSet<ServiceKey>,
    /// When it may, at the earliest.
    next: Option<Instant>,
}

impl Roster {
    /// What the file says, and nothing else yet.
    pub fn new(file: Config, now: Instant) -> Self {
        let mut roster = Self {
            members: HashMap::new(),
            found: HashMap::new(),
            refused: HashMap::new(),
            moving: file.services.iter().map(service_key).collect(),
            next: Some(now),
            file,
        };
        for (position, service) in roster.file.services.iter().enumerate() {
            roster.members.insert(service_key(service), Members::new(position, service, now));
        }
        roster
    }

    /// The file, as it was read last.
    pub fn file(&self) -> &Config {
        &self.file
    }

    /// The file was read again. Run-time changes stay unless the file now says something else about the same thing than it
    /// said before; backends that are no longer listed leave: they are drained, and gone once they have no connections. A
    /// service that is no longer listed is gone at once.
    pub fn load(&mut self, file: Config, now: Instant) {
        let before = std::mem::replace(&mut self.file, file);
        let mut former = std::mem::take(&mut self.members);
        for (position, service) in self.file.services.iter().enumerate() {
            let key = service_key(service);
            let known =
                former.remove(&key).and_then(|kept| Some((before.services.get(kept.position)?, kept)));
            let members = match known {
                None => Members::new(position, service, now),
                Some((old, mut kept)) => {
                    kept.position = position;
                    if old != service {
                        kept.load(old, service, now);
                    }
                    kept
                }
            };
            self.members.insert(key, members);
            self.moving.insert(key);
        }
        self.next = Some(now);
        let members = &self.members;
        self.moving.retain(|key| members.contains_key(key));
        self.sift_found(now);
    }

    /// What was discovered and could not be used may be of use now, or the other way round.
    fn sift_found(&mut self, now: Instant) {
        let (file, members) = (&self.file, &mut self.members);
        let own = fit::own_addresses(file);
        self.found.retain(|key, backends| {
            let Some((members, service)) = entry(file, members, key) else { return false };
            if service.discover.is_none() {
                return false;
            }
            members.discover(service, fit::usable(service, &own, backends), now);
            true
        });
        for (service, backends) in std::mem::take(&mut self.refused) {
            self.found(Found { service, backends }, now);
        }
    }

    /// A change in health. Whether anything follows from it.
    pub fn report(&mut self, report: &Report, now: Instant) -> bool {
        let BackendKey { service: key, address } = report.key;
        let Some((members, service)) = entry(&self.file, &mut self.members, &key) else { return false };
        let Some(health) = &service.health else { return false };
        // Late news of one that leaves say nothing that matters: nobody asks for it again.
        if !members.has(&address) {
            return false;
        }
        let differs = members.change(service, address, now, |record| match &report.news {
            News::Up => record.down = None,
            News::Down(why) => record.down = Some(why.clone()),
            // An agent that says nothing of one thing has not changed its mind about it.
            News::Agent(agent) if members::Agent::of(health).is_some() => {
                record.agent.percent = agent.percent.or(record.agent.percent);
                record.agent.wish = agent.wish.or(record.agent.wish);
            }
            News::Agent(_) => {}
        });
        self.watch(key, now);
        differs.unwrap_or(false)
    }

    /// A discovered set. Whether it differs from what was known. A set of which the service can have fewer than
    /// `min_backends`, and fewer than it has, because others do not fit, changes nothing; neither does one that would be too
    /// many.
    pub fn found(&mut self, found: Found, now: Instant) -> bool {
        let Found { service: key, backends } = found;
        let Some((members, service)) = entry(&self.file, &mut self.members, &key) else { return false };
        let Some(discover) = &service.discover else { return false };
        let usable = fit::usable(service, &fit::own_addresses(&self.file), &backends);
        let others = self.found.iter().filter(|(other, _)| **other != key).map(|(_, found)| found.len());
        let beyond = others.sum::<usize>() + backends.len() > MOST_DISCOVERED;
        let least = (discover.min_backends as usize).min(members.discovered());
        if beyond || (usable.len() < backends.len() && usable.len() < least) {
            self.refused.insert(key, backends);
            return false;
        }
        self.refused.remove(&key);
        let differs = members.discover(service, usable, now);
        self.found.insert(key, backends);
        self.watch(key, now);
        differs
    }

    /// Time passed: whether drains ended, backends that left are without connections (`open` says how many a backend has),
    /// or those that start slowly have grown by a step.
    pub fn turn(&mut self, open: &dyn Fn(&BackendKey) -> u64, now: Instant) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        let (file, members) = (&self.file, &mut self.members);
        let (mut changed, mut earliest) = (false, None::<Instant>);
        self.moving.retain(|key| {
            let Some((members, service)) = entry(file, members, key) else { return false };
            let open = |address| open(&BackendKey { service: *key, address });
            let (differs, next) = members.turn(service, open, now);
            changed |= differs;
            earliest = earliest.into_iter().chain(next).min();
            next.is_some()
        });
        self.next = earliest;
        changed
    }

    /// The configuration in force: of every service first the listed backends, in the order of the file, then discovered
    /// ones, then those that leave.
    pub fn config(&self) -> Config {
        let services = self.file.services.iter().map(|service| self.in_force(service)).collect();
        Config {
            switch: self.file.switch.clone(),
            timeouts: self.file.timeouts,
            acl: self.file.acl.clone(),
            services,
            snat: self.file.snat.clone(),
            neighbors: self.file.neighbors.clone(),
            routes: self.file.routes.clone(),
            interfaces: self.file.interfaces.clone(),
        }
    }

    fn in_force(&self, service: &Service) -> Service {
        let Some(members) = self.members.get(&service_key(service)) else { return service.clone() };
        let backends = members.staying(service).chain(members.leaving()).collect();
        Service {
            state: members.terms(service).state,
            backends,
            name: service.name.clone(),
            affinity: service.affinity.clone(),
            acl: service.acl.clone(),
            health: service.health.clone(),
            discover: service.discover.clone(),
            ..*service
        }
    }

    /// How all backends stand that do not stand as the configuration in force says.
    pub fn standings(&self, now: Instant) -> Standings {
        let mut standings = HashMap::new();
        for service in &self.file.services {
            let key = service_key(service);
            let Some(members) = self.members.get(&key) else { continue };
            let terms = members.terms(service);
            for backend in members.remarkable(service, now) {
                let standing = members.standing(&terms, backend, now);
                let record = members.record(&backend.address);
                let own = record.map_or(backend.state, |record| record.in_force(backend).state);
                if standing != Standing::wanted(terms.state.max(own), service.on_down) {
                    standings.insert(BackendKey { service: key, address: backend.address }, standing);
                }
            }
        }
        Standings(standings)
    }

    /// Backends that a service has in force, those that leave included.
    pub fn backends(&self, service: &ServiceKey) -> Vec<SocketAddr> {
        let Some((members, service)) = self.entry(service) else { return Vec::new() };
        let backends = members.staying(service).chain(members.leaving());
        backends.map(|backend| backend.address).collect()
    }

    /// Whether the file lists this backend: only then can a change be saved there.
    pub fn is_listed(&self, key: &BackendKey) -> bool {
        self.members.get(&key.service).is_some_and(|members| members.is_listed(&key.address))
    }

    /// The backends that are to be checked, each with its service as the file has it: those of services with checks, except
    /// what an operator took out and what leaves.
    pub fn targets(&self) -> impl Iterator<Item = (&Service, Backend)> {
        let checked = self.file.services.iter().filter(|service| service.health.is_some());
        let known = checked.filter_map(|service| Some((service, self.members.get(&service_key(service))?)));
        let asked = known.filter(|(service, members)| members.terms(service).state != AdminState::Disabled);
        asked.flat_map(|(service, members)| {
            let able = members.staying(service).filter(|backend| backend.state != AdminState::Disabled);
            able.map(move |backend| (service, backend))
        })
    }

    /// Whether this backend is to be checked.
    pub fn is_checked(&self, key: &BackendKey) -> bool {
        let Some((members, service)) = self.entry(&key.service) else { return false };
        let own = members.record(&key.address).map(|record| record.state);
        let listed = members.backend(service, &key.address).map(|backend| backend.state);
        let state = own.flatten().or(listed).unwrap_or_default();
        service.health.is_some()
            && members.has(&key.address)
            && members.terms(service).state.max(state) != AdminState::Disabled
    }

    /// Failures in a row in the traffic that make a backend of this service suspect, where the traffic is heeded.
    pub fn passive_failures(&self, key: &ServiceKey) -> Option<u32> {
        let (_, service) = self.entry(key)?;
        service.health.as_ref().map(|health| health.passive_failures).filter(|failures| *failures > 0)
    }

    /// A service with its backends.
    fn entry(&self, key: &ServiceKey) -> Option<(&Members, &Service)> {
        let members = self.members.get(key)?;
        Some((members, self.file.services.get(members.position)?))
    }

    /// Something happened to this service: from now on the time is looked at.
    fn watch(&mut self, key: ServiceKey, now: Instant) {
        self.moving.insert(key);
        self.next = Some(self.next.map_or(now, |next| next.min(now)));
    }
}

/// A service with its backends, which are to be changed.
fn entry<'a>(
    file: &'a Config,
    members: &'a mut HashMap<ServiceKey, Members>,
    key: &ServiceKey,
) -> Option<(&'a mut Members, &'a Service)> {
    let members = members.get_mut(key)?;
    let service = file.services.get(members.position)?;
    Some((members, service))
}

/// By their address.
fn by_address(backends: impl IntoIterator<Item = Backend>) -> BTreeMap<SocketAddr, Backend> {
    backends.into_iter().map(|backend| (backend.address, backend)).collect()
}
