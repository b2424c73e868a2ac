//! The VIP behaves as a host does: it answers ping, ends a traceroute, refuses what it does not serve; errors of ICMP find
//! their way in both directions.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use crate::common::capture::Capture;
use crate::common::lab::{Family, Lab, Path, Setup, vip};
use crate::common::switch::Switch;
use crate::common::traffic::{Datagrams, any_port};
use crate::common::wait::wait_until;

scenes! {
    the_vip_behaves_as_a_host in every_row;
    errors_of_icmp_follow_their_connection in every_row;
}

/// A port that nobody serves.
const UNSERVED: u16 = 4444;
/// Source of datagrams whose answers nobody awaits.
const DEAF: u16 = 41_001;

fn the_vip_behaves_as_a_host(setup: Setup) {
    let lab = Lab::new(setup);
    let capture = Capture::start(&lab.client, "eth0", lab.directory());
    let switch = Switch::start(&lab);
    for &family in setup.families() {
        assert_pings(&lab, family);
        assert_traces(&lab, vip(family));
        assert_refuses(&lab, vip(family));
    }
    capture.stop().assert_clean();
    switch.finish();
}

fn assert_pings(lab: &Lab, family: Family) {
    let largest = if family == Family::V4 { 1472 } else { 1452 };
    for size in [0, 1, 33, 56, largest] {
        let line = format!("ping -n -c 3 -i 0.05 -W 2 -s {size} {}", vip(family));
        let finished = lab.client.run_within(Duration::from_secs(10), &line);
        assert!(finished.stdout.contains(" 0% packet loss"), "{line}: {}", finished.stdout);
        assert!(!finished.stdout.contains("wrong data"), "{line}: {}", finished.stdout);
    }
}

fn assert_traces(lab: &Lab, vip: IpAddr) {
    let limit = Duration::from_secs(30);
    let trace = lab.client.run_within(limit, &format!("tracepath -n -m 8 {vip}")).stdout;
    assert!(trace.lines().any(|line| line.contains(&vip.to_string()) && line.contains("reached")), "{trace}");
    for method in ["", "-I", "-T -p 80"] {
        let line = format!("traceroute -n -q 2 -w 2 -m 8 {method} {vip}");
        let trace = lab.client.run_within(limit, &line).stdout;
        let last = trace.lines().last().unwrap_or_default();
        assert!(last.contains(&vip.to_string()) && !last.contains('*'), "{line}: {trace}");
        // Behind an exclamation mark stands what a hop complained of.
        assert!(!trace.contains('!'), "{line}: {trace}");
    }
}

fn assert_refuses(lab: &Lab, vip: IpAddr) {
    let server = SocketAddr::new(vip, UNSERVED);
    let refused = lab.client.enter(|| TcpStream::connect_timeout(&server, Duration::from_millis(900)));
    assert_eq!(refused.expect_err("nobody serves this port").kind(), ErrorKind::ConnectionRefused, "{server}");
    assert_refuses_datagrams(lab, server);
}

/// A connected socket hears of ICMP errors as `ConnectionRefused`.
fn assert_refuses_datagrams(lab: &Lab, server: SocketAddr) {
    let socket = lab.client.enter(|| UdpSocket::bind(any_port(server))).expect("there are free ports");
    socket.connect(server).expect("a UDP socket connects");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out can be set");
    wait_until("the datagram is refused", Duration::from_secs(3), || {
        let sent = socket.send(b"anybody there?");
        let received = socket.recv(&mut [0; 64]);
        [sent, received].into_iter().any(|result| {
            result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        })
    });
}

fn errors_of_icmp_follow_their_connection(setup: Setup) {
    let lab = Lab::new(setup);
    let at_client = Capture::start(&lab.client, "eth0", lab.directory());
    let at_backends = lab.backends.iter().map(|backend| {
        Capture::start(&backend.host, "eth0", lab.directory())
    });
    let at_backends: Vec<_> = at_backends.collect();
    let switch = Switch::start(&lab);
    for &path in setup.paths {
        // Nobody runs a server there: the backend's kernel says so.
        assert_refuses_datagrams(&lab, path.bulk());
        // An answer to a client that is gone: the client's kernel says so.
        Datagrams::open(&lab.client, path.names()).ask("find the way first");
        ask_without_listening(&lab, path);
    }
    std::thread::sleep(Duration::from_millis(300));
    at_client.stop().assert_clean();
    let mut heard = 0;
    for capture in at_backends {
        let frames = capture.stop();
        frames.assert_clean();
        heard += frames.count("(icmp.type == 3 && icmp.code == 3 && udp.dstport == 41001) \
            || (icmpv6.type == 1 && icmpv6.code == 4 && udp.dstport == 41001)");
    }
    // Full NAT has another port for the client.
    assert!(setup.forwarding == "full-nat" || heard >= setup.paths.len(), "backends heard {heard} complaints");
    switch.finish();
}

/// Sends a question from a port behind which there is no socket.
fn ask_without_listening(lab: &Lab, path: Path) {
    let family = if path.vip == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = lab.client.enter(|| socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::UDP)));
    let socket: UdpSocket = socket.expect("root may open raw sockets").into();
    let (client, server) = (lab.setup.client_address(path.vip), path.names());
    let payload = b"nobody waits";
    let mut header = etherparse::UdpHeader::without_ipv4_checksum(DEAF, server.port(), payload.len())
        .expect("the payload is short");
    header.checksum = match (client, server.ip()) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            header.calc_checksum_ipv4_raw(client.octets(), server.octets(), payload)
        }
        (IpAddr::V6(client), IpAddr::V6(server)) => {
            header.calc_checksum_ipv6_raw(client.octets(), server.octets(), payload)
        }
        _ => panic!("a client and its VIP are of one family"),
    }
    .expect("the payload is short");
    let datagram = [&header.to_bytes()[..], payload].concat();
    socket.send_to(&datagram, (server.ip(), 0)).expect("a raw datagram can be sent");
}
