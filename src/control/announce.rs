//! Gratuitous ARP and unsolicited neighbour advertisements: tells the neighbours where an address lives now. A pure state
//! machine, `now` passed in; [`super::frames`] builds, [`crate::sys::packet`] sends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::frames;
use super::topology::{Port, Topology};
use crate::tables::InterfaceId;

/// Times each address is announced: a single frame may get lost.
const REPEATS: u8 = 3;
/// Between two announcements of one address.
const PAUSE: Duration = Duration::from_secs(1);
/// Frames per turn.
const PER_TURN: usize = 64;

/// One frame to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The interface's index in the kernel.
    pub ifindex: u32,
    /// The frame, Ethernet header included.
    pub frame: Vec<u8>,
}

/// What is to be announced where, how often still, and when next.
#[derive(Debug, Default)]
pub struct Announcer {
    pending: BTreeMap<(InterfaceId, IpAddr), (Instant, u8)>,
    addresses: BTreeSet<IpAddr>,
    /// Interfaces that were up, and who they were then.
    up: BTreeMap<InterfaceId, (Option<u32>, [u8; 6])>,
}

impl Announcer {
    /// Compares with what was before: new addresses are announced on every interface that is up, and all addresses on
    /// an interface that came up (or has another MAC address now).
    pub fn update(&mut self, announced: &BTreeSet<IpAddr>, topology: &Topology, now: Instant) {
        let up: BTreeMap<_, _> = topology
            .ports
            .iter()
            .filter(|port| port.up && port.has_mac)
            .map(|port| (port.interface.id, (port.ifindex, port.interface.mac)))
            .collect();
        for (interface, identity) in &up {
            let came_up = self.up.get(interface) != Some(identity);
            for address in announced.iter().filter(|address| came_up || !self.addresses.contains(address)) {
                self.pending.insert((*interface, *address), (now, REPEATS));
            }
        }
        self.pending
            .retain(|(interface, address), _| up.contains_key(interface) && announced.contains(address));
        (self.addresses, self.up) = (announced.clone(), up);
    }

    /// The frames that are due, a few at a time.
    pub fn turn(&mut self, topology: &Topology, now: Instant) -> Vec<Announcement> {
        let due: Vec<_> = self
            .pending
            .iter()
            .filter(|(_, (at, _))| *at <= now)
            .map(|(key, _)| *key)
            .take(PER_TURN)
            .collect();
        for key in &due {
            if let Some((at, left)) = self.pending.get_mut(key) {
                (*at, *left) = (now + PAUSE, left.saturating_sub(1));
                if *left == 0 {
                    self.pending.remove(key);
                }
            }
        }
        due.into_iter()
            .filter_map(|(interface, address)| announcement(topology.port(interface)?, address))
            .collect()
    }
}

fn announcement(port: &Port, address: IpAddr) -> Option<Announcement> {
    let frame = frames::announcement(address, port.interface.mac, &port.interface.tags);
    Some(Announcement { ifindex: port.ifindex?, frame })
}

#[cfg(test)]
mod tests {
    use super::super::network::{Link, NetworkView};
    use super::super::testing::{config, ip};
    use super::*;

    fn topology(eth1_up: bool) -> Topology {
        let link = |name: &str, last, up| Link {
            name: name.into(),
            mac: Some([2, 0, 0, 0, 0, last]),
            mtu: 1500,
            up,
            vlan: None,
        };
        let links = [(2, link("eth0", 1, true)), (3, link("eth1", 2, eth1_up))];
        Topology::new(&config(), &NetworkView { links: links.into(), ..NetworkView::default() })
    }

    #[test]
    fn every_address_is_announced_three_times_a_second_apart_on_every_interface() {
        let (topology, start) = (topology(true), Instant::now());
        let mut announcer = Announcer::default();
        announcer.update(&[ip("198.18.0.100"), ip("2001:db8::1")].into(), &topology, start);
        let mut at =
            |milliseconds| announcer.turn(&topology, start + Duration::from_millis(milliseconds)).len();
        assert_eq!([at(0), at(500), at(1000), at(2000), at(3000), at(9000)], [4, 0, 4, 4, 0, 0]);
    }

    #[test]
    fn an_interface_that_comes_up_and_an_address_that_is_new_are_announced() {
        let (down, up, start) = (topology(false), topology(true), Instant::now());
        let mut announcer = Announcer::default();
        let one = [ip("198.18.0.100")].into();
        announcer.update(&one, &down, start);
        let late = start + Duration::from_secs(100);
        while !announcer.turn(&down, late).is_empty() || !announcer.pending.is_empty() {
            announcer.pending.values_mut().for_each(|(at, _)| *at = start);
        }
        announcer.update(&one, &up, late);
        let sent = announcer.turn(&up, late);
        assert_eq!(sent.iter().map(|announcement| announcement.ifindex).collect::<Vec<_>>(), [3]);
        announcer.pending.clear();
        announcer.update(&[ip("198.18.0.100"), ip("198.18.0.101")].into(), &up, late);
        let sent = announcer.turn(&up, late);
        assert_eq!(sent.len(), 2);
        assert!(sent.iter().all(|announcement| announcement.frame[38..42] == [198, 18, 0, 101]));
        announcer.update(&BTreeSet::new(), &up, late);
        assert!(announcer.pending.is_empty(), "a removed address is announced no more");
    }

    #[test]
    fn the_frame_is_the_announcement_of_the_address_at_the_interface() {
        let (topology, start) = (topology(false), Instant::now());
        let mut announcer = Announcer::default();
        announcer.update(&[ip("198.18.0.100")].into(), &topology, start);
        let frame = frames::announcement(ip("198.18.0.100"), [2, 0, 0, 0, 0, 1], &Default::default());
        assert_eq!(announcer.turn(&topology, start), [Announcement { ifindex: 2, frame }]);
    }
}
