//! Outer headers towards backends: where tunnels begin.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::config::valid::{Config, Service};
use crate::control::topology::Topology;
use crate::tables::InterfaceId;
use crate::wire::tunnel::{Family, Outer};

/// Builds outer headers, and remembers of which services it said that they lack a source.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    lacking: HashSet<String>,
}

impl Tunnels {
    /// The outer headers of each backend of a service, by its address; none where no source is known. `egress` is the
    /// interface that leads to an address.
    pub(super) fn outers(
        &mut self,
        config: &Config,
        topology: &Topology,
        service: &Service,
        egress: &HashMap<IpAddr, InterfaceId>,
    ) -> HashMap<IpAddr, Outer> {
        let Some(encapsulation) = service.encapsulation() else { return HashMap::new() };
        let inner = if service.vip.is_ipv4() { Family::V4 } else { Family::V6 };
        let (mut outers, mut lacking) = (HashMap::new(), None);
        for backend in service.backends.iter().map(|backend| backend.address.ip()) {
            let outer = source(config, topology, backend, egress.get(&backend).copied())
                .and_then(|source| Outer::new(encapsulation, source, backend, inner));
            match outer {
                Some(outer) => drop(outers.insert(backend, outer)),
                None => lacking = Some(backend),
            }
        }
        match lacking {
            Some(backend) if self.lacking.insert(service.name.clone()) => tracing::warn!(
                service = service.name,
                "no tunnel source: the switch has no address of the family of {backend}; set tunnel_sources in [switch]"
            ),
            Some(_) => {}
            None => drop(self.lacking.remove(&service.name)),
        }
        outers
    }

    /// Forgets services that are gone.
    pub(super) fn retain(&mut self, services: &[Service]) {
        if !self.lacking.is_empty() {
            let names: HashSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
            self.lacking.retain(|name| names.contains(name.as_str()));
        }
    }
}

/// The configured source, else an address of the interface that leads to the backend, else of another.
fn source(
    config: &Config,
    topology: &Topology,
    backend: IpAddr,
    egress: Option<InterfaceId>,
) -> Option<IpAddr> {
    let fits = |address: &IpAddr| address.is_ipv4() == backend.is_ipv4();
    let configured = config.switch.tunnel_sources.iter().copied().find(fits);
    configured.or_else(|| {
        let near = egress.and_then(|id| topology.port(id)).into_iter();
        let addresses = near.chain(&topology.ports).flat_map(|port| &port.interface.addresses);
        addresses.map(|(address, _)| *address).find(|address| fits(address) && !is_link_local(*address))
    })
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::network::NetworkView;
    use crate::control::testing::{config, ip};
    use crate::tables::Forwarding;

    fn topology(addresses: [&[&str]; 2]) -> Topology {
        let mut topology = Topology::new(&config(), &NetworkView::default());
        for (port, addresses) in topology.ports.iter_mut().zip(addresses) {
            port.interface.addresses = addresses.iter().map(|address| (ip(address), 64)).collect();
        }
        topology
    }

    #[test]
    fn the_source_is_configured_or_of_the_egress_interface_or_of_another() {
        let mut config = config();
        let topology = topology([&["198.18.0.2", "2001:db8::2"], &["fe80::1", "198.18.1.2"]]);
        let egress = Some(InterfaceId(1));
        let source = |config: &Config, backend, egress| source(config, &topology, ip(backend), egress);
        assert_eq!(source(&config, "198.18.7.1", egress), Some(ip("198.18.1.2")));
        assert_eq!(source(&config, "198.18.7.1", None), Some(ip("198.18.0.2")));
        assert_eq!(
            source(&config, "2001:db8:7::1", egress),
            Some(ip("2001:db8::2")),
            "not the link-local one"
        );
        config.switch.tunnel_sources = vec![ip("198.18.3.3")];
        assert_eq!(source(&config, "198.18.7.1", egress), Some(ip("198.18.3.3")));
        assert_eq!(source(&config, "2001:db8:7::1", egress), Some(ip("2001:db8::2")));
    }

    #[test]
    fn a_service_without_a_source_is_warned_about_once() {
        let mut config = config();
        config.services[0].forwarding = Forwarding::Ipip;
        let (without, with) = (topology([&["2001:db8::2"], &[]]), topology([&["198.18.0.2"], &[]]));
        let mut tunnels = Tunnels::default();
        let mut outers = |topology: &Topology| {
            let count = tunnels.outers(&config, topology, &config.services[0], &HashMap::new()).len();
            (count, tunnels.lacking.len())
        };
        assert_eq!([outers(&without), outers(&without)], [(0, 1); 2]);
        assert_eq!(outers(&with), (2, 0));
        assert_eq!(outers(&without), (0, 1));
        tunnels.retain(&config.services);
        assert_eq!(tunnels.lacking.len(), 1);
        tunnels.retain(&[]);
        assert_eq!(tunnels.lacking.len(), 0, "a service that is gone is forgotten");
    }

    #[test]
    fn only_tunnels_have_outer_headers_and_they_may_cross_families() {
        let mut config = config();
        let topology = topology([&["198.18.0.2", "2001:db8::2"], &[]]);
        config.services[0].backends[1].address = "[2001:db8:7::1]:80".parse().unwrap();
        let mut lengths = |forwarding| {
            config.services[0].forwarding = forwarding;
            let outers = Tunnels::default().outers(&config, &topology, &config.services[0], &HashMap::new());
            let mut lengths: Vec<_> = outers.values().map(Outer::len).collect();
            lengths.sort_unstable();
            lengths
        };
        assert_eq!(lengths(Forwarding::Dsr), [0; 0]);
        assert_eq!(lengths(Forwarding::Ipip), [20, 40]);
        assert_eq!(lengths(Forwarding::Gue), [32, 52]);
    }
}
