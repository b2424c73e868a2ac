//! Valid frames of every forwarding mode, in both families, tagged and not, and the two switches they go through in turn.

use std::net::SocketAddr;

use xswitch::config;
use xswitch::control::compile::{Compiler, Usage};
use xswitch::control::network::NetworkView;
use xswitch::control::standing::Standings;
use xswitch::control::topology::Topology;
use xswitch::tables::{InterfaceId, Opening, Protocol, Snapshot, SynCookies};

use crate::frames::flow::{Flow, flow, frame};
use crate::frames::modes::*;
use crate::frames::network::*;
use crate::frames::pieces::{fragmentable, split};
use crate::frames::{ACK, FIN, PSH, RST, SYN, TCP, UDP};
use crate::packets::{Says, head};

/// Bytes in front of frames: none, those that some mode needs, and other numbers.
pub const ROOMS: [usize; 8] = [0, 8, 20, 32, 40, 52, 57, 60];
const VLANS: [&[u16]; 2] = [&[100], &[200, 7]];

fn world() -> World {
    let switch = "snat_ports = \"20000-20015\"\n";
    World { switch, service: "mss_clamp = \"auto\"", vlans: VLANS, ..World::default() }
}

/// A configuration and its reload: twice the backends, another clamp, other ports, no more IPv4 source for tunnels but
/// one that was named, a smaller MTU towards the backends, SYNs answered with cookies.
pub fn snapshots() -> [Snapshot; 2] {
    let second = World {
        switch: "snat_ports = \"20008-20023\"\ntunnel_sources = [\"198.18.1.77\", \"2001:db8:1::77\"]\n",
        service: "mss_clamp = 600",
        twins: true,
        ..world()
    };
    let narrow = second.config().replace("vlan = [200, 7]", "vlan = [200, 7]\nmtu = 1400");
    let mut compiler = Compiler::default();
    let mut snapshots = [world().config(), narrow].map(|text| {
        let config = config::parse(&text, "fuzz").unwrap_or_else(|error| panic!("{error}")).config;
        let topology = Topology::new(&config, &NetworkView::default());
        compiler.compile(&config, &topology, &Standings::default(), &Usage::NONE).unwrap().snapshot
    });
    for service in snapshots[1].services.iter_mut().flatten() {
        if service.protocol == Protocol::Tcp && !service.forwarding.returns_directly() {
            (service.syn_cookies, service.opening) = (SynCookies::Always, Opening::Full);
        }
    }
    snapshots
}

/// The frames, each with the interface it arrives at.
pub fn frames() -> Vec<(InterfaceId, Vec<u8>)> {
    let mut frames = Vec::new();
    for row in rows() {
        for port in 40_000..40_004 {
            let client = SocketAddr::new(row.client().ip(), port);
            for request in requests(row) {
                let packet = Flow { source: client, ..request }.packet();
                frames.push((ETH0, world().arriving(ETH0, CLIENT7, &packet)));
            }
            for reply in replies(row, client) {
                frames.push((ETH1, world().arriving(ETH1, BACKEND11, &reply.packet())));
            }
        }
        frames
            .extend(errors(row).into_iter().map(|packet| (ETH1, world().arriving(ETH1, BACKEND12, &packet))));
        frames.extend(pieces(row));
    }
    frames.extend(pings());
    frames
}

fn requests(row: Row) -> Vec<Flow> {
    let mut requests = vec![first(row), row.request(ACK | PSH).payload(&[0x5A; 60]), row.request(ACK | FIN)];
    requests.push(row.request(RST));
    requests.push(first(row).tcp_options(&[1, 2, 4, 5, 0xB4, 3, 3, 7]));
    // At the edge of the MTU, beyond it, and as large as a chunk holds.
    let size = [1300, 1440, 1452, 1472, 1500, 2900, 3900]
        [usize::from(row.vip().ip().is_ipv4()) + row.mode.len() % 6];
    requests.push(row.request(ACK).payload(&vec![0xA5; size]));
    requests.push(row.request(ACK).payload(&vec![0xA5; size]).head(|head| head.dont_fragment = false));
    requests.push(first(row).head(|head| (head.ttl, head.traffic_class) = (1, 0xB9)));
    requests.push(first(row).unchecked());
    let extensions =
        [(0, 8), (60, 16), (43, 8), (44, 8)].map(|(number, length)| (number, extension(number, length)));
    requests.push(first(row).head(|head| (head.options, head.extensions) = (vec![1; 12], extensions.into())));
    requests
}

fn extension(number: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    if number != 44 {
        bytes[1] = (length / 8 - 1) as u8;
    }
    bytes
}

fn replies(row: Row, client: SocketAddr) -> Vec<Flow> {
    let source = if row.replies_come_back() { row.backend() } else { row.vip() };
    let mut replies = Vec::new();
    for flags in [SYN | ACK, ACK | PSH, FIN | ACK, RST | ACK] {
        replies.push(flow(row.protocol, source, client, flags));
        if row.mode == "full-nat" {
            for port in 20_006..20_012 {
                replies.push(flow(row.protocol, source, SocketAddr::new(row.seen().ip(), port), flags));
            }
        }
    }
    replies
}

/// What routers and backends complain about: packets as the switch may have sent them.
fn errors(row: Row) -> Vec<Vec<u8>> {
    let left = [0xE0; 40];
    let sent = row.delivered(&row.request(ACK).payload(&[0xA5; 300]), &tunnel_choices(&left));
    let to = inside(row.backend, 1);
    let says = [Says::TooBig(1300), Says::TooBig(60), Says::PortUnreachable, Says::TimeExceeded];
    let about = |quoted: &[u8]| {
        says.map(|says| head(inside(row.backend, 12), to).icmp(says, &quoted[..quoted.len().min(548)]))
    };
    let answered = row.reply(ACK).payload(&[0xA5; 100]).routed().between(row.vip(), row.client()).packet();
    let outside = says.map(|says| head(outside(row.client, 8), row.vip().ip()).icmp(says, &answered));
    about(&sent).into_iter().chain(outside).collect()
}

/// Any choice of ID, flow label and source port that the switch may have made.
fn tunnel_choices(any: &[u8; 40]) -> Vec<u8> {
    let mut left = any.to_vec();
    left.extend([0xE0; 20]);
    left
}

fn pieces(row: Row) -> Vec<(InterfaceId, Vec<u8>)> {
    let tagged = |piece: Vec<u8>| world().arriving(ETH0, CLIENT7, &piece[14..]);
    let of = |id: u16| {
        let request = flow(UDP, row.client(), row.vip(), 0).payload(&[0x5A; 700]);
        let whole = fragmentable(request.frame(CLIENT7, SWITCH0), id);
        split(&whole, id, 240).into_iter().map(tagged).map(|frame| (ETH0, frame))
    };
    if row.protocol == TCP { Vec::new() } else { of(1).chain(of(2)).collect() }
}

/// Pings of VIPs; frames of other VLANs and of none.
fn pings() -> Vec<(InterfaceId, Vec<u8>)> {
    let mut frames = Vec::new();
    for row in rows().into_iter().step_by(5) {
        let says = Says::Echo { reply: false, id: 7, sequence: 1 };
        let ping = head(row.client().ip(), row.vip().ip()).icmp(says, &[0x11; 56]);
        frames.push((ETH0, world().arriving(ETH0, CLIENT7, &ping)));
        for tags in [&[][..], &[101], &[100, 100], &[1, 100, 100]] {
            frames.push((ETH0, frame(CLIENT7, SWITCH0, tags, &first(row).packet())));
        }
    }
    frames
}
