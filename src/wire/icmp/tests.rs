use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::wire::ip::Addresses;
use crate::wire::{ipv4, ipv6};

/// Which packets errors are about.
#[derive(Debug, Clone, Copy)]
enum Inner {
    Tcp,
    Udp,
    UdpWithoutChecksum,
    EchoRequest,
    EchoReply,
}

/// A whole packet with all checksums right, by etherparse.
fn packet(inner: Inner, addresses: Addresses, ports: u32, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = ((ports >> 16) as u16, ports as u16);
    let mut bytes = Vec::new();
    let ip = match addresses {
        Addresses::V4(both) => {
            PacketBuilder::ipv4(((both >> 32) as u32).to_be_bytes(), (both as u32).to_be_bytes(), 17)
        }
        Addresses::V6([from, to]) => PacketBuilder::ipv6(from.to_be_bytes(), to.to_be_bytes(), 17),
    };
    let v4 = matches!(addresses, Addresses::V4(_));
    match inner {
        Inner::Tcp => ip.tcp(source, destination, 7, 8).write(&mut bytes, payload),
        Inner::Udp | Inner::UdpWithoutChecksum => ip.udp(source, destination).write(&mut bytes, payload),
        Inner::EchoRequest if v4 => ip.icmpv4_echo_request(source, 9).write(&mut bytes, payload),
        Inner::EchoReply if v4 => ip.icmpv4_echo_reply(source, 9).write(&mut bytes, payload),
        Inner::EchoRequest => ip.icmpv6_echo_request(source, 9).write(&mut bytes, payload),
        Inner::EchoReply => ip.icmpv6_echo_reply(source, 9).write(&mut bytes, payload),
    }
    .unwrap();
    if let (Inner::UdpWithoutChecksum, true) = (inner, v4) {
        bytes[26..28].fill(0);
    }
    bytes
}

/// An error about the first `cut` bytes of `packet`, in a frame's worth of room, cut to its length.
fn error_about(packet: &[u8], cut: usize, source: Addresses) -> Vec<u8> {
    let mut frame = packet[..packet.len().min(cut)].to_vec();
    let offending = frame.len();
    frame.resize(offending + 100, 0xEE);
    let length = match source {
        Addresses::V4(both) => {
            v4::build(&mut frame, offending, (both >> 32) as u32, v4::Complaint::HostUnreachable, 5)
        }
        Addresses::V6([from, _]) => v6::build(&mut frame, offending, from, v6::Complaint::AddressUnreachable),
    };
    frame.truncate(length.unwrap());
    frame
}

/// Parses and verifies the message in `packet`.
fn read(packet: &[u8]) -> Result<Message, Error> {
    match packet[0] >> 4 {
        4 => {
            let header = ipv4::Header::parse(packet).unwrap();
            v4::parse(&packet[header.header_len.into()..header.total_len.into()])
        }
        _ => {
            let header = ipv6::Header::parse(packet).unwrap();
            v6::parse(header.addresses, &packet[header.header_len.into()..header.total_len.into()])
        }
    }
}

fn header_len(addresses: Addresses) -> u16 {
    match addresses {
        Addresses::V4(_) => 20,
        Addresses::V6(_) => 40,
    }
}

const CLIENT: Addresses = Addresses::V4(0xC612_0001_C612_0064);

#[test]
fn errors_are_read_by_an_independent_decoder() {
    for (source, wanted) in [(CLIENT, 548), (Addresses::V6([1 << 96 | 5, 2 << 96 | 6]), 1232)] {
        let offending = packet(Inner::Udp, source, 0x1234_0035, &[7; 1400]);
        let error = error_about(&offending, 9000, source.reversed());
        let sliced = SlicedPacket::from_ip(&error).unwrap();
        match sliced.transport.unwrap() {
            TransportSlice::Icmpv4(icmp) => {
                assert_eq!(icmp.header().checksum, icmp.header().icmp_type.calc_checksum(icmp.payload()));
                assert_eq!(icmp.payload(), &offending[..wanted]);
                assert_eq!((error[1], error[4..8].to_vec(), error[8]), (0xC0, vec![0, 5, 0, 0], 64));
                assert_eq!(error[12..20], [198, 18, 0, 100, 198, 18, 0, 1]);
            }
            TransportSlice::Icmpv6(icmp) => {
                let Addresses::V6([source, destination]) = source.reversed() else { unreachable!() };
                assert!(icmp.is_checksum_valid(source.to_be_bytes(), destination.to_be_bytes()));
                assert_eq!(icmp.payload(), &offending[..wanted]);
                assert_eq!(error.len(), 1280);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            read(&error),
            Ok(Message::Error { kind: Kind::Unreachable { .. }, quoted: 8, quoted_len }) if usize::from(quoted_len) == wanted
        ));
    }
}

