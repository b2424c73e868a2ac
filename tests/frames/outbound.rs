//! The home router that tests of outbound NAT are about, in both families.
//!
//! ```text
//!  neighbour 198.18.0.7, 2001:db8::7 ──┐ eth0 ┌────────┐ eth1 ┌── 198.18.1.11, fd00::11
//!  router 198.18.0.1, 2001:db8::1 ─────┼──────┤ switch ├──────┼── 198.18.1.12, fd00::12
//!   └── servers 203.0.113.x, 2001:db8:ff::x   └────────┘      └── 198.18.1.13, fd00::13
//!        public: 198.18.0.50, .51, 2001:db8::50, ::51
//! ```

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
use xswitch::tables::{
    Filtering, Interface, InterfaceId, Mapping, NextHop, NextHopId, Route, Routes, Snapshot, SnatPool,
    SnatRule,
};
use xswitch::wire::ethernet::{Tags, macs};

use super::network::{BACKEND11, BACKEND12, CLIENT7, ETH0, ETH1, ROUTER0, SWITCH0, SWITCH1};
use super::{ACK, FIN, Mac, RST, SEQUENCE, SYN};

pub const HOST13: Mac = [2, 0, 0, 0, 3, 13];

/// Which of the families a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

pub const BOTH: [Version; 2] = [Version::V4, Version::V6];

impl Version {
    fn address(self, v4: &str, v6: &str) -> IpAddr {
        match self {
            Self::V4 => v4.parse().unwrap(),
            Self::V6 => v6.parse().unwrap(),
        }
    }

    /// The inside host with this number: 11, 12 or 13.
    pub fn inside(self, number: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(&format!("198.18.1.{number}"), &format!("fd00::{number}")), port)
    }

    /// A server on the other side of the router.
    pub fn server(self, number: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(&format!("203.0.113.{number}"), &format!("2001:db8:ff::{number}")), port)
    }

    /// A host that is itself on the outside link.
    pub fn neighbour(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address("198.18.0.7", "2001:db8::7"), port)
    }

    /// The first public address.
    pub fn public(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address("198.18.0.50", "2001:db8::50"), port)
    }

    /// Protocol number of pings.
    pub fn icmp(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 58,
        }
    }
}

/// The MAC address at which an inside host is found.
pub fn mac_of(host: SocketAddr) -> Mac {
    match host.ip().to_string().as_str() {
        "198.18.1.11" | "fd00::11" => BACKEND11,
        "198.18.1.12" | "fd00::12" => BACKEND12,
        "198.18.1.13" | "fd00::13" => HOST13,
        "198.18.0.7" | "2001:db8::7" => CLIENT7,
        _ => ROUTER0,
    }
}

/// A rule for everything inside, with public ports from 30,000 on.
pub fn rule(mapping: Mapping, filtering: Filtering, ports: u16) -> SnatRule {
    let public = ["198.18.0.50", "2001:db8::50"].map(|address| address.parse().unwrap());
    SnatRule {
        name: "home".to_owned(),
        inside: vec![("198.18.1.0".parse().unwrap(), 24), ("fd00::".parse().unwrap(), 64)],
        pool: SnatPool::of(&public, (30_000, 29_999 + ports)),
        mapping,
        filtering,
        hairpinning: true,
    }
}

/// The router's tables with these rules.
pub fn home(rules: Vec<SnatRule>) -> Snapshot {
    let addresses = [[("198.18.0.2", 24), ("2001:db8::2", 64)], [("198.18.1.1", 24), ("fd00::1", 64)]];
    let interfaces = [(ETH0, "eth0", SWITCH0), (ETH1, "eth1", SWITCH1)].map(|(id, name, mac)| Interface {
        id,
        name: name.to_owned(),
        mac,
        mtu: 1500,
        tags: Tags::none(),
        addresses: addresses[id.index()].map(|(address, length)| (address.parse().unwrap(), length)).into(),
    });
    let neighbors: Vec<(InterfaceId, &str, Mac)> = vec![
        (ETH0, "198.18.0.1", ROUTER0),
        (ETH0, "2001:db8::1", ROUTER0),
        (ETH0, "198.18.0.7", CLIENT7),
        (ETH0, "2001:db8::7", CLIENT7),
        (ETH1, "198.18.1.11", BACKEND11),
        (ETH1, "fd00::11", BACKEND11),
        (ETH1, "198.18.1.12", BACKEND12),
        (ETH1, "fd00::12", BACKEND12),
        (ETH1, "198.18.1.13", HOST13),
        (ETH1, "fd00::13", HOST13),
    ];
    let next_hops = neighbors.iter().map(|(interface, address, mac)| NextHop {
        macs: macs(*mac, interfaces[interface.index()].mac),
        tags: Tags::none(),
        interface: *interface,
        resolved: true,
        mtu: 1500,
        address: address.parse().unwrap(),
    });
    let routes = [
        ("0.0.0.0", 0, Route::Via(NextHopId(0))),
        ("::", 0, Route::Via(NextHopId(1))),
        ("198.18.0.0", 24, Route::OnLink(ETH0)),
        ("2001:db8::", 64, Route::OnLink(ETH0)),
        ("198.18.1.0", 24, Route::OnLink(ETH1)),
        ("fd00::", 64, Route::OnLink(ETH1)),
    ];
    let on_link = neighbors.iter().zip(0..);
    let mut snapshot = Snapshot {
        epoch: 1,
        routes_epoch: 1,
        next_hops: next_hops.collect(),
        routes: Routes::build(
            routes.map(|(prefix, length, route)| (prefix.parse().unwrap(), length, route)),
            on_link
                .map(|((interface, address, _), row)| (*interface, address.parse().unwrap(), NextHopId(row))),
        ),
        interfaces: interfaces.into(),
        snat_rules: rules,
        ..Snapshot::default()
    };
    snapshot.index();
    snapshot
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    Udp,
    Tcp(u8),
    /// An echo request; its identifier is the source's port.
    Ping,
    /// An echo reply; its identifier is the destination's port.
    Pong,
}

