//! The network of the benchmark: addresses, services, frames.

use std::net::{Ipv4Addr, SocketAddrV4};

use xswitch::pktgen::order::Order;
use xswitch::pktgen::sizes::Sizes;
use xswitch::pktgen::template::Profile;
use xswitch::pktgen::tuples::{Range, Tuples};
use xswitch::tables::Protocol;
use xswitch::wire::tcp::Flags;

use super::Error;
use super::ends::Plan;

/// Address of every service; the port says which.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);
/// The only backend: all frames of a scene arrive at one counter.
pub const BACKEND: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 11);
/// Clients: 256 addresses, and as many ports as it takes.
const CLIENTS: &str = "198.19.0.0/24:1024-65535";
/// The shortest that Ethernet carries: 64 bytes with the check sequence that the NIC adds.
const FRAME: u16 = 60;
/// MAC addresses of the device under test, as `tools/bench` sets them.
const SWITCH_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0A];
const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0B];

/// How the service of a scene forwards. Each has a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Nat,
    FullNat,
    Dsr,
    Ipip,
    Gue,
}

impl Mode {
    const ALL: [Self; 5] = [Self::Nat, Self::FullNat, Self::Dsr, Self::Ipip, Self::Gue];

    const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::FullNat => "full-nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }

    const fn port(self) -> u16 {
        80 + self as u16
    }

    /// Where the backend listens: behind dsr and tunnels, packets keep their destination.
    const fn backend_port(self) -> u16 {
        match self {
            Self::Nat | Self::FullNat => 8080 + self as u16,
            _ => self.port(),
        }
    }

    /// Destination of the frames that leave.
    const fn arrives_at(self) -> Ipv4Addr {
        if matches!(self, Self::Dsr) { VIP } else { BACKEND }
    }
}

/// The switch's configuration: every mode for TCP and UDP. `lines` go into `[switch]`.
pub fn configuration(socket: &str, lines: &str) -> String {
    let mut text = format!(
        r#"[switch]
interfaces = ["bsw0", "bsw1"]
zero_copy = "off"
control_socket = "{socket}"
metrics_listen = ""
max_connections = 2000000
max_connections_ipv6 = 1024
snat_addresses = ["198.18.1.1"]
{lines}
[[neighbor]]
interface = "bsw0"
address = "198.18.0.1"
mac = "02:00:00:00:00:0a"

[[neighbor]]
interface = "bsw1"
address = "{BACKEND}"
mac = "02:00:00:00:00:0b"

[[route]]
prefix = "0.0.0.0/0"
interface = "bsw0"
via = "198.18.0.1"
"#
    );
    for mode in Mode::ALL {
        for protocol in ["tcp", "udp"] {
            let (name, port, backend_port) = (mode.name(), mode.port(), mode.backend_port());
            text += &format!(
                "\n[[service]]\nname = \"{name}-{protocol}\"\nvip = \"{VIP}:{port}\"\nprotocol = \"{protocol}\"\n\
                 forwarding = \"{name}\"\n[[service.backend]]\naddress = \"{BACKEND}:{backend_port}\"\n"
            );
        }
    }
    text
}

/// What flows between clients and a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    pub mode: Mode,
    pub protocol: Protocol,
    pub flows: u32,
}

impl Traffic {
    /// From clients to the VIP, in random order.
    pub fn request(self, flags: Flags) -> Result<Plan, Error> {
        let vip = endpoint(VIP, self.mode.port());
        self.plan([CLIENTS.parse()?, vip], [ROUTER_MAC, SWITCH_MACS[0]], flags, false)
    }

    /// From the backend to clients.
    pub fn reply(self, flags: Flags) -> Result<Plan, Error> {
        let backend = endpoint(BACKEND, self.mode.backend_port());
        self.plan([backend, CLIENTS.parse()?], [BACKEND_MAC, SWITCH_MACS[1]], flags, true)
    }

    fn plan(
        self,
        [source, destination]: [Range; 2],
        [from, to]: [[u8; 6]; 2],
        flags: Flags,
        to_client: bool,
    ) -> Result<Plan, Error> {
        let profile = Profile {
            to,
            from,
            tuples: Tuples::new(source, destination, self.flows)?,
            protocol: self.protocol,
            flags,
            sizes: Sizes::one(FRAME),
            order: Order::Random,
            stamp: None,
        };
        // The counter knows one destination. What arrives elsewhere, at clients and in tunnels without a port, it counts as
        // other frames.
        let elsewhere = to_client || self.mode == Mode::Ipip;
        Ok(Plan { profile, to_client, rate: None, arrives_at: self.mode.arrives_at(), elsewhere })
    }
}

fn endpoint(address: Ipv4Addr, port: u16) -> Range {
    let endpoint = SocketAddrV4::new(address, port);
    Range::single((*endpoint.ip()).into(), endpoint.port())
}
