//! What becomes of orders when the file is read again, in sentences for an operator.

use std::net::SocketAddr;

use super::Roster;
use super::members::Members;
use crate::config::valid::{Backend, Config, Service};
use crate::control::standing::service_key;

/// The orders that were in force when another file was loaded: a sentence each, in the order of the former file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Those that ended.
    pub overruled: Vec<String>,
    /// Those that are in force as before.
    pub kept: Vec<String>,
}

/// One order: about whom, what, and what the file now says in its place.
struct Given<'a> {
    whose: &'a str,
    what: String,
    /// Why there is nothing that the file says, or what it says.
    file: Result<String, &'static str>,
    kept: bool,
}

impl Orders {
    fn note(&mut self, Given { whose, what, file, kept }: Given<'_>) {
        let (sentences, fate) = match (kept, file.is_ok()) {
            (true, _) => (&mut self.kept, "stays"),
            (false, true) => (&mut self.overruled, "is overruled"),
            (false, false) => (&mut self.overruled, "ends"),
        };
        let file = file.map_or_else(str::to_owned, |said| format!("the file says {said}"));
        sentences.push(format!("{whose}: the order {what:?} {fate}: {file}"));
    }
}

impl Roster {
    /// The file with orders in the place of what it says itself: what is in force of all that it lists.
    pub fn listed(&self) -> Config {
        let mut file = self.file.clone();
        for service in &mut file.services {
            let Some(members) = self.members.get(&service_key(service)) else { continue };
            let backends = members.staying(service).take(service.backends.len()).collect();
            (service.state, service.backends) = (members.terms(service).state, backends);
        }
        file
    }

    /// What became of the orders of `former`, now that another file was loaded. Those about discovered backends that
    /// are absent are not mentioned.
    pub fn orders_since(&self, former: &Self) -> Orders {
        let mut orders = Orders::default();
        for service in &former.file.services {
            let key = service_key(service);
            let Some(members) = former.members.get(&key) else { continue };
            let now = self.entry(&key);
            let whose = format!("service {:?}", service.name);
            if let Some(state) = members.state {
                orders.note(Given {
                    whose: &whose,
                    what: state.name().to_owned(),
                    file: now.map(|(_, service)| service.state.name().to_owned()).ok_or(NO_SERVICE),
                    kept: now.is_some_and(|(members, _)| members.state.is_some()),
                });
            }
            for backend in members.staying(service).chain(members.leaving()) {
                orders_about(backend.address, &whose, members, now, &mut orders);
            }
        }
        orders
    }
}

const NO_SERVICE: &str = "the file no longer has the service";
const NO_LONGER_LISTED: &str = "the file no longer lists it";

fn orders_about(
    address: SocketAddr,
    whose: &str,
    former: &Members,
    now: Option<(&Members, &Service)>,
    orders: &mut Orders,
) {
    let Some(given) = former.record(&address).filter(|record| record.is_ordered()) else { return };
    // One that was discovered may come back, as long as the service discovers at all.
    let stays = now.filter(|(members, service)| members.has(&address) || service.discover.is_some());
    let kept = stays.and_then(|(members, _)| members.record(&address));
    let said = |say: &dyn Fn(&Backend) -> String| match now {
        None => Err(NO_SERVICE),
        Some((members, service)) if members.is_listed(&address) => {
            members.backend(service, &address).map(say).ok_or(NO_LONGER_LISTED)
        }
        Some(_) if kept.is_some() => Err("it is discovered, not listed"),
        Some(_) if former.is_listed(&address) => Err(NO_LONGER_LISTED),
        Some(_) => Err("the service no longer discovers"),
    };
    let whose = &format!("{whose}: backend {address}");
    if let Some(state) = given.state {
        orders.note(Given {
            whose,
            what: state.name().to_owned(),
            file: said(&|backend| backend.state.name().to_owned()),
            kept: kept.is_some_and(|record| record.state.is_some()),
        });
    }
    if let Some(weight) = given.weight {
        orders.note(Given {
            whose,
            what: format!("weight {weight}"),
            file: said(&|backend| backend.weight.to_string()),
            kept: kept.is_some_and(|record| record.weight.is_some()),
        });
    }
}
