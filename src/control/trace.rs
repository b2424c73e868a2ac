//! `POST /v1/trace`: what would become of a packet, step by step. These types are its documentation.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::status::Status;

/// Which packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // A misspelt `interface` would be guessed.
pub struct Question {
    /// Who sends it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where it comes in; null: where an answer would leave.
    #[serde(default)]
    pub interface: Option<String>,
    /// Length of the IP packet in bytes; 0: as short as can be.
    #[serde(default)]
    pub length: u16,
}

/// What would become of it. Nothing has changed by the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Whether a running switch was asked: connections, affinity, loads and health are its own.
    pub live: bool,
    /// Number of the snapshot.
    pub epoch: u64,
    /// The packet that was tried.
    pub packet: PacketStep,
    /// The service it is addressed to.
    pub service: Option<ServiceStep>,
    /// Why there is none; empty where there is.
    pub no_service: String,
    /// The rule of `[[snat]]` that translates it; null where a service takes it, or none does.
    pub snat: Option<String>,
    /// The connection that it belongs to.
    pub connection: Option<ConnectionStep>,
    /// What the access lists say, where the service is under any and the packet begins a connection.
    pub access: Option<AccessStep>,
    /// What affinity says, where the service has one and the packet begins a connection.
    pub affinity: Option<AffinityStep>,
    /// The service's backends, the chosen one and those that take connections first.
    pub backends: Vec<BackendStep>,
    /// How many more there are.
    pub backends_left_out: usize,
    /// Who gets it, and why.
    pub choice: Option<ChoiceStep>,
    /// The packet before and after; null where it does not leave.
    pub rewrite: Option<RewriteStep>,
    /// Where it leaves, or should.
    pub egress: Option<EgressStep>,
    /// What becomes of it.
    pub verdict: VerdictStep,
    /// What should be known besides: a sentence each.
    pub notes: Vec<String>,
}

/// The packet that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketStep {
    /// Who sends it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// `syn`, `syn_ack`, `ack` or `datagram`.
    pub kind: String,
    /// Bytes of the IP packet.
    pub length: u16,
    /// Where it comes in.
    pub interface: String,
    /// Whether that was said, not guessed from the routes.
    pub interface_given: bool,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStep {
    /// Its name.
    pub name: String,
    /// What clients connect to.
    pub vip: SocketAddr,
    /// How frames reach its backends.
    pub forwarding: String,
    /// How a backend is picked.
    pub scheduler: String,
}

/// A connection that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStep {
    /// `request`: the packet comes from the client; `reply`: it comes from the backend.
    pub direction: String,
    /// Who opened it.
    pub client: SocketAddr,
    /// What that was addressed to.
    pub destination: SocketAddr,
    /// Its backend; null where it is outbound.
    pub backend: Option<SocketAddr>,
    /// Its state, named as in `connections`.
    pub state: String,
    /// Seconds since the last frame.
    pub idle_s: u64,
    /// Seconds until it is forgotten, unless a frame comes.
    pub expires_in_s: u64,
    /// The worker that created it.
    pub worker: u16,
}

/// What the access lists say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessStep {
    /// Who asks.
    pub client: IpAddr,
    /// Whether it may connect.
    pub allowed: bool,
}

/// What affinity says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AffinityStep {
    /// The client as far as it is told apart: address and prefix length.
    pub client: String,
    /// Whether it had a server that is still remembered.
    pub remembered: bool,
    /// The backend there; null where it takes no new connections.
    pub backend: Option<SocketAddr>,
}

/// A backend that was considered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendStep {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// Whether new connections go to it.
    pub takes_new: bool,
    /// As in `backends`; empty where nobody knows.
    pub state: String,
    /// Why; empty where there is nothing to say.
    pub why: String,
    /// Connections that are in use.
    pub connections_open: u32,
    /// Microseconds to answer; 0 while nothing is known.
    pub response_us: u32,
    /// What the scheduler compares, where it compares loads: with the new connection, for its weight.
    pub load: Option<f64>,
}

/// Who gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceStep {
    /// Which backend.
    pub backend: SocketAddr,
    /// `connection`, `affinity` or `scheduler`.
    pub by: String,
    /// Why, in a sentence.
    pub why: String,
    /// Whom the scheduler names at each worker, in their order. Which worker gets the packet, the NIC decides.
    pub by_worker: Vec<Option<SocketAddr>>,
}

/// Addresses of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// Source MAC address.
    pub source_mac: String,
    /// Destination MAC address.
    pub destination_mac: String,
    /// VLAN identifiers, the outer one first.
    pub vlan: Vec<u16>,
    /// Source.
    pub source: SocketAddr,
    /// Destination.
    pub destination: SocketAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
}

/// The packet before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewriteStep {
    /// As it came in.
    pub before: Headers,
    /// As it leaves; within outer headers, if any.
    pub after: Headers,
    /// What is put around it.
    pub outer: Option<OuterStep>,
    /// Whether the source port is only an example: the worker takes a free one when the connection comes.
    pub source_port_is_open: bool,
    /// Where the source is taken from a pool, how many addresses and ports of it are free for this, and of how many.
    pub source_ports_free: Option<(u32, u32)>,
}

/// Outer headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OuterStep {
    /// `ipip` or `gue`.
    pub encapsulation: String,
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// Destination port of GUE.
    pub port: Option<u16>,
}

/// Where it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressStep {
    /// The interface.
    pub interface: String,
    /// The next hop: whoever it is for, or a router.
    pub via: IpAddr,
    /// Its MAC address; null while it is not known.
    pub mac: Option<String>,
    /// Largest IP packet that the link carries.
    pub mtu: u16,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictStep {
    /// `forward`, `reply`, `to_kernel` or `drop`.
    pub verdict: String,
    /// Where the packet, or the answer, leaves.
    pub interface: Option<String>,
    /// Name of the reason to drop it, also where it is answered in place of that.
    pub reason: Option<String>,
    /// What that means.
    pub text: String,
}

impl Trace {
    /// Adds what the control loop knows of the backends.
    pub fn add_states(&mut self, status: &Status) {
        let Some(service) = &self.service else { return };
        let Some(known) = status.services.iter().find(|known| known.name == service.name) else { return };
        for step in &mut self.backends {
            if let Some(backend) = known.backends.iter().find(|backend| backend.address == step.address) {
                step.state.clone_from(&backend.state);
                step.why.clone_from(&backend.why);
            }
        }
        if let Some(age) = status.view_age_s.filter(|age| *age > 0) {
            self.notes.push(format!("states of backends as of {age} s ago: the control loop is busy"));
        }
    }
}
