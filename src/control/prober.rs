//! Finds neighbours on both ends of a bridge: a pure state machine, `now` passed in.
//!
//! The kernel has its address on one end at the most and hears nothing of the other. So the switch asks by itself, at both
//! ends ([`super::frames`]), and remembers what the workers hear: who answered, behind which interface. Only backends,
//! gateways and what workers have frames for are remembered, so nobody can fill the table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::announce::Announcement;
use super::compile::Wanted;
use super::frames;
use super::topology::{Port, Topology, network};
use crate::tables::{Event, InterfaceId};

/// Between the first two questions about a neighbour that does not answer; every further pause is as much longer.
const RETRY: Duration = Duration::from_secs(1);
/// The longest of these pauses, in times [`RETRY`].
const LONGEST_PAUSE: u32 = 5;
/// A neighbour that was heard of this long ago is asked again.
const CONFIRM: Duration = Duration::from_secs(30);
/// A neighbour that was not heard of for this long is gone.
const FORGET: Duration = Duration::from_secs(90);
/// What no worker asked for during this time is no longer looked for.
const INTEREST: Duration = Duration::from_secs(120);
/// Addresses that are remembered beyond backends and gateways.
const REMEMBERED: usize = 4096;
/// Questions per turn, each a frame at both ends.
const PER_TURN: usize = 64;

/// Where a neighbour is.
#[derive(Debug, Clone, Copy)]
struct Found {
    interface: InterfaceId,
    mac: [u8; 6],
    heard: Instant,
}

#[derive(Debug)]
struct Entry {
    found: Option<Found>,
    /// When to ask next.
    ask: Instant,
    /// Questions since it was heard of.
    asked: u32,
    /// Until when it is of interest although it is neither backend nor gateway.
    until: Instant,
}

/// The neighbours of a bridge.
#[derive(Debug, Default)]
pub struct Prober {
    entries: BTreeMap<IpAddr, Entry>,
    wanted: BTreeSet<IpAddr>,
}

impl Prober {
    /// What is known, for [`Topology::learn`].
    pub fn neighbors(&self) -> impl Iterator<Item = (InterfaceId, IpAddr, [u8; 6])> {
        let found = self.entries.iter().filter_map(|(address, entry)| Some((address, entry.found?)));
        found.map(|(address, found)| (found.interface, *address, found.mac))
    }

    /// Backends and gateways are looked for at all times, and nobody else for ever.
    pub fn want(&mut self, wanted: &[Wanted], now: Instant) {
        self.wanted = wanted.iter().map(|wanted| wanted.address).collect();
        for address in &self.wanted {
            let entry = || Entry { found: None, ask: now, asked: 0, until: now };
            self.entries.entry(*address).or_insert_with(entry);
        }
    }

    /// A worker's event. Whether it changes what is known.
    pub fn event(&mut self, event: Event, now: Instant) -> bool {
        match event {
            Event::Resolve { address, .. } => {
                self.look_for(address, now);
                false
            }
            Event::Learned { interface, address, mac } => self.heard(interface, address, mac, now),
            Event::Failing(_) => false,
        }
    }

    fn look_for(&mut self, address: IpAddr, now: Instant) {
        if address.is_multicast() || address.is_unspecified() {
            return;
        }
        let room = self.entries.len() < REMEMBERED + self.wanted.len();
        match self.entries.get_mut(&address) {
            Some(entry) => entry.until = now + INTEREST,
            None if room => {
                let entry = Entry { found: None, ask: now, asked: 0, until: now + INTEREST };
                self.entries.insert(address, entry);
            }
            None => {}
        }
    }

    fn heard(&mut self, interface: InterfaceId, address: IpAddr, mac: [u8; 6], now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(&address).filter(|_| mac[0] & 1 == 0 && mac != [0; 6]) else {
            return false;
        };
        let same = |found: Found| (found.interface, found.mac) == (interface, mac);
        let changed = !entry.found.is_some_and(same);
        entry.found = Some(Found { interface, mac, heard: now });
        (entry.ask, entry.asked) = (now + CONFIRM, 0);
        changed
    }

