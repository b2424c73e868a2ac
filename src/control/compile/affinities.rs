//! Numbers that affinity is remembered by, across snapshots: of groups of services, and of servers within a group.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::config::valid;
use crate::control::standing::{ServiceKey, service_key};
use crate::tables::{Affinity, Backend, Coarse};

/// A number is kept for so much longer than clients are remembered: the data plane rounds their time up to its seconds of
/// 1.024 s, and a worker may hear of the last snapshot a little later.
const SLACK: Duration = Duration::from_secs(3);
/// Absent servers, and absent groups, whose numbers are kept at the most. Of more the longest absent are forgotten before
/// their time: where addresses come and go by the thousand, the memory is bounded, and clients whose server comes back after
/// that may get another.
const MOST_ABSENT: usize = 1 << 16;

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

/// A number that somebody has.
#[derive(Debug)]
struct Held {
    number: u32,
    /// In which round it was last asked for.
    round: u64,
    /// For how long clients were remembered then.
    timeout: Duration,
    /// Until when it is kept, once its owner is absent: no client is remembered by it any longer.
    until: Option<Instant>,
}

/// Numbers by their owners. None is ever given to another: there are enough for a new owner every second for 136 years.
#[derive(Debug)]
struct Numbers<K> {
    held: HashMap<K, Held>,
    last: u32,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { held: HashMap::new(), last: 0 }
    }
}

impl<K: Hash + Eq> Numbers<K> {
    /// The number of this owner: the one that it had, or the next one. From 1 on.
    fn of(&mut self, owner: K, round: u64, timeout_s: u32) -> u32 {
        let timeout = Duration::from_secs(timeout_s.into());
        let held = self.held.entry(owner).or_insert_with(|| {
            self.last = self.last.wrapping_add(1);
            Held { number: self.last, round, timeout, until: None }
        });
        (held.round, held.timeout, held.until) = (round, timeout, None);
        held.number
    }

    /// Forgets owners that were not asked for in this round, nor for as long before as clients were remembered.
    fn forget(&mut self, round: u64, now: Instant) {
        let mut absent = Vec::new();
        self.held.retain(|_, held| {
            if held.round == round {
                return true;
            }
            let until = *held.until.get_or_insert(now + held.timeout + SLACK);
            if now < until {
                absent.push((until, held.number));
            }
            now < until
        });
        let Some(beyond) = absent.len().checked_sub(MOST_ABSENT).filter(|beyond| *beyond > 0) else { return };
        absent.sort_unstable();
        let last = absent[beyond - 1];
        self.held.retain(|_, held| held.until.is_none_or(|until| (until, held.number) > last));
    }
}

/// Numbers of those that are there, and of those that were until clients are no longer remembered by them. What the data
/// plane remembers never changes its meaning.
#[derive(Debug, Default)]
pub(super) struct Affinities {
    groups: Numbers<Group>,
    servers: Numbers<(u32, Server)>,
    /// Counts [`Affinities::forget`].
    round: u64,
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
        self.servers.of((group, server), self.round, affinity.timeout_s)
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

    /// A snapshot is complete: whoever was not asked for since the last one is absent. Those for whom that has lasted longer
    /// than clients are remembered are forgotten.
    pub(super) fn forget(&mut self, now: Instant) {
        self.groups.forget(self.round, now);
        self.servers.forget(self.round, now);
        self.round += 1;
    }

