//! The network of the forwarding modes: every mode that there is, TCP and UDP, each family of VIP and backend.
//!
//! ```text
//!  client .7 ──┐ eth0 ┌────────┐ eth1 ┌── backend .11
//!  client .8 ──┼──────┤ switch ├──────┼── backend .12
//!  router .1 ──┘  .2  └────────┘  .1  └── (198.18.1.0/24 and 2001:db8:1::/64)
//! ```

use std::net::{IpAddr, SocketAddr};

use xswitch::dataplane::Verdict;
use xswitch::tables::InterfaceId;

use super::flow::{Flow, Head, flow, frame, in_gue, in_ip};
use super::lab::{Lab, Outcome};
use super::network::*;
use super::strict::{self, GUE_PORT};
use super::{Mac, SYN, TCP, UDP};

pub const MTU: usize = 1500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}
pub use Family::{V4, V6};

/// A host of either side of the switch.
pub fn outside(family: Family, host: u8) -> IpAddr {
    if family == V4 { [198, 18, 0, host].into() } else { v6(0, host) }
}

pub fn inside(family: Family, host: u8) -> IpAddr {
    if family == V4 { [198, 18, 1, host].into() } else { v6(1, host) }
}

fn v6(net: u16, host: u8) -> IpAddr {
    [0x2001, 0xdb8, net, 0, 0, 0, 0, u16::from(host)].into()
}

/// One way to forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub mode: &'static str,
    pub protocol: u8,
    /// Of client and VIP.
    pub client: Family,
    pub backend: Family,
    /// Which of the backends it is about.
    pub host: u8,
    /// Source port that full NAT chose.
    pub port: u16,
}

/// All of them.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for mode in ["nat", "full-nat", "dsr", "ipip", "gue"] {
        for protocol in [TCP, UDP] {
            for client in [V4, V6] {
                for backend in [V4, V6] {
                    let row = Row::of(mode, protocol, client, backend);
                    if row.is_tunnel() || client == backend {
                        rows.push(row);
                    }
                }
            }
        }
    }
    rows
}

impl Row {
    /// The same with another of the service's backends.
    pub fn to(self, host: u8) -> Self {
        Self { host, ..self }
    }

    /// The one of these modes and families.
    pub fn of(mode: &'static str, protocol: u8, client: Family, backend: Family) -> Self {
        Self { mode, protocol, client, backend, host: 11, port: 20_000 }
    }

    /// The MAC address of the backend.
    pub fn mac(self) -> Mac {
        if self.host == 11 { BACKEND11 } else { BACKEND12 }
    }

    pub fn is_tunnel(self) -> bool {
        matches!(self.mode, "ipip" | "gue")
    }

    pub fn replies_come_back(self) -> bool {
        matches!(self.mode, "nat" | "full-nat")
    }

    pub fn says(self) -> String {
        let protocol = if self.protocol == TCP { "TCP" } else { "UDP" };
        format!("{} {protocol}, {:?} in {:?}", self.mode, self.client, self.backend)
    }

    fn names(self) -> (&'static str, u8, Family, Family) {
        (self.mode, self.protocol, self.client, self.backend)
    }

    pub fn vip(self) -> SocketAddr {
        let host = 100 + rows().iter().position(|row| row.names() == self.names()).unwrap() as u8;
        SocketAddr::new(outside(self.client, host), 80)
    }

    pub fn backend(self) -> SocketAddr {
        SocketAddr::new(inside(self.backend, self.host), if self.replies_come_back() { 8080 } else { 80 })
    }

    pub fn client(self) -> SocketAddr {
        SocketAddr::new(outside(self.client, 7), 40_000)
    }

    /// By how much a packet grows.
    pub fn overhead(self) -> usize {
        let outer = if self.backend == V4 { 20 } else { 40 };
        match self.mode {
            "ipip" => outer,
            "gue" => outer + 12,
            _ => 0,
        }
    }

