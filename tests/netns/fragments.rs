//! Datagrams in fragments: all of one datagram reach one backend, in whichever order they come.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::common::capture::Capture;
use crate::common::lab::{Lab, Setup};
use crate::common::namespace::Namespace;
use crate::common::packets;
use crate::common::switch::Switch;
use crate::common::traffic::Datagrams;

mod large_datagrams_are_echoed_in_any_order {
    use crate::common::lab::{full_nat, full_nat_one_arm, gue, ipip, nat};

    #[test]
    fn nat_with_one_worker() {
        super::large_datagrams_are_echoed_in_any_order(nat(1).with_ipv6());
    }
    #[test]
    fn nat_with_two_workers() {
        super::large_datagrams_are_echoed_in_any_order(nat(2).with_ipv6());
    }
    #[test]
    fn full_nat_with_two_workers() {
        super::large_datagrams_are_echoed_in_any_order(full_nat(2).with_ipv6());
    }
    #[test]
    fn full_nat_on_one_arm_with_one_worker() {
        super::large_datagrams_are_echoed_in_any_order(full_nat_one_arm(1).with_ipv6());
    }
    #[test]
    fn ipip_with_one_worker() {
        super::large_datagrams_are_echoed_in_any_order(ipip(1));
    }
    #[test]
    fn ipip_with_two_workers() {
        super::large_datagrams_are_echoed_in_any_order(ipip(2));
    }
    #[test]
    fn gue_with_one_worker() {
        super::large_datagrams_are_echoed_in_any_order(gue(1));
    }
}

/// Bytes in a datagram.
const SIZE: usize = 20_000;
/// What fills a frame of 1500 bytes: a tunnel must cut it once more.
const FULL: usize = 1480;
/// What every link of IPv6 carries: nobody may cut it, and a tunnel adds to it.
const SMALL: usize = 1232;
/// The client's first port for datagrams that it cuts by itself.
const PORT: u16 = 42_000;

fn large_datagrams_are_echoed_in_any_order(setup: Setup) {
    let lab = Lab::new(setup);
    let mut captures = vec![Capture::start(&lab.client, "eth0", lab.directory())];
    captures
        .extend(lab.backends.iter().map(|backend| Capture::start(&backend.host, "eth0", lab.directory())));
    let switch = Switch::start(&lab);
    for &path in setup.paths {
        for number in 0..10 {
            let payload = text(number);
            let answer = Datagrams::open(&lab.client, path.names()).ask(&payload);
            assert!(answer.is_some(), "{}: a large datagram was not answered", path.label());
        }
        assert_echoed_in_any_order(&lab.client, lab.setup.client_address(path.vip), path.names());
    }
    captures.into_iter().for_each(|capture| capture.stop().assert_clean());
    switch.finish();
}

/// The numbers of `count` fragments in the order in which they are sent.
type Order = fn(count: usize) -> Vec<usize>;

fn in_order(count: usize) -> Vec<usize> {
    (0..count).collect()
}

fn backwards(count: usize) -> Vec<usize> {
    (0..count).rev().collect()
}

fn last_first(count: usize) -> Vec<usize> {
    std::iter::once(count - 1).chain(0..count - 1).collect()
}

fn interleaved(count: usize) -> Vec<usize> {
    (0..count).filter(|number| number % 2 == 1).chain((0..count).filter(|number| number % 2 == 0)).collect()
}

/// The same disorder in every run.
fn shuffled(count: usize) -> Vec<usize> {
    let mut numbers = in_order(count);
    numbers.sort_by_key(|number| (number * 7919 + 13) % 31);
    numbers
}

/// A server that the client has spoken with echoes datagrams whose fragments come in any order.
pub fn assert_echoed_in_any_order(client: &Namespace, address: IpAddr, server: SocketAddr) {
    let orders: [Order; 5] = [in_order, backwards, last_first, interleaved, shuffled];
    for (number, order) in (0..).zip(orders) {
        assert_echoed(client, SocketAddr::new(address, PORT + number), server, order);
    }
}

/// Sends the fragments of one datagram with a packet socket and waits for the echo at an ordinary one.
fn assert_echoed(host: &Namespace, client: SocketAddr, server: SocketAddr, order: Order) {
    let socket = host.enter(|| UdpSocket::bind(client)).expect("the port is free");
    socket.set_read_timeout(Some(Duration::from_millis(700))).expect("a time-out can be set");
    let wire = packets::packet_socket(host, "eth0");
    let source = packets::mac(&Lab::mac(host, "eth0"));
    let destination = packets::neighbor(host, server.ip());
    let number = client.port() - PORT;
    let payload = text(number);
    let datagram = packets::udp(client, server, payload.as_bytes());
    let size = if server.is_ipv4() { FULL } else { SMALL };

    // As any client does, it asks again when nothing comes; with another identification.
    let echoed = (0..3).any(|attempt| {
        let id = 1000 + number * 8 + attempt;
        let pieces = packets::fragments(client.ip(), server.ip(), id, &datagram, size);
        for place in order(pieces.len()) {
            let ether_type = packets::ether_type(server.ip());
            let frame = packets::ethernet(destination, source, &[], ether_type, &pieces[place]);
            wire.send(&frame).expect("a frame can be sent");
        }
        let mut buffer = vec![0; 65_535];
        socket.recv(&mut buffer).is_ok_and(|length| buffer[..length].ends_with(payload.as_bytes()))
    });
    assert!(echoed, "{server} did not echo fragments in order {number}");
}

/// Text in which no two pieces are alike.
fn text(seed: u16) -> String {
    let mut text = String::with_capacity(SIZE + 16);
    for number in 0.. {
        if text.len() >= SIZE {
            break;
        }
        text.push_str(&format!("{seed}:{number} "));
    }
    text.truncate(SIZE);
    text
}
