//! The scenes that [`super`] counts: which frames, of which connections, through which services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use xswitch::dataplane::Verdict;
use xswitch::tables::{DropReason, InterfaceId, Protocol};
use xswitch::wire::tcp::Flags;

use super::frames::{self, Error};

pub const CLIENT_SIDE: InterfaceId = InterfaceId(0);
pub const SERVER_SIDE: InterfaceId = InterfaceId(1);
pub const SWITCH_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0A];
pub const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0B];
/// Where the services of IPv4 and IPv6 are, by the last part of their addresses.
pub const VIP_NET: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 0, 0), Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 0));
pub const BACKEND: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 1, 11), Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 11));

const CONFIG: &str = r#"
[switch]
interfaces = ["client", "server"]
max_connections = 131072

[[service]]
name = "tcp"
vip = "198.18.0.100:80"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"

[[service]]
name = "udp"
vip = "198.18.0.100:80"
protocol = "udp"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"

[[service]]
name = "nat-ipv6"
vip = "[2001:db8::64]:80"
forwarding = "nat"
[[service.backend]]
address = "[2001:db8:1::b]:8080"

[[service]]
name = "dsr"
vip = "198.18.0.101:80"
forwarding = "dsr"
[[service.backend]]
address = "198.18.1.11:80"

[[service]]
name = "ipip"
vip = "198.18.0.102:80"
forwarding = "ipip"
[[service.backend]]
address = "198.18.1.11:80"

[[service]]
name = "gue"
vip = "198.18.0.103:80"
forwarding = "gue"
[[service.backend]]
address = "198.18.1.11:80"

[[service]]
name = "ipip-ipv6"
vip = "[2001:db8::66]:80"
forwarding = "ipip"
[[service.backend]]
address = "[2001:db8:1::b]:80"

[[service]]
name = "listed"
vip = "198.18.0.104:80"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"
[service.acl]
deny = [PREFIXES]

[[neighbor]]
interface = "client"
address = "198.18.0.1"
mac = "02:00:00:00:00:0a"

[[neighbor]]
interface = "server"
address = "198.18.1.11"
mac = "02:00:00:00:00:0b"

[[neighbor]]
interface = "client"
address = "2001:db8::1"
mac = "02:00:00:00:00:0a"

[[neighbor]]
interface = "server"
address = "2001:db8:1::b"
mac = "02:00:00:00:00:0b"

[[route]]
prefix = "::/0"
interface = "client"
via = "2001:db8::1"

[[route]]
prefix = "0.0.0.0/0"
interface = "client"
via = "198.18.0.1"

[[interface]]
name = "client"
mac = "02:00:00:00:00:01"
addresses = ["198.18.0.2/24", "2001:db8::2/64"]
mtu = 1500

[[interface]]
name = "server"
mac = "02:00:00:00:00:02"
addresses = ["198.18.1.1/24", "2001:db8:1::1/64"]
mtu = 1500
"#;

/// The configuration of the scenes of one service. Where that has a list, 50,000 prefixes are denied, one in almost every /16 and
/// in that of the clients.
pub fn config(service: Service) -> String {
    let count = if service.vip == Service::LISTED.vip { 50_000u32 } else { 0 };
    let prefixes = (0..count).map(|i| Ipv4Addr::from(0x0500_8000 + (i << 16)));
    let prefixes: Vec<_> = prefixes.map(|prefix| format!("\"{prefix}/24\"")).collect();
    CONFIG.replace("PREFIXES", &prefixes.join(", "))
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    pub name: &'static str,
    pub protocol: Protocol,
    pub service: Service,
    pub direction: Direction,
    /// Of the frames that are counted.
    pub flags: Flags,
    /// Whether the connections exist before.
    pub established: bool,
    pub expected: Verdict,
}

/// Which service the connections are to.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    pub v6: bool,
    /// The last part of the VIP.
    pub vip: u8,
    pub backend_port: u16,
    /// Bytes that the XDP program makes in front of the frames.
    pub room: usize,
}

impl Service {
    const NAT: Self = Self { v6: false, vip: 100, backend_port: 8080, room: 0 };
    const NAT_V6: Self = Self { v6: true, ..Self::NAT };
    const DSR: Self = Self { v6: false, vip: 101, backend_port: 80, room: 0 };
    const IPIP: Self = Self { v6: false, vip: 102, backend_port: 80, room: 20 };
    const GUE: Self = Self { v6: false, vip: 103, backend_port: 80, room: 32 };
    const LISTED: Self = Self { v6: false, vip: 104, backend_port: 8080, room: 0 };
    const IPIP_V6: Self = Self { v6: true, vip: 102, backend_port: 80, room: 40 };