    /// The client as the backend sees it.
    pub fn seen(self) -> SocketAddr {
        let snat = SocketAddr::new(inside(self.client, 2), self.port);
        if self.mode == "full-nat" { snat } else { self.client() }
    }

    /// What the client sends.
    pub fn request(self, flags: u8) -> Flow {
        flow(self.protocol, self.client(), self.vip(), flags)
    }

    /// What the backend answers.
    pub fn reply(self, flags: u8) -> Flow {
        flow(self.protocol, self.backend(), self.seen(), flags)
    }

    /// What the backend is to get for a request. The fields that the switch is free to choose are those of `left`, the
    /// packet that it sent, as far as they are within bounds.
    pub fn delivered(self, request: &Flow, left: &[u8]) -> Vec<u8> {
        let inner = if self.mode == "dsr" { request.clone() } else { request.clone().routed() };
        match self.mode {
            "nat" => Flow { destination: self.backend(), ..inner }.packet(),
            "full-nat" => inner.between(self.seen(), self.backend()).packet(),
            "dsr" => inner.packet(),
            _ => self.encapsulated(&inner, left),
        }
    }

    fn encapsulated(self, inner: &Flow, left: &[u8]) -> Vec<u8> {
        let may_be_cut = self.client == V4 && !inner.head.dont_fragment;
        let mut head = Head { traffic_class: inner.head.traffic_class, id: 0, ..Head::new() };
        head.dont_fragment = !may_be_cut;
        let word = |at: usize| u16::from_be_bytes([left[at], left[at + 1]]);
        let transport = if self.backend == V4 {
            if may_be_cut {
                head.id = word(4);
            }
            20
        } else {
            head.flow_label = u32::from(left[1] & 15) << 16 | u32::from(word(2));
            assert_ne!(head.flow_label, 0, "the flow has a label");
            40
        };
        let (source, backend) = (inside(self.backend, 1), self.backend().ip());
        if self.mode == "ipip" {
            return in_ip(&head, source, backend, &inner.packet());
        }
        let port = word(transport);
        assert!(port >= 0xC000, "{port} is in the dynamic range");
        let ends = (SocketAddr::new(source, port), SocketAddr::new(backend, GUE_PORT));
        in_gue(&head, ends.0, ends.1, &inner.packet())
    }
}

/// What may be different.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Lines of each TCP service but those of `dsr`.
    pub service: &'static str,
    /// Lines of `[switch]`, the ports of full NAT among them, and what stands behind it.
    pub switch: &'static str,
    /// Whether each service has a second backend, .12, that takes turns with the first.
    pub twins: bool,
    /// VLANs of eth0 and eth1.
    pub vlans: [&'static [u16]; 2],
    /// Bits of priority with which tags arrive.
    pub priority: u16,
    /// Bytes of room in front of frames that arrive.
    pub room: usize,
}

impl World {
    pub fn config(&self) -> String {
        let mut text = "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\nsnat_addresses = [\"198.18.1.2\", \"2001:db8:1::2\"]\n"
            .to_owned()
            + if self.switch.is_empty() { "snat_ports = \"20000-20000\"\n" } else { self.switch };
        for row in rows() {
            let protocol = if row.protocol == TCP { "tcp" } else { "udp" };
            let name = row.says().replace([',', ' '], "-");
            let backends = [row.backend().to_string(), row.to(12).backend().to_string()];
            let backends = [(&*backends[0], 1), (&*backends[1], 1)];
            let backends = &backends[..1 + usize::from(self.twins)];
            let block = service(&name, &row.vip().to_string(), protocol, row.mode, backends);
            let lines = if row.protocol == TCP && row.mode != "dsr" { self.service } else { "" };
            text += &block.replacen("[[service.backend]]", &format!("{lines}\n[[service.backend]]"), 1);
        }
        text + &facts(self.vlans) + &neighbors()
    }

