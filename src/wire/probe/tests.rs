use super::*;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

const PORTS: u32 = 61_234 << 16 | 80;

fn both() -> [Addresses; 2] {
    [Addresses::V4(0xC612_0002_C612_0064), Addresses::V6([0x2001_0DB8 << 96 | 2, 0x2001_0DB8 << 96 | 0x64])]
}

/// Whether etherparse finds every checksum of `packet` right.
fn is_right(packet: &[u8]) -> bool {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let header = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            ip.header().to_header().calc_header_checksum() == ip.header().header_checksum()
        }
        Some(NetSlice::Ipv6(_)) => true,
        _ => false,
    };
    let payload = match (sliced.net, sliced.transport) {
        (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) => {
            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap() == tcp.checksum()
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Tcp(tcp))) => {
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap() == tcp.checksum()
        }
        (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) => {
            let header = udp.to_header();
            header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap() == header.checksum
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Udp(udp))) => {
            let header = udp.to_header();
            header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap() == header.checksum
        }
        (_, Some(TransportSlice::Icmpv4(icmp))) => checksum::sum(icmp.slice()) == 0xFFFF,
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) => {
            icmp.is_checksum_valid(ip.header().source(), ip.header().destination())
        }
        _ => false,
    };
    header && payload
}

/// `packet` as a kernel answers pings, or any other way there and back.
fn reply_to_echo(packet: &mut [u8]) {
    match ip::Family::of_packet(packet).unwrap() {
        ip::Family::V4 => {
            let header = ipv4::Header::parse(packet).unwrap();
            assert!(icmp::v4::echo_reply(packet, &header));
        }
        ip::Family::V6 => {
            let header = ipv6::Header::parse(packet).unwrap();
            assert!(icmp::v6::echo_reply(packet, &header));
        }
    }
}

#[test]
fn a_question_is_a_right_packet_in_both_families() {
    for addresses in both() {
        for question in [
            Question::Syn { ports: PORTS, sequence: 0xFFFF_FFFF },
            Question::Reset { ports: PORTS, sequence: 1 },
            Question::Datagram { ports: PORTS, payload: b"hello" },
            Question::Datagram { ports: PORTS, payload: b"" },
            Question::Echo { id: 61_234, sequence: 1, data: b"some data" },
        ] {
            let packet = question.packet(addresses).unwrap();
            assert!(is_right(&packet), "{question:?} {addresses:?}");
        }
    }
}

#[test]
fn what_is_sent_is_what_is_read() {
    for addresses in both() {
        let syn = Question::Syn { ports: PORTS, sequence: 7 }.packet(addresses).unwrap();
        let answer = Answer::read(&syn).unwrap();
        let Said::Segment(header) = answer.said else { panic!("{answer:?}") };
        assert_eq!((answer.addresses, header.ports, header.sequence), (addresses, PORTS, 7));
        assert!(header.flags.opens());
        let datagram = Question::Datagram { ports: PORTS, payload: b"hello" }.packet(addresses).unwrap();
        let said = Said::Datagram { ports: PORTS, payload: b"hello" };
        assert_eq!(Answer::read(&datagram), Some(Answer { addresses, said }));
    }
}

#[test]
fn a_ping_is_no_answer_and_its_reply_is() {
    for addresses in both() {
        let mut packet =
            Question::Echo { id: 61_234, sequence: 1, data: b"token" }.packet(addresses).unwrap();
        assert_eq!(Answer::read(&packet), None);
        reply_to_echo(&mut packet);
        let said = Said::Echo { id: 61_234, sequence: 1, data: b"token" };
        assert_eq!(Answer::read(&packet), Some(Answer { addresses: addresses.reversed(), said }));
    }
}

#[test]
fn an_error_shows_what_it_is_about() {
    for addresses in both() {
        let sent = Question::Syn { ports: PORTS, sequence: 7 }.packet(addresses).unwrap();
        let mut packet = sent.clone();
        packet.resize(2048, 0);
        let length = match addresses {
            Addresses::V4(_) => {
                let complaint = icmp::v4::Complaint::PortUnreachable;
                icmp::v4::build(&mut packet, sent.len(), 0xC612_00FE, complaint, 0)
            }
            Addresses::V6(_) => {
                let complaint = icmp::v6::Complaint::PortUnreachable;
                icmp::v6::build(&mut packet, sent.len(), 0x2001_0DB8 << 96 | 0xFE, complaint)
            }
        };
        let answer = Answer::read(&packet[..length.unwrap()]).unwrap();
        let Said::Error { kind: Kind::Unreachable { .. }, quote } = answer.said else { panic!("{answer:?}") };
        assert_eq!(head(quote), head(&sent));
        let (to, protocol, first) = head(quote).unwrap();
        assert_eq!((to, protocol, &first[..4]), (addresses, ip::TCP, &PORTS.to_be_bytes()[..]));
        assert_eq!(&first[4..], 7u32.to_be_bytes());
    }
}

#[test]
fn a_damaged_answer_is_none() {
    for addresses in both() {
        for question in [
            Question::Syn { ports: PORTS, sequence: 7 },
            Question::Datagram { ports: PORTS, payload: b"hello" },
        ] {
            let packet = question.packet(addresses).unwrap();
            let last = packet.len() - 1;
            for at in [last, last - 2, packet.len() - 4] {
                let mut damaged = packet.clone();
                damaged[at] ^= 0x10;
                assert_eq!(Answer::read(&damaged), None, "{question:?}, byte {at}");
            }
            assert_eq!(Answer::read(&packet[..last]), None, "cut short");
        }
    }
}

#[test]
fn an_absent_checksum_is_right_over_ipv4_alone() {
    let [v4, v6] = both().map(|addresses| {
        let question = Question::Datagram { ports: PORTS, payload: b"hello" };
        let mut packet = question.packet(addresses).unwrap();
        let field = packet.len() - b"hello".len() - 2;
        packet[field..field + 2].fill(0);
        Answer::read(&packet).is_some()
    });
    assert_eq!((v4, v6), (true, false));
}

#[test]
fn a_piece_is_no_answer() {
    let mut packet = Question::Datagram { ports: PORTS, payload: b"12345678" }.packet(both()[0]).unwrap();
    packet[6] = 0x20;
    ipv4::seal(&mut packet[..ipv4::HEADER]);
    assert_eq!(Answer::read(&packet), None);
}

#[test]
fn what_is_too_long_for_a_packet_is_none() {
    let [v4, v6] = both();
    for (addresses, longest) in [(v4, 65_535 - 28), (v6, 65_535 - 8)] {
        let payload = vec![1; longest + 1];
        let packet =
            |length| Question::Datagram { ports: PORTS, payload: &payload[..length] }.packet(addresses);
        assert!(is_right(&packet(longest).unwrap()));
        assert_eq!(packet(longest + 1), None);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_stumble(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), v6 in any::<bool>(), protocol in prop::sample::select(vec![1u8, 6, 17, 58])) {
        if bytes.len() > 20 {
            bytes[0] = if v6 { 0x60 } else { 0x45 };
            bytes[if v6 { 6 } else { 9 }] = protocol;
        }
        Answer::read(&bytes);
        head(&bytes);
    }

    #[test]
    fn every_datagram_is_right(payload in proptest::collection::vec(any::<u8>(), 0..64), ports in any::<u32>()) {
        for addresses in both() {
            let packet = Question::Datagram { ports, payload: &payload }.packet(addresses).unwrap();
            prop_assert!(is_right(&packet));
        }
    }
}
