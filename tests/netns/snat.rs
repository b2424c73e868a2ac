//! The router at home: inside hosts reach outside servers through one public address.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use crate::common::capture::Capture;
use crate::common::lab::{Family, Lab, NAMES_PORT, Setup, WEB_PORT, home, inside, prefix_length};
use crate::common::namespace::Namespace;
use crate::common::servers::PEER_QUESTION;
use crate::common::switch::{Configuration, Switch};
use crate::common::traffic;

/// The source port that every inside host takes.
const SAME_PORT: u16 = 40_000;
/// A little more than 50 MB.
const SIZE_MIB: u32 = 50;
/// How long a client waits for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long nothing must come.
const SILENCE: Duration = Duration::from_millis(400);

#[test]
fn three_hosts_share_one_address_with_one_worker() {
    three_hosts_share_one_address(home(1));
}

#[test]
fn three_hosts_share_one_address_with_two_workers() {
    three_hosts_share_one_address(home(2));
}

fn three_hosts_share_one_address(setup: Setup) {
    let lab = Lab::new(setup);
    let captures = [
        Capture::start(&lab.client, "eth0", lab.directory()),
        Capture::start(&lab.backends[0].host, "eth0", lab.directory()),
    ];
    let switch = Switch::start_with(&lab, &rules(&lab, ""));
    for &family in setup.families() {
        assert_same_ports_do_not_collide(&lab, family);
        for host in hosts(&lab) {
            for number in [1, 2] {
                let answers = traffic::requests(host, web(&lab, family, number), 20);
                assert_eq!(answers.counts()[usize::from(number) - 1], 20, "{}", host.name());
            }
            let server = lab.setup.backend_address_of(1, family);
            let ping =
                host.run_within(Duration::from_secs(10), &format!("ping -n -c 3 -i 0.05 -W 2 {server}"));
            assert!(ping.stdout.contains(" 0% packet loss"), "{}", ping.stdout);
        }
        let trace = lab.client.run_within(
            Duration::from_secs(20),
            &format!("traceroute -n -q 1 -w 2 -m 5 {}", lab.setup.backend_address_of(1, family)),
        );
        let server = lab.setup.backend_address_of(1, family).to_string();
        assert!(trace.stdout.lines().last().is_some_and(|line| line.contains(&server)), "{}", trace.stdout);
    }
    captures.into_iter().for_each(|capture| capture.stop().assert_clean());
    let original = lab.directory().join("original");
    traffic::random_file(&original, SIZE_MIB);
    for &family in setup.families() {
        traffic::download(&lab.client, web(&lab, family, 1), &original);
    }
    switch.finish();
}

/// All three at once from the same port to the same server, and to the other one as well.
fn assert_same_ports_do_not_collide(lab: &Lab, family: Family) {
    for number in [1, 2] {
        let mut public = BTreeSet::new();
        let sockets: Vec<_> = hosts(lab).map(|host| socket_at(host, family, SAME_PORT)).into();
        for socket in &sockets {
            let seen = seen_from(socket, names(lab, family, number)).expect("the server answers");
            assert_eq!(seen.ip(), lab.setup.snat_address_of(family));
            assert!(public.insert(seen), "two hosts are {seen}");
        }
        // Everybody still has its own answers.
        for socket in &sockets {
            let seen = seen_from(socket, names(lab, family, number)).expect("the server answers");
            assert!(public.remove(&seen), "{seen} was new");
        }
    }
    let server = web(lab, family, 1);
    let mut connections = hosts(lab).map(|host| connection_from(host, family, server));
    for connection in &mut connections {
        connection.write_all(b"GET /peer HTTP/1.0\r\n\r\n").expect("the connection is open");
    }
    for connection in &mut connections {
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the server answers");
        assert_eq!(answer.lines().last(), Some(lab.setup.snat_address_of(family).to_string().as_str()));
    }
}

#[test]
fn a_socket_has_one_public_port_whomever_it_asks() {
    let lab = Lab::new(home(2));
    let switch = Switch::start_with(&lab, &rules(&lab, "mapping = \"endpoint-independent\"\n"));
    for &family in lab.setup.families() {
        for host in hosts(&lab) {
            let socket = socket_at(host, family, 0);
            let seen = [1, 2].map(|number| seen_from(&socket, names(&lab, family, number)));
            assert!(seen[0].is_some() && seen[0] == seen[1], "{} is {seen:?}", host.name());
        }
    }
    switch.finish();
}

