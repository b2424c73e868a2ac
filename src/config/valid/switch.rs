//! `[switch]` and `[timeouts]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::tables::VerifyChecksums;

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
    /// Huge pages for packet memory.
    pub huge_pages: HugePages,
    /// Idle strategy of the workers.
    pub idle: Idle,
    /// Whether workers poll the drivers.
    pub busy_poll: bool,
    /// Whether the interfaces' interrupts wait for that.
    pub busy_poll_device: bool,
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
    /// Clients whose server is remembered at a time.
    pub max_affinities: u32,
    /// Clients whose rates and connections are counted at a time.
    pub max_clients: u32,
    /// Bits of an IPv4 address that make a client, for that.
    pub client_prefix_ipv4: u8,
    /// Bits of an IPv6 address that make a client, for that.
    pub client_prefix_ipv6: u8,
    /// ICMP errors and pings of VIPs that are looked at per second; 0 = any number.
    pub icmp_budget: u32,
    /// Fragments that are looked at per second; 0 = any number.
    pub fragment_budget: u32,
    /// DNS servers for `[service.discover]`; empty: those of the system.
    pub resolvers: Vec<SocketAddr>,
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
    /// Status page; none = off.
    pub status_listen: Option<SocketAddr>,
    /// File with the token that orders from the page need; none = the page is read-only.
    pub status_token_file: Option<PathBuf>,
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

/// Whether packet memory lies in huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Where enough are reserved.
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