    pub fn lab(&self) -> Lab {
        Lab::new(&self.config(), 1024).with_room(self.room)
    }

    /// A frame as it arrives from a neighbour of `interface`.
    pub fn arriving(&self, interface: InterfaceId, from: Mac, packet: &[u8]) -> Vec<u8> {
        let tags: Vec<_> = self.vlans[interface.index()].iter().map(|vlan| vlan | self.priority).collect();
        frame(from, [SWITCH0, SWITCH1][interface.index()], &tags, packet)
    }

    /// A frame as it leaves for a neighbour of `interface`.
    pub fn leaving(&self, interface: InterfaceId, to: Mac, packet: &[u8]) -> Vec<u8> {
        frame([SWITCH0, SWITCH1][interface.index()], to, self.vlans[interface.index()], packet)
    }
}

/// The interfaces.
pub fn facts(vlans: [&[u16]; 2]) -> String {
    let mut text = String::new();
    for (number, (own, net)) in [(2, "0"), (1, "1")].into_iter().enumerate() {
        let v6 = if number == 0 { "2001:db8::2/64" } else { "2001:db8:1::1/64" };
        text += &format!(
            "[[interface]]\nname = \"eth{number}\"\nmac = \"02:00:00:00:00:0{}\"\nvlan = {:?}\n\
             addresses = [\"198.18.{net}.{own}/24\", \"{v6}\"]\n",
            number + 1,
            vlans[number],
        );
    }
    text
}

/// The hosts.
pub fn neighbors() -> String {
    let mut text = String::new();
    for family in [V4, V6] {
        for (interface, address, mac) in [
            ("eth0", outside(family, 7), "01:07"),
            ("eth0", outside(family, 8), "01:08"),
            ("eth1", inside(family, 11), "03:0b"),
            ("eth1", inside(family, 12), "03:0c"),
        ] {
            text += &format!(
                "[[neighbor]]\ninterface = \"{interface}\"\naddress = \"{address}\"\nmac = \"02:00:00:00:{mac}\"\n"
            );
        }
    }
    text
}

/// Sends the request; it must leave for the backend, every byte as it must be. The frame that left.
pub fn deliver(world: &World, lab: &mut Lab, row: Row, request: &Flow) -> Vec<u8> {
    let arrives = world.arriving(ETH0, CLIENT7, &request.packet());
    let outcome = lab.send(ETH0, &arrives);
    assert_eq!(outcome.verdict, Verdict::Forward(ETH1), "{}", row.says());
    let (_, at) = strict::link(&outcome.bytes);
    let delivered = row.delivered(request, &outcome.bytes[at..]);
    same(&row.says(), &outcome, &world.leaving(ETH1, row.mac(), &delivered));
    outcome.bytes
}

/// Sends the reply; the client must get it from the VIP, every byte as it must be. The frame that left.
pub fn answer(world: &World, lab: &mut Lab, row: Row, reply: &Flow) -> Vec<u8> {
    let outcome = lab.send(ETH1, &world.arriving(ETH1, row.mac(), &reply.packet()));
    assert_eq!(outcome.verdict, Verdict::Forward(ETH0), "{}, its reply", row.says());
    let told = reply.clone().routed().between(row.vip(), row.client()).packet();
    same(&row.says(), &outcome, &world.leaving(ETH0, CLIENT7, &told));
    outcome.bytes
}

/// Equal byte for byte, and right for the strict reader.
pub fn same(says: &str, outcome: &Outcome, expected: &[u8]) {
    assert_eq!(hex(&outcome.bytes), hex(expected), "{says}");
    strict::layers(&outcome.bytes);
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| line.iter().map(|byte| format!(" {byte:02x}")).collect());
    lines.collect::<Vec<String>>().join("\n")
}

/// Flags with which a first packet of this protocol comes.
pub fn first(row: Row) -> Flow {
    row.request(SYN)
}
