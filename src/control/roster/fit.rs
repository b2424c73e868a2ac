//! Which discovered backends a service can have. The file's are checked when it is read; what a name server says is not
//! anybody's mistake here, so what does not fit is left out, and shown.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::by_address;
use crate::config::valid::{Backend, Config, Service};

/// Addresses that are the switch's own: a backend there would get its frames back for ever.
pub(super) fn own_addresses(file: &Config) -> HashSet<IpAddr> {
    let vips = file.services.iter().map(|service| service.vip.ip());
    let pools = file.snat.iter().flat_map(|rule| &rule.addresses);
    let pools = pools.chain(&file.switch.snat_addresses).chain(&file.switch.tunnel_sources);
    let interfaces = file.interfaces.iter().flat_map(|interface| &interface.addresses);
    vips.chain(pools.copied()).chain(interfaces.map(|(address, _)| *address)).collect()
}

/// Those that the service can have.
pub(super) fn usable(
    service: &Service,
    own: &HashSet<IpAddr>,
    found: &[Backend],
) -> BTreeMap<SocketAddr, Backend> {
    by_address(found.iter().filter(|backend| misfit(service, own, backend.address).is_none()).cloned())
}

/// Why the service cannot have a backend there.
pub(super) fn misfit(service: &Service, own: &HashSet<IpAddr>, address: SocketAddr) -> Option<&'static str> {
    if own.contains(&address.ip()) {
        return Some("it is an address of the switch");
    }
    if !is_host(address.ip()) || address.port() == 0 {
        return Some("no host can have this address");
    }
    if !service.forwarding.is_tunnel() && address.is_ipv4() != service.vip.is_ipv4() {
        return Some("it is not of the VIP's family, and only tunnels cross families");
    }
    if service.forwarding.returns_directly() && address.port() != service.vip.port() {
        return Some("its port is not the VIP's, and only NAT rewrites ports");
    }
    None
}

fn is_host(address: IpAddr) -> bool {
    let special = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    let reserved = match address {
        IpAddr::V4(address) => {
            address.octets()[0] == 0 || address.octets()[0] >= 240 || address.is_link_local()
        }
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !special && !reserved
}
