//! raw → valid. Every value has been checked; what is left is to take the places off.

mod health;

use std::collections::HashSet;

use super::raw::{self, Raw};
use super::reader::Field;
use super::valid;

/// Where Linux and everybody else listens for GUE (draft-ietf-intarea-gue §8; IANA).
const GUE_PORT: u16 = 6080;
/// Handshakes that may be pending: as many as one Linux listener holds (`net.core.somaxconn`) before it sends cookies itself.
const HALF_OPEN: u32 = 4096;

/// The valid configuration; none if a value of the file is wrong.
pub(super) fn convert(raw: Raw) -> Option<valid::Config> {
    let switch = switch(raw.switch?)?;
    let snat_ports = switch.snat_ports;
    Some(valid::Config {
        switch,
        timeouts: timeouts(raw.timeouts)?,
        acl: part(raw.acl, acl)?,
        snat: snat_rules(raw.snat, snat_ports)?,
        services: raw.services.into_iter().map(service).collect::<Option<_>>()?,
        neighbors: raw.neighbors.into_iter().map(neighbor).collect::<Option<_>>()?,
        routes: raw.routes.into_iter().map(route).collect::<Option<_>>()?,
        interfaces: raw.interfaces.into_iter().map(interface).collect::<Option<_>>()?,
    })
}

fn value<T>(field: Field<T>) -> Option<T> {
    field.map(toml::Spanned::into_inner)
}

fn values<T>(fields: Vec<Field<T>>) -> Option<Vec<T>> {
    fields.into_iter().map(value).collect()
}

fn switch(raw: raw::Switch) -> Option<valid::Switch> {
    let max_connections = value(raw.max_connections)?;
    Some(valid::Switch {
        interfaces: values(value(raw.interfaces)??)?,
        topology: value(raw.topology)?,
        workers: value(raw.workers)?,
        xdp_mode: value(raw.xdp_mode)?,
        zero_copy: value(raw.zero_copy)?,
        huge_pages: value(raw.huge_pages)?,
        idle: value(raw.idle)?,
        busy_poll: value(raw.busy_poll)?,
        busy_poll_device: value(raw.busy_poll_device)?,
        snat_addresses: values(value(raw.snat_addresses)?)?,
        snat_ports: value(raw.snat_ports)?,
        max_connections,
        max_connections_ipv6: value(raw.max_connections_ipv6)?.unwrap_or((max_connections / 4).max(1024)),
        max_fragmented: value(raw.max_fragmented)?,
        icmp_rate: value(raw.icmp_rate)?,
        max_affinities: value(raw.max_affinities)?,
        max_clients: value(raw.max_clients)?,
        client_prefix_ipv4: value(raw.client_prefix_ipv4)?,
        client_prefix_ipv6: value(raw.client_prefix_ipv6)?,
        icmp_budget: value(raw.icmp_budget)?,
        fragment_budget: value(raw.fragment_budget)?,
        resolvers: values(value(raw.resolvers)?)?,
        tunnel_sources: values(value(raw.tunnel_sources)?)?,
        ring_size: value(raw.ring_size)?,
        verify_checksums: value(raw.verify_checksums)?,
        control_socket: value(raw.control_socket)?,
        metrics_listen: value(raw.metrics_listen)?,
        status_listen: value(raw.status_listen)?,
        status_token_file: value(raw.status_token_file)?,
    })
}

fn timeouts(raw: raw::RawTimeouts) -> Option<valid::Timeouts> {
    Some(valid::Timeouts {
        tcp_syn_s: value(raw.tcp_syn_s)?,
        tcp_established_s: value(raw.tcp_established_s)?,
        tcp_half_closed_s: value(raw.tcp_half_closed_s)?,
        tcp_closed_s: value(raw.tcp_closed_s)?,
        tcp_reset_s: value(raw.tcp_reset_s)?,
        udp_s: value(raw.udp_s)?,
        icmp_s: value(raw.icmp_s)?,
        fragment_s: value(raw.fragment_s)?,
    })
}

/// What may be missing as a whole, but not be wrong.
fn part<R, V>(raw: Option<R>, convert: impl FnOnce(R) -> Option<V>) -> Option<Option<V>> {
    raw.map_or(Some(None), |raw| convert(raw).map(Some))
}