    fn group(&mut self, service: &valid::Service, affinity: &valid::Affinity) -> u32 {
        let group = match &affinity.group {
            Some(name) => Group::Named(name.clone()),
            None => Group::Only(service_key(service)),
        };
        self.groups.of(group, self.round, affinity.timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::service;

    const TIMEOUT_S: u32 = 300;
    const SECOND: Duration = Duration::from_secs(1);

    /// A service with affinity, of the group of this name where there is one.
    fn sticky(group: Option<&str>) -> valid::Service {
        let affinity = valid::Affinity {
            timeout_s: TIMEOUT_S,
            prefix_ipv4: 32,
            prefix_ipv6: 64,
            group: group.map(str::to_owned),
        };
        valid::Service { affinity: Some(affinity), ..service("web", "198.18.0.100:80", &[]) }
    }

    /// Backend `number` of very many.
    fn pod(number: u32) -> SocketAddr {
        SocketAddr::from(((0x0A00_0000 + number).to_be_bytes(), 80))
    }

    fn held(affinities: &Affinities) -> (usize, usize) {
        (affinities.groups.held.len(), affinities.servers.held.len())
    }

    #[test]
    fn servers_that_come_and_go_are_forgotten_once_no_client_can_be_remembered_by_them() {
        let (mut affinities, start) = (Affinities::default(), Instant::now());
        let service = sticky(None);
        let (mut most, mut numbers) = (0, std::collections::HashSet::new());
        // One second, one other backend: for an hour.
        for second in 0..3600 {
            affinities.server(&service, pod(0));
            assert!(numbers.insert(affinities.server(&service, pod(1 + second))), "a number was given twice");
            affinities.rule(&service, &[]);
            affinities.forget(start + SECOND * second);
            most = most.max(held(&affinities).1);
        }
        let bound = (TIMEOUT_S as usize) + SLACK.as_secs() as usize + 2;
        assert!(most <= bound, "{most} servers were held at a time, not {bound}");
        assert_eq!(affinities.server(&service, pod(0)), 1, "who stayed has the number that it had");
    }

    #[test]
    fn a_server_that_is_back_in_time_has_its_number_and_one_that_is_late_a_new_one() {
        let (mut affinities, start) = (Affinities::default(), Instant::now());
        let service = sticky(None);
        let number = affinities.server(&service, pod(7));
        affinities.forget(start);
        let timeout = SECOND * TIMEOUT_S;
        // Absent from here on.
        affinities.rule(&service, &[]);
        affinities.forget(start + SECOND);
        affinities.rule(&service, &[]);
        affinities.forget(start + SECOND + timeout);
        assert_eq!(affinities.server(&service, pod(7)), number, "a client may still be remembered by it");
        affinities.forget(start + timeout * 2);
        affinities.rule(&service, &[]);
        affinities.forget(start + timeout * 2 + SECOND);
        affinities.rule(&service, &[]);
        affinities.forget(start + timeout * 3 + SECOND * 2 + SLACK);
        assert_eq!(held(&affinities), (1, 0));
        assert!(affinities.server(&service, pod(7)) > number, "that number meant something once");
    }

    #[test]
    fn a_group_is_forgotten_with_its_last_service_and_later() {
        let (mut affinities, start) = (Affinities::default(), Instant::now());
        let service = sticky(Some("shop"));
        let first = affinities.rule(&service, &[]).unwrap().group;
        affinities.server(&service, pod(1));
        affinities.forget(start);
        affinities.forget(start + SECOND);
        affinities.forget(start + SECOND * TIMEOUT_S);
        assert_eq!(affinities.rule(&service, &[]).unwrap().group, first);
        affinities.forget(start + SECOND * TIMEOUT_S);
        affinities.forget(start + SECOND * TIMEOUT_S);
        affinities.forget(start + SECOND * TIMEOUT_S * 2 + SLACK);
        assert_eq!(held(&affinities), (0, 0));
        assert_ne!(affinities.rule(&service, &[]).unwrap().group, first);
    }

    #[test]
    fn of_too_many_absent_ones_the_longest_absent_are_forgotten() {
        let (mut affinities, start) = (Affinities::default(), Instant::now());
        let service = sticky(None);
        let stays = affinities.server(&service, pod(0));
        let (early, late) = (pod(1), pod(2));
        affinities.server(&service, early);
        let number = affinities.server(&service, late);
        affinities.forget(start);
        affinities.server(&service, pod(0));
        affinities.server(&service, late);
        affinities.forget(start + SECOND);
        for more in 0..MOST_ABSENT as u32 - 1 {
            affinities.server(&service, pod(10 + more));
        }
        affinities.server(&service, pod(0));
        affinities.server(&service, late);
        affinities.forget(start + SECOND * 2);
        affinities.server(&service, pod(0));
        affinities.forget(start + SECOND * 3);
        assert_eq!(held(&affinities).1, MOST_ABSENT + 1);
        assert_eq!(affinities.server(&service, pod(0)), stays);
        assert_eq!(affinities.server(&service, late), number);
        assert!(affinities.server(&service, early) > MOST_ABSENT as u32);
    }
}
