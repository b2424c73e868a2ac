//! The configuration after validation: types that cannot hold a mistake.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::tables::{Filtering, Forwarding, Mapping, MssClamp, Protocol, VerifyChecksums};
use crate::wire::tunnel::Encapsulation;

/// A whole configuration file, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[switch]`.
    pub switch: Switch,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[[service]]`.
    pub services: Vec<Service>,
    /// `[[snat]]`.
    pub snat: Vec<Snat>,
    /// `[[neighbor]]`.
    pub neighbors: Vec<StaticNeighbor>,
    /// `[[route]]`.
    pub routes: Vec<StaticRoute>,
    /// `[[interface]]`.
    pub interfaces: Vec<StaticInterface>,
}

/// How the XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XdpMode {
    /// Native, else generic.
    #[default]
    Auto,
    /// In the driver; an error where it cannot.
    Native,
    /// In the kernel's generic receive path.
    Generic,
}

/// Whether frames are copied between driver and rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZeroCopy {
    /// Zero copy where driver and attachment have it.
    #[default]
    Auto,
    /// Required.
    On,
    /// Never.
    Off,
}

/// How the interfaces hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// The switch is a router between them, or hangs on one arm.
    #[default]
    Routed,
    /// Two interfaces that are one wire.
    Bridge,
}

/// What a worker does when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Idle {
    /// Spin for a while, then sleep in `poll` until a frame comes.
    #[default]
    Adaptive,
    /// Never sleep: lowest latency, one core at 100 %.
    Spin,
}

/// `[switch]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    /// Interfaces; the position is the [`crate::tables::InterfaceId`].
    pub interfaces: Vec<String>,
    /// Routed or bridge.
    pub topology: Topology,
    /// Number of workers; 0 = one per RX queue.
    pub workers: u16,
    /// How the XDP program is attached.
    pub xdp_mode: XdpMode,
    /// Zero copy or not.
    pub zero_copy: ZeroCopy,
    /// Idle strategy of the workers.
    pub idle: Idle,
    /// Full-NAT source addresses.
    pub snat_addresses: Vec<IpAddr>,
    /// Full-NAT source ports: first and last.
    pub snat_ports: (u16, u16),
    /// Bound of the IPv4 connection table.
    pub max_connections: u32,
    /// Bound of the IPv6 connection table.
    pub max_connections_ipv6: u32,
    /// Datagrams whose fragments are followed at a time.
    pub max_fragmented: u32,
    /// ICMP messages that each worker may originate per second.
    pub icmp_rate: u32,
    /// Outer source addresses of tunnels, one per family at the most; where none is given, an address of the egress
    /// interface.
    pub tunnel_sources: Vec<IpAddr>,
    /// Size of each RX and TX ring, a power of two; the fill and completion rings are twice that.
    pub ring_size: u32,
    /// Which checksums are verified.
    pub verify_checksums: VerifyChecksums,
    /// Where `xswitch status` and others connect.
    pub control_socket: PathBuf,
    /// Prometheus endpoint; none = off.
    pub metrics_listen: Option<SocketAddr>,
}

/// `[timeouts]`, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Handshake not complete.
    pub tcp_syn_s: u32,
    /// Established.
    pub tcp_established_s: u32,
    /// One side closed.
    pub tcp_half_closed_s: u32,
    /// Both sides closed (TIME-WAIT).
    pub tcp_closed_s: u32,
    /// Reset.
    pub tcp_reset_s: u32,
    /// UDP.
    pub udp_s: u32,
    /// ICMP queries through `[[snat]]`.
    pub icmp_s: u32,
    /// Datagrams of which fragments are missing.
    pub fragment_s: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_syn_s: 240,
            tcp_established_s: 7440,
            tcp_half_closed_s: 240,
            tcp_closed_s: 240,
            tcp_reset_s: 240,
            udp_s: 300,
            icmp_s: 60,
            fragment_s: 5,
        }
    }
}

/// How a backend is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// Round robin.
    RoundRobin,
    /// Smooth weighted round robin.
    WeightedRoundRobin,
    /// Weighted Maglev consistent hashing.
    Maglev,
}

impl Scheduler {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::Maglev => "maglev",
        }
    }
}

/// `[[service]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// What clients connect to.
    pub vip: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How frames reach the backends.
    pub forwarding: Forwarding,
    /// How a backend is picked.
    pub scheduler: Scheduler,
    /// What is done about the MSS option of TCP.
    pub mss_clamp: MssClamp,
    /// UDP port that the backends take GUE packets at.
    pub gue_port: u16,
    /// Slots of the Maglev table, a prime.
    pub maglev_table_size: u32,
    /// Whether the switch answers ARP for the VIP and announces it at start.
    pub announce: bool,
    /// `[service.health]`, if there.
    pub health: Option<Health>,
    /// `[[service.backend]]`.
    pub backends: Vec<Backend>,
}

impl Service {
    /// What is put around its packets, where they travel through tunnels.
    pub fn encapsulation(&self) -> Option<Encapsulation> {
        match self.forwarding {
            Forwarding::Ipip => Some(Encapsulation::Ipip),
            Forwarding::Gue => Some(Encapsulation::Gue { port: self.gue_port }),
            Forwarding::Nat | Forwarding::FullNat | Forwarding::Dsr => None,
        }
    }
}

/// `[service.health]`. Accepted and validated; checks do not run yet, and `check` says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// `icmp`, `tcp`, `udp`, `http`, `https` or `agent`.
    pub check: String,
    /// Path of `http` and `https` checks.
    pub path: String,
    /// Milliseconds between checks.
    pub interval_ms: u32,
    /// Milliseconds until a check has failed.
    pub timeout_ms: u32,
    /// Successes in a row until a backend is up.
    pub rise: u32,
    /// Failures in a row until it is down.
    pub fall: u32,
}

/// `[[service.backend]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// Relative share; 0 takes no new connections.
    pub weight: u32,
}

/// `[[snat]]`: outbound source NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snat {
    /// Unique name.
    pub name: String,
    /// Whose packets are translated.
    pub inside: Vec<(IpAddr, u8)>,
    /// Public addresses.
    pub addresses: Vec<IpAddr>,
    /// Public ports: first and last.
    pub ports: (u16, u16),
    /// Which destinations share a mapping.
    pub mapping: Mapping,
    /// Who may send to one.
    pub filtering: Filtering,
    /// Whether inside hosts reach each other by their public addresses.
    pub hairpinning: bool,
}

/// `[[neighbor]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticNeighbor {
    /// One of `[switch] interfaces`.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    /// Destination prefix (host bits zero).
    pub prefix: (IpAddr, u8),
    /// One of `[switch] interfaces`.
    pub interface: String,
    /// The router; none = on-link.
    pub via: Option<IpAddr>,
}

/// `[[interface]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticInterface {
    /// One of `[switch] interfaces`.
    pub name: String,
    /// Its MAC address.
    pub mac: Option<[u8; 6]>,
    /// VLANs of the switch's frames: none, one, or service and customer VLAN, outermost first.
    pub vlan: Vec<u16>,
    /// Its addresses, with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest IP packet in bytes.
    pub mtu: Option<u16>,
}
