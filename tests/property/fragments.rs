//! Datagrams in pieces: what leaves, put together, is what would have left whole.

use proptest::prelude::*;
use xswitch::dataplane::Verdict;
use xswitch::tables::{DropReason, InterfaceId};

use crate::frames::lab::Lab;
use crate::frames::network::*;
use crate::frames::pieces::{fragmentable, join, piece, range, split};
use crate::frames::{Checksum, IP, Mac, Packet, check, udp};
use crate::world::{SERVICES, config};

/// The UDP services: NAT, and full NAT.
const UDP_SERVICES: [usize; 2] = [2, 4];
const LONGEST: usize = 65_507;
/// A datagram has at most so many pieces, so that all may wait.
const PIECES: usize = 45;

/// One datagram of a flow, and how it travels.
#[derive(Debug, Clone)]
struct Datagram {
    service: usize,
    client_port: u16,
    is_reply: bool,
    length: usize,
    size: usize,
    absent: bool,
}

fn datagram() -> impl Strategy<Value = Datagram> {
    let flow = (prop::sample::select(UDP_SERVICES.to_vec()), 40_000u16..40_004, any::<bool>());
    let length = prop_oneof![100usize..3000, 3000usize..LONGEST + 1, Just(LONGEST)];
    (flow, length, 1usize..186, any::<bool>()).prop_map(|(flow, length, units, absent)| {
        let least = (length + 8).div_ceil(PIECES).next_multiple_of(8);
        let size = (units * 8).max(least).min((length + 7) & !7).max(8);
        let (service, client_port, is_reply) = flow;
        Datagram { service, client_port, is_reply, length, size, absent }
    })
}

/// A few datagrams, and the order in which their pieces come: numbers of datagrams and pieces, some of them twice.
fn traffic() -> impl Strategy<Value = (Vec<Datagram>, Vec<(usize, usize)>)> {
    prop::collection::vec(datagram(), 1..4)
        .prop_flat_map(|datagrams| {
            let order: Vec<_> = datagrams
                .iter()
                .enumerate()
                .flat_map(|(number, datagram)| {
                    let pieces = (datagram.length + 8).div_ceil(datagram.size);
                    (0..pieces).map(move |piece| (number, piece))
                })
                .collect();
            let twice = prop::collection::vec(prop::sample::select(order.clone()), 0..10);
            (Just(datagrams), Just(order), twice)
        })
        .prop_flat_map(|(datagrams, order, twice)| {
            (Just(datagrams), Just([order, twice].concat()).prop_shuffle())
        })
}

/// A flow that exists, as both sides see it.
struct Flow {
    client: String,
    source: String,
    backend: (&'static str, Mac),
    vip: &'static str,
}

impl Flow {
    fn open(lab: &mut Lab, datagram: &Datagram) -> Self {
        let service = &SERVICES[datagram.service];
        let client = format!("198.18.0.7:{}", datagram.client_port);
        let outcome = lab.send(ETH0, &udp(&client, service.vip).in_at_eth0_from(CLIENT7).build());
        assert_eq!(outcome.verdict, Verdict::Forward(ETH1));
        let address: [u8; 4] = outcome.bytes[IP + 12..IP + 16].try_into().unwrap();
        let port = u16::from_be_bytes([outcome.bytes[IP + 20], outcome.bytes[IP + 21]]);
        let source = format!("{}:{port}", std::net::Ipv4Addr::from(address));
        Self { client, source, backend: service.backends[0], vip: service.vip }
    }

    /// Where a datagram comes in and how it looks there, and how it leaves.
    fn packets(&self, datagram: &Datagram) -> (InterfaceId, Packet, Packet) {
        let (backend, mac) = self.backend;
        let (ingress, arrives, leaves) = if datagram.is_reply {
            let arrives = udp(backend, &self.source).in_at_eth1_from(mac);
            (ETH1, arrives, udp(self.vip, &self.client).out_of_eth0_to(CLIENT7))
        } else {
            let arrives = udp(&self.client, self.vip).in_at_eth0_from(CLIENT7);
            (ETH0, arrives, udp(&self.source, backend).out_of_eth1_to(mac))
        };
        let payload: Vec<u8> = (0..datagram.length).map(|at| (at ^ at >> 8) as u8).collect();
        let checksum = if datagram.absent { Checksum::Absent } else { Checksum::Right };
        let dress = |packet: Packet| packet.payload(&payload).checksum(checksum);
        (ingress, dress(arrives), dress(leaves).ttl(63))
    }
}

/// Identification of the piece in `frame`.
fn id(frame: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([frame[IP + 4], frame[IP + 5]]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_order_what_leaves_is_what_would_have_left_whole((datagrams, order) in traffic(), batch in 1usize..64) {
        let mut lab = Lab::new(&config("always", 1000), 1024);
        let mut arriving = Vec::new();
        let mut leaving = Vec::new();
        for (number, datagram) in datagrams.iter().enumerate() {
            let (ingress, arrives, leaves) = Flow::open(&mut lab, datagram).packets(datagram);
            arriving.push((ingress, split(&arrives.build(), number as u16, datagram.size)));
            leaving.push(fragmentable(leaves.build(), number as u16));
        }
        let mut left = vec![Vec::new(); datagrams.len()];
        let mut repetitions = 0;
        for some in order.chunks(batch) {
            for (number, piece) in some {
                let (ingress, pieces) = &arriving[*number];
                lab.add(*ingress, &pieces[*piece]);
            }
            // The second call is the one that a worker makes for those that wait.
            for _ in 0..2 {
                lab.run(|verdict, bytes| match verdict {
                    Verdict::Forward(_) => left[id(bytes)].push(bytes.to_vec()),
                    other => {
                        assert_eq!(other, Verdict::Drop(DropReason::FragmentOverlap));
                        repetitions += 1;
                    }
                });
            }
        }
        for _ in 0..4 {
            lab.run(|verdict, bytes| match verdict {
                Verdict::Forward(_) => left[id(bytes)].push(bytes.to_vec()),
                _ => repetitions += 1,
            });
        }
        prop_assert_eq!(lab.waiting(), 0);
        for (pieces, expected) in left.iter().zip(&leaving) {
            let whole = join(pieces);
            prop_assert!(&whole == expected, "{} bytes", whole.len());
            prop_assert!(check::transport_checksum_is_right(&whole));
        }
        prop_assert_eq!(repetitions + left.iter().map(Vec::len).sum::<usize>(), order.len());
    }

    #[test]
    fn no_byte_gets_through_twice(
        ranges in prop::collection::vec((0usize..60, 1usize..20), 1..30),
        first in (0usize..30, 1usize..20),
    ) {
        let mut lab = Lab::new(&config("always", 1000), 1024);
        let whole = udp("198.18.0.7:40000", SERVICES[2].vip).in_at_eth0_from(CLIENT7).payload(&[7; 1000]).build();
        let cut = |from: usize, units: usize| piece(&whole, 5, from * 8, (from * 8 + units * 8).min(1008));
        for (number, (from, units)) in ranges.iter().enumerate() {
            if number == first.0 {
                lab.add(ETH0, &cut(0, first.1 + 1));
            }
            lab.add(ETH0, &cut(*from, *units));
        }
        let mut seen = vec![false; 1008];
        lab.run(|verdict, bytes| {
            if matches!(verdict, Verdict::Forward(_)) {
                for byte in &mut seen[range(bytes)] {
                    assert!(!std::mem::replace(byte, true), "a byte for the second time");
                }
            }
        });
    }
}
