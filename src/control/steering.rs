//! What the XDP program must know, and in which order it may learn it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::topology::Topology;
use crate::config::valid::{self, Config, Service};
use crate::tables::{Endpoint, Forwarding, PortRanges, Protocol, Steering};
use crate::wire::ethernet::Tags;
use crate::wire::tunnel::{Encapsulation, Family, Outer};

/// IEEE 802.1Q reserves this VLAN: no frame bears it.
const NO_VLAN: u16 = 4095;

/// Every VIP.
pub fn vips(config: &Config) -> BTreeSet<IpAddr> {
    config.services.iter().map(|service| service.vip.ip()).collect()
}

/// Addresses for which the switch answers ARP and neighbour solicitations: VIPs, unless told not to, and SNAT addresses and
/// sources of tunnels that the kernel does not own (and so would not answer for).
pub fn announced(config: &Config, topology: &Topology) -> BTreeSet<IpAddr> {
    let vips = config.services.iter().filter(|service| service.announce).map(|service| service.vip.ip());
    let has_tunnels = config.services.iter().any(|service| service.forwarding.is_tunnel());
    let sources = config.switch.tunnel_sources.iter().copied().filter(|_| has_tunnels);
    let ours = snat(config).into_keys().chain(sources).filter(|address| !topology.locals.contains(address));
    vips.chain(ours).collect()
}

/// SNAT addresses with their ports: those of full NAT, if a service uses it, and those of all rules. An address that
/// stands in several has the ports of all.
fn snat(config: &Config) -> BTreeMap<IpAddr, PortRanges> {
    let mut snat: BTreeMap<IpAddr, PortRanges> = BTreeMap::new();
    let mut add = |addresses: &[IpAddr], (first, last): (u16, u16)| {
        for address in addresses {
            snat.entry(*address).or_default().insert(first, last);
        }
    };
    if config.services.iter().any(|service| service.forwarding == Forwarding::FullNat) {
        add(&config.switch.snat_addresses, config.switch.snat_ports);
    }
    for rule in &config.snat {
        add(&rule.addresses, rule.ports);
    }
    snat
}

/// The content of the XDP program's maps. Services in `left` are the kernel's for now.
pub fn build(
    config: &Config,
    topology: &Topology,
    announced: BTreeSet<IpAddr>,
    vips: BTreeSet<IpAddr>,
    left: &HashSet<(SocketAddr, Protocol)>,
) -> Steering {
    let mut steering = Steering { announced, snat: snat(config), ..Steering::default() };
    for service in &config.services {
        let endpoint = |address| endpoint(service, address);
        if !left.contains(&(service.vip, service.protocol)) {
            steering.services.insert(endpoint(service.vip), headroom(service));
        }
        let backends = service.backends.iter().map(|backend| backend.address);
        match service.encapsulation() {
            Some(Encapsulation::Ipip) => steering.tunnels.extend(backends.map(|at| (at.ip(), None))),
            Some(Encapsulation::Gue { port }) => {
                steering.tunnels.extend(backends.map(|at| (at.ip(), Some(port))));
            }
            // Answers to all others go past the switch, or to its SNAT addresses.
            None if service.forwarding == Forwarding::Nat => steering.replies.extend(backends.map(endpoint)),
            None => {}
        }
    }
    steering.inside = config.snat.iter().flat_map(|rule| rule.inside.iter().copied()).collect();
    steering.bridge = config.switch.topology == valid::Topology::Bridge;
    steering.macs = topology.ports.iter().map(|port| port.interface.mac).collect();
    steering.tags = topology.ports.iter().map(|port| port.interface.tags).collect();
    steering.locals = topology.locals.difference(&vips).copied().collect();
    steering.hosts = vips.difference(&topology.locals).copied().collect();
    steering.vips = vips;
    steering
}

fn endpoint(service: &Service, address: SocketAddr) -> Endpoint {
    Endpoint { address: address.ip(), port: address.port(), protocol: service.protocol }
}

/// Connections keep the way of forwarding that they began with. Where a service was `nat` and is no longer, answers of
/// the backends that it still has are theirs; where none is `full-nat` any more, those to SNAT addresses that are still
/// listed.
pub fn keep_replies(steering: &mut Steering, old: &Steering, config: &Config) {
    for address in &config.switch.snat_addresses {
        if let (Some(ports), false) = (old.snat.get(address), steering.snat.contains_key(address)) {
            steering.snat.insert(*address, ports.clone());
            steering.announced.extend(old.announced.get(address));
        }
    }
    for service in &config.services {
        let backends = service.backends.iter().map(|backend| endpoint(service, backend.address));
        steering.replies.extend(backends.filter(|backend| old.replies.contains(backend)));
    }
}

