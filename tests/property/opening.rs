//! First frames of connections, many at once and with every reason to be refused: what becomes of them in the lane for first
//! frames is what becomes of them without it.

use proptest::prelude::*;

use crate::frames::lab::Lab;
use crate::frames::network::*;
use crate::frames::{ACK, Checksum, FIN, Mac, Packet, SYN, tcp, udp};

/// As few connections as a table can hold.
const CONNECTIONS: u32 = 64;
/// At neighbours that are known and one that is not, behind the router, and addresses that nobody has.
const CLIENTS: [(&str, Mac); 6] = [
    ("198.18.0.7", CLIENT7),
    ("198.18.0.8", CLIENT8),
    ("198.18.0.9", CLIENT9),
    ("203.0.113.5", ROUTER0),
    ("127.0.0.1", ROUTER0),
    ("198.18.0.102", ROUTER0),
];
/// The schedulers, and a service with each. Some of the backends cannot be reached.
const SCHEDULERS: [&str; 5] = ["rr", "maglev", "lc", "p2c", "sh"];
/// Besides: one that remembers its clients, one that limits segment sizes, one with none who serves.
const SERVICES: usize = SCHEDULERS.len() + 3;
const BACKENDS: &[(&str, u32)] =
    &[("198.18.1.11:80", 2), ("198.18.1.13:80", 1), ("198.18.1.12:80", 1), ("192.0.2.1:80", 1)];

fn config() -> String {
    let mut text = format!("{SWITCH}{NETWORK}{DEFAULT_ROUTE}");
    for number in 0..SERVICES {
        let backends = if number == SERVICES - 1 { &[("198.18.1.11:80", 0)] } else { BACKENDS };
        for protocol in ["tcp", "udp"] {
            let vip = format!("198.18.0.{}:80", 100 + number);
            let service = service(&format!("{protocol}{number}"), &vip, protocol, "nat", backends);
            let scheduler = format!("scheduler = \"{}\"", SCHEDULERS.get(number).unwrap_or(&"rr"));
            let mut service = service.replace("scheduler = \"rr\"", &scheduler);
            if number == SERVICES - 2 && protocol == "tcp" {
                service = service.replace("scheduler", "mss_clamp = \"auto\"\nscheduler");
            }
            text.push_str(&service);
            if number == SERVICES - 3 {
                text.push_str("[service.affinity]\ntimeout_s = 60\n");
            }
        }
    }
    text
}

#[derive(Debug, Clone)]
struct First {
    client: usize,
    port: u16,
    service: usize,
    is_tcp: bool,
    flags: u8,
    ttl: u8,
    checksum: Checksum,
    payload: usize,
}

impl First {
    fn frame(&self) -> Vec<u8> {
        let (address, mac) = CLIENTS[self.client];
        let client = format!("{address}:{}", 1024 + self.port);
        let vip = format!("198.18.0.{}:80", 100 + self.service);
        let packet: Packet = match self.is_tcp {
            true => tcp(&client, &vip, self.flags),
            false => udp(&client, &vip),
        };
        let packet = packet.in_at_eth0_from(mac).ttl(self.ttl).payload(&vec![7; self.payload]);
        packet.checksum(self.checksum).build()
    }
}

fn first() -> impl Strategy<Value = First> {
    let flags = prop_oneof![6 => Just(SYN), 1 => Just(SYN | ACK), 1 => Just(SYN | FIN), 1 => Just(ACK)];
    let ttl = prop_oneof![8 => Just(64u8), 1 => 0..3u8];
    let checksum = prop_oneof![8 => Just(Checksum::Right), 1 => Just(Checksum::WrongBy(1))];
    let payload = prop_oneof![4 => 0..40usize, 1 => 1300..1480usize];
    let place = (0..CLIENTS.len(), 0..30u16, 0..SERVICES + 1, prop::bool::weighted(0.7));
    (place, flags, ttl, checksum, payload).prop_map(
        |((client, port, service, is_tcp), flags, ttl, checksum, payload)| First {
            client,
            port,
            service,
            is_tcp,
            flags,
            ttl,
            checksum,
            payload,
        },
    )
}

proptest! {
    #[test]
    fn first_frames_become_what_they_become_without_the_lane(
        batches in prop::collection::vec((prop::collection::vec(first(), 1..20), 0..40_000u64), 1..20),
    ) {
        let mut lab = Lab::new(&config(), CONNECTIONS);
        let mut full = Lab::new(&config(), CONNECTIONS).without_ways();
        for (firsts, pause) in &batches {
            let frames: Vec<_> = firsts.iter().map(First::frame).collect();
            prop_assert_eq!(lab.send_all(ETH0, &frames), full.send_all(ETH0, &frames), "{:?}", firsts);
            prop_assert_eq!(&lab.events, &full.events);
            lab.pass(*pause);
            full.pass(*pause);
            prop_assert_eq!(lab.flows.tables().references(), full.flows.tables().references());
        }
        prop_assert_eq!(format!("{:?}", lab.counters), format!("{:?}", full.counters));
    }
}
