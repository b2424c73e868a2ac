//! When to ask the kernel about a neighbour: a pure state machine, `now` passed in. In a bridge [`super::prober`] asks
//! instead.
//!
//! The kernel resolves neighbours for its own packets only, and ours bypass it. So it is asked on their behalf: for every
//! backend and gateway at start, for whatever a worker has frames for, and every 15 s for those it knows: that makes
//! it probe entries that went stale, and keeps it from collecting entries that it believes unused.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::compile::Wanted;
use super::netlink::Target;
use super::topology::Topology;
use crate::tables::{Event, InterfaceId};

/// Between two looks after the neighbours in use: below the kernel's 15 to 45 s of reachability.
const REFRESH: Duration = Duration::from_secs(15);
/// Between two looks after backends and gateways that are not resolved, once the first ones have not helped.
const RETRY: Duration = Duration::from_secs(5);
/// First pause between two questions about one address that workers ask for.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Addresses whose pauses are remembered. When there are more, the others wait: somebody scans a subnet.
const REMEMBERED: usize = 4096;
/// Neighbours beyond backends and gateways that are refreshed: the kernel's own wish for its table (`gc_thresh2`).
const REFRESHED: usize = 512;
/// Questions per turn, so that ten thousand backends do not fill the kernel's queue.
const PER_TURN: usize = 64;

/// What to tell the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Resolve, or probe.
    Resolve(Target),
    /// Take this MAC address, if there is none (`fresh`: no entry at all).
    Learn {
        /// The neighbour.
        target: Target,
        /// What it said.
        mac: [u8; 6],
        /// The kernel has no entry, not even a failed one.
        fresh: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    not_before: Instant,
    pause: Duration,
}

/// Remembers what was asked when.
#[derive(Debug)]
pub struct Resolver {
    asked: HashMap<(InterfaceId, IpAddr), Asked>,
    queue: VecDeque<(InterfaceId, IpAddr)>,
    next_refresh: Instant,
    next_retry: Instant,
    /// From one look after the unresolved to the next: short at first, for a question may be lost.
    retry_pause: Duration,
}

impl Resolver {
    /// Starts with a look at everything wanted.
    pub fn new(now: Instant) -> Self {
        Self {
            asked: HashMap::new(),
            queue: VecDeque::new(),
            next_refresh: now,
            next_retry: now,
            retry_pause: FIRST_PAUSE,
        }
    }

    /// Something that is wanted changed: look soon.
    pub fn look_again(&mut self, now: Instant) {
        (self.next_retry, self.retry_pause) = (now, FIRST_PAUSE);
    }

    /// A worker's event, as a request, unless it is too soon or pointless.
    pub fn event(&mut self, event: Event, topology: &Topology, now: Instant) -> Option<Request> {
        let (Event::Resolve { interface, address } | Event::Learned { interface, address, .. }) = event
        else {
            return None;
        };
        let known = topology.neighbors.get(&(interface, address));
        let target = Target { ifindex: topology.port(interface)?.device?, address };
        if known.is_some_and(|neighbor| neighbor.pinned) || address.is_multicast() || address.is_unspecified()
        {
            return None;
        }
        let known_mac = known.and_then(|neighbor| neighbor.mac);
        let wish = match event {
            Event::Resolve { .. } if known_mac.is_some() => return None,
            Event::Failing(_) => return None,
            Event::Resolve { .. } => Request::Resolve(target),
            Event::Learned { mac, .. } => {
                let believable = mac[0] & 1 == 0 && mac != [0; 6] && on_link(topology, interface, address);
                match known_mac {
                    _ if !believable => return None,
                    Some(known_mac) if known_mac == mac => return None,
                    // It moved, or somebody lies: the kernel finds out.
                    Some(_) => Request::Resolve(target),
                    None => Request::Learn { target, mac, fresh: known.is_none() },
                }
            }
        };
        self.may_ask((interface, address), now).then_some(wish)
    }

    /// What is due, a few at a time.
    pub fn turn(&mut self, wanted: &[Wanted], topology: &Topology, now: Instant) -> Vec<Request> {
        if now >= self.next_refresh {
            self.next_refresh = now + REFRESH;
            self.pause_retries(now);
            let known = topology.neighbors.iter();
            let alive = known.filter(|(_, neighbor)| neighbor.mac.is_some() && !neighbor.pinned);
            self.queue = alive.map(|(key, _)| *key).take(REFRESHED).collect();
            self.queue.extend(wanted.iter().map(|wanted| (wanted.interface, wanted.address)));
        } else if now >= self.next_retry {
            self.pause_retries(now);
            let unresolved = wanted.iter().filter(|wanted| !wanted.resolved);
            self.queue.extend(unresolved.map(|wanted| (wanted.interface, wanted.address)));
        }
        let due = self.queue.len().min(PER_TURN);
        self.queue
            .drain(..due)
            .filter_map(|(interface, address)| {
                let ifindex = topology.port(interface)?.device?;
                Some(Request::Resolve(Target { ifindex, address }))
            })
            .collect()
    }

