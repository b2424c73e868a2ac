use super::*;
use crate::wire::icmp::{v4, v6};
use crate::wire::probe::Question;
use crate::wire::tunnel::{Encapsulation, Family, Outer};

const SEQUENCE: u32 = 0xFFFF_FFFF;
const PORTS: u32 = 61_234 << 16 | 80;

fn both() -> [Addresses; 2] {
    [["198.18.0.2", "198.18.0.100"], ["2001:db8::2", "2001:db8::100"]]
        .map(|[source, vip]| Addresses::between(source.parse().unwrap(), vip.parse().unwrap()).unwrap())
}

fn probe(addresses: Addresses, protocol: u8, expected: Expected) -> Probe {
    let ports = if matches!(expected, Expected::Echo { .. }) { 0 } else { 80 };
    Probe { flow: Flow { addresses, protocol, ports }, expected, sent: Instant::now() }.answering_from(61_234)
}

fn syn(addresses: Addresses) -> Probe {
    probe(addresses, ip::TCP, Expected::Handshake { sequence: SEQUENCE })
}

/// A segment from the VIP with these flags that acknowledges `acknowledgment`.
fn segment(addresses: Addresses, flags: u8, acknowledgment: u32) -> Vec<u8> {
    let question = Question::Syn { ports: PORTS.rotate_left(16), sequence: 5 };
    let mut packet = question.packet(addresses.reversed()).unwrap();
    let start = packet.len() - 24;
    let before = packet[start..].to_vec();
    packet[start + 8..start + 12].copy_from_slice(&acknowledgment.to_be_bytes());
    packet[start + 13] = flags;
    let delta = crate::wire::checksum::Delta::of_bytes(&before, &packet[start..]);
    tcp::rewrite(&mut packet[start..], PORTS.rotate_left(16), delta);
    packet
}

/// What the probe is told once `packets` have come; none: nothing.
fn told(probe: Probe, packets: &[Vec<u8>]) -> Option<Result<(), String>> {
    let waiting = Waiting::default();
    let mut place = waiting.place(probe, None).unwrap();
    packets.iter().for_each(|packet| waiting.hear(packet));
    place.told.try_recv().ok().map(|outcome| outcome.map(|_| ()))
}

#[test]
fn a_syn_is_answered_by_what_acknowledges_it() {
    const SYN_ACK: u8 = 0x12;
    for addresses in both() {
        for (why, flags, acknowledgment, wanted) in [
            ("a SYN-ACK", SYN_ACK, SEQUENCE.wrapping_add(1), Some(Ok(()))),
            ("of an older SYN", SYN_ACK, SEQUENCE, None),
            ("a reset", 0x14, SEQUENCE.wrapping_add(1), Some(Err("connection refused".into()))),
            ("a reset that somebody made up", 0x14, 7, None),
            ("a reset that acknowledges nothing", 0x04, SEQUENCE.wrapping_add(1), None),
            ("a SYN of its own", 0x02, SEQUENCE.wrapping_add(1), None),
            ("data", 0x10, SEQUENCE.wrapping_add(1), None),
            ("what no stack sends", 0x13, SEQUENCE.wrapping_add(1), None),
        ] {
            let packet = segment(addresses, flags, acknowledgment);
            assert!(Answer::read(&packet).is_some(), "{why}: the checksum is right");
            assert_eq!(told(syn(addresses), &[packet]), wanted, "{why}");
        }
    }
}

#[test]
fn a_wrong_answer_does_not_keep_the_right_one_from_being_heard() {
    for addresses in both() {
        let right = segment(addresses, 0x12, SEQUENCE.wrapping_add(1));
        let mut damaged = right.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let packets = [segment(addresses, 0x14, 9), damaged, right.clone(), right];
        assert_eq!(told(syn(addresses), &packets), Some(Ok(())));
    }
}

#[test]
fn an_answer_is_for_one_probe_alone() {
    let [four, six] = both();
    let packet = segment(four, 0x12, SEQUENCE.wrapping_add(1));
    assert_eq!(told(syn(six), std::slice::from_ref(&packet)), None);
    assert_eq!(told(syn(four).answering_from(61_235), &[packet]), None);
}

#[test]
fn a_datagram_is_answered_by_one_that_holds_what_is_expected() {
    for addresses in both() {
        let answer = |payload| {
            let ports = PORTS.rotate_left(16);
            Question::Datagram { ports, payload }.packet(addresses.reversed()).unwrap()
        };
        for (holding, payload, wanted) in [
            (&b"pong"[..], &b"pong"[..], true),
            (b"pong", b"a pong!", true),
            (b"pong", b"ping", false),
            (b"pong", b"", false),
            (b"", b"", true),
            (b"", b"anything", true),
        ] {
            let probe = probe(addresses, ip::UDP, Expected::Datagram { holding: holding.to_vec() });
            let flow = probe.flow;
            let waiting = Waiting::default();
            let mut place = waiting.place(probe, None).unwrap();
            waiting.hear(&answer(payload));
            assert_eq!(place.told.try_recv().is_ok(), wanted, "{holding:?} in {payload:?}");
            assert_eq!(place.was_answered_otherwise(), !wanted);
            assert_eq!(place.flow, flow);
        }
    }
}

