//! The labs of the other forwarding modes, without the switch: what it will rely on works with the kernel alone.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use etherparse::PacketBuilder;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use crate::common::decapsulator::Tunnel;
use crate::common::lab::{
    Family, Lab, NAMES_PORT, Path, V4, V6, WEB_PORT, bridge, dsr, gue, home, ipip, vip,
};
use crate::common::servers;
use crate::common::traffic;
use crate::common::wait::wait_for;
use crate::{fragments, icmp};

/// Where the client waits for answers to packets that somebody else sends for it.
const PORT: u16 = 41_000;

#[test]
fn a_packet_in_a_tunnel_is_answered_past_the_switch() {
    let lab = Lab::new(ipip(1));
    for (&path, tunnel) in
        lab.setup.paths.iter().zip([Tunnel::V4InV4, Tunnel::V6InV6, Tunnel::V4InV6, Tunnel::V6InV4])
    {
        let (outer, protocol) = (path.backend, if path.vip == Family::V4 { 4 } else { 41 });
        let socket = lab.switch.enter(|| raw_socket(outer, protocol));
        assert_answered(&lab, path, |packet, backend| {
            socket.send_to(packet, (backend, 0)).expect("a raw packet can be sent");
        });
        assert_eq!(taken(&lab, tunnel), 1, "{tunnel:?}");
    }
}

#[test]
fn both_variants_of_gue_are_answered_past_the_switch() {
    let lab = Lab::new(gue(1));
    for &path in lab.setup.paths {
        let protocol = if path.vip == Family::V4 { 4 } else { 41 };
        let any = if path.backend == Family::V4 { "0.0.0.0:0" } else { "[::]:0" };
        let socket = lab.switch.enter(|| UdpSocket::bind(any)).expect("a UDP socket can be opened");
        for header in [vec![], vec![0, protocol, 0, 0], vec![1, protocol, 0, 0, 0, 0, 0, 0]] {
            assert_answered(&lab, path, |packet, backend| {
                let datagram = [&header[..], packet].concat();
                socket.send_to(&datagram, (backend, 6080)).expect("a datagram can be sent");
            });
        }
    }
    assert_eq!(taken(&lab, Tunnel::Gue), 4 * 3);
}

#[test]
fn backends_that_hold_the_vip_stay_silent_and_answer_whoever_finds_them() {
    let lab = Lab::new(dsr(1));
    let mac = Lab::mac(&lab.backends[1].host, "eth0");
    for &path in lab.setup.paths {
        let limit = Duration::from_secs(1);
        assert!(!traffic::is_served(&lab.client, path.web(), limit), "somebody claims the VIP");
        lab.client.ip(&format!("neighbor replace {} lladdr {mac} dev eth0", path.web().ip()));
        let answers = traffic::requests(&lab.client, path.web(), 3);
        assert_eq!(answers.counts(), [0, 3, 0], "{}", path.label());
    }
}

#[test]
fn what_scenes_demand_of_a_vip_holds_for_an_ordinary_host() {
    let lab = Lab::new(dsr(1));
    for &family in lab.setup.families() {
        let address = lab.setup.backend_address_of(1, family);
        let _server = servers::udp_names(&lab.backends[0].host, "b1", SocketAddr::new(address, NAMES_PORT));
        let _web = servers::tcp_echo(&lab.backends[0].host, SocketAddr::new(address, WEB_PORT));
        icmp::assert_behaves_as_a_host(&lab.client, address, WEB_PORT);
        let server = SocketAddr::new(address, NAMES_PORT);
        fragments::assert_echoed_in_any_order(&lab.client, lab.setup.client_address(family), server);
        let data = traffic::random_bytes(50);
        let echoed = traffic::echo_in_datagrams(&lab.client, server, &data);
        assert!(echoed.expect("every datagram is answered") == data);
    }
}

