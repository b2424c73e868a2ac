//! Clients return to the server that they had, against a model that is a map.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;
use xswitch::dataplane::Verdict;
use xswitch::tables::{Affinity, BackendId, Opening, RoundRobin, SchedulerTable};

use crate::frames::lab::Lab;
use crate::frames::network::*;
use crate::frames::{Mac, SYN, tcp};

const VIPS: [&str; 3] = ["198.18.0.100:80", "198.18.0.100:443", "198.18.0.101:80"];
/// The first two services share their clients' servers, the third has its own.
const GROUPS: [u32; 3] = [1, 1, 2];
const SERVERS: [(&str, Mac); 3] =
    [("198.18.1.11", BACKEND11), ("198.18.1.12", BACKEND12), ("10.9.0.5", ROUTER1)];
const TIMEOUT_MS: u64 = 64 * 1000;
/// Seconds of 1.024 s are what is told apart.
const COARSE_MS: u64 = 3 * 1024;

#[derive(Debug, Clone)]
enum Op {
    /// A client connects, from an address whose last byte is `host` in one of two networks of 16 hosts.
    Connect {
        host: u8,
        service: usize,
    },
    /// The servers that take new connections change.
    Able(u8),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..32u8, 0..VIPS.len()).prop_map(|(host, service)| Op::Connect { host, service }),
        1 => (1..8u8).prop_map(Op::Able),
        2 => prop_oneof![0..5000u64, 40_000..100_000u64].prop_map(Op::Pass),
    ]
}

fn lab() -> Lab {
    let services: String = VIPS
        .iter()
        .enumerate()
        .map(|(number, vip)| {
            let backends = SERVERS.map(|(address, _)| (format!("{address}:{}", 8000 + number), 1));
            let backends: Vec<_> = backends.iter().map(|(address, weight)| (&**address, *weight)).collect();
            service(&format!("service{number}"), vip, "tcp", "nat", &backends)
        })
        .collect();
    Lab::new(&[SWITCH, &services, NETWORK, DEFAULT_ROUTE].concat(), 1 << 14)
}

/// Makes the servers whose bits are set in `able` the ones that take new connections.
fn allow(lab: &mut Lab, able: u8) {
    let snapshot = &mut lab.snapshot;
    for (number, group) in GROUPS.into_iter().enumerate() {
        let service = snapshot.services[number].as_mut().unwrap();
        let mut servers: Vec<(u32, BackendId)> = Vec::new();
        for id in &service.backends {
            let backend = snapshot.backends[id.index()].as_mut().unwrap();
            let server = SERVERS
                .iter()
                .position(|(address, _)| backend.address.ip() == address.parse::<Ipv4Addr>().unwrap())
                .unwrap();
            backend.server = 1000 + server as u32;
            if able & 1 << server != 0 {
                servers.push((backend.server, *id));
            }
        }
        servers.sort_unstable();
        let turns: Vec<_> = servers.iter().map(|(_, id)| (*id, 1)).collect();
        service.table = SchedulerTable::RoundRobin(RoundRobin::equal(&turns)).into();
        service.opening = Opening::Full;
        service.affinity = Some(Affinity {
            group,
            timeout: (TIMEOUT_MS / 64) as u32,
            prefix_v4: 28,
            prefix_v6: 64,
            servers: servers.into(),
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_returns_to_its_server_while_that_serves_and_for_as_long_as_configured(
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let (mut lab, mut able, mut now_ms, mut port) = (lab(), 7u8, 0, 10_000u16);
        allow(&mut lab, able);
        // By group and network: the server, and when it was last connected to.
        let mut model: HashMap<(u32, u8), (usize, u64)> = HashMap::new();
        for op in ops {
            match op {
                Op::Pass(milliseconds) => {
                    now_ms += milliseconds;
                    lab.pass(milliseconds);
                }
                Op::Able(servers) => {
                    able = servers;
                    allow(&mut lab, able);
                }
                Op::Connect { host, service } => {
                    port += 1;
                    let client = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, host), port).to_string();
                    let syn = tcp(&client, VIPS[service], SYN).in_at_eth0_from(ROUTER0).build();
                    let outcome = lab.send(ETH0, &syn);
                    prop_assert_eq!(outcome.verdict, Verdict::Forward(ETH1));
                    let server = SERVERS.iter().position(|(_, mac)| outcome.bytes[..6] == *mac).unwrap();
                    prop_assert!(able & 1 << server != 0);
                    let name = (GROUPS[service], host >> 4);
                    if let Some((had, when)) = model.get(&name)
                        && able & 1 << had != 0
                        && now_ms - when <= TIMEOUT_MS
                    {
                        prop_assert_eq!(server, *had);
                    }
                    model.insert(name, (server, now_ms));
                }
            }
        }
    }

    #[test]
    fn a_client_that_stayed_away_for_longer_is_a_new_one(pause_ms in TIMEOUT_MS + COARSE_MS..10_000_000) {
        let mut lab = lab();
        allow(&mut lab, 7);
        let connect = |lab: &mut Lab, port: u16| {
            let client = format!("203.0.113.1:{port}");
            let outcome = lab.send(ETH0, &tcp(&client, VIPS[0], SYN).in_at_eth0_from(ROUTER0).build());
            <Mac>::try_from(&outcome.bytes[..6]).unwrap()
        };
        let first = connect(&mut lab, 10_000);
        prop_assert_eq!(connect(&mut lab, 10_001), first);
        lab.pass(pause_ms);
        // It was this server's turn, and then the next one's: those who return take none.
        prop_assert_ne!(connect(&mut lab, 10_002), first);
    }
}
