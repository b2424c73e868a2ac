//! Orders: what operators change at run time.

use std::net::SocketAddr;
use std::time::Instant;

use super::Roster;
use crate::config::valid::AdminState;
use crate::control::orders::{self, Change, Order};
use crate::control::standing::{BackendKey, ServiceKey, service_key};

/// The largest weight that a file may give.
const MOST_WEIGHT: u32 = 65_535;

impl Roster {
    /// An operator's order. What it changes in a sentence (which may be that it changes nothing), or why it cannot be.
    pub fn order(&mut self, order: &Order, now: Instant) -> Result<String, String> {
        let named = self.file.services.iter().find(|service| service.name == order.service);
        let key = named.map(service_key).ok_or_else(|| self.no_service(&order.service))?;
        let unlisted = |address| !self.is_listed(&BackendKey { service: key, address });
        let said = match order.backend {
            Some(address) if order.save && self.has(&key, &address) && unlisted(address) => Err(format!(
                "has discovered its backend {address}: the file does not list it, so nothing can be saved"
            )),
            Some(address) => self.order_backend(&key, address, order.change, now),
            None => self.order_service(&key, order.change, now),
        };
        self.watch(key, now);
        said.map(|said| format!("service {:?}: {said}", order.service))
            .map_err(|why| format!("service {:?} {why}", order.service))
    }

    /// An order was written into the file: from now on the file says it.
    pub fn saved(&mut self, order: &Order, now: Instant) {
        let Some(service) = self.file.services.iter_mut().find(|service| service.name == order.service)
        else {
            return;
        };
        let listed = service.backends.iter_mut().find(|backend| Some(backend.address) == order.backend);
        match (listed, order.change, wanted(order.change)) {
            (Some(backend), Change::Weight(weight), _) => backend.weight = weight,
            (Some(backend), _, Some(state)) => backend.state = state,
            (None, _, Some(state)) if order.backend.is_none() => service.state = state,
            _ => return,
        }
        let key = service_key(service);
        let Some((members, service)) = super::entry(&self.file, &mut self.members, &key) else { return };
        match order.backend {
            None => members.order(service, None, now),
            Some(address) => {
                let _ = members.change(service, address, now, |record| match order.change {
                    Change::Weight(_) => record.weight = None,
                    _ => record.state = None,
                });
            }
        }
    }

    fn order_service(&mut self, key: &ServiceKey, change: Change, now: Instant) -> Result<String, String> {
        let Some((members, service)) = super::entry(&self.file, &mut self.members, key) else {
            return Err("is not there".to_owned());
        };
        let Some(state) = wanted(change) else {
            return Err("has no weight of its own: name one of its backends".to_owned());
        };
        let before = members.terms(service).state;
        members.order(service, (state != service.state).then_some(state), now);
        Ok(difference("", before.name(), state.name()))
    }

    fn order_backend(
        &mut self,
        key: &ServiceKey,
        address: SocketAddr,
        change: Change,
        now: Instant,
    ) -> Result<String, String> {
        let Some((members, service)) = super::entry(&self.file, &mut self.members, key) else {
            return Err("is not there".to_owned());
        };
        if !members.has(&address) {
            let leaves = members.record(&address).is_some_and(|record| record.leaving.is_some());
            return Err(match leaves {
                true => format!("no longer has the backend {address}: it is leaving"),
                false => no_backend(address, members.staying(service).map(|backend| backend.address)),
            });
        }
        let Some(backend) = members.backend(service, &address).cloned() else {
            return Err(format!("has no backend {address}"));
        };
        let in_force =
            members.record(&address).map_or_else(|| backend.clone(), |record| record.in_force(&backend));
        let said = match (change, wanted(change)) {
            (Change::Weight(weight), _) if weight > MOST_WEIGHT => {
                return Err(format!("cannot give its backend the weight {weight}: 0 to {MOST_WEIGHT}"));
            }
            (Change::Weight(weight), _) => {
                let order = (weight != backend.weight).then_some(weight);
                let _ = members.change(service, address, now, |record| record.weight = order);
                difference("weight ", &in_force.weight.to_string(), &weight.to_string())
            }
            (_, wanted) => {
                let state = wanted.unwrap_or_default();
                let order = (state != backend.state).then_some(state);
                let _ = members.change(service, address, now, |record| record.state = order);
                difference("", in_force.state.name(), state.name())
                    + overshadowed(members.terms(service).state, state)
            }
        };
        Ok(format!("backend {address}: {said}"))
    }

    fn has(&self, key: &ServiceKey, address: &SocketAddr) -> bool {
        self.members.get(key).is_some_and(|members| members.has(address))
    }

    fn no_service(&self, name: &str) -> String {
        orders::no_service(name, self.file.services.iter().map(|service| service.name.as_str()))
    }
}

fn wanted(change: Change) -> Option<AdminState> {
    match change {
        Change::Enable => Some(AdminState::Enabled),
        Change::Drain => Some(AdminState::Drain),
        Change::Disable => Some(AdminState::Disabled),
        Change::Weight(_) => None,
    }
}

fn difference(what: &str, before: &str, after: &str) -> String {
    match before == after {
        true => format!("{what}{after} already"),
        false => format!("{what}{before} → {after}"),
    }
}

/// What an operator may have overlooked.
fn overshadowed(service: AdminState, backend: AdminState) -> &'static str {
    match (backend, service) {
        (AdminState::Enabled, AdminState::Drain) => " (its service is drained)",
        (AdminState::Enabled, AdminState::Disabled) => " (its service is disabled)",
        _ => "",
    }
}

fn no_backend(address: SocketAddr, others: impl Iterator<Item = SocketAddr>) -> String {
    format!("has no backend {address}; it has {}", orders::list(others.map(|address| address.to_string())))
}
