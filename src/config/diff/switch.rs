//! `[switch]` and `[timeouts]`.

use super::Part;
use crate::config::valid::{Switch, Timeouts};

pub(super) fn switch(old: &Switch, new: &Switch, part: &mut Part<'_>) {
    let Switch {
        interfaces,
        topology,
        workers,
        xdp_mode,
        zero_copy,
        huge_pages,
        idle,
        busy_poll,
        busy_poll_device,
        snat_addresses,
        snat_ports,
        max_connections,
        max_connections_ipv6,
        max_fragmented,
        icmp_rate,
        max_affinities,
        max_clients,
        client_prefix_ipv4,
        client_prefix_ipv6,
        icmp_budget,
        fragment_budget,
        resolvers,
        tunnel_sources,
        ring_size,
        verify_checksums,
        control_socket,
        metrics_listen,
        status_listen,
        status_token_file,
    } = old;
    part.list("interfaces", interfaces, &new.interfaces);
    part.key("topology", topology, &new.topology);
    part.key("workers", workers, &new.workers);
    part.key("xdp_mode", xdp_mode, &new.xdp_mode);
    part.key("zero_copy", zero_copy, &new.zero_copy);
    part.key("huge_pages", huge_pages, &new.huge_pages);
    part.key("idle", idle, &new.idle);
    part.key("busy_poll", busy_poll, &new.busy_poll);
    part.key("busy_poll_device", busy_poll_device, &new.busy_poll_device);
    part.list("snat_addresses", snat_addresses, &new.snat_addresses);
    part.key("snat_ports", snat_ports, &new.snat_ports);
    part.key("max_connections", max_connections, &new.max_connections);
    part.key("max_connections_ipv6", max_connections_ipv6, &new.max_connections_ipv6);
    part.key("max_fragmented", max_fragmented, &new.max_fragmented);
    part.key("icmp_rate", icmp_rate, &new.icmp_rate);
    part.key("max_affinities", max_affinities, &new.max_affinities);
    part.key("max_clients", max_clients, &new.max_clients);
    part.key("client_prefix_ipv4", &u32::from(*client_prefix_ipv4), &u32::from(new.client_prefix_ipv4));
    part.key("client_prefix_ipv6", &u32::from(*client_prefix_ipv6), &u32::from(new.client_prefix_ipv6));
    part.key("icmp_budget", icmp_budget, &new.icmp_budget);
    part.key("fragment_budget", fragment_budget, &new.fragment_budget);
    part.list("resolvers", resolvers, &new.resolvers);
    part.list("tunnel_sources", tunnel_sources, &new.tunnel_sources);
    part.key("ring_size", ring_size, &new.ring_size);
    part.key("verify_checksums", verify_checksums, &new.verify_checksums);
    part.key("control_socket", control_socket, &new.control_socket);
    part.key("metrics_listen", metrics_listen, &new.metrics_listen);
    part.key("status_listen", status_listen, &new.status_listen);
    part.key("status_token_file", status_token_file, &new.status_token_file);
}

pub(super) fn timeouts(old: &Timeouts, new: &Timeouts, part: &mut Part<'_>) {
    let Timeouts {
        tcp_syn_s,
        tcp_established_s,
        tcp_half_closed_s,
        tcp_closed_s,
        tcp_reset_s,
        udp_s,
        icmp_s,
        fragment_s,
    } = old;
    part.key("tcp_syn_s", tcp_syn_s, &new.tcp_syn_s);
    part.key("tcp_established_s", tcp_established_s, &new.tcp_established_s);
    part.key("tcp_half_closed_s", tcp_half_closed_s, &new.tcp_half_closed_s);
    part.key("tcp_closed_s", tcp_closed_s, &new.tcp_closed_s);
    part.key("tcp_reset_s", tcp_reset_s, &new.tcp_reset_s);
    part.key("udp_s", udp_s, &new.udp_s);
    part.key("icmp_s", icmp_s, &new.icmp_s);
    part.key("fragment_s", fragment_s, &new.fragment_s);
}
