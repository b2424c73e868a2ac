//! What belongs to a connection besides whole packets: pieces of them, and errors about them.

use xswitch::wire::icmp::v4::{self, Complaint};

use crate::frames::IP;
use crate::frames::network::{BACKEND11, ROUTER0};
use crate::frames::pieces::{fragmentable, join, split};

use super::*;

const ID: u16 = 0x4321;

fn cross(lab: &mut Lab, ingress: InterfaceId, frame: Vec<u8>, egress: InterfaceId) -> Vec<u8> {
    let pieces = split(&fragmentable(frame, ID), ID, 1448);
    let pieces = lab.send_all(ingress, &pieces).into_iter().map(|outcome| {
        assert_eq!(outcome.verdict, Verdict::Forward(egress));
        outcome.bytes
    });
    join(&pieces.collect::<Vec<_>>())
}

#[test]
fn datagrams_and_pings_in_pieces_cross_both_ways() {
    for version in BOTH {
        for (carries, answer, port) in [(Udp, Udp, 53), (Ping, Pong, 0)] {
            let mut lab = router(AddressAndPortDependent);
            let (inside, server) = (version.inside(11, 5000), version.server(1, port));
            let asked = datagram(carries, inside, server).payload(&[0x5A; 6000]);
            let left = cross(&mut lab, ETH1, asked.sent_from_inside(), ETH0);
            // The source is in the first piece, and so at the same place in the whole.
            let public = source_of(&left);
            let expected = Datagram { source: public, ..asked };
            assert_eq!(left, fragmentable(expected.gone_outside(), ID));

            let answer = datagram(answer, server, public).payload(&[0xA5; 5000]);
            let left = cross(&mut lab, ETH0, answer.sent_from_outside(), ETH1);
            let expected = Datagram { destination: inside, ..answer };
            assert_eq!(left, fragmentable(expected.gone_inside(), ID));
        }
    }
}

/// The error that `from` sends about `packet` to its source, with these MAC addresses.
fn error(packet: &Datagram, from: &str, macs: [[u8; 6]; 2]) -> Vec<u8> {
    let mut bytes = packet.build([0; 6], [0; 6])[IP..].to_vec();
    let offending = bytes.len();
    bytes.resize(offending + 100, 0);
    let from: std::net::Ipv4Addr = from.parse().unwrap();
    let length = v4::build(&mut bytes, offending, from.to_bits(), Complaint::HostUnreachable, ID).unwrap();
    bytes.truncate(length);
    [&macs[1][..], &macs[0][..], &[8, 0], &bytes].concat()
}

/// One hop later.
fn aged(mut frame: Vec<u8>) -> Vec<u8> {
    frame[IP + 8] -= 1;
    frame[IP + 10..IP + 12].fill(0);
    let sum = !crate::frames::check::sum(&frame[IP..IP + 20]);
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn relayed(lab: &mut Lab, ingress: InterfaceId, frame: &[u8], egress: InterfaceId, expected: Vec<u8>) {
    let outcome = lab.send(ingress, frame);
    assert_eq!((outcome.verdict, outcome.bytes), (Verdict::Forward(egress), aged(expected)));
}

#[test]
fn errors_reach_the_inside_host_and_those_from_inside_bear_the_public_address() {
    let version = Version::V4;
    let (inside, server, peer) = (version.inside(11, 5000), version.server(1, 53), version.server(2, 99));
    let (router, inner) = ("203.0.113.254", "198.18.1.254");
    let mut lab = super::router(EndpointIndependent);
    let public = goes_out(&mut lab, &datagram(Udp, inside, server));
    comes_in(&mut lab, &datagram(Udp, peer, public), inside);
    let public_address = public.ip().to_string();
    // Of the first connection the client is inside, of the second outside.
    for outside in [server, peer] {
        let about = error(&datagram(Udp, public, outside), router, [ROUTER0, SWITCH0]);
        let expected = error(&datagram(Udp, inside, outside), router, [SWITCH1, BACKEND11]);
        relayed(&mut lab, ETH0, &about, ETH1, expected);
        for from in [inner, "198.18.1.11"] {
            let about = error(&datagram(Udp, outside, inside), from, [BACKEND11, SWITCH1]);
            let expected = error(&datagram(Udp, outside, public), &public_address, [SWITCH0, ROUTER0]);
            relayed(&mut lab, ETH1, &about, ETH0, expected);
        }
    }
    let forged = error(&datagram(Udp, public, version.server(3, 1)), router, [ROUTER0, SWITCH0]);
    assert_eq!(lab.send(ETH0, &forged).verdict, Verdict::Drop(DropReason::IcmpForged));
}

#[test]
fn errors_about_a_ping_reach_who_sent_it() {
    let version = Version::V4;
    let mut lab = router(AddressAndPortDependent);
    let (inside, server) = (version.inside(11, 77), version.server(1, 0));
    let public = goes_out(&mut lab, &datagram(Ping, inside, server));
    let about = error(&datagram(Ping, public, server), "203.0.113.254", [ROUTER0, SWITCH0]);
    let expected = error(&datagram(Ping, inside, server), "203.0.113.254", [SWITCH1, BACKEND11]);
    relayed(&mut lab, ETH0, &about, ETH1, expected);
}
