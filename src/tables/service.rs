//! Services and backends as the data plane reads them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::wire::tunnel::Outer;

use super::exact::{ExactKey, ExactMap};
use super::{Access, Acl, BackendId, Limits, Loads, NextHopId, SchedulerTable, ServiceId};

/// Transport protocol of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TCP, IP protocol 6.
    Tcp = 6,
    /// UDP, IP protocol 17.
    Udp = 17,
}

impl Protocol {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How a frame reaches the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Forwarding {
    /// Destination rewritten; the backend's gateway is the switch.
    Nat,
    /// Destination and source rewritten; the backend answers to the switch's SNAT address.
    FullNat,
    /// Only the destination MAC address is written: the backend has the VIP on its loopback and answers directly.
    Dsr,
    /// An outer IP header is put in front: the backend decapsulates and answers directly.
    Ipip,
    /// Outer IP, UDP and GUE headers are put in front: likewise.
    Gue,
}

/// What is done about the largest segment size that TCP ends tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MssClamp {
    /// Nothing.
    #[default]
    Off,
    /// Lowered to what fits the path, encapsulation counted.
    Auto,
    /// Lowered to this, in bytes.
    Bytes(u16),
}

impl Forwarding {
    /// Whether the client's packet travels inside another.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Whether the backend answers the client directly, past the switch.
    pub const fn returns_directly(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip | Self::Gue)
    }

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::FullNat => "full-nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }
}

/// What becomes of a new connection while its service has no backend that may take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnNoBackend {
    /// Its frames are dropped: the client asks again, and may then be served.
    #[default]
    Drop,
    /// The client is told at once: a reset, or "port unreachable".
    Reject,
    /// Everything for the VIP and port is left to the kernel, where somebody may listen.
    ToKernel,
}

impl OnNoBackend {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::ToKernel => "to_kernel",
        }
    }
}

/// What becomes of the connections that a backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fate {
    /// They go on: the backend may answer again.
    #[default]
    Keep,
    /// They end: the client of a TCP connection is told by a reset, a UDP flow is forgotten.
    Reset,
    /// Their next frame from the client goes to another backend, as that of a new connection would.
    Reschedule,
}

impl Fate {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reset => "reset",
            Self::Reschedule => "reschedule",
        }
    }
}

/// Clients return to the server that they had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity {
    /// Services with the same number send a client to the same server.
    pub group: u32,
    /// For how long after a client's last new connection, in units of [`super::Coarse`].
    pub timeout: u32,
    /// Bits of an IPv4 address that make a client.
    pub prefix_v4: u8,
    /// Bits of an IPv6 address that make a client.
    pub prefix_v6: u8,
    /// The backends of this service that may take new connections, by [`Backend::server`], ascending.
    pub servers: Box<[(u32, BackendId)]>,
}

/// When SYNs are answered with cookies instead of being passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SynCookies {
    /// Never.
    #[default]
    Off,
    /// While more handshakes have begun than may be pending, or the table is full.
    Auto {
        /// Handshakes that may be pending, over all workers.
        half_open: u32,
    },
    /// Every one.
    Always,
}

/// What must be done to open a connection with a service: known beforehand, so that it is one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A backend and its address are enough: it is `nat`, without affinity, limits, SYN cookies, or an MSS to be clamped.
    Plain,
    /// The same, once its access lists were asked.
    Listed,
    /// More.
    Full,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its row.
    pub id: ServiceId,
    /// Its name in the configuration.
    pub name: String,
    /// What clients connect to.
    pub vip: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How frames reach the backends.
    pub forwarding: Forwarding,
    /// What is done about the MSS option.
    pub mss_clamp: MssClamp,
    /// The scheduler's name, for showing.
    pub scheduler: &'static str,
    /// What the scheduler picks from. Shared with earlier snapshots while nothing in it changed.
    pub table: Arc<SchedulerTable>,
    /// Whether clients return to the server that they had.
    pub affinity: Option<Affinity>,
    /// Who may connect: all of these must allow it.
    pub acls: Box<[Arc<Acl>]>,
    /// What is limited of it, and how its packets are marked.
    pub limits: Limits,
    /// Whether some of its backends may only have so many connections.
    pub capped: bool,
    /// When SYNs are answered with cookies; never where the backends' answers are not seen, nor of UDP.
    pub syn_cookies: SynCookies,
    /// What its connections need.
    pub opening: Opening,
    /// What becomes of a new connection while no backend may take it.
    pub on_no_backend: OnNoBackend,
    /// Its backends, for showing.
    pub backends: Vec<BackendId>,
    /// Those of them that new connections go to, for showing.
    pub takers: Vec<BackendId>,
}

impl Service {
    /// Whether it can be done without connections: its backends answer clients directly, and which of them a client has follows
    /// from its address and port alone, for all that is known here. Where a backend may only have so many connections, it follows
    /// from how many it had, too, and they must be counted.
    #[inline]
    pub fn needs_no_connection(&self) -> bool {
        self.forwarding.returns_directly()
            && self.affinity.is_none()
            && !self.capped
            && self.table.is_consistent()
    }

    /// Whether this client may connect.
    #[inline]
    pub fn admits(&self, client: IpAddr) -> bool {
        self.acls.iter().all(|acl| acl.decide(client) == Access::Allow)
    }
}

/// One backend of one service.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its row.
    pub id: BackendId,
    /// Whose backend it is.
    pub service: ServiceId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Relative share of new connections; 0 takes none.
    pub weight: u32,
    /// Connections that it may have open at a time; 0 = any number.
    pub max_connections: u32,
    /// It does not serve: its checks failed, or it was taken out. A SYN that it has not answered goes elsewhere.
    pub down: bool,
    /// What becomes of the connections that it has.
    pub fate: Fate,
    /// What [`Affinity`] knows it by: services of one group have the same number for the same server.
    pub server: u32,
    /// Where frames to it leave; [`NextHopId::NONE`] while there is no route.
    pub next_hop: NextHopId,
    /// How frames reach it: that of its service.
    pub forwarding: Forwarding,
    /// The outer headers, where frames reach it through a tunnel. None there as well while no source address is known.
    pub outer: Option<Outer>,
}

impl Backend {
    /// Whether it has as many connections as it may. Workers that place some at the same moment may exceed that by one each.
    #[inline]
    pub fn is_full(&self, loads: &Loads) -> bool {
        self.max_connections > 0 && loads.open(self.id) >= self.max_connections
    }
}

/// Finds the service of (address, port, protocol).
#[derive(Debug, Clone, Default)]
pub struct ServiceMap(ExactMap<ServiceId>);

impl ServiceMap {
    /// Builds from endpoints and the service each stands for.
    pub fn of(endpoints: impl IntoIterator<Item = (SocketAddr, Protocol, ServiceId)>) -> Self {
        Self(ExactMap::build(
            endpoints.into_iter().map(|(at, protocol, id)| (service_key(at.ip(), at.port(), protocol), id)),
        ))
    }

    /// The service at this address, port and protocol.
    #[inline(always)]
    pub fn get(&self, address: IpAddr, port: u16, protocol: Protocol) -> Option<ServiceId> {
        self.0.get(service_key(address, port, protocol))
    }
}

#[inline(always)]
fn service_key(address: IpAddr, port: u16, protocol: Protocol) -> ExactKey {
    ExactKey::new(address, u32::from(port) << 8 | protocol as u32)
}
