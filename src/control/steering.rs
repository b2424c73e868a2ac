//! What the XDP program must know, and in which order it may learn it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::topology::Topology;
use crate::config::valid::Config;
use crate::tables::{Endpoint, Forwarding, Steering};

/// Every VIP.
pub fn vips(config: &Config) -> BTreeSet<IpAddr> {
    config.services.iter().map(|service| service.vip.ip()).collect()
}

/// Addresses for which the switch answers ARP: VIPs, unless told not to, and SNAT addresses that the kernel does not
/// own (and so would not answer for).
pub fn announced(config: &Config, topology: &Topology) -> BTreeSet<IpAddr> {
    let vips = config.services.iter().filter(|service| service.announce).map(|service| service.vip.ip());
    let snat = config.switch.snat_addresses.iter().copied();
    vips.chain(snat.filter(|address| uses_snat(config) && !topology.locals.contains(address))).collect()
}

fn uses_snat(config: &Config) -> bool {
    config.services.iter().any(|service| service.forwarding == Forwarding::FullNat)
}

/// The content of the XDP program's maps.
pub fn build(
    config: &Config,
    topology: &Topology,
    announced: BTreeSet<IpAddr>,
    vips: BTreeSet<IpAddr>,
) -> Steering {
    let mut steering = Steering { announced, ..Steering::default() };
    for service in &config.services {
        let endpoint = |address: std::net::SocketAddr| Endpoint {
            address: address.ip(),
            port: address.port(),
            protocol: service.protocol,
        };
        // Neither kind of NAT puts anything in front of the frame.
        steering.services.insert(endpoint(service.vip), 0);
        if service.forwarding == Forwarding::Nat {
            steering.replies.extend(service.backends.iter().map(|backend| endpoint(backend.address)));
        }
    }
    if uses_snat(config) {
        let ports = config.switch.snat_ports;
        steering.snat = config.switch.snat_addresses.iter().map(|address| (*address, ports)).collect();
    }
    steering.macs = topology.ports.iter().map(|port| port.interface.mac).collect();
    steering.locals = topology.locals.difference(&vips).copied().collect();
    steering.vips = vips;
    steering
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
    common.replies.retain(|endpoint| old.replies.contains(endpoint));
    common.snat.retain(|address, ports| old.snat.get(address) == Some(ports));
    common.vips.retain(|address| old.vips.contains(address));
    common.announced.retain(|address| old.announced.contains(address));
    // Local addresses are exceptions from redirection, so here the union redirects least.
    common.locals.extend(old.locals.iter().copied());
    common
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, ip};
    use super::*;
    use crate::control::network::NetworkView;

    #[test]
    fn neighbours_are_told_of_snat_addresses_that_the_kernel_owns() {
        let steering = Steering {
            announced: [ip("198.18.0.100")].into(),
            snat: [(ip("198.18.1.2"), (1024, 32767))].into(),
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
        build(config, &topology, announced(config, &topology), vips(config))
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
        assert_eq!((full.replies.len(), full.snat[&ip("198.18.1.2")]), (0, (1024, 32767)));
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
}
