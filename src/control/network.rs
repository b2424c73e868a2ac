//! The kernel's view of the network: plain data, filled by [`super::netlink`] and empty in `replay`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One link of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its Ethernet address; none on links that are not Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Administratively up and with carrier.
    pub up: bool,
    /// What it is on another link, if it is a VLAN device.
    pub vlan: Option<Vlan>,
}

/// A VLAN device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// The link that carries its frames, tagged.
    pub parent: u32,
    /// The VLAN's number.
    pub id: u16,
    /// A service tag (IEEE 802.1ad) rather than a customer tag.
    pub service: bool,
}

/// One way out of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The link.
    pub ifindex: u32,
    /// The router; none = the destination is on the link.
    pub via: Option<IpAddr>,
}

/// One route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// Destination.
    pub prefix: (IpAddr, u8),
    /// Priority: of two routes to one prefix the kernel takes the lower.
    pub metric: u32,
    /// The ways out that are alive; none for `unreachable`, `blackhole` and `prohibit`.
    pub hops: Vec<Hop>,
}

/// One entry of the neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// Its Ethernet address, while the entry's state lets the kernel use it: REACHABLE, STALE, DELAY, PROBE,
    /// NOARP and PERMANENT (the kernel's `NUD_VALID`).
    pub mac: Option<[u8; 6]>,
    /// Set by an administrator (PERMANENT, NOARP): never to be touched.
    pub pinned: bool,
}

/// Links, addresses, routes and neighbours, of all interfaces of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkView {
    /// By interface index.
    pub links: BTreeMap<u32, Link>,
    /// Interface index, address, prefix length.
    pub addresses: BTreeSet<(u32, IpAddr, u8)>,
    /// In the kernel's order.
    pub routes: Vec<KernelRoute>,
    /// By interface index and address.
    pub neighbors: BTreeMap<(u32, IpAddr), Neighbor>,
}

/// One change of the neighbour table: the entry as it is now, none = removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighborChange {
    /// Interface index.
    pub ifindex: u32,
    /// The neighbour.
    pub address: IpAddr,
    /// The entry.
    pub neighbor: Option<Neighbor>,
}

impl NetworkView {
    /// Takes one change over. Whether anything that a snapshot holds is different now: most changes are only the
    /// kernel's timers (REACHABLE to STALE and back).
    pub fn apply(&mut self, change: NeighborChange) -> bool {
        let key = (change.ifindex, change.address);
        let before = match change.neighbor {
            Some(neighbor) => self.neighbors.insert(key, neighbor),
            None => self.neighbors.remove(&key),
        };
        before != change.neighbor
    }

    /// The VLAN device on this link whose frames bear these tags, outermost first; without tags, the link itself.
    pub fn vlan_device(&self, link: u32, tags: &[u16]) -> Option<u32> {
        let [tag, rest @ ..] = tags else { return Some(link) };
        // The outer of two tags is a service tag.
        let wanted = Vlan { parent: link, id: *tag, service: !rest.is_empty() };
        let (device, _) = self.links.iter().find(|(_, link)| link.vlan == Some(wanted))?;
        self.vlan_device(*device, rest)
    }

    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<(u32, &Link)> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(index, link)| (*index, link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_counts_as_a_change() {
        let mut view = NetworkView::default();
        let mut change = NeighborChange {
            ifindex: 2,
            address: "198.18.0.9".parse().unwrap(),
            neighbor: Some(Neighbor { mac: Some([2; 6]), pinned: false }),
        };
        assert!(view.apply(change));
        assert!(!view.apply(change), "the same again");
        change.neighbor = Some(Neighbor { mac: None, pinned: false });
        assert!(view.apply(change), "no longer resolved");
        change.neighbor = None;
        assert!(view.apply(change));
        assert!(!view.apply(change), "already removed");
    }
}