fn service(raw: raw::Service) -> Option<valid::Service> {
    let kind = part(raw.health.as_ref(), |health| health.kind(&raw.protocol))?;
    Some(valid::Service {
        name: value(raw.name)?,
        vip: value(raw.vip)?,
        protocol: value(raw.protocol)?,
        forwarding: value(raw.forwarding)?,
        scheduler: value(raw.scheduler)?,
        mss_clamp: value(raw.mss_clamp)?,
        syn_cookies: value(raw.syn_cookies)?,
        half_open: value(raw.half_open)?.unwrap_or(HALF_OPEN),
        gue_port: value(raw.gue_port)?.unwrap_or(GUE_PORT),
        maglev_table_size: value(raw.maglev_table_size)?,
        announce: value(raw.announce)?,
        state: value(raw.state)?,
        affinity: part(raw.affinity, affinity)?,
        acl: part(raw.acl, acl)?,
        limits: part(raw.limits, limits)?,
        dscp: value(raw.dscp)?,
        on_no_backend: value(raw.on_no_backend)?,
        on_down: value(raw.on_down)?,
        drain_timeout_s: value(raw.drain_timeout_s)?,
        slow_start_s: value(raw.slow_start_s)?,
        health: part(raw.health.zip(kind), |(raw, kind)| health::convert(raw, kind))?,
        discover: part(raw.discover, discover)?,
        backends: raw.backends.into_iter().map(backend).collect::<Option<_>>()?,
    })
}

fn affinity(raw: raw::Affinity) -> Option<valid::Affinity> {
    Some(valid::Affinity {
        timeout_s: value(raw.timeout_s)?,
        prefix_ipv4: value(raw.prefix_ipv4)?,
        prefix_ipv6: value(raw.prefix_ipv6)?,
        group: value(raw.group)?,
    })
}

fn acl(raw: raw::Acl) -> Option<valid::Acl> {
    let and_listed = |written, listed: Vec<raw::Listed>| {
        let written: Vec<_> = values(written)?;
        // A file may list what the configuration says, too.
        let known: HashSet<_> = written.iter().copied().collect();
        let listed = listed.into_iter().map(|listed| listed.prefix).filter(|prefix| !known.contains(prefix));
        Some(written.iter().copied().chain(listed).collect())
    };
    let allow = and_listed(value(raw.allow)?, raw.allow_listed)?;
    let deny = and_listed(value(raw.deny)?, raw.deny_listed)?;
    let files = (values(value(raw.allow_files)?)?, values(value(raw.deny_files)?)?);
    Some(valid::Acl::new(value(raw.default)?, allow, deny).with_files(files.0, files.1))
}

fn limits(raw: raw::Limits) -> Option<valid::Limits> {
    Some(valid::Limits {
        new_connections_per_s: value(raw.new_connections_per_s)?,
        packets_per_s: value(raw.packets_per_s)?,
        bits_per_s: value(raw.bits_per_s)?,
        client_new_connections_per_s: value(raw.client_new_connections_per_s)?,
        client_packets_per_s: value(raw.client_packets_per_s)?,
        client_connections: value(raw.client_connections)?,
        burst_ms: value(raw.burst_ms)?,
    })
}

fn discover(raw: raw::Discover) -> Option<valid::Discover> {
    let port = value(raw.port)?;
    let source = match (value(raw.dns)?, value(raw.srv)?, value(raw.file)?) {
        (Some(name), None, None) => valid::Source::Dns { name, port: port? },
        (None, Some(name), None) => valid::Source::Srv { name },
        (None, None, Some(path)) => valid::Source::File { path },
        _ => return None,
    };
    Some(valid::Discover {
        source,
        weight: value(raw.weight)?,
        min_backends: value(raw.min_backends)?,
        interval_s: value(raw.interval_s)?.unwrap_or((5, 300)),
    })
}

fn backend(raw: raw::Backend) -> Option<valid::Backend> {
    Some(valid::Backend {
        address: value(raw.address)?,
        weight: value(raw.weight)?,
        max_connections: value(raw.max_connections)?,
        backup: value(raw.backup)?,
        state: value(raw.state)?,
    })
}

fn snat_rules(rules: Vec<raw::Snat>, default_ports: (u16, u16)) -> Option<Vec<valid::Snat>> {
    let rule = |raw: raw::Snat| {
        Some(valid::Snat {
            name: value(raw.name)?,
            inside: values(value(raw.inside)?)?,
            addresses: values(value(raw.addresses)?)?,
            ports: value(raw.ports)?.unwrap_or(default_ports),
            mapping: value(raw.mapping)?,
            filtering: value(raw.filtering)?,
            hairpinning: value(raw.hairpinning)?,
        })
    };
    rules.into_iter().map(rule).collect()
}

fn neighbor(raw: raw::Neighbor) -> Option<valid::StaticNeighbor> {
    Some(valid::StaticNeighbor {
        interface: value(raw.interface)?,
        address: value(raw.address)?,
        mac: value(raw.mac)?,
    })
}

fn route(raw: raw::Route) -> Option<valid::StaticRoute> {
    Some(valid::StaticRoute {
        prefix: value(raw.prefix)?,
        interface: value(raw.interface)?,
        via: value(raw.via)?,
    })
}

fn interface(raw: raw::Interface) -> Option<valid::StaticInterface> {
    Some(valid::StaticInterface {
        name: value(raw.name)?,
        mac: value(raw.mac)?,
        vlan: value(raw.vlan)?,
        addresses: values(value(raw.addresses)?)?,
        mtu: value(raw.mtu)?,
    })
}
