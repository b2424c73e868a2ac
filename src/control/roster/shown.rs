//! How backends and services stand, for showing.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::record::{Record, Terms};
use super::{Roster, fit};
use crate::config::valid::{AdminState, Backend};
use crate::control::health::Wish;
use crate::control::standing::{BackendKey, ServiceKey};

/// How one backend stands, for showing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// `up`, `down`, `drain`, `drained`, `disabled`, `leaving` or `starting`.
    pub state: String,
    /// Why, for a person; empty where there is nothing to say.
    pub why: String,
    /// Percent of the weight that counts.
    pub share: u8,
    /// Whether it was discovered, not listed.
    pub discovered: bool,
    /// Whether it serves only while no other can.
    pub backup: bool,
    /// Seconds until the connections of a drained backend end; none: as long as they last.
    pub drain_left_s: Option<u64>,
}

/// How one service stands, for showing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// `enabled`, `drain` or `disabled`, as it is in force.
    pub state: String,
    /// Whether that is an order, not what the file says.
    pub ordered: bool,
    /// Seconds until the connections of a drained service end; none: as long as they last.
    pub drain_left_s: Option<u64>,
    /// Discovered backends that it cannot have, and why.
    pub misfits: Vec<String>,
}

impl Roster {
    /// How a backend stands; none if there is no such backend.
    pub fn shown(&self, key: &BackendKey, now: Instant) -> Option<Shown> {
        let (members, service) = self.entry(&key.service)?;
        let backend = members.backend(service, &key.address)?;
        let terms = members.terms(service);
        let usual = Record::default();
        let record = members.record(&key.address).unwrap_or(&usual);
        let (state, why) = situation(record, &terms, backend, now);
        let was_discovered = record.leaving.as_ref().is_some_and(|leaving| leaving.discovered);
        Some(Shown {
            state: state.to_owned(),
            why,
            share: members.standing(&terms, backend, now).share,
            discovered: was_discovered || (members.has(&key.address) && !members.is_listed(&key.address)),
            backup: backend.backup,
            drain_left_s: record.deadline(&terms).map(|deadline| seconds_until(deadline, now)),
        })
    }

    /// What is to be said of discovered sets, by service.
    pub fn remarks(&self) -> Vec<(ServiceKey, String)> {
        let keys: HashSet<&ServiceKey> = self.found.keys().chain(self.refused.keys()).collect();
        let own = fit::own_addresses(&self.file);
        keys.into_iter().filter_map(|key| Some((*key, self.remarked(key, &own)?))).collect()
    }

    /// What is to be said of the set that was discovered last: that it was not believed, or what of it was left out.
    pub fn remark(&self, key: &ServiceKey) -> Option<String> {
        self.remarked(key, &fit::own_addresses(&self.file))
    }

    fn remarked(&self, key: &ServiceKey, own: &HashSet<IpAddr>) -> Option<String> {
        let (members, service) = self.entry(key)?;
        let refused = self.refused.get(key);
        let found = refused.or_else(|| self.found.get(key))?;
        let mut misfits = found
            .iter()
            .filter_map(|backend| Some((backend.address, fit::misfit(service, own, backend.address)?)));
        let kept = match refused {
            Some(_) => format!(": last good set of {} kept", members.discovered()),
            None => String::new(),
        };
        let Some((address, why)) = misfits.next() else {
            let most = super::MOST_DISCOVERED;
            return refused.map(|found| {
                format!("{} would make more than {most} discovered backends in all{kept}", found.len())
            });
        };
        Some(format!("{} of {} left out, {address} as {why}{kept}", 1 + misfits.count(), found.len()))
    }

    /// How all services stand.
    pub fn summaries(&self, now: Instant) -> HashMap<ServiceKey, Summary> {
        let own = fit::own_addresses(&self.file);
        let keys = self.members.keys();
        keys.filter_map(|key| Some((*key, self.summary(key, &own, now)?))).collect()
    }

    fn summary(&self, key: &ServiceKey, own: &HashSet<IpAddr>, now: Instant) -> Option<Summary> {
        let (members, service) = self.entry(key)?;
        let terms = members.terms(service);
        let found = self.found.get(key).into_iter().flatten();
        let misfits = found.filter_map(|backend| {
            let why = fit::misfit(service, own, backend.address)?;
            Some(format!("{}: {why}", backend.address))
        });
        let deadline = terms.draining.and_then(|since| terms.deadline(since));
        Some(Summary {
            state: terms.state.name().to_owned(),
            ordered: members.state.is_some(),
            drain_left_s: deadline.map(|deadline| seconds_until(deadline, now)),
            misfits: misfits.collect(),
        })
    }
}

/// The state that says most, and why.
fn situation(record: &Record, terms: &Terms<'_>, backend: &Backend, now: Instant) -> (&'static str, String) {
    let own = record.own_state(backend);
    let said = |ordered: bool| if ordered { "an operator's order" } else { "the configuration says so" };
    let by = |state: AdminState| match own == state {
        true => said(record.state.is_some()).to_owned(),
        false => "its whole service".to_owned(),
    };
    let wish = record.agent.wish;
    if let Some(leaving) = &record.leaving {
        let source = if leaving.discovered { "discovered" } else { "listed" };
        return ("leaving", format!("no longer {source}"));
    }
    if own.max(terms.state) == AdminState::Disabled {
        return ("disabled", by(AdminState::Disabled));
    }
    match (&record.down, wish) {
        (_, Some(Wish::Maint)) => return ("disabled", "its agent says maint".to_owned()),
        (Some(why), _) => return ("down", why.clone()),
        (None, Some(Wish::Down)) => return ("down", "its agent says down".to_owned()),
        (None, _) => {}
    }
    let drains_by = match own.max(terms.state) {
        AdminState::Drain => Some(by(AdminState::Drain)),
        _ if wish == Some(Wish::Drain) => Some("its agent says drain".to_owned()),
        _ => None,
    };
    if let Some(why) = drains_by {
        let ended = record.deadline(terms).is_some_and(|deadline| deadline <= now);
        return (if ended { "drained" } else { "drain" }, why);
    }
    match (record.growing, record.agent.percent) {
        (Some(_), _) => ("starting", "it came back, and grows to its whole weight".to_owned()),
        (None, Some(percent)) if percent < 100 => ("up", format!("its agent says {percent}%")),
        (None, _) => ("up", String::new()),
    }
}

/// A second that has begun counts whole: 0 only once it is over.
fn seconds_until(deadline: Instant, now: Instant) -> u64 {
    deadline.saturating_duration_since(now).as_millis().div_ceil(1000) as u64
}