    /// The questions that are due, a few at a time, and whether a neighbour is gone.
    /// `announced` are the addresses that the switch answers for: it asks in the name of one of them.
    pub fn turn(
        &mut self,
        topology: &Topology,
        announced: &BTreeSet<IpAddr>,
        now: Instant,
    ) -> (Vec<Announcement>, bool) {
        let mut lost = false;
        let wanted = &self.wanted;
        self.entries.retain(|address, entry| {
            if entry.found.is_some_and(|found| now >= found.heard + FORGET) {
                entry.found = None;
                lost = true;
            }
            let kept = wanted.contains(address) || now < entry.until;
            lost |= !kept && entry.found.is_some();
            kept
        });
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.ask <= now).take(PER_TURN);
        let mut questions = Vec::new();
        for (address, entry) in due {
            entry.asked = (entry.asked + 1).min(LONGEST_PAUSE);
            entry.ask = now + RETRY * entry.asked;
            let pinned = topology.neighbors.get(&(InterfaceId(0), *address)).is_some_and(|n| n.pinned);
            if !pinned {
                questions.extend(
                    topology.ports.iter().filter_map(|port| question(topology, announced, port, *address)),
                );
            }
        }
        (questions, lost)
    }
}

fn question(
    topology: &Topology,
    announced: &BTreeSet<IpAddr>,
    port: &Port,
    target: IpAddr,
) -> Option<Announcement> {
    if !port.up || !port.has_mac {
        return None;
    }
    let interface = &port.interface;
    let frame = frames::question(target, asker(topology, announced, target), interface.mac, &interface.tags);
    Some(Announcement { ifindex: port.ifindex?, frame })
}

/// Who asks: a VIP in the target's network, or nobody. (Neighbour discovery has a link-local address to fall back to.)
///
/// Not the kernel: what is addressed to the kernel goes to the kernel, answers included, and it hears them only where it
/// has asked itself.
fn asker(topology: &Topology, announced: &BTreeSet<IpAddr>, target: IpAddr) -> Option<IpAddr> {
    let own: Vec<_> = topology.ports.iter().flat_map(|port| &port.interface.addresses).collect();
    let together = |vip: &IpAddr| {
        own.iter().any(|(own, length)| {
            let same = |address: IpAddr| {
                own.is_ipv4() == address.is_ipv4() && network(*own, *length) == network(address, *length)
            };
            same(*vip) && same(target)
        })
    };
    announced.iter().copied().find(|vip| vip.is_ipv4() == target.is_ipv4() && together(vip))
}

#[cfg(test)]
mod tests {
    use super::super::network::{Link, NetworkView};
    use super::super::testing::{config, ip};
    use super::*;
    use crate::config::valid;
    use crate::wire::arp::Request;

    const ETH0: InterfaceId = InterfaceId(0);
    const ETH1: InterfaceId = InterfaceId(1);
    const BACKEND: &str = "198.18.0.11";

    /// eth0 has index 2 and 198.18.0.2/24, eth1 has index 3 and no address.
    fn topology() -> Topology {
        let mut config = config();
        config.switch.topology = valid::Topology::Bridge;
        let link = |name: &str, last| {
            let mac = Some([2, 0, 0, 0, 0, last]);
            Link { name: name.into(), mac, mtu: 1500, up: true, vlan: None }
        };
        let view = NetworkView {
            links: [(2, link("eth0", 1)), (3, link("eth1", 2))].into(),
            addresses: [(2, ip("198.18.0.2"), 24)].into(),
            ..NetworkView::default()
        };
        Topology::new(&config, &view)
    }

    fn prober(now: Instant) -> Prober {
        let mut prober = Prober::default();
        prober.want(&[Wanted { interface: ETH0, address: ip(BACKEND), resolved: false }], now);
        prober
    }

    fn learned(interface: InterfaceId, address: &str, last: u8) -> Event {
        Event::Learned { interface, address: ip(address), mac: [2, 0, 0, 0, 9, last] }
    }