/// A packet in either family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub carries: Carries,
    pub ttl: u8,
    pub payload: Vec<u8>,
}

/// A packet between two endpoints.
pub fn datagram(carries: Carries, source: SocketAddr, destination: SocketAddr) -> Datagram {
    Datagram { source, destination, carries, ttl: 64, payload: b"how are you?!".to_vec() }
}

impl Datagram {
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// The frame, from one MAC address to another.
    pub fn build(&self, from: Mac, to: Mac) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(from, to);
        let ip = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ethernet.ipv4(source.octets(), destination.octets(), self.ttl)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ethernet.ipv6(source.octets(), destination.octets(), self.ttl)
            }
            other => panic!("two families: {other:?}"),
        };
        let (source, destination) = (self.source.port(), self.destination.port());
        let mut frame = Vec::new();
        let payload = &self.payload;
        match (self.carries, self.source.is_ipv4()) {
            (Carries::Udp, _) => ip.udp(source, destination).write(&mut frame, payload),
            (Carries::Tcp(flags), _) => ip.tcp_header(self.tcp(flags)).write(&mut frame, payload),
            (Carries::Ping, true) => ip.icmpv4_echo_request(source, 7).write(&mut frame, payload),
            (Carries::Pong, true) => ip.icmpv4_echo_reply(destination, 7).write(&mut frame, payload),
            (Carries::Ping, false) => ip.icmpv6_echo_request(source, 7).write(&mut frame, payload),
            (Carries::Pong, false) => ip.icmpv6_echo_reply(destination, 7).write(&mut frame, payload),
        }
        .unwrap();
        frame
    }

    fn tcp(&self, flags: u8) -> TcpHeader {
        TcpHeader {
            acknowledgment_number: if flags & ACK != 0 { SEQUENCE + 1 } else { 0 },
            syn: flags & SYN != 0,
            ack: flags & ACK != 0,
            fin: flags & FIN != 0,
            rst: flags & RST != 0,
            ..TcpHeader::new(self.source.port(), self.destination.port(), SEQUENCE, 64_000)
        }
    }

    /// The frame as an inside host sends it to the switch.
    pub fn sent_from_inside(&self) -> Vec<u8> {
        self.build(mac_of(self.source), SWITCH1)
    }

    /// The frame as it comes from outside.
    pub fn sent_from_outside(&self) -> Vec<u8> {
        self.build(mac_of(self.source), SWITCH0)
    }

    /// The frame as the switch sends it out, one hop later.
    pub fn gone_outside(&self) -> Vec<u8> {
        self.clone().ttl(self.ttl - 1).build(SWITCH0, mac_of(self.destination))
    }

    /// The frame as the switch sends it to an inside host, one hop later.
    pub fn gone_inside(&self) -> Vec<u8> {
        self.clone().ttl(self.ttl - 1).build(SWITCH1, mac_of(self.destination))
    }
}

/// Source of a frame: address with port, or with the identifier of a ping.
pub fn source_of(frame: &[u8]) -> SocketAddr {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let address: IpAddr = match packet.net.unwrap() {
        NetSlice::Ipv4(ip) => ip.header().source_addr().into(),
        NetSlice::Ipv6(ip) => ip.header().source_addr().into(),
        other => panic!("{other:?}"),
    };
    let port = match packet.transport.unwrap() {
        TransportSlice::Udp(udp) => udp.source_port(),
        TransportSlice::Tcp(tcp) => tcp.source_port(),
        TransportSlice::Icmpv4(icmp) => u16::from_be_bytes([icmp.slice()[4], icmp.slice()[5]]),
        TransportSlice::Icmpv6(icmp) => u16::from_be_bytes([icmp.slice()[4], icmp.slice()[5]]),
        other => panic!("{other:?}"),
    };
    SocketAddr::new(address, port)
}
