//! Who talks to whom, and what may happen.

use proptest::prelude::*;

use crate::frames::network::*;
use crate::frames::{ACK, Checksum, FIN, Mac, PSH, Packet, RST, SYN, TCP, UDP, tcp, udp};

pub const CLIENTS: [(&str, Mac); 6] = [
    ("198.18.0.7:40000", CLIENT7),
    ("198.18.0.7:40001", CLIENT7),
    ("198.18.0.7:40002", CLIENT7),
    ("198.18.0.8:40000", CLIENT8),
    ("198.18.0.8:40001", CLIENT8),
    ("203.0.113.9:40000", ROUTER0),
];

pub struct Service {
    pub vip: &'static str,
    pub protocol: u8,
    pub full: bool,
    pub backends: &'static [(&'static str, Mac)],
}

const WEB_BACKENDS: &[(&str, Mac)] = &[("198.18.1.11:8080", BACKEND11), ("198.18.1.12:8080", BACKEND12)];

/// The first two share a backend, so that one client port can use only one of them there.
pub const SERVICES: [Service; 5] = [
    Service { vip: "198.18.0.100:80", protocol: TCP, full: false, backends: WEB_BACKENDS },
    Service { vip: "198.18.0.101:80", protocol: TCP, full: false, backends: &[WEB_BACKENDS[0]] },
    Service {
        vip: "198.18.0.100:53",
        protocol: UDP,
        full: false,
        backends: &[("198.18.1.12:5353", BACKEND12)],
    },
    Service { vip: "198.18.0.102:80", protocol: TCP, full: true, backends: WEB_BACKENDS },
    Service {
        vip: "198.18.0.102:53",
        protocol: UDP,
        full: true,
        backends: &[("198.18.1.11:5353", BACKEND11)],
    },
];

/// In seconds, each different from the others.
pub const SYN_S: u64 = 20;
pub const ESTABLISHED_S: u64 = 500;
pub const HALF_CLOSED_S: u64 = 80;
pub const CLOSED_S: u64 = 40;
pub const RESET_S: u64 = 60;
pub const UDP_S: u64 = 100;

/// The configuration, with `ports` source ports for full NAT.
pub fn config(verify: &str, ports: u16) -> String {
    let mut text = format!(
        "{}verify_checksums = \"{verify}\"\n[timeouts]\ntcp_syn_s = {SYN_S}\n\
         tcp_established_s = {ESTABLISHED_S}\ntcp_half_closed_s = {HALF_CLOSED_S}\n\
         tcp_closed_s = {CLOSED_S}\ntcp_reset_s = {RESET_S}\nudp_s = {UDP_S}\n",
        SWITCH.replace("20000-20000", &format!("20000-{}", 19_999 + ports))
    );
    for (number, Service { vip, protocol, full, backends }) in SERVICES.iter().enumerate() {
        let backends: Vec<_> = backends.iter().map(|(address, _)| (*address, 1)).collect();
        let protocol = if *protocol == TCP { "tcp" } else { "udp" };
        let forwarding = if *full { "full-nat" } else { "nat" };
        text.push_str(&service(&format!("service{number}"), vip, protocol, forwarding, &backends));
    }
    text + NETWORK + DEFAULT_ROUTE
}

/// What a frame is like, whoever sends it.
#[derive(Debug, Clone)]
pub struct Look {
    pub flags: u8,
    pub payload: usize,
    pub damage: Option<u16>,
    pub last_hop: bool,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub enum Op {
    /// A client sends to a service.
    Request { client: usize, service: usize, look: Look },
    /// A backend sends what would be a reply within one of the connections there ever were.
    Reply { connection: prop::sample::Index, look: Look },
    /// Time passes, in milliseconds.
    Pass(u64),
}

pub fn look() -> impl Strategy<Value = Look> {
    let flags = prop_oneof![
        4 => Just(SYN),
        3 => Just(SYN | ACK),
        4 => Just(ACK),
        2 => Just(ACK | PSH),
        4 => Just(FIN | ACK),
        1 => Just(RST),
        1 => Just(RST | ACK),
        1 => Just(SYN | FIN),
        1 => Just(0),
    ];
    let damage = prop::option::weighted(0.1, 1..0xFFFFu16);
    (flags, 0..60usize, damage, prop::bool::weighted(0.03))
        .prop_map(|(flags, payload, damage, last_hop)| Look { flags, payload, damage, last_hop })
}

pub fn request() -> impl Strategy<Value = Op> {
    (0..CLIENTS.len(), 0..SERVICES.len(), look()).prop_map(|(client, service, look)| Op::Request {
        client,
        service,
        look,
    })
}

pub fn reply() -> impl Strategy<Value = Op> {
    (any::<prop::sample::Index>(), look()).prop_map(|(connection, look)| Op::Reply { connection, look })
}

pub fn pass() -> impl Strategy<Value = Op> {
    prop_oneof![0..200u64, 1000..15_000u64, 30_000..130_000u64, 400_000..700_000u64].prop_map(Op::Pass)
}

impl Look {
    /// A packet that looks like this.
    pub fn packet(&self, protocol: u8, source: &str, destination: &str) -> Packet {
        let packet =
            if protocol == TCP { tcp(source, destination, self.flags) } else { udp(source, destination) };
        let checksum = self.damage.map_or(Checksum::Right, Checksum::WrongBy);
        let payload: Vec<u8> = (0..self.payload as u8).collect();
        packet.payload(&payload).checksum(checksum).ttl(if self.last_hop { 1 } else { 64 })
    }

    /// SYN without ACK.
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    /// What no stack sends.
    pub fn absurd(&self) -> bool {
        let control = self.flags & (SYN | FIN | RST | ACK);
        control == 0 || control & SYN != 0 && control & (FIN | RST) != 0
    }
}