/// Bytes that the longest outer headers to any backend take. Which backend it will be is not known before the room has
/// been made.
fn headroom(service: &Service) -> u16 {
    let Some(encapsulation) = service.encapsulation() else { return 0 };
    let inner = if service.vip.is_ipv4() { Family::V4 } else { Family::V6 };
    let length = |backend: &valid::Backend| {
        let destination = backend.address.ip();
        let source: IpAddr = match destination {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Outer::new(encapsulation, source, destination, inner).map_or(0, |outer| outer.len())
    };
    service.backends.iter().map(length).max().unwrap_or(0) as u16
}

/// Addresses that neighbours are told of at start and when an interface returns: those that the switch answers for, and
/// SNAT addresses that the kernel owns. It would answer for them, but not announce them, and the backends would go on
/// sending to the MAC address of an interface that was replaced.
pub fn told(steering: &Steering) -> BTreeSet<IpAddr> {
    steering.announced.iter().chain(steering.snat.keys()).copied().collect()
}

/// What both `old` and `new` redirect. In force while the workers change snapshots, so that at no time a frame is
/// redirected to a worker that does not know what to do with it.
pub fn common(old: &Steering, new: &Steering) -> Steering {
    let mut common = new.clone();
    common.services.retain(|endpoint, _| old.services.contains_key(endpoint));
    for (endpoint, room) in &mut common.services {
        // Room that nobody needs does no harm.
        *room = (*room).max(old.services.get(endpoint).copied().unwrap_or(0));
    }
    common.replies.retain(|endpoint| old.replies.contains(endpoint));
    common.snat = intersection(&old.snat, &new.snat);
    common.inside.retain(|prefix| old.inside.contains(prefix));
    common.vips.retain(|address| old.vips.contains(address));
    common.hosts.retain(|address| old.hosts.contains(address));
    common.tunnels.retain(|tunnel| old.tunnels.contains(tunnel));
    common.announced.retain(|address| old.announced.contains(address));
    common.bridge &= old.bridge;
    // What either excepts from redirection stays excepted.
    common.locals.extend(old.locals.iter().copied());
    common.not_outside = not_outside(old, new);
    for (tags, old) in common.tags.iter_mut().zip(&old.tags) {
        if tags != old {
            *tags = Tags::single(NO_VLAN);
        }
    }
    common
}

fn intersection(
    old: &BTreeMap<IpAddr, PortRanges>,
    new: &BTreeMap<IpAddr, PortRanges>,
) -> BTreeMap<IpAddr, PortRanges> {
    let both = |(address, ports): (&IpAddr, &PortRanges)| {
        let common = ports.intersection(old.get(address)?);
        (!common.as_slice().is_empty()).then_some((*address, common))
    };
    new.iter().filter_map(both).collect()
}

/// Destinations that are outside for one of the two and not for the other. They would be outside for what both have in
/// common, because that names fewer prefixes and VIPs.
fn not_outside(old: &Steering, new: &Steering) -> BTreeSet<(IpAddr, u8)> {
    let host = |address: &IpAddr| (*address, if address.is_ipv4() { 32 } else { 128 });
    let prefixes = old.inside.symmetric_difference(&new.inside).copied();
    prefixes.chain(old.vips.symmetric_difference(&new.vips).map(host)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, ip};
    use super::*;
    use crate::control::network::NetworkView;

    #[test]
    fn errors_find_the_way_to_a_source_of_tunnels_that_the_kernel_does_not_own() {
        let mut config = config();
        config.switch.tunnel_sources = vec![ip("198.18.1.7")];
        let vip = ip("198.18.0.100");
        assert_eq!(steering(&config, &[]).announced, [vip].into(), "there are no tunnels");
        config.services[0].forwarding = Forwarding::Ipip;
        assert_eq!(steering(&config, &[]).announced, [vip, ip("198.18.1.7")].into());
        assert_eq!(steering(&config, &["198.18.1.7"]).announced, [vip].into(), "the kernel answers itself");
    }

    #[test]
    fn neighbours_are_told_of_snat_addresses_that_the_kernel_owns() {
        let steering = Steering {
            announced: [ip("198.18.0.100")].into(),
            snat: [(ip("198.18.1.2"), PortRanges::of(1024, 32767))].into(),
            ..Steering::default()
        };
        assert_eq!(told(&steering), [ip("198.18.0.100"), ip("198.18.1.2")].into());
    }

    fn topology(config: &Config, locals: &[&str]) -> Topology {
        let mut topology = Topology::new(config, &NetworkView::default());
        topology.locals = locals.iter().map(|address| ip(address)).collect();
        topology
    }

    fn steering(config: &Config, locals: &[&str]) -> Steering {
        let topology = topology(config, locals);
        build(config, &topology, announced(config, &topology), vips(config), &HashSet::new())
    }

    #[test]
    fn replies_are_those_of_nat_services_and_snat_ports_come_with_full_nat() {
        let mut config = config();
        let nat = steering(&config, &["198.18.0.2"]);
        assert_eq!(nat.services.len(), 1);
        assert!(nat.services.values().all(|headroom| *headroom == 0));
        assert_eq!((nat.replies.len(), nat.snat.len()), (2, 0));
        config.services[0].forwarding = Forwarding::FullNat;
        let full = steering(&config, &["198.18.0.2"]);
        assert_eq!(full.replies.len(), 0);
        assert_eq!(full.snat[&ip("198.18.1.2")].as_slice(), [(1024, 32767)]);
    }

    #[test]
    fn answers_of_nat_connections_stay_ours_when_their_service_is_no_longer_nat() {
        let mut config = config();
        let nat = steering(&config, &[]);
        config.services[0].forwarding = Forwarding::FullNat;
        let gone = config.services[0].backends.remove(0);
        let mut full = steering(&config, &[]);
        keep_replies(&mut full, &nat, &config);
        assert_eq!(full.replies.len(), 1);
        assert!(full.replies.iter().all(|reply| reply.address != gone.address.ip()));
    }

    #[test]
    fn answers_to_snat_addresses_stay_ours_while_they_are_listed() {
        let mut config = config();
        config.services[0].forwarding = Forwarding::FullNat;
        let full = steering(&config, &[]);
        config.services[0].forwarding = Forwarding::Nat;
        let mut nat = steering(&config, &[]);
        keep_replies(&mut nat, &full, &config);
        assert_eq!((&nat.snat, &nat.announced), (&full.snat, &full.announced));
        config.switch.snat_addresses.clear();
        let mut without = steering(&config, &[]);
        keep_replies(&mut without, &full, &config);
        assert!(without.snat.is_empty() && !without.announced.contains(&ip("198.18.1.2")));
    }

    #[test]
    fn announced_are_vips_unless_told_otherwise_and_snat_addresses_the_kernel_does_not_own() {
        let mut config = config();
        config.services[0].forwarding = Forwarding::FullNat;
        let both = [ip("198.18.0.100"), ip("198.18.1.2")];
        assert_eq!(steering(&config, &["198.18.0.2"]).announced, both.into());
        assert_eq!(steering(&config, &["198.18.1.2"]).announced, [both[0]].into());
        config.services[0].announce = false;
        assert_eq!(steering(&config, &[]).announced, [both[1]].into());
        assert_eq!(steering(&config, &[]).vips, [both[0]].into());
    }

    #[test]
    fn a_vip_that_the_host_owns_is_no_local_address() {
        let steering = steering(&config(), &["198.18.0.100", "198.18.0.2"]);
        assert_eq!(steering.locals, [ip("198.18.0.2")].into());
    }

    #[test]
    fn between_two_steerings_only_the_common_part_is_redirected() {
        let old = steering(&config(), &["198.18.0.2"]);
        let mut changed = config();
        changed.services[0].vip = "198.18.0.101:80".parse().unwrap();
        changed.services[0].backends.remove(0);
        let new = steering(&changed, &["198.18.0.3"]);
        let between = common(&old, &new);
        assert!(between.services.is_empty() && between.vips.is_empty());
        assert_eq!(between.replies.len(), 1);
        assert_eq!(between.locals, [ip("198.18.0.2"), ip("198.18.0.3")].into());
        assert_eq!(common(&new, &new), new);
    }

    fn with_forwarding(forwarding: Forwarding, backends: &[&str]) -> Config {
        let mut config = config();
        config.services[0].forwarding = forwarding;
        let backend = |address: &&str| crate::config::valid::Backend::new(address.parse().unwrap(), 1);
        config.services[0].backends = backends.iter().map(backend).collect();
        config
    }

    fn rule(inside: &str, address: &str, ports: (u16, u16)) -> valid::Snat {
        valid::Snat {
            name: address.into(),
            inside: vec![(ip(inside), 24)],
            addresses: vec![ip(address)],
            ports,
            mapping: Default::default(),
            filtering: Default::default(),
            hairpinning: true,
        }
    }

    #[test]
    fn the_headroom_of_a_tunnel_is_that_of_its_longest_outer_headers() {
        let v4 = ["198.18.1.11:80"];
        let both = ["198.18.1.11:80", "[2001:db8::11]:80"];
        let room = |forwarding, backends: &[&str]| {
            let steering = steering(&with_forwarding(forwarding, backends), &[]);
            steering.services.into_values().next().unwrap()
        };
        assert_eq!((room(Forwarding::Ipip, &v4), room(Forwarding::Ipip, &both)), (20, 40));
        assert_eq!((room(Forwarding::Gue, &v4), room(Forwarding::Gue, &both)), (32, 52));
        assert_eq!((room(Forwarding::Dsr, &both), room(Forwarding::Ipip, &[])), (0, 0));
    }

    #[test]
    fn direct_answers_are_no_replies_and_tunnels_are_known_by_their_far_ends() {
        let backends = ["198.18.1.11:80", "[2001:db8::11]:80"];
        for forwarding in [Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue] {
            assert!(steering(&with_forwarding(forwarding, &backends), &[]).replies.is_empty());
        }
        let ends = |port| [(ip("198.18.1.11"), port), (ip("2001:db8::11"), port)].into();
        assert_eq!(steering(&with_forwarding(Forwarding::Ipip, &backends), &[]).tunnels, ends(None));
        assert_eq!(steering(&with_forwarding(Forwarding::Gue, &backends), &[]).tunnels, ends(Some(6080)));
    }

    #[test]
    fn a_vip_that_the_kernel_does_not_own_is_a_host_of_ours() {
        assert_eq!(steering(&config(), &["198.18.0.2"]).hosts, [ip("198.18.0.100")].into());
        assert!(steering(&config(), &["198.18.0.100"]).hosts.is_empty());
    }

    #[test]
    fn outbound_rules_bring_inside_prefixes_addresses_and_ports() {
        let mut config = config();
        config.services[0].forwarding = Forwarding::FullNat;
        config.snat = vec![
            rule("10.1.0.0", "198.18.0.9", (20000, 30000)),
            rule("10.2.0.0", "198.18.0.9", (40000, 50000)),
            rule("10.3.0.0", "198.18.1.2", (60000, 65535)),
        ];
        let steering = steering(&config, &["198.18.1.2"]);
        let inside = ["10.1.0.0", "10.2.0.0", "10.3.0.0"].map(|prefix| (ip(prefix), 24));
        assert_eq!(steering.inside, inside.into());
        assert_eq!(steering.snat[&ip("198.18.0.9")].as_slice(), [(20000, 30000), (40000, 50000)]);
        assert_eq!(steering.snat[&ip("198.18.1.2")].as_slice(), [(1024, 32767), (60000, 65535)]);
        assert_eq!(steering.announced, [ip("198.18.0.100"), ip("198.18.0.9")].into());
        assert!(told(&steering).contains(&ip("198.18.1.2")));
    }

    #[test]
    fn tags_and_topology_are_those_of_the_interfaces() {
        let mut config = config();
        config.switch.topology = valid::Topology::Bridge;
        let mut topology = topology(&config, &[]);
        topology.ports[1].interface.tags = Tags::double(7, 9);
        let steering = build(&config, &topology, BTreeSet::new(), vips(&config), &HashSet::new());
        assert_eq!((steering.bridge, steering.tags), (true, vec![Tags::none(), Tags::double(7, 9)]));
    }

    #[test]
    fn between_two_steerings_the_larger_headroom_and_the_common_ports_hold() {
        let mut first = with_forwarding(Forwarding::Ipip, &["198.18.1.11:80"]);
        let mut second = with_forwarding(Forwarding::Gue, &["198.18.1.11:80"]);
        first.snat = vec![rule("10.1.0.0", "198.18.0.9", (100, 200))];
        second.snat = vec![rule("10.1.0.0", "198.18.0.9", (150, 300))];
        let (old, new) = (steering(&first, &[]), steering(&second, &[]));
        for between in [common(&old, &new), common(&new, &old)] {
            assert!(between.services.values().all(|room| *room == 32));
            assert_eq!(between.snat[&ip("198.18.0.9")].as_slice(), [(150, 200)]);
            assert_eq!((between.inside.len(), between.tunnels.len()), (1, 0));
        }
    }

    #[test]
    fn between_two_steerings_what_is_outside_for_one_alone_is_not_outside() {
        let mut first = config();
        first.snat = vec![rule("10.1.0.0", "198.18.0.9", (100, 200))];
        let mut second = first.clone();
        second.snat.push(rule("10.2.0.0", "198.18.0.9", (100, 200)));
        second.services[0].vip = "[2001:db8::100]:80".parse().unwrap();
        let between = common(&steering(&first, &[]), &steering(&second, &[]));
        assert_eq!(between.inside, [(ip("10.1.0.0"), 24)].into());
        let either = [(ip("10.2.0.0"), 24), (ip("198.18.0.100"), 32), (ip("2001:db8::100"), 128)];
        assert_eq!(between.not_outside, either.into());
    }

    #[test]
    fn between_two_steerings_an_interface_that_changes_its_vlan_gets_nothing() {
        let mut old = steering(&config(), &[]);
        let mut new = old.clone();
        old.tags = vec![Tags::single(7), Tags::single(8)];
        new.tags = vec![Tags::single(7), Tags::none()];
        assert_eq!(common(&old, &new).tags, [Tags::single(7), Tags::single(NO_VLAN)]);
    }
}
