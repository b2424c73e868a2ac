//! The network of the ICMP cases, the same in both families.
//!
//! ```text
//!  client .7 ── router .1 ──┐                      ┌── backend .11
//!                           ├─ eth0 [switch] eth1 ─┤
//!  VIPs .100 to .104        ┘  .2           .1     └── router .254 ── the rest of the inside
//! ```

use std::net::{IpAddr, SocketAddr};

use xswitch::dataplane::Verdict;
use xswitch::tables::{DropReason, InterfaceId};

use super::packets::{assert_checksums, flow, frame, ip};
use crate::frames::lab::{Lab, Outcome, compile};
use crate::frames::network::*;
use crate::frames::{ACK, Mac, SYN};

/// One family's addresses.
#[derive(Debug, Clone, Copy)]
pub struct Net {
    outside: &'static str,
    inside: &'static str,
    pub v4: bool,
}

pub const V4: Net = Net { outside: "198.18.0.", inside: "198.18.1.", v4: true };
pub const V6: Net = Net { outside: "2001:db8::", inside: "2001:db8:1::", v4: false };
pub const BOTH: [Net; 2] = [V4, V6];

impl Net {
    pub fn outside(self, host: u8) -> IpAddr {
        ip(&format!("{}{host}", self.outside))
    }

    pub fn inside(self, host: u8) -> IpAddr {
        ip(&format!("{}{host}", self.inside))
    }

    pub fn client(self) -> SocketAddr {
        SocketAddr::new(self.outside(7), 40_000)
    }

    pub fn router(self) -> IpAddr {
        self.outside(1)
    }

    pub fn inside_router(self) -> IpAddr {
        self.inside(254)
    }

    /// An address that means nothing outside.
    pub fn private(self) -> IpAddr {
        ip(if self.v4 { "10.9.0.1" } else { "fd00::1" })
    }

    pub fn own(self) -> IpAddr {
        self.outside(2)
    }

    pub fn vip(self, mode: &str) -> SocketAddr {
        let host = match mode {
            "nat" => 100,
            "full-nat" => 101,
            "dsr" => 102,
            "ipip" => 103,
            _ => 104,
        };
        SocketAddr::new(self.outside(host), 80)
    }

    pub fn backend(self, mode: &str) -> SocketAddr {
        SocketAddr::new(self.inside(11), if mode.ends_with("nat") { 8080 } else { 80 })
    }

    pub fn snat(self) -> SocketAddr {
        SocketAddr::new(self.inside(2), 20_000)
    }

    /// Length of an IP header.
    pub fn header(self) -> usize {
        if self.v4 { 20 } else { 40 }
    }

    /// From where the backend sees the client.
    pub fn seen_client(self, mode: &str) -> SocketAddr {
        if mode == "full-nat" { self.snat() } else { self.client() }
    }
}

fn quoted(address: SocketAddr) -> String {
    address.to_string()
}

/// The configuration: every mode, TCP and UDP, in both families.
pub fn config() -> String {
    let mut text = "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\nsnat_ports = \"20000-20000\"\n\
        snat_addresses = [\"198.18.1.2\", \"2001:db8:1::2\"]\n\
        tunnel_sources = [\"198.18.1.1\", \"2001:db8:1::1\"]\n"
        .to_owned();
    for (net, family) in [(V4, 4), (V6, 6)] {
        for mode in ["nat", "full-nat", "dsr", "ipip", "gue"] {
            for protocol in ["tcp", "udp"] {
                let mut backend = net.backend(mode);
                if mode == "gue" {
                    backend.set_port(80);
                }
                let name = format!("{mode}-{protocol}-{family}");
                let (vip, backend) = (quoted(net.vip(mode)), quoted(backend));
                text += &service(&name, &vip, protocol, mode, &[(&backend, 1)]);
            }
        }
    }
    text + "[[interface]]\nname = \"eth0\"\nmac = \"02:00:00:00:00:01\"\naddresses = [\"198.18.0.2/24\", \"2001:db8::2/64\"]\n\
        [[interface]]\nname = \"eth1\"\nmac = \"02:00:00:00:00:02\"\naddresses = [\"198.18.1.1/24\", \"2001:db8:1::1/64\"]\n"
        + &neighbors()
}

fn neighbors() -> String {
    let mut text = String::new();
    for net in BOTH {
        for (interface, address, mac) in [
            ("eth0", net.outside(7), "02:00:00:00:01:07"),
            ("eth0", net.router(), "02:00:00:00:02:01"),
            ("eth1", net.inside(11), "02:00:00:00:03:0b"),
            ("eth1", net.inside_router(), "02:00:00:00:02:02"),
        ] {
            text += &format!(
                "[[neighbor]]\ninterface = \"{interface}\"\naddress = \"{address}\"\nmac = \"{mac}\"\n"
            );
        }
    }
    text
}

/// A switch of that configuration.
pub fn switch() -> Lab {
    Lab::of(compile(&config()), 1024)
}

/// A switch through which the client has a connection.
pub fn connected(net: Net, mode: &str, protocol: u8) -> Lab {
    let mut lab = switch();
    let (client, vip, backend) = (net.client(), net.vip(mode), net.backend(mode));
    let request = flow(protocol, client, vip, 64, SYN, b"");
    forwarded(&lab.send(ETH0, &frame(CLIENT7, SWITCH0, &request)), ETH1);
    if mode.ends_with("nat") {
        let reply = flow(protocol, backend, net.seen_client(mode), 64, SYN | ACK, b"");
        forwarded(&lab.send(ETH1, &frame(BACKEND11, SWITCH1, &reply)), ETH0);
    }
    lab
}

/// The packet that left, with right checksums.
pub fn forwarded(outcome: &Outcome, egress: InterfaceId) -> &[u8] {
    assert_eq!(outcome.verdict, Verdict::Forward(egress));
    &outcome.bytes
}

/// Asserts that the frame leaves like this, with right checksums on all levels.
pub fn assert_forwarded(outcome: &Outcome, egress: InterfaceId, from: Mac, to: Mac, packet: &[u8]) {
    assert_eq!(outcome.verdict, Verdict::Forward(egress));
    assert_left(outcome, from, to, packet);
}

/// Asserts that the switch says this itself.
pub fn assert_replied(outcome: &Outcome, egress: InterfaceId, from: Mac, to: Mac, packet: &[u8]) {
    assert_eq!(outcome.verdict, Verdict::Reply(egress));
    assert_left(outcome, from, to, packet);
}

fn assert_left(outcome: &Outcome, from: Mac, to: Mac, packet: &[u8]) {
    let expected = frame(from, to, packet);
    assert_eq!(outcome.bytes.len(), expected.len());
    for (at, (is, expected)) in outcome.bytes.iter().zip(&expected).enumerate() {
        assert_eq!(is, expected, "byte {at} of\n{:02x?}\nexpected\n{expected:02x?}", outcome.bytes);
    }
    assert_checksums(&outcome.bytes);
}

/// Asserts that the frame is dropped, and left as it was.
pub fn assert_dropped(outcome: &Outcome, reason: DropReason, frame: &[u8]) {
    assert_eq!(outcome.verdict, Verdict::Drop(reason));
    assert_eq!(outcome.bytes, frame);
}
