use etherparse::{IpSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;

const GUE_PORT: Encapsulation = Encapsulation::Gue { port: 6080 };

fn address(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([198, 18, 1, last]),
        Family::V6 => IpAddr::from([0x2001, 0xDB8, 0, 0, 0, 0, 0, last.into()]),
    }
}

/// A datagram from a client to a VIP, of `traffic_class`, with DF as given (IPv4).
fn inner(family: Family, traffic_class: u8, dont_fragment: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = match family {
        Family::V4 => PacketBuilder::ipv4([198, 18, 0, 1], [198, 18, 0, 100], 63),
        Family::V6 => PacketBuilder::ipv6([7; 16], [9; 16], 63),
    };
    builder.udp(1234, 80).write(&mut bytes, payload).unwrap();
    match family {
        Family::V4 => {
            bytes[1] = traffic_class;
            bytes[6] = if dont_fragment { DONT_FRAGMENT } else { 0 };
            ipv4::seal(&mut bytes[..20]);
        }
        Family::V6 => {
            bytes[0] = 0x60 | traffic_class >> 4;
            bytes[1] = traffic_class << 4;
        }
    }
    bytes
}

/// `inner` with the header of `outer` in front.
fn encapsulated(outer: &Outer, inner: &[u8], id: u16, flow: u16) -> Vec<u8> {
    let mut bytes = vec![0xEE; outer.len()];
    assert!(outer.write(&mut bytes, inner, inner.len() as u16, id, flow));
    bytes.extend(inner);
    bytes
}

#[test]
fn lengths_are_those_of_the_headers() {
    for (encapsulation, family, length) in [
        (Encapsulation::Ipip, Family::V4, 20),
        (Encapsulation::Ipip, Family::V6, 40),
        (GUE_PORT, Family::V4, 32),
        (GUE_PORT, Family::V6, 52),
    ] {
        let outer = Outer::new(encapsulation, address(family, 1), address(family, 2), Family::V4).unwrap();
        assert_eq!((outer.len(), outer.overhead(), outer.family()), (length, length as u16, family));
    }
    assert_eq!(Outer::new(GUE_PORT, address(Family::V4, 1), address(Family::V6, 2), Family::V4), None);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let outer =
        Outer::new(Encapsulation::Ipip, address(Family::V4, 1), address(Family::V4, 2), Family::V4).unwrap();
    let packet = inner(Family::V4, 0, true, &[0; 65_000]);
    let length = packet.len() as u16;
    assert!(outer.write(&mut [0; 20], &packet, length, 0, 0));
    assert!(!outer.write(&mut [0; 19], &packet, length, 0, 0), "too little room");
    assert!(!outer.write(&mut [0; 21], &packet, length, 0, 0), "too much room");
    assert!(!outer.write(&mut [0; 20], &packet[..100], 101, 0, 0), "not all of the packet");
    assert!(!outer.write(&mut [0; 20], &[0x50; 40], 40, 0, 0), "no IP packet");
    let mut long = packet;
    long.resize(65_516, 0);
    assert!(!outer.write(&mut [0; 20], &long, 65_516, 0, 0), "longer than IP packets are");
    assert!(outer.write(&mut [0; 20], &long, 65_515, 0, 0));
}

#[test]
fn an_identification_is_written_only_where_the_packet_may_be_cut() {
    let outer = Outer::new(GUE_PORT, address(Family::V4, 1), address(Family::V4, 2), Family::V4).unwrap();
    let fixed = encapsulated(&outer, &inner(Family::V4, 0, true, &[]), 0x1234, 0);
    assert_eq!(fixed[4..8], [0, 0, 0x40, 0]);
    let free = encapsulated(&outer, &inner(Family::V4, 0, false, &[]), 0x1234, 0);
    assert_eq!(free[4..8], [0x12, 0x34, 0, 0]);
    let outer = Outer::new(GUE_PORT, address(Family::V4, 1), address(Family::V4, 2), Family::V6).unwrap();
    let six = encapsulated(&outer, &inner(Family::V6, 0, false, &[]), 0x1234, 0);
    assert_eq!(six[4..8], [0, 0, 0x40, 0]);
}