#[test]
fn a_complaint_says_the_mtu_and_it_can_be_changed() {
    let mut frame = packet(Inner::Tcp, CLIENT, 1, &[0; 1460]);
    let length = v4::build(&mut frame, 1500, 1, v4::Complaint::FragmentationNeeded { mtu: 1480 }, 0).unwrap();
    let mut message = frame[20..length].to_vec();
    let too_big = |message: &[u8]| match v4::parse(message) {
        Ok(Message::Error { kind: Kind::TooBig { mtu }, .. }) => mtu,
        other => panic!("{other:?}"),
    };
    assert_eq!((v4::mtu(&message), too_big(&message)), (Some(1480), 1480));
    v4::set_mtu(&mut message, 1380);
    assert_eq!(too_big(&message), 1380);

    let addresses = [1 << 96 | 5, 2 << 96 | 6];
    let mut frame = packet(Inner::Tcp, Addresses::V6(addresses), 1, &[0; 1460]);
    let length = v6::build(&mut frame, 1520, 9, v6::Complaint::PacketTooBig { mtu: 100_000 }).unwrap();
    let mut message = frame[40..length].to_vec();
    assert_eq!(v6::mtu(&message), Some(100_000));
    v6::set_mtu(&mut message, 1280);
    let read = v6::parse([9, addresses[0]], &message);
    assert!(matches!(read, Ok(Message::Error { kind: Kind::TooBig { mtu: 1280 }, quoted_len: 1232, .. })));
}

#[test]
fn no_error_is_built_without_room_or_about_no_packet() {
    let mut short = packet(Inner::Udp, CLIENT, 1, &[]);
    let length = short.len();
    assert_eq!(v4::build(&mut short, length, 1, v4::Complaint::TimeExceeded, 0), None);
    assert_eq!(v6::build(&mut [0x60; 100], 39, 1, v6::Complaint::TimeExceeded), None);
    assert_eq!(v6::build(&mut [0x40; 100], 40, 1, v6::Complaint::TimeExceeded), None);
}