    fn pause_retries(&mut self, now: Instant) {
        self.next_retry = now + self.retry_pause;
        self.retry_pause = (self.retry_pause * 2).min(RETRY);
    }

    fn may_ask(&mut self, key: (InterfaceId, IpAddr), now: Instant) -> bool {
        if self.asked.len() >= REMEMBERED {
            self.asked.retain(|_, asked| asked.not_before > now);
        }
        if let Some(asked) = self.asked.get_mut(&key) {
            if now < asked.not_before {
                return false;
            }
            // Quiet for long enough: whatever was the trouble, this is a new one.
            let rested = now.duration_since(asked.not_before) > 10 * LONGEST_PAUSE;
            asked.pause = if rested { FIRST_PAUSE } else { (asked.pause * 2).min(LONGEST_PAUSE) };
            asked.not_before = now + asked.pause;
            return true;
        }
        if self.asked.len() >= REMEMBERED {
            return false;
        }
        self.asked.insert(key, Asked { not_before: now + FIRST_PAUSE, pause: FIRST_PAUSE });
        true
    }
}

/// Whether one of the interface's own prefixes holds the address: nobody may teach us neighbours that are not.
fn on_link(topology: &Topology, interface: InterfaceId, address: IpAddr) -> bool {
    use super::topology::network;
    topology.port(interface).is_some_and(|port| {
        port.interface.addresses.iter().any(|(own, length)| {
            own.is_ipv4() == address.is_ipv4() && network(*own, *length) == network(address, *length)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::network::{Link, Neighbor, NetworkView};
    use super::super::testing::{config, ip};
    use super::*;

    const ETH0: InterfaceId = InterfaceId(0);

    fn topology() -> Topology {
        let link = Link { name: "eth0".into(), mac: Some([2; 6]), mtu: 1500, up: true, vlan: None };
        let view = NetworkView {
            links: [(2, link)].into(),
            addresses: [(2, ip("198.18.0.2"), 24)].into(),
            ..NetworkView::default()
        };
        Topology::new(&config(), &view)
    }

    fn resolve(address: &str) -> Event {
        Event::Resolve { interface: ETH0, address: ip(address) }
    }

    fn learned(address: &str, mac: [u8; 6]) -> Event {
        Event::Learned { interface: ETH0, address: ip(address), mac }
    }

    #[test]
    fn questions_about_one_address_are_spaced_and_back_off() {
        let (topology, start) = (topology(), Instant::now());
        let mut resolver = Resolver::new(start);
        let asked: Vec<u64> = (0..3000)
            .step_by(50)
            .filter(|at| {
                let now = start + Duration::from_millis(*at);
                resolver.event(resolve("198.18.0.9"), &topology, now).is_some()
            })
            .collect();
        assert_eq!(asked, [0, 200, 600, 1400, 2400]);
        assert!(resolver.event(resolve("198.18.0.10"), &topology, start).is_some(), "another address");
        let later = start + Duration::from_secs(60);
        assert!(resolver.event(resolve("198.18.0.9"), &topology, later).is_some());
        let soon = later + Duration::from_millis(200);
        assert!(resolver.event(resolve("198.18.0.9"), &topology, soon).is_some(), "the pause is short again");
    }

    #[test]
    fn resolved_and_permanent_neighbours_are_left_alone() {
        let (mut topology, now) = (topology(), Instant::now());
        let mut resolver = Resolver::new(now);
        topology.neighbors.insert((ETH0, ip("198.18.0.9")), Neighbor { mac: Some([4; 6]), pinned: false });
        topology.neighbors.insert((ETH0, ip("198.18.0.10")), Neighbor { mac: Some([4; 6]), pinned: true });
        for address in ["198.18.0.9", "198.18.0.10"] {
            assert_eq!(resolver.event(resolve(address), &topology, now), None);
            assert_eq!(resolver.event(learned(address, [4; 6]), &topology, now), None);
        }
        assert_eq!(resolver.event(learned("198.18.0.10", [6; 6]), &topology, now), None);
    }

    #[test]
    fn a_neighbour_with_another_address_than_before_is_checked_by_the_kernel() {
        let (mut topology, now) = (topology(), Instant::now());
        topology.neighbors.insert((ETH0, ip("198.18.0.9")), Neighbor { mac: Some([4; 6]), pinned: false });
        let request = Resolver::new(now).event(learned("198.18.0.9", [6; 6]), &topology, now);
        assert_eq!(request, Some(Request::Resolve(Target { ifindex: 2, address: ip("198.18.0.9") })));
    }

    #[test]
    fn neighbours_that_are_known_are_kept_alive() {
        let (mut topology, now) = (topology(), Instant::now());
        for (last, mac, pinned) in [(9, Some([4; 6]), false), (10, None, false), (11, Some([4; 6]), true)] {
            topology.neighbors.insert((ETH0, IpAddr::from([198, 18, 0, last])), Neighbor { mac, pinned });
        }
        let target = Target { ifindex: 2, address: ip("198.18.0.9") };
        assert_eq!(Resolver::new(now).turn(&[], &topology, now), [Request::Resolve(target)]);
    }

    #[test]
    fn ipv6_neighbours_are_asked_for_and_teach_alike() {
        let (mut topology, now) = (topology(), Instant::now());
        topology.ports[0].interface.addresses = vec![(ip("2001:db8::2"), 64), (ip("fe80::2"), 64)];
        let mut resolver = Resolver::new(now);
        for address in ["2001:db8::9", "fe80::1"] {
            let target = Target { ifindex: 2, address: ip(address) };
            assert_eq!(resolver.event(resolve(address), &topology, now), Some(Request::Resolve(target)));
            let later = now + Duration::from_secs(1);
            let lesson = resolver.event(learned(address, [6; 6]), &topology, later);
            assert_eq!(lesson, Some(Request::Learn { target, mac: [6; 6], fresh: true }));
        }
        assert_eq!(resolver.event(learned("2001:db8:7::9", [6; 6]), &topology, now), None, "not on the link");
        assert_eq!(resolver.event(resolve("ff02::1"), &topology, now), None);
    }

    #[test]
    fn only_neighbours_on_the_link_can_teach_their_address() {
        let (mut topology, now) = (topology(), Instant::now());
        let mut resolver = Resolver::new(now);
        let target = Target { ifindex: 2, address: ip("198.18.0.9") };
        let lesson = resolver.event(learned("198.18.0.9", [6; 6]), &topology, now);
        assert_eq!(lesson, Some(Request::Learn { target, mac: [6; 6], fresh: true }));
        assert_eq!(resolver.event(learned("10.0.0.9", [6; 6]), &topology, now), None);
        assert_eq!(resolver.event(learned("198.18.0.10", [1, 0, 0, 0, 0, 1]), &topology, now), None);
        assert_eq!(resolver.event(learned("198.18.0.11", [0; 6]), &topology, now), None);
        topology.neighbors.insert((ETH0, ip("198.18.0.12")), Neighbor { mac: None, pinned: false });
        let lesson = resolver.event(learned("198.18.0.12", [6; 6]), &topology, now);
        assert!(matches!(lesson, Some(Request::Learn { fresh: false, .. })));
    }

    #[test]
    fn everything_wanted_is_asked_for_at_start_and_in_refreshes_the_unresolved_in_between() {
        let (topology, start) = (topology(), Instant::now());
        let wanted = |last: u8| Wanted {
            interface: ETH0,
            address: IpAddr::from([198, 18, 0, last]),
            resolved: last != 1,
        };
        let wanted: Vec<_> = (1..=100).map(wanted).collect();
        let mut resolver = Resolver::new(start);
        let mut at = |ms| resolver.turn(&wanted, &topology, start + Duration::from_millis(ms)).len();
        assert_eq!((at(0), at(0), at(0)), (PER_TURN, 100 - PER_TURN, 0));
        assert_eq!((at(199), at(200), at(599), at(600)), (0, 1, 0, 1), "a question may be lost");
        assert_eq!((at(1400), at(3000), at(6200), at(6300)), (1, 1, 1, 0));
        assert_eq!((at(11_200), at(11_300)), (1, 0), "5 s at the most");
        assert_eq!((at(15_000), at(15_000), at(15_000)), (PER_TURN, 100 - PER_TURN, 0));
    }

    #[test]
    fn a_scan_does_not_grow_the_memory() {
        let (topology, now) = (topology(), Instant::now());
        let mut resolver = Resolver::new(now);
        for host in 0..20_000u32 {
            let address = IpAddr::from((0xC612_0000 + host).to_be_bytes());
            resolver.event(Event::Resolve { interface: ETH0, address }, &topology, now);
        }
        assert_eq!(resolver.asked.len(), REMEMBERED);
    }
}
