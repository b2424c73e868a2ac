//! What a new configuration may not change, and which changes are worth a line in the log.

use std::collections::HashMap;

use crate::config::valid::{Config, Switch, Topology as Layout};
use crate::control::compile::Wanted;
use crate::control::topology::Topology;
use crate::tables::{Forwarding, Snapshot};

/// What was built at start stays as it was built; everything else of `new` counts. With a warning for each difference that
/// has to wait.
pub(super) fn keep_fixed(old: &Switch, new: Switch) -> (Switch, Vec<String>) {
    let fixed = [
        ("interfaces", old.interfaces != new.interfaces),
        ("topology", old.topology != new.topology),
        ("workers", old.workers != new.workers),
        ("xdp_mode", old.xdp_mode != new.xdp_mode),
        ("zero_copy", old.zero_copy != new.zero_copy),
        ("huge_pages", old.huge_pages != new.huge_pages),
        ("idle", old.idle != new.idle),
        ("busy_poll", old.busy_poll != new.busy_poll),
        ("busy_poll_device", old.busy_poll_device != new.busy_poll_device),
        ("max_connections", old.max_connections != new.max_connections),
        ("max_connections_ipv6", old.max_connections_ipv6 != new.max_connections_ipv6),
        ("max_fragmented", old.max_fragmented != new.max_fragmented),
        ("max_affinities", old.max_affinities != new.max_affinities),
        ("max_clients", old.max_clients != new.max_clients),
        ("client_prefix_ipv4", old.client_prefix_ipv4 != new.client_prefix_ipv4),
        ("client_prefix_ipv6", old.client_prefix_ipv6 != new.client_prefix_ipv6),
        ("ring_size", old.ring_size != new.ring_size),
        ("control_socket", old.control_socket != new.control_socket),
        ("metrics_listen", old.metrics_listen != new.metrics_listen),
        ("status_listen", old.status_listen != new.status_listen),
        ("status_token_file", old.status_token_file != new.status_token_file),
    ];
    let warning = |(key, _): &(&str, bool)| {
        format!("`{key}` in [switch] takes effect with the next start; the former value stays")
    };
    let warnings = fixed.iter().filter(|(_, changed)| *changed).map(warning).collect();
    let switch = Switch {
        snat_addresses: new.snat_addresses,
        snat_ports: new.snat_ports,
        icmp_rate: new.icmp_rate,
        icmp_budget: new.icmp_budget,
        fragment_budget: new.fragment_budget,
        resolvers: new.resolvers,
        tunnel_sources: new.tunnel_sources,
        verify_checksums: new.verify_checksums,
        ..old.clone()
    };
    (switch, warnings)
}

/// Whether a running bridge cannot do what the configuration, made for another topology, asks for.
pub(super) fn beyond_a_bridge(config: &Config) -> bool {
    let nat = |service: &crate::config::valid::Service| service.forwarding == Forwarding::Nat;
    config.switch.topology == Layout::Bridge && !(config.services.iter().all(nat) && config.snat.is_empty())
}

/// One line for every backend or gateway that was found or lost.
pub(super) fn log_next_hops(before: &[Wanted], after: &[Wanted], topology: &Topology) {
    let before: HashMap<_, _> =
        before.iter().map(|wanted| ((wanted.interface, wanted.address), wanted.resolved)).collect();
    for wanted in after {
        let was = before.get(&(wanted.interface, wanted.address)).copied().unwrap_or(false);
        let place = topology.place(wanted.interface, wanted.address);
        let Some(port) = topology.port(place) else { continue };
        let (interface, address) = (&port.interface.name, wanted.address);
        match (was, wanted.resolved) {
            (false, true) => tracing::info!(interface, %address, "next hop resolved"),
            (true, false) => tracing::warn!(interface, %address, "next hop no longer resolves"),
            _ => {}
        }
    }
}

/// One line for every service that has lost its last backend, or has one again.
pub(super) fn log_services(before: &Snapshot, after: &Snapshot) {
    let before: HashMap<_, _> = before
        .services
        .iter()
        .flatten()
        .map(|service| ((service.vip, service.protocol), !service.takers.is_empty()))
        .collect();
    for service in after.services.iter().flatten() {
        let Some(served) = before.get(&(service.vip, service.protocol)) else { continue };
        let name = &service.name;
        match (served, !service.takers.is_empty()) {
            (true, false) => tracing::error!(service = name, "no backend may take new connections"),
            (false, true) => tracing::info!(service = name, "backends take new connections again"),
            _ => {}
        }
    }
}