#[test]
fn inside_hosts_reach_each_other_by_their_public_addresses() {
    let lab = Lab::new(home(2));
    let rules = rules(&lab, "filtering = \"endpoint-independent\"\nhairpinning = true\n");
    let switch = Switch::start_with(&lab, &rules);
    for &family in lab.setup.families() {
        let [first, second, _] = hosts(&lab).map(|host| socket_at(host, family, 0));
        let [first_public, second_public] = [&first, &second]
            .map(|socket| seen_from(socket, names(&lab, family, 1)).expect("the server answers"));
        second.send_to(b"hello, neighbour", first_public).expect("a datagram can be sent");
        assert_eq!(receive(&first, PATIENCE), Some((b"hello, neighbour".to_vec(), second_public)));
        first.send_to(b"hello yourself", second_public).expect("a datagram can be sent");
        assert_eq!(receive(&second, PATIENCE), Some((b"hello yourself".to_vec(), first_public)));
    }
    switch.finish();
}

/// Who may answer: nobody, the server's address from another port, another server.
#[test]
fn filtering_keeps_out_whom_nobody_asked() {
    let lab = Lab::new(home(1));
    for (filtering, lets_other_port, lets_other_server) in [
        ("endpoint-independent", true, true),
        ("address-dependent", true, false),
        ("address-and-port-dependent", false, false),
    ] {
        let switch = Switch::start_with(&lab, &rules(&lab, &format!("filtering = \"{filtering}\"\n")));
        for &family in lab.setup.families() {
            let socket = socket_at(&lab.client, family, 0);
            let public = seen_from(&socket, names(&lab, family, 1)).expect("the server answers");
            let strangers = [0, 1].map(|number: usize| {
                let address = lab.setup.backend_address_of(u8::try_from(number).unwrap() + 1, family);
                lab.backends[number]
                    .host
                    .enter(|| UdpSocket::bind((address, 0)))
                    .expect("there are free ports")
            });
            for (stranger, expected) in strangers.iter().zip([lets_other_port, lets_other_server]) {
                stranger.send_to(b"let me in", public).expect("a datagram can be sent");
                let limit = if expected { PATIENCE } else { SILENCE };
                let got_in = receive(&socket, limit).is_some();
                assert_eq!(got_in, expected, "{filtering}, {public} from {:?}", stranger.local_addr());
            }
            // A port that nobody inside has.
            let unused = SocketAddr::new(public.ip(), if public.port() == 30_000 { 30_001 } else { 30_000 });
            strangers[1].send_to(b"anybody?", unused).expect("a datagram can be sent");
            assert_eq!(receive(&socket, SILENCE), None, "{filtering}");
        }
        switch.finish();
    }
}

/// The rules of a home, one for each family.
fn rules(lab: &Lab, lines: &str) -> Configuration {
    let rule = |&family: &Family| {
        let network = inside(family, 0);
        let length = prefix_length(network);
        format!(
            "\n[[snat]]\nname = \"home-{family:?}\"\ninside = [\"{network}/{length}\"]\naddresses = [\"{}\"]\n{lines}",
            lab.setup.snat_address_of(family)
        )
    };
    let tables = lab.setup.families().iter().map(rule).collect();
    Configuration { tables, ..Configuration::of(lab) }
}

fn hosts(lab: &Lab) -> [&Namespace; 3] {
    [&lab.client, lab.host("h2"), lab.host("h3")]
}

fn web(lab: &Lab, family: Family, number: u8) -> SocketAddr {
    SocketAddr::new(lab.setup.backend_address_of(number, family), WEB_PORT)
}

fn names(lab: &Lab, family: Family, number: u8) -> SocketAddr {
    SocketAddr::new(lab.setup.backend_address_of(number, family), NAMES_PORT)
}

fn unspecified(family: Family, port: u16) -> SocketAddr {
    let address = if family == Family::V4 { "0.0.0.0" } else { "::" };
    SocketAddr::new(address.parse().expect("an address"), port)
}

fn socket_at(host: &Namespace, family: Family, port: u16) -> UdpSocket {
    host.enter(|| UdpSocket::bind(unspecified(family, port))).expect("the port is free")
}

/// A TCP connection from the port that everybody takes.
fn connection_from(host: &Namespace, family: Family, server: SocketAddr) -> TcpStream {
    let domain = if family == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let connected = host.enter(|| {
        let socket = socket_with(domain, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &unspecified(family, SAME_PORT))?;
        connect(&socket, &server)?;
        Ok::<_, rustix::io::Errno>(TcpStream::from(socket))
    });
    let stream = connected.expect("the server accepts the connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    stream
}

/// From where `server` sees this socket; asks up to five times.
fn seen_from(socket: &UdpSocket, server: SocketAddr) -> Option<SocketAddr> {
    (0..5).find_map(|_| {
        socket.send_to(PEER_QUESTION.as_bytes(), server).ok()?;
        let (answer, from) = receive(socket, Duration::from_millis(500))?;
        assert_eq!(from, server, "an answer from somebody else");
        String::from_utf8_lossy(&answer).split_once(' ')?.1.parse().ok()
    })
}

fn receive(socket: &UdpSocket, limit: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    socket.set_read_timeout(Some(limit)).expect("a time-out can be set");
    let mut buffer = [0; 256];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..length].to_vec(), from))
}