#[test]
fn everybody_reaches_everybody_through_a_bridge_in_the_place_of_the_switch() {
    let lab = Lab::new(bridge(1));
    lab.switch.ip("link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
    for interface in ["eth0", "eth1"] {
        lab.switch.run(&format!("ethtool --offload {interface} gro on"));
        lab.switch.ip(&format!("link set {interface} master br0"));
    }
    lab.switch.ip("link set br0 up");
    for host in [&lab.client, lab.host("x1"), lab.host("x2")] {
        for path in [V4, V6] {
            let server = SocketAddr::new(lab.setup.backend_address_of(1, path.backend), WEB_PORT);
            assert_eq!(
                traffic::requests(host, server, 3).counts(),
                [3, 0, 0],
                "{} {}",
                host.name(),
                path.label()
            );
        }
    }
}

#[test]
fn inside_hosts_reach_outside_servers_through_the_nat_of_the_kernel() {
    let lab = Lab::new(home(1));
    lab.switch.sysctl("net.ipv4.ip_forward", "1");
    lab.switch.sysctl("net.ipv6.conf.all.forwarding", "1");
    for interface in ["eth0", "eth1"] {
        lab.switch.run(&format!("ethtool --offload {interface} gro on"));
    }
    let file = lab.directory().join("home.nft");
    let rules = "table inet home { chain source { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }\n}\n";
    std::fs::write(&file, rules).expect("a file can be written");
    lab.switch.run(&format!("nft --file {}", file.display()));
    for host in [&lab.client, lab.host("h2"), lab.host("h3")] {
        for path in [V4, V6] {
            let server = |number, port| SocketAddr::new(lab.setup.backend_address_of(number, path.vip), port);
            assert_eq!(
                traffic::requests(host, server(2, WEB_PORT), 2).counts(),
                [0, 2, 0],
                "{}",
                host.name()
            );
            assert_eq!(
                traffic::datagrams(host, server(1, NAMES_PORT), 2).counts(),
                [2, 0, 0],
                "{}",
                host.name()
            );
        }
    }
}

/// Sends a client's question to b1 for it, and waits for the answer at the client.
fn assert_answered(lab: &Lab, path: Path, send: impl Fn(&[u8], IpAddr)) {
    let client = lab.setup.client_address(path.vip);
    let socket = lab.client.enter(|| UdpSocket::bind((client, PORT))).expect("the port is free");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out can be set");
    let packet = question(client, path);
    send(&packet, lab.setup.backend_address_of(1, path.backend));
    let (answer, from) = wait_for("the answer comes", Duration::from_secs(3), || {
        let mut buffer = [0; 64];
        let (length, from) = socket.recv_from(&mut buffer).ok()?;
        Some((String::from_utf8_lossy(&buffer[..length]).into_owned(), from))
    });
    assert_eq!((answer.as_str(), from), ("b1 hello", path.names()), "{}", path.label());
}

fn question(client: IpAddr, path: Path) -> Vec<u8> {
    let builder = match (client, vip(path.vip)) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => PacketBuilder::ipv4(client.octets(), vip.octets(), 64),
        (IpAddr::V6(client), IpAddr::V6(vip)) => PacketBuilder::ipv6(client.octets(), vip.octets(), 64),
        _ => panic!("a client and its VIP are of one family"),
    };
    let mut packet = Vec::new();
    builder.udp(PORT, path.names().port()).write(&mut packet, b"hello").expect("a Vec takes every write");
    packet
}

fn raw_socket(family: Family, protocol: u8) -> UdpSocket {
    let family = if family == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol = if protocol == 4 { ipproto::IPIP } else { ipproto::IPV6 };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol));
    socket.expect("root may open raw sockets").into()
}

fn taken(lab: &Lab, tunnel: Tunnel) -> u64 {
    let backends = lab.backends.iter().filter_map(|backend| backend.decapsulator.as_ref());
    backends.map(|decapsulator| decapsulator.taken(tunnel)).sum()
}
