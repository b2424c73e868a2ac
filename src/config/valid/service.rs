//! `[[service]]` and its backends.

use std::net::SocketAddr;

use super::{Acl, Discover, Health, Limits};
use crate::tables::{Dscp, Fate, Forwarding, MssClamp, OnNoBackend, Protocol, SynCookies};
use crate::wire::tunnel::Encapsulation;

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
    /// When SYNs are answered with cookies.
    pub syn_cookies: Cookies,
    /// Handshakes that may be pending before they are, where that is `auto`.
    pub half_open: u32,
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
    /// `[service.acl]`, if there.
    pub acl: Option<Acl>,
    /// `[service.limits]`, if there.
    pub limits: Option<Limits>,
    /// What its packets are marked with, in both directions.
    pub dscp: Option<Dscp>,
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

impl Service {
    /// What is put around its packets, where they travel through tunnels.
    pub fn encapsulation(&self) -> Option<Encapsulation> {
        match self.forwarding {
            Forwarding::Ipip => Some(Encapsulation::Ipip),
            Forwarding::Gue => Some(Encapsulation::Gue { port: self.gue_port }),
            Forwarding::Nat | Forwarding::FullNat | Forwarding::Dsr => None,
        }
    }

    /// When the data plane answers SYNs with cookies.
    pub fn cookies(&self) -> SynCookies {
        match self.syn_cookies {
            Cookies::Off => SynCookies::Off,
            Cookies::Auto => SynCookies::Auto { half_open: self.half_open },
            Cookies::Always => SynCookies::Always,
        }
    }
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

/// When SYNs are answered with cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cookies {
    /// Never.
    #[default]
    Off,
    /// While more handshakes are pending than `half_open`, or the table is full.
    Auto,
    /// Every one.
    Always,
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

/// `[[service.backend]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// Relative share; 0 takes no new connections.
    pub weight: u32,
    /// Connections that it may have open at a time; 0 = any number.
    pub max_connections: u32,
    /// Whether it serves only while no other can.
    pub backup: bool,
    /// What the operator wants of it.
    pub state: AdminState,
}

impl Backend {
    /// A backend that serves, with nothing special about it.
    pub fn new(address: SocketAddr, weight: u32) -> Self {
        Self { address, weight, max_connections: 0, backup: false, state: AdminState::default() }
    }
}
