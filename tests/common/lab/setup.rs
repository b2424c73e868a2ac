//! What a scene runs on: who is connected to whom, which forwarding, which addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// From a VIP of one family to backends of the same or, in tunnels, of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Of the client and the VIP.
    pub vip: Family,
    /// Of the backends' addresses.
    pub backend: Family,
}

/// IPv4 all the way.
pub const V4: Path = Path { vip: Family::V4, backend: Family::V4 };
/// IPv6 all the way.
pub const V6: Path = Path { vip: Family::V6, backend: Family::V6 };
/// IPv4 through an IPv6 tunnel.
pub const V4_OVER_V6: Path = Path { vip: Family::V4, backend: Family::V6 };
/// IPv6 through an IPv4 tunnel.
pub const V6_OVER_V4: Path = Path { vip: Family::V6, backend: Family::V4 };

const BOTH: &[Path] = &[V4, V6];
const TUNNELS: &[Path] = &[V4, V6, V4_OVER_V6, V6_OVER_V4];

impl Path {
    /// Whether the tunnel is of the other family. Its services have ports of their own.
    pub fn is_crossed(self) -> bool {
        self.vip != self.backend
    }

    /// For names of services and for messages.
    pub fn label(self) -> &'static str {
        match (self.vip, self.backend) {
            (Family::V4, Family::V4) => "v4",
            (Family::V6, Family::V6) => "v6",
            (Family::V4, Family::V6) => "v4-over-v6",
            (Family::V6, Family::V4) => "v6-over-v4",
        }
    }

    /// The TCP service.
    pub fn web(self) -> SocketAddr {
        self.service(80)
    }

    /// The UDP service, on a port for which tshark knows no protocol.
    pub fn names(self) -> SocketAddr {
        self.service(31001)
    }

    /// TCP and UDP for a server that a scene starts itself.
    pub fn bulk(self) -> SocketAddr {
        self.service(31003)
    }

    fn service(self, port: u16) -> SocketAddr {
        let moved = if self.is_crossed() { 1000 } else { 0 };
        SocketAddr::new(vip(self.vip), port + moved)
    }
}

/// `198.18.NET.HOST` or `2001:db8:NET::HOST`, with the same digits in both.
pub fn address(family: Family, net: u8, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(198, 18, net, host).into(),
        Family::V6 => v6(net, host).into(),
    }
}

/// `10.0.0.HOST` or `2001:db8:10::HOST`: the home's own network.
pub fn inside(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 0, host).into(),
        Family::V6 => v6(10, host).into(),
    }
}

fn v6(net: u8, host: u8) -> Ipv6Addr {
    format!("2001:db8:{net}::{host}").parse().expect("decimal digits are hexadecimal digits, too")
}

/// The address of the services.
pub fn vip(family: Family) -> IpAddr {
    address(family, 0, 100)
}

