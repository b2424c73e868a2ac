//! The VIP behaves as a host does: it answers ping, ends a traceroute, refuses what it does not serve; errors of ICMP find
//! their way in both directions.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use crate::common::capture::Capture;
use crate::common::lab::{Family, Lab, Path, Setup, vip};
use crate::common::namespace::Namespace;
use crate::common::packets;
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
        assert_behaves_as_a_host(&lab.client, vip(family), 80);
    }
    capture.stop().assert_clean();
    switch.finish();
}

/// Whoever is there answers ping, ends every kind of trace and refuses what nobody serves; `served` is a TCP port.
pub fn assert_behaves_as_a_host(client: &Namespace, address: IpAddr, served: u16) {
    assert_answers_ping(client, address);
    assert_ends_traces(client, address, served);
    let server = SocketAddr::new(address, UNSERVED);
    let refused = client.enter(|| TcpStream::connect_timeout(&server, Duration::from_millis(900)));
    assert_eq!(
        refused.expect_err("nobody serves this port").kind(),
        ErrorKind::ConnectionRefused,
        "{server}"
    );
    assert_refuses_datagrams(client, server);
}

fn assert_answers_ping(client: &Namespace, address: IpAddr) {
    let largest = if address.is_ipv4() { 1472 } else { 1452 };
    for size in [0, 1, 33, 56, largest] {
        let line = format!("ping -n -c 3 -i 0.05 -W 2 -s {size} {address}");
        let finished = client.run_within(Duration::from_secs(10), &line);
        assert!(finished.stdout.contains(" 0% packet loss"), "{line}: {}", finished.stdout);
        assert!(!finished.stdout.contains("wrong data"), "{line}: {}", finished.stdout);
    }
}

fn assert_ends_traces(client: &Namespace, address: IpAddr, served: u16) {
    let limit = Duration::from_secs(30);
    let name = address.to_string();
    let trace = client.run_within(limit, &format!("tracepath -n -m 8 {address}")).stdout;
    assert!(trace.lines().any(|line| line.contains(&name) && line.contains("reached")), "tracepath: {trace}");
    for method in [String::new(), "-I".into(), format!("-T -p {served}")] {
        let line = format!("traceroute -n -q 2 -w 2 -m 8 {method} {address}");
        let trace = client.run_within(limit, &line).stdout;
        let last = trace.lines().last().unwrap_or_default();
        assert!(last.contains(&name) && !last.contains('*'), "{line}: {trace}");
        // Behind an exclamation mark stands what a hop complained of.
        assert!(!trace.contains('!'), "{line}: {trace}");
    }
}

/// A connected socket hears of ICMP errors as `ConnectionRefused`.
fn assert_refuses_datagrams(client: &Namespace, server: SocketAddr) {
    let socket = client.enter(|| UdpSocket::bind(any_port(server))).expect("there are free ports");
    socket.connect(server).expect("a UDP socket connects");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out can be set");
    wait_until("the datagram is refused", Duration::from_secs(3), || {
        let sent = socket.send(b"anybody there?");
        let received = socket.recv(&mut [0; 64]);
        [sent, received]
            .into_iter()
            .any(|result| result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
    });
}

fn errors_of_icmp_follow_their_connection(setup: Setup) {
    let lab = Lab::new(setup);
    let hosts = std::iter::once(&lab.client).chain(lab.backends.iter().map(|backend| &backend.host));
    let captures: Vec<_> = hosts.map(|host| Capture::start(host, "eth0", lab.directory())).collect();
    let switch = Switch::start(&lab);
    for &path in setup.paths {
        // Nobody runs a server there: the backend's kernel says so.
        assert_refuses_datagrams(&lab.client, path.bulk());
        // An answer to a client that is gone: the client's kernel says so.
        Datagrams::open(&lab.client, path.names()).ask("find the way first");
        let before = complaints_heard(&lab);
        ask_without_listening(&lab, path);
        wait_until("the backend hears that nobody awaits its answer", Duration::from_secs(3), || {
            complaints_heard(&lab) > before
        });
    }
    captures.into_iter().for_each(|capture| capture.stop().assert_clean());
    switch.finish();
}

/// `port unreachable` and its like that the kernels of the backends have accepted.
fn complaints_heard(lab: &Lab) -> u64 {
    let names = ["IcmpInDestUnreachs", "Icmp6InDestUnreachs"];
    let counted = lab.backends.iter().map(|backend| {
        let table = backend.host.run(&format!("nstat --ignore --zeros --noupdate {}", names.join(" ")));
        let rows = table.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        rows.filter_map(|row| row.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>()
    });
    counted.sum()
}

/// Sends a question from a port behind which there is no socket.
fn ask_without_listening(lab: &Lab, path: Path) {
    let family = if path.vip == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket =
        lab.client.enter(|| socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::UDP)));
    let socket: UdpSocket = socket.expect("root may open raw sockets").into();
    let (client, server) = (lab.setup.client_address(path.vip), path.names());
    let datagram = packets::udp(SocketAddr::new(client, DEAF), server, b"nobody waits");
    socket.send_to(&datagram, (server.ip(), 0)).expect("a raw datagram can be sent");
}