#[test]
fn a_cut_outer_packet_still_shows_where_the_inner_begins() {
    let outer = Outer::new(GUE_PORT, address(Family::V4, 1), address(Family::V4, 2), Family::V6).unwrap();
    let mut packet = encapsulated(&outer, &inner(Family::V6, 0, true, &[]), 0, 9);
    assert_eq!(decapsulate(&packet[..33]).unwrap().offset, 32);
    assert_eq!(decapsulate(&packet[..32]), None);
    packet[28] = 0x20;
    assert_eq!(decapsulate(&packet), None, "a control message");
    packet[28] = 0x40;
    assert_eq!(decapsulate(&packet), None, "variant 1");
    packet[28] = 0x1F;
    assert_eq!(decapsulate(&packet), None, "options to beyond the end");
    packet[28] = 0;
    packet[29] = ip::IPV4;
    assert_eq!(decapsulate(&packet), None, "says the other family");
    assert_eq!(decapsulate(&inner(Family::V4, 0, true, &[0; 40])), None, "plain UDP");
    packet[29] = ip::IPV6;
    packet[7] = 1;
    assert_eq!(decapsulate(&packet), None, "a later piece");
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(vec![Family::V4, Family::V6])
}

proptest! {
    #[test]
    fn an_independent_decoder_reads_what_is_written(
        outside in family(),
        inside in family(),
        gue in any::<bool>(),
        (traffic_class, dont_fragment, id, flow) in any::<(u8, bool, u16, u16)>(),
        payload in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let encapsulation = if gue { GUE_PORT } else { Encapsulation::Ipip };
        let outer = Outer::new(encapsulation, address(outside, 1), address(outside, 2), inside).unwrap();
        let within = inner(inside, traffic_class, dont_fragment, &payload);
        let bytes = encapsulated(&outer, &within, id, flow);
        let ip = IpSlice::from_slice(&bytes).unwrap();
        prop_assert_eq!((ip.source_addr(), ip.destination_addr()), (address(outside, 1), address(outside, 2)));
        match &ip {
            IpSlice::Ipv4(v4) => {
                let header = v4.header().to_header();
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                prop_assert_eq!((bytes[1], header.time_to_live), (traffic_class, 64));
                prop_assert_eq!(header.dont_fragment, inside == Family::V6 || dont_fragment);
                prop_assert_eq!(header.identification, if header.dont_fragment { 0 } else { id });
            }
            IpSlice::Ipv6(v6) => {
                prop_assert_eq!((v6.header().traffic_class(), v6.header().hop_limit()), (traffic_class, 64));
                prop_assert_eq!(v6.header().flow_label().value() & 0xFFFF, u32::from(flow));
            }
        }
        prop_assert_eq!(ip.payload().payload.len() + usize::from(outer.ip_len), bytes.len());
        if gue {
            let sliced = SlicedPacket::from_ip(&bytes).unwrap();
            let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!() };
            prop_assert_eq!((udp.source_port(), udp.destination_port()), (0xC000 | flow, 6080));
            prop_assert_eq!(udp.payload(), [&[0, inside.as_payload(), 0, 0], within.as_slice()].concat());
            match (address(outside, 1), address(outside, 2)) {
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    let wanted = udp.to_header().calc_checksum_ipv6_raw(from.octets(), to.octets(), udp.payload());
                    prop_assert_eq!(udp.checksum(), wanted.unwrap());
                }
                _ => prop_assert_eq!(udp.checksum(), 0),
            }
        } else {
            prop_assert_eq!(ip.payload().ip_number.0, inside.as_payload());
        }
        prop_assert_eq!(decapsulate(&bytes).map(|found| (found.encapsulation, found.family, usize::from(found.offset))),
            Some((encapsulation, inside, outer.len())));
    }

    #[test]
    fn no_bytes_make_it_stumble(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), first in prop::sample::select(vec![0x45u8, 0x4F, 0x60]), protocol in prop::sample::select(vec![4u8, 17, 41])) {
        if bytes.len() > 10 {
            (bytes[0], bytes[6], bytes[9]) = (first, protocol, protocol);
        }
        if let Some(found) = decapsulate(&bytes) {
            prop_assert!(usize::from(found.offset) < bytes.len());
        }
    }
}