#[test]
fn extensions_behind_a_quote_are_no_part_of_it() {
    let mut error = error_about(&packet(Inner::Udp, CLIENT, 1, &[3; 200]), 9000, CLIENT.reversed());
    error[25] = 32;
    let message = &mut error[20..];
    message[2..4].fill(0);
    let checksum = !checksum::sum(message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    assert!(matches!(v4::parse(message), Ok(Message::Error { quoted_len: 128, .. })));
}

#[test]
fn a_reply_of_nothing_but_zeros_has_a_checksum_that_verifies() {
    // What RFC 1624 alone would send as 0, which no receiver takes.
    let mut request = packet(Inner::EchoRequest, CLIENT, 0, &[0; 8]);
    request[26..28].fill(0);
    request[22..24].copy_from_slice(&0xF7FFu16.to_be_bytes());
    let header = ipv4::Header::parse(&request).unwrap();
    assert!(v4::echo_reply(&mut request, &header));
    assert_eq!(request[22..24], [0xFF, 0xFF]);
    assert_eq!(read(&request), Ok(Message::EchoReply { id: 0, sequence: 0 }));

    let mut reply = request[20..].to_vec();
    rewrite_id(&mut reply, 77, Delta::default());
    assert_eq!(v4::parse(&reply), Ok(Message::EchoReply { id: 77, sequence: 0 }));
    rewrite_id(&mut reply, 0, Delta::default());
    assert_eq!(v4::parse(&reply), Ok(Message::EchoReply { id: 0, sequence: 0 }));
}

#[test]
fn errors_are_answered_with_silence_and_so_is_what_no_host_sent() {
    let v4_may = |inner, addresses| {
        let bytes = packet(inner, Addresses::V4(addresses), 1, &[0; 20]);
        v4::may_answer(&bytes, &ipv4::Header::parse(&bytes).unwrap())
    };
    assert!(v4_may(Inner::Udp, 0xC612_0001_C612_0064));
    assert!(v4_may(Inner::EchoRequest, 0xC612_0001_C612_0064));
    for (source, destination) in [
        (0, 1),
        (0x7F00_0001, 1),
        (0xE000_0001, 1),
        (u32::MAX, 1),
        (0xC612_0001, 0xE000_0005),
        (0xC612_0001, u32::MAX),
    ] {
        assert!(
            !v4_may(Inner::Udp, u64::from(source) << 32 | u64::from(destination)),
            "{source:x} {destination:x}"
        );
    }
    let mut error = error_about(&packet(Inner::Udp, CLIENT, 1, &[]), 99, CLIENT.reversed());
    assert!(!v4::may_answer(&error, &ipv4::Header::parse(&error).unwrap()));
    error[9] = 17;
    error[6..8].copy_from_slice(&[0, 9]);
    ipv4::seal(&mut error[..20]);
    assert!(!v4::may_answer(&error, &ipv4::Header::parse(&error).unwrap()), "a later piece");

    let v6_may = |addresses| {
        let bytes = packet(Inner::EchoRequest, Addresses::V6(addresses), 1, &[0; 20]);
        v6::may_answer(&bytes, &ipv6::Header::parse(&bytes).unwrap())
    };
    assert!(v6_may([1 << 96, 2 << 96]));
    assert!(!v6_may([0, 2 << 96]) && !v6_may([1, 2 << 96]) && !v6_may([0xFF02 << 112, 2 << 96]));
    assert!(!v6_may([1 << 96, 0xFF02 << 112 | 1]));
    let about = Addresses::V6([1 << 96, 2 << 96]);
    let error = error_about(&packet(Inner::Udp, about, 1, &[]), 99, about.reversed());
    assert!(!v6::may_answer(&error, &ipv6::Header::parse(&error).unwrap()));
}

#[test]
fn a_quote_that_shows_no_ports_is_still_a_quote() {
    let mut bytes = packet(Inner::Tcp, CLIENT, 0x0102_0304, &[]);
    assert_eq!(Quote::parse(&bytes[..19]), None);
    let cut = Quote::parse(&bytes[..27]).unwrap();
    assert_eq!((cut.transport, cut.checksum, cut.addresses), (Transport::Unseen, None, CLIENT));
    let seen = Quote::parse(&bytes[..28]).unwrap();
    assert_eq!((seen.transport, seen.checksum), (Transport::Ports(0x0102_0304), None));
    assert_eq!(Quote::parse(&bytes).unwrap().checksum, Some(36));
    bytes[7] = 1;
    let later = Quote::parse(&bytes).unwrap();
    assert_eq!((later.transport, later.checksum, later.fragment_offset), (Transport::Unseen, None, 8));
}

fn addresses(v6: bool) -> BoxedStrategy<Addresses> {
    if v6 {
        any::<[u128; 2]>().prop_map(Addresses::V6).boxed()
    } else {
        any::<u64>().prop_map(Addresses::V4).boxed()
    }
}

fn inner() -> impl Strategy<Value = Inner> {
    prop::sample::select(vec![
        Inner::Tcp,
        Inner::Udp,
        Inner::UdpWithoutChecksum,
        Inner::EchoRequest,
        Inner::EchoReply,
    ])
}

/// The error and the quoted packet, before and after, and the ports before and after.
fn scene() -> impl Strategy<Value = ([Addresses; 4], [u32; 2])> {
    any::<bool>().prop_flat_map(|v6| {
        let one = move || addresses(v6);
        ((one(), one(), one(), one()).prop_map(|(a, b, c, d)| [a, b, c, d]), any::<[u32; 2]>())
    })
}

/// `error` with the outer destination that is wanted (errors are built towards the quoted source), sealed anew.
fn towards(mut error: Vec<u8>, outer: Addresses) -> Vec<u8> {
    match outer {
        Addresses::V4(both) => {
            error[12..20].copy_from_slice(&both.to_be_bytes());
            ipv4::seal(&mut error[..20]);
        }
        Addresses::V6(pair) => {
            ipv6::rewrite_addresses(&mut error, pair);
            v6::seal(pair, &mut error[40..]);
        }
    }
    error
}

proptest! {
    #[test]
    fn a_translated_error_is_what_one_about_the_translated_packet_would_be(
        (all, ports) in scene(),
        inner in inner(),
        payload in proptest::collection::vec(any::<u8>(), 0..1400),
        cut in 20usize..1500,
        damage in prop::option::of(1u16..0xFFFF),
    ) {
        let [outer_before, quoted_before, outer_after, quoted_after] = all;
        let whole_header = usize::from(header_len(quoted_before));
        // Half a checksum (of TCP, which alone may be cut there) can neither be verified nor updated: it stays.
        let cut = if cut == whole_header + 17 { whole_header + 16 } else { cut.max(whole_header) };
        let build = |outer, quoted, ports| towards(error_about(&packet(inner, quoted, ports, &payload), cut, outer), outer);
        let mut error = build(outer_before, quoted_before, ports[0]);
        let mut wanted = build(outer_after, quoted_after, ports[1]);
        let start = usize::from(header_len(outer_before));
        if let Some(damage) = damage {
            // Add the same wrong amount to both checksums.
            for bytes in [&mut error, &mut wanted] {
                let field = u16::from_be_bytes([bytes[start + 2], bytes[start + 3]]);
                bytes[start + 2..start + 4].copy_from_slice(&checksum::update(field, Delta(damage)).to_be_bytes());
            }
        }
        let quote = Quote::parse(&error[start + HEADER..]).unwrap();
        let transport = match quote.transport {
            Transport::Ports(_) => Transport::Ports(ports[1]),
            Transport::Echo { request, .. } => Transport::Echo { id: (ports[1] >> 16) as u16, request },
            Transport::Unseen => Transport::Unseen,
        };
        let to = Translation { outer: outer_after, quoted: quoted_after, transport };
        prop_assert!(translate(&mut error, start as u16, outer_before, &quote, &to));
        if quote.transport == Transport::Unseen {
            // The few bytes that are there are then not touched.
            let transport = start + HEADER + usize::from(quote.header_len);
            prop_assert_eq!(&error[..start + 2], &wanted[..start + 2]);
            prop_assert_eq!(&error[start + 4..transport], &wanted[start + 4..transport]);
        } else {
            prop_assert_eq!(&error, &wanted);
        }
        prop_assert_eq!(read(&error).is_ok(), damage.is_none());
        let back = Translation { outer: outer_before, quoted: quoted_before, transport: quote.transport };
        let quote = Quote::parse(&error[start + HEADER..]).unwrap();
        prop_assert!(translate(&mut error, start as u16, outer_after, &quote, &back));
        prop_assert_eq!(error, {
            let mut first = build(outer_before, quoted_before, ports[0]);
            if let Some(damage) = damage {
                let field = u16::from_be_bytes([first[start + 2], first[start + 3]]);
                first[start + 2..start + 4].copy_from_slice(&checksum::update(field, Delta(damage)).to_be_bytes());
            }
            first
        });
    }

    #[test]
    fn pings_are_answered_with_what_came(
        (all, ports) in scene(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = packet(Inner::EchoRequest, all[0], ports[0], &payload);
        let wanted = packet(Inner::EchoReply, all[0].reversed(), ports[0], &payload);
        let answered = match all[0] {
            Addresses::V4(_) => {
                let header = ipv4::Header::parse(&bytes).unwrap();
                v4::echo_reply(&mut bytes, &header)
            }
            Addresses::V6(_) => {
                let header = ipv6::Header::parse(&bytes).unwrap();
                v6::echo_reply(&mut bytes, &header)
            }
        };
        prop_assert!(answered);
        prop_assert_eq!(read(&bytes), Ok(Message::EchoReply { id: (ports[0] >> 16) as u16, sequence: 9 }));
        let start = usize::from(header_len(all[0]));
        prop_assert_eq!(&bytes[start..], &wanted[start..]);
        prop_assert_eq!(&bytes[start - 8..start], &wanted[start - 8..start]);
    }

    #[test]
    fn an_identifier_and_addresses_change_together((all, ports) in scene(), payload in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = packet(Inner::EchoReply, all[0], ports[0], &payload);
        let wanted = packet(Inner::EchoReply, all[1], ports[1], &payload);
        let delta = match all[0] {
            Addresses::V4(_) => Delta::default(),
            Addresses::V6(_) => all[0].delta(all[1]).unwrap(),
        };
        let start = usize::from(header_len(all[0]));
        rewrite_id(&mut bytes[start..], (ports[1] >> 16) as u16, delta);
        prop_assert_eq!(&bytes[start..], &wanted[start..]);
    }

    #[test]
    fn no_quote_makes_it_stumble(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), v6 in any::<bool>(), to in any::<u32>()) {
        if let Some(first) = bytes.first_mut() {
            *first = if v6 { 0x60 } else { 0x45 };
        }
        if let Some(quote) = Quote::parse(&bytes) {
            let same = Translation { outer: quote.addresses, quoted: quote.addresses, transport: Transport::Ports(to) };
            let start = header_len(quote.addresses);
            let mut packet = vec![1; usize::from(start) + HEADER];
            packet.extend(&bytes);
            prop_assert!(translate(&mut packet, start, quote.addresses, &quote, &same));
            packet.truncate(usize::from(start) + HEADER + 19);
            prop_assert!(!translate(&mut packet, start, quote.addresses, &quote, &same));
        }
    }
}