    fn vips() -> BTreeSet<IpAddr> {
        [ip("198.18.0.100"), ip("203.0.113.1")].into()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn whoever_is_wanted_is_asked_for_at_both_ends_until_heard_of() {
        let (topology, start) = (topology(), Instant::now());
        let mut prober = prober(start);
        let (questions, _) = prober.turn(&topology, &vips(), start);
        assert_eq!(questions.iter().map(|question| question.ifindex).collect::<Vec<_>>(), [2, 3]);
        for (question, last) in questions.iter().zip([1, 2]) {
            let request = Request::parse(&question.frame[14..]).unwrap();
            assert_eq!(
                (request.sender, request.target),
                (0xC612_0064, 0xC612_000B),
                "in the name of the VIP"
            );
            assert_eq!(request.sender_mac, [2, 0, 0, 0, 0, last], "each end has its own MAC address");
        }
        assert!(prober.turn(&topology, &vips(), start + seconds(1) / 2).0.is_empty());
        assert_eq!(prober.turn(&topology, &vips(), start + seconds(1)).0.len(), 2, "once more");
        assert!(prober.event(learned(ETH1, BACKEND, 11), start + seconds(1)));
        assert!(prober.turn(&topology, &vips(), start + seconds(3)).0.is_empty(), "it answered");
        let known: Vec<_> = prober.neighbors().collect();
        assert_eq!(known, [(ETH1, ip(BACKEND), [2, 0, 0, 0, 9, 11])]);
    }

    #[test]
    fn neighbours_are_confirmed_and_forgotten() {
        let (topology, start) = (topology(), Instant::now());
        let mut prober = prober(start);
        prober.event(learned(ETH1, BACKEND, 11), start);
        assert!(prober.turn(&topology, &vips(), start + seconds(29)).0.is_empty());
        assert_eq!(prober.turn(&topology, &vips(), start + seconds(30)).0.len(), 2);
        assert!(!prober.event(learned(ETH1, BACKEND, 11), start + seconds(30)), "nothing new");
        assert!(!prober.turn(&topology, &vips(), start + seconds(119)).1);
        assert!(prober.turn(&topology, &vips(), start + seconds(120)).1, "silent for 90 seconds");
        assert_eq!(prober.neighbors().count(), 0);
    }

    #[test]
    fn a_neighbour_may_move_to_the_other_end() {
        let now = Instant::now();
        let mut prober = prober(now);
        assert!(prober.event(learned(ETH1, BACKEND, 11), now));
        assert!(prober.event(learned(ETH0, BACKEND, 11), now));
        assert_eq!(prober.neighbors().next().unwrap().0, ETH0);
    }

    #[test]
    fn strangers_are_not_remembered_unless_a_worker_asked_for_them() {
        let (topology, now) = (topology(), Instant::now());
        let mut prober = prober(now);
        assert!(!prober.event(learned(ETH0, "198.18.0.50", 50), now));
        prober.event(Event::Resolve { interface: ETH0, address: ip("198.18.0.50") }, now);
        assert!(prober.event(learned(ETH0, "198.18.0.50", 50), now));
        assert!(!prober.event(Event::Learned { interface: ETH0, address: ip(BACKEND), mac: [1; 6] }, now));
        prober.turn(&topology, &vips(), now + INTEREST);
        assert_eq!(prober.entries.keys().collect::<Vec<_>>(), [&ip(BACKEND)]);
    }

    #[test]
    fn whoever_never_answers_is_asked_less_often() {
        let (topology, start) = (topology(), Instant::now());
        let mut prober = prober(start);
        let asked: Vec<u64> = (0..30)
            .filter(|at| !prober.turn(&topology, &vips(), start + seconds(*at)).0.is_empty())
            .collect();
        assert_eq!(asked, [0, 1, 3, 6, 10, 15, 20, 25]);
    }

    #[test]
    fn a_scan_does_not_grow_the_table() {
        let now = Instant::now();
        let mut prober = prober(now);
        for host in 0..20_000u32 {
            let address = IpAddr::from((0xC612_0000 + host).to_be_bytes());
            prober.event(Event::Resolve { interface: ETH0, address }, now);
        }
        assert_eq!(prober.entries.len(), REMEMBERED + 1);
    }
}