/// Length of the prefix of every network of the labs.
pub fn prefix_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// Length of the prefix of one host.
pub fn host_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Who is connected to whom. The drawings stand in `lab.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Two interfaces, two subnets; the switch is the backends' gateway.
    Routed,
    /// One interface, one subnet.
    OneArm,
    /// The backends' subnet lies behind a router, which has a way to the client past the switch.
    Far,
    /// Two interfaces, one subnet; the backends' gateway is a router beyond the switch.
    Bridge,
    /// Three inside hosts, two outside servers.
    Home,
}

/// What a scene runs on.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The cables.
    pub topology: Topology,
    /// As in the configuration: `nat`, `full-nat`, `dsr`, `ipip` or `gue`. A home has no services.
    pub forwarding: &'static str,
    /// RX and TX queues of every interface, and so workers of the switch.
    pub queues: u16,
    /// Families of the services. With an IPv6 one every host has IPv6.
    pub paths: &'static [Path],
}

impl Setup {
    /// The same with services and addresses of both families.
    pub const fn with_ipv6(self) -> Self {
        Self { paths: BOTH, ..self }
    }
}

/// `nat` between two networks.
pub const fn nat(queues: u16) -> Setup {
    Setup { topology: Topology::Routed, forwarding: "nat", queues, paths: &[V4] }
}

/// `full-nat` between two networks.
pub const fn full_nat(queues: u16) -> Setup {
    Setup { forwarding: "full-nat", ..nat(queues) }
}

/// `full-nat` within one network.
pub const fn full_nat_one_arm(queues: u16) -> Setup {
    Setup { topology: Topology::OneArm, ..full_nat(queues) }
}

/// `full-nat` to backends behind a router, both families.
pub const fn full_nat_far(queues: u16) -> Setup {
    Setup { topology: Topology::Far, paths: BOTH, ..full_nat(queues) }
}

/// `dsr` within one network, both families.
pub const fn dsr(queues: u16) -> Setup {
    Setup { topology: Topology::OneArm, forwarding: "dsr", queues, paths: BOTH }
}

/// `ipip` to backends behind a router, all four combinations.
pub const fn ipip(queues: u16) -> Setup {
    Setup { topology: Topology::Far, forwarding: "ipip", queues, paths: TUNNELS }
}

/// `gue` to backends behind a router, all four combinations.
pub const fn gue(queues: u16) -> Setup {
    Setup { forwarding: "gue", ..ipip(queues) }
}

/// `nat` in a transparent switch, both families.
pub const fn bridge(queues: u16) -> Setup {
    Setup { topology: Topology::Bridge, paths: BOTH, ..nat(queues) }
}

/// Outbound `snat`, both families.
pub const fn home(queues: u16) -> Setup {
    Setup { topology: Topology::Home, forwarding: "", queues, paths: BOTH }
}

impl Setup {
    /// The switch's interfaces.
    pub fn interfaces(&self) -> &'static [&'static str] {
        if self.topology == Topology::OneArm { &["eth0"] } else { &["eth0", "eth1"] }
    }

    /// Families that anything here has.
    pub fn families(&self) -> &'static [Family] {
        if self.paths.len() > 1 { &[Family::V4, Family::V6] } else { &[Family::V4] }
    }

    /// Whether hosts have IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.families().len() > 1
    }

    /// Whether backends hold the VIP and answer clients directly.
    pub fn is_direct(&self) -> bool {
        matches!(self.forwarding, "dsr" | "ipip" | "gue")
    }

    /// Whether backends take tunnels off.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.forwarding, "ipip" | "gue")
    }

    /// The client's address.
    pub fn client_address(&self, family: Family) -> IpAddr {
        match self.topology {
            Topology::Bridge => address(family, 3, 1),
            Topology::Home => inside(family, 11),
            _ => address(family, 0, 1),
        }
    }

    /// The addresses of the switch's kernel on one of its interfaces.
    pub fn switch_addresses(&self, interface: &str) -> Vec<IpAddr> {
        let of_family = |&family: &Family| match (self.topology, interface) {
            (Topology::Routed, "eth1") => vec![address(family, 1, 1), address(family, 1, 2)],
            (Topology::Far, "eth1") => vec![address(family, 2, 1), address(family, 2, 2)],
            (Topology::Bridge, "eth1") => vec![],
            (Topology::Home, "eth1") => vec![inside(family, 1)],
            // On one arm the SNAT address is nobody's but the switch's: it answers ARP for it by itself.
            _ => vec![address(family, 0, 2)],
        };
        self.families().iter().flat_map(of_family).collect()
    }

    /// Where full NAT and outbound SNAT come from.
    pub fn snat_address_of(&self, family: Family) -> IpAddr {
        match self.topology {
            Topology::Routed => address(family, 1, 2),
            Topology::Far => address(family, 2, 2),
            _ => address(family, 0, 3),
        }
    }

    /// Where full NAT comes from, in IPv4.
    pub fn snat_address(&self) -> Ipv4Addr {
        ipv4(self.snat_address_of(Family::V4))
    }

    /// The address of backend `number` (1, 2, 3); in a home, of an outside server (1, 2).
    pub fn backend_address_of(&self, number: u8, family: Family) -> IpAddr {
        match self.topology {
            Topology::Routed | Topology::Far => address(family, 1, 10 + number),
            Topology::OneArm | Topology::Bridge => address(family, 0, 10 + number),
            Topology::Home => address(family, 0, 20 + number),
        }
    }

    /// The IPv4 address of backend `number`.
    pub fn backend_address(&self, number: u8) -> Ipv4Addr {
        ipv4(self.backend_address_of(number, Family::V4))
    }

    /// The gateway of the backends.
    pub fn backend_gateway(&self, family: Family) -> Option<IpAddr> {
        match self.topology {
            Topology::Routed => Some(address(family, 1, 1)),
            Topology::Far => Some(address(family, 1, 254)),
            Topology::Bridge => Some(address(family, 0, 254)),
            Topology::OneArm | Topology::Home => None,
        }
    }

    /// Number of backends; in a home, of outside servers.
    pub fn backends(&self) -> u8 {
        if self.topology == Topology::Home { 2 } else { super::BACKENDS }
    }

    /// Port of a service → port at its backends, which only NAT translates.
    pub fn backend_port(&self, service: u16) -> u16 {
        match service {
            80 if !self.is_direct() => super::WEB_PORT,
            31001 if !self.is_direct() => super::NAMES_PORT,
            port => port,
        }
    }

    /// Where the server behind a service listens at backend `number`.
    pub fn listens(&self, number: u8, path: Path, service: SocketAddr) -> SocketAddr {
        if self.is_direct() {
            return service;
        }
        SocketAddr::new(self.backend_address_of(number, path.backend), self.backend_port(service.port()))
    }
}

fn ipv4(address: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(address) = address else { panic!("{address} is not of IPv4") };
    address
}
