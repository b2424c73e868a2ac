//! A configuration and the traffic of a thousand connections.

use crate::captures::{Frame, SECOND, START};
use crate::frames::network::*;
use crate::frames::{ACK, FIN, PSH, SYN, tcp, udp};

pub const VIP: &str = "198.18.0.100:80";
pub const FULL: &str = "198.18.0.101:80";
pub const DNS: &str = "198.18.0.100:53";
pub const BACKEND: &str = "198.18.1.11:8080";
pub const DNS_BACKEND: &str = "198.18.1.12:5353";

/// Connections in [`thousand`].
pub const CONNECTIONS: u16 = 1000;

pub fn config() -> String {
    [
        &SWITCH.replace("20000-20000", "20000-29999"),
        &service("web", VIP, "tcp", "nat", &[(BACKEND, 1)]),
        &service("full", FULL, "tcp", "full-nat", &[(BACKEND, 2), ("198.18.1.12:8080", 1)]),
        &service("dns", DNS, "udp", "nat", &[(DNS_BACKEND, 1)]),
        NETWORK,
        DEFAULT_ROUTE,
    ]
    .concat()
}

/// What arrives at eth0 and at eth1: 400 connections by NAT with their replies, 300 by full NAT without (their source
/// ports follow from the seed), 300 of UDP with replies. Three frames and more each.
pub fn thousand() -> (Vec<Frame>, Vec<Frame>) {
    let (mut clients, mut backends) = (Vec::new(), Vec::new());
    for number in 0..CONNECTIONS {
        let at = START + u64::from(number) * SECOND / 100;
        let client = &format!("198.18.0.7:{}", 10_000 + number);
        let step = |position: u64| at + position * 50_000;
        match number % 10 {
            0..4 => {
                let from = |flags| tcp(client, VIP, flags).in_at_eth0_from(CLIENT7);
                let back = |flags| tcp(BACKEND, client, flags).in_at_eth1_from(BACKEND11);
                clients.push((step(0), from(SYN).build()));
                backends.push((step(1), back(SYN | ACK).build()));
                clients.push((step(2), from(ACK | PSH).payload(b"GET / HTTP/1.0\r\n\r\n").build()));
                backends.push((step(3), back(ACK | PSH | FIN).payload(&[b'x'; 900]).build()));
                clients.push((step(4), from(ACK | FIN).build()));
            }
            4..7 => {
                let from = |flags| tcp(client, FULL, flags).in_at_eth0_from(CLIENT7);
                clients.extend((0..3).map(|n| (step(n), from(if n == 0 { SYN } else { ACK }).build())));
            }
            _ => {
                let (query, answer) = (udp(client, DNS), udp(DNS_BACKEND, client));
                clients.push((step(0), query.in_at_eth0_from(CLIENT7).build()));
                backends.push((step(1), answer.in_at_eth1_from(BACKEND12).build()));
                clients.push((step(2), udp(client, DNS).in_at_eth0_from(CLIENT7).build()));
            }
        }
    }
    (clients, backends)
}
