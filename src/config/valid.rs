//! The configuration after validation: types that cannot hold a mistake.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::tables::{Fate, Filtering, Forwarding, Mapping, MssClamp, OnNoBackend, Protocol, VerifyChecksums};
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
    /// Clients whose server is remembered at a time.
    pub max_affinities: u32,
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
    /// Consistent hashing of the client's address.
    SourceHash,
    /// Hashing of the flow.
    FlowHash,
    /// The fewest open connections.
    LeastConnections,
    /// The fewest open connections for its weight.
    WeightedLeastConnections,
    /// Weighted Maglev consistent hashing of the flow.
    Maglev,
    /// The least open connections × response time for its weight.
    LeastResponseTime,
    /// Weighted round robin by the free capacity that agents report.
    Resource,
    /// The better of two that chance proposes.
    TwoChoices,
}

impl Scheduler {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::SourceHash => "sh",
            Self::FlowHash => "hash",
            Self::LeastConnections => "lc",
            Self::WeightedLeastConnections => "wlc",
            Self::Maglev => "maglev",
            Self::LeastResponseTime => "lrt",
            Self::Resource => "resource",
            Self::TwoChoices => "p2c",
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
    /// Whether it takes new connections.
    pub state: AdminState,
    /// Whether clients return to the server that they had.
    pub affinity: Option<Affinity>,
    /// What becomes of a new connection while no backend may take it.
    pub on_no_backend: OnNoBackend,
    /// What becomes of the connections of a backend that goes down.
    pub on_down: Fate,
    /// Seconds that the connections of a backend that is drained may take to end; 0 = as long as they last.
    pub drain_timeout_s: u32,
    /// Seconds over which a backend that comes back grows to its whole weight; 0 = at once.
    pub slow_start_s: u32,
    /// `[service.health]`, if there.
    pub health: Option<Health>,
    /// `[service.discover]`, if there.
    pub discover: Option<Discover>,
    /// `[[service.backend]]`.
    pub backends: Vec<Backend>,
}

/// What the operator wants of a backend or a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AdminState {
    /// It serves while its checks say that it can.
    #[default]
    Enabled,
    /// It takes no new connections; those that it has go on to their end or to `drain_timeout_s`.
    Drain,
    /// It is taken out: as if it were down, and not checked.
    Disabled,
}

impl AdminState {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Drain => "drain",
            Self::Disabled => "disabled",
        }
    }
}

/// `[service.affinity]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity {
    /// Seconds after a client's last new connection until it is forgotten.
    pub timeout_s: u32,
    /// Bits of an IPv4 address that make a client.
    pub prefix_ipv4: u8,
    /// Bits of an IPv6 address that make a client.
    pub prefix_ipv6: u8,
    /// Services with the same group send a client to the same server. None: this service by itself.
    pub group: Option<String>,
}

/// `[service.discover]`: backends besides those of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Discover {
    /// Where from.
    pub source: Source,
    /// Weight of backends whose source names none.
    pub weight: u32,
    /// An answer with fewer backends than this is not believed while there are more.
    pub min_backends: u32,
    /// Least and most seconds between two looks, whatever the TTL says.
    pub interval_s: (u32, u32),
}

/// Where backends are discovered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A and AAAA records of this name, of the VIP's family, at this port.
    Dns {
        /// The name.
        name: String,
        /// The port of every backend.
        port: u16,
    },
    /// SRV records of this name: ports and weights are theirs.
    Srv {
        /// The name: `_http._tcp.example.net`.
        name: String,
    },
    /// A file with a backend per line: `ADDRESS:PORT [WEIGHT]`, `#` begins a comment.
    File {
        /// The file.
        path: PathBuf,
    },
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

/// `[service.health]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// Which way the question takes.
    pub via: Via,
    /// Port that is asked; none: the backend's.
    pub port: Option<u16>,
    /// Milliseconds from one check to the next.
    pub interval_ms: u32,
    /// Milliseconds from one check to the next while the backend is about to change, or is under suspicion.
    pub fast_interval_ms: u32,
    /// Milliseconds until a check has failed.
    pub timeout_ms: u32,
    /// Successes in a row until a backend is up.
    pub rise: u32,
    /// Failures in a row until it is down.
    pub fall: u32,
    /// Failures in a row in the traffic that make a backend suspect; 0 = the traffic is not heeded.
    pub passive_failures: u32,
    /// Port of an agent that is asked besides.
    pub agent_port: Option<u16>,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// Whether it answers a ping.
    Icmp,
    /// Whether it accepts a connection.
    Tcp,
    /// Whether it answers a datagram.
    Udp {
        /// What is sent.
        send: Vec<u8>,
        /// What its answer must contain; empty: any answer will do.
        expect: Vec<u8>,
    },
    /// Whether it answers a request as it should.
    Http(Http),
    /// The same through TLS.
    Https(Http, Tls),
    /// What an agent says of it.
    Agent,
}

impl Check {
    /// The name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp { .. } => "udp",
            Self::Http(_) => "http",
            Self::Https(..) => "https",
            Self::Agent => "agent",
        }
    }
}

/// A request and what its answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Http {
    /// Method.
    pub method: String,
    /// Path, with query.
    pub path: String,
    /// `Host` header; none: the backend's address.
    pub host: Option<String>,
    /// Statuses that will do: first and last of each range.
    pub statuses: Vec<(u16, u16)>,
    /// What the body must contain; empty: anything.
    pub body: String,
}

/// How far TLS is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whether the certificate must be valid, and for the name in `sni`.
    pub verify: bool,
    /// Server name; none: `host`, or no name at all.
    pub sni: Option<String>,
    /// Certificates of authorities to trust (PEM); none: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Which way a check takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Via {
    /// To the backend's address, like everything else that this host sends.
    #[default]
    Direct,
    /// To the VIP, as the service's packets go: through the tunnel, or to the backend's MAC address.
    Forwarding,
}

/// `[[service.backend]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// Relative share; 0 takes no new connections.
    pub weight: u32,
    /// Whether it serves only while no other can.
    pub backup: bool,
    /// What the operator wants of it.
    pub state: AdminState,
}

impl Backend {
    /// A backend that serves, with nothing special about it.
    pub fn new(address: SocketAddr, weight: u32) -> Self {
        Self { address, weight, backup: false, state: AdminState::default() }
    }
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