#[test]
fn a_ping_is_answered_by_its_own_data() {
    let data = *b"12345678";
    for (addresses, protocol) in both().into_iter().zip([ip::ICMP, ip::ICMPV6]) {
        let answer = |data: &[u8]| {
            let question = Question::Echo { id: 61_234, sequence: 1, data };
            let mut packet = question.packet(addresses).unwrap();
            match addresses {
                Addresses::V4(_) => {
                    let header = crate::wire::ipv4::Header::parse(&packet).unwrap();
                    assert!(v4::echo_reply(&mut packet, &header));
                }
                Addresses::V6(_) => {
                    let header = crate::wire::ipv6::Header::parse(&packet).unwrap();
                    assert!(v6::echo_reply(&mut packet, &header));
                }
            }
            packet
        };
        for (came, wanted) in [(data, Some(Ok(()))), (*b"12345679", None)] {
            let probe = probe(addresses, protocol, Expected::Echo { data });
            assert_eq!(told(probe, &[answer(&came)]), wanted);
        }
    }
}

/// "Port unreachable" about `packet`, from a router.
fn unreachable(packet: &[u8]) -> Vec<u8> {
    let mut error = packet.to_vec();
    error.resize(2048, 0);
    let length = match Family::of_packet(packet).unwrap() {
        Family::V4 => {
            v4::build(&mut error, packet.len(), 0xC612_00FE, v4::Complaint::PortUnreachable, 0).unwrap()
        }
        Family::V6 => {
            let router = "2001:db8::fe".parse::<std::net::Ipv6Addr>().unwrap().to_bits();
            v6::build(&mut error, packet.len(), router, v6::Complaint::PortUnreachable).unwrap()
        }
    };
    error.truncate(length);
    error
}

/// What a probe is told after an error about `packet`, when `sent` is what it sent.
fn told_of_error(addresses: Addresses, sent: &[u8], packet: &[u8]) -> Option<String> {
    let waiting = Waiting::default();
    let mut place = waiting.place(syn(addresses), None).unwrap();
    place.expect(head(sent).map(|(_, _, head)| head));
    waiting.hear(&unreachable(packet));
    place.told.try_recv().ok()?.err()
}

#[test]
fn an_error_that_quotes_the_probe_is_believed() {
    for (addresses, router) in both().into_iter().zip(["198.18.0.254", "2001:db8::fe"]) {
        let sent = Question::Syn { ports: PORTS, sequence: SEQUENCE }.packet(addresses).unwrap();
        let other = Question::Syn { ports: PORTS, sequence: 8 }.packet(addresses).unwrap();
        assert_eq!(
            told_of_error(addresses, &sent, &sent),
            Some(format!("port unreachable, says {router}")),
            "{addresses:?}"
        );
        assert_eq!(told_of_error(addresses, &sent, &other), None, "not what was sent");
    }
}

#[test]
fn an_error_about_the_tunnel_packet_is_believed_for_what_is_inside() {
    let ends = [["198.18.2.1", "198.18.1.11"], ["2001:db8:2::1", "2001:db8:1::11"]];
    for (addresses, family) in both().into_iter().zip([Family::V4, Family::V6]) {
        let sent = Question::Syn { ports: PORTS, sequence: SEQUENCE }.packet(addresses).unwrap();
        for [source, destination] in ends {
            for encapsulation in [Encapsulation::Ipip, Encapsulation::Gue { port: 6080 }] {
                let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
                let outer = Outer::new(encapsulation, source, destination, family).unwrap();
                let mut room = vec![0; outer.len()];
                assert!(outer.write(&mut room, &sent, sent.len() as u16, 0, 7));
                let whole = [room.as_slice(), &sent].concat();
                assert!(told_of_error(addresses, &sent, &whole).is_some(), "{encapsulation:?} {source}");
            }
        }
    }
}

#[test]
fn a_name_is_given_once_and_again_when_it_is_free() {
    let waiting = Waiting::default();
    let [addresses, _] = both();
    let place = waiting.place(syn(addresses), None).unwrap();
    assert_eq!(waiting.place(syn(addresses), None).unwrap_err().flow, place.flow);
    drop(place);
    assert!(waiting.place(syn(addresses), None).is_ok());
    assert!(waiting.lock().is_empty());
}

#[test]
fn no_more_wait_than_there_may() {
    let waiting = Waiting::default();
    let places: Vec<_> = (0..MOST)
        .map(|number| {
            let mut probe = syn(both()[0]);
            probe.flow.ports = number as u32;
            waiting.place(probe, None).unwrap()
        })
        .collect();
    assert!(waiting.place(syn(both()[1]), None).is_err());
    assert_eq!(places.len(), MOST);
}
