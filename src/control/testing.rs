//! A small configuration that the unit tests of this room start from.

use std::net::IpAddr;

use crate::config::valid::{
    AdminState, Backend, Check, Config, Health, HugePages, Idle, Scheduler, Service, Snat, StaticInterface,
    Switch, Timeouts, Via, XdpMode, ZeroCopy,
};
use crate::tables::{Fate, Filtering, Forwarding, Mapping, OnNoBackend, Protocol, VerifyChecksums};

/// An address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Checks every 5 s, or every 500 ms while it counts.
pub fn health(check: Check) -> Health {
    Health {
        check,
        via: Via::Direct,
        port: None,
        interval_ms: 5000,
        fast_interval_ms: 500,
        timeout_ms: 3000,
        rise: 2,
        fall: 3,
        passive_failures: 3,
        agent_port: None,
    }
}

/// A service with backends 198.18.1.11 and up, of these weights.
pub fn service(name: &str, vip: &str, weights: &[u32]) -> Service {
    let backend = |(position, weight): (usize, &u32)| {
        Backend::new(format!("198.18.1.{}:8080", 11 + position).parse().unwrap(), *weight)
    };
    Service {
        name: name.into(),
        vip: vip.parse().unwrap(),
        protocol: Protocol::Tcp,
        forwarding: Forwarding::Nat,
        scheduler: Scheduler::WeightedRoundRobin,
        mss_clamp: crate::tables::MssClamp::Off,
        syn_cookies: crate::config::valid::Cookies::default(),
        half_open: 4096,
        gue_port: 6080,
        maglev_table_size: 251,
        announce: true,
        state: AdminState::default(),
        affinity: None,
        acl: None,
        limits: None,
        dscp: None,
        on_no_backend: OnNoBackend::default(),
        on_down: Fate::default(),
        drain_timeout_s: 0,
        slow_start_s: 0,
        health: None,
        discover: None,
        backends: weights.iter().enumerate().map(backend).collect(),
    }
}

/// Both interfaces with a MAC address, as if the kernel told.
pub fn interfaces() -> Vec<StaticInterface> {
    let interface = |(name, last): (&str, u8)| StaticInterface {
        name: name.into(),
        mac: Some([2, 0, 0, 0, 0, last]),
        vlan: vec![],
        addresses: vec![],
        mtu: None,
    };
    [("eth0", 1), ("eth1", 2)].map(interface).into()
}

/// A rule "home" for 10.0.0.0/24.
pub fn home(addresses: &[&str], ports: (u16, u16)) -> Snat {
    Snat {
        name: "home".into(),
        inside: vec![(ip("10.0.0.0"), 24)],
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        ports,
        mapping: Mapping::default(),
        filtering: Filtering::default(),
        hairpinning: true,
    }
}

/// Interfaces eth0 and eth1, SNAT address 198.18.1.2, one `nat` service with two backends.
pub fn config() -> Config {
    Config {
        switch: Switch {
            interfaces: vec!["eth0".into(), "eth1".into()],
            topology: crate::config::valid::Topology::Routed,
            workers: 0,
            xdp_mode: XdpMode::Auto,
            zero_copy: ZeroCopy::Auto,
            huge_pages: HugePages::Auto,
            idle: Idle::Adaptive,
            busy_poll: false,
            busy_poll_device: false,
            snat_addresses: vec![ip("198.18.1.2")],
            snat_ports: (1024, 32767),
            max_connections: 1024,
            max_connections_ipv6: 1024,
            max_fragmented: 64,
            icmp_rate: 1000,
            max_affinities: 64,
            max_clients: 1024,
            client_prefix_ipv4: 32,
            client_prefix_ipv6: 64,
            icmp_budget: 0,
            fragment_budget: 0,
            resolvers: vec![],
            tunnel_sources: vec![],
            ring_size: 2048,
            verify_checksums: VerifyChecksums::Always,
            control_socket: "/run/xswitch.sock".into(),
            metrics_listen: None,
            status_listen: None,
            status_token_file: None,
        },
        timeouts: Timeouts::default(),
        acl: None,
        services: vec![service("web", "198.18.0.100:80", &[3, 1])],
        snat: vec![],
        neighbors: vec![],
        routes: vec![],
        interfaces: vec![],
    }
}