    pub fn vip(self) -> SocketAddr {
        let (v4, v6) = VIP_NET;
        let vip: IpAddr = if self.v6 {
            Ipv6Addr::from(u128::from(v6) + u128::from(self.vip)).into()
        } else {
            Ipv4Addr::from(u32::from(v4) + u32::from(self.vip)).into()
        };
        SocketAddr::new(vip, 80)
    }

    pub fn backend(self) -> SocketAddr {
        let address = if self.v6 { BACKEND.1.into() } else { BACKEND.0.into() };
        SocketAddr::new(address, self.backend_port)
    }

    /// Client number `client`.
    pub fn client(self, client: u32) -> SocketAddr {
        let port = 1024 + (client / 256) as u16;
        let address = if self.v6 {
            Ipv6Addr::from(
                u128::from(Ipv6Addr::new(0x2001, 0xDB8, 9, 0, 0, 0, 0, 0)) + u128::from(client % 256),
            )
            .into()
        } else {
            Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 19, 0, 0)) + client % 256).into()
        };
        SocketAddr::new(address, port)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Request,
    Reply,
}

impl Scene {
    pub const ALL: [Self; 14] = [
        Self::established("established TCP, to the backend", Protocol::Tcp, Direction::Request),
        Self::established("established TCP, to the client", Protocol::Tcp, Direction::Reply),
        Self::established("established UDP, to the backend", Protocol::Udp, Direction::Request),
        Self::established("established UDP, to the client", Protocol::Udp, Direction::Reply),
        Self::established("IPv6: TCP, to the backend", Protocol::Tcp, Direction::Request).of(Service::NAT_V6),
        Self::established("IPv6: TCP, to the client", Protocol::Tcp, Direction::Reply).of(Service::NAT_V6),
        Self::established("dsr: TCP", Protocol::Tcp, Direction::Request).of(Service::DSR),
        Self::established("ipip: TCP", Protocol::Tcp, Direction::Request).of(Service::IPIP),
        Self::established("ipip: TCP, IPv6 in IPv6", Protocol::Tcp, Direction::Request).of(Service::IPIP_V6),
        Self::established("gue: TCP", Protocol::Tcp, Direction::Request).of(Service::GUE),
        Self::established("50 k prefixes: TCP", Protocol::Tcp, Direction::Request).of(Service::LISTED),
        Self::opening("new TCP connection"),
        Self::opening("50 k prefixes: new TCP connection").of(Service::LISTED),
        Self {
            name: "drop: TCP without a connection",
            protocol: Protocol::Tcp,
            service: Service::NAT,
            direction: Direction::Request,
            flags: Flags::ACK,
            established: false,
            expected: Verdict::Drop(DropReason::NoConnection),
        },
    ];

    const fn established(name: &'static str, protocol: Protocol, direction: Direction) -> Self {
        let expected = Verdict::Forward(match direction {
            Direction::Request => SERVER_SIDE,
            Direction::Reply => CLIENT_SIDE,
        });
        let (service, flags) = (Service::NAT, Flags::ACK);
        Self { name, protocol, service, direction, flags, established: true, expected }
    }

    const fn opening(name: &'static str) -> Self {
        let (protocol, flags, established) = (Protocol::Tcp, Flags::SYN, false);
        let (service, direction, expected) =
            (Service::NAT, Direction::Request, Verdict::Forward(SERVER_SIDE));
        Self { name, protocol, service, direction, flags, established, expected }
    }

    const fn of(self, service: Service) -> Self {
        Self { service, ..self }
    }
}

pub const fn ingress(direction: Direction) -> InterfaceId {
    match direction {
        Direction::Request => CLIENT_SIDE,
        Direction::Reply => SERVER_SIDE,
    }
}

/// The frame of connection number `client`.
pub fn frame(scene: &Scene, direction: Direction, client: u32, flags: Flags) -> Result<Vec<u8>, Error> {
    let (service, client) = (scene.service, scene.service.client(client));
    let (from, to) = match direction {
        Direction::Request => ((ROUTER_MAC, client), (SWITCH_MACS[0], service.vip())),
        Direction::Reply => ((BACKEND_MAC, service.backend()), (SWITCH_MACS[1], client)),
    };
    frames::shortest(scene.protocol, from, to, flags)
}
