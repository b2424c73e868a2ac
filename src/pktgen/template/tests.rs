use super::*;
use crate::wire::checksum::Verified;
use crate::wire::ethernet::HEADER;

fn profile(source: &str, destination: &str, protocol: Protocol) -> Profile {
    Profile {
        to: [2, 0, 0, 0, 0, 1],
        from: [2, 0, 0, 0, 0, 2],
        tuples: Tuples::new(source.parse().unwrap(), destination.parse().unwrap(), 500).unwrap(),
        protocol,
        flags: Flags::ACK,
        sizes: Sizes::one(128),
        order: Order::Sequential,
        stamp: Some(7),
    }
}

fn both_families(protocol: Protocol) -> [Profile; 2] {
    [
        profile("198.19.0.0/24:65000-65535", "198.18.0.100:80", protocol),
        profile("[2001:db8::FFFF:FF00/120]:65000-65535", "[2001:db8:1::1]:80", protocol),
    ]
}

/// The frame of a flow, after its checksums were verified; its payload.
fn checked(template: &Template, shape: &Shape, flow: u32, stamp: &Stamp) -> Vec<u8> {
    let mut frame = vec![0; usize::from(shape.length)];
    template.write(shape, flow, stamp, &mut frame);
    let packet = &frame[HEADER..];
    let (source, destination) = template.tuples.flow(flow);
    let addresses = Addresses::between(source.ip(), destination.ip()).unwrap();
    let (segment, verified) = match addresses {
        Addresses::V4(addresses) => {
            let header = ipv4::Header::parse(packet).unwrap();
            assert_eq!((header.addresses, header.protocol), (addresses, template.protocol as u8));
            assert!(header.dont_fragment, "an identification of 0 is right only where nobody cuts");
            let segment = &packet[20..usize::from(header.total_len)];
            let field = field(template, segment);
            (segment, checksum::verify_v4(addresses, header.protocol, segment, field))
        }
        Addresses::V6(addresses) => {
            let header = ipv6::Header::parse(packet).unwrap();
            assert_eq!((header.addresses, header.protocol), (addresses, template.protocol as u8));
            let segment = &packet[40..usize::from(header.total_len)];
            let field = field(template, segment);
            (segment, checksum::verify_v6(addresses, header.protocol, segment, field))
        }
    };
    assert_eq!(verified, Verified::Right);
    let ports = u32::from(source.port()) << 16 | u32::from(destination.port());
    assert_eq!(segment[..4], ports.to_be_bytes());
    let header = if template.protocol == Protocol::Udp { 8 } else { 20 };
    segment[header..].to_vec()
}

fn field(template: &Template, segment: &[u8]) -> u16 {
    match template.protocol {
        Protocol::Tcp => tcp::Header::parse(segment).unwrap().checksum,
        Protocol::Udp => {
            let header = udp::Header::parse(segment).unwrap();
            assert_eq!(usize::from(header.length), segment.len());
            assert_ne!(header.checksum, 0, "which would say that there is none");
            header.checksum
        }
    }
}

#[test]
fn every_frame_has_right_checksums_and_its_stamp() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        for profile in both_families(protocol) {
            let template = Template::new(&profile).unwrap();
            for flow in 0..500 {
                let stamp = Stamp { run: 7, round: 3, sequence: u64::from(flow), time_ns: 123_456_789_012 };
                let payload = checked(&template, &template.shapes[0], flow, &stamp);
                assert_eq!(Stamp::read(&payload), Some(stamp));
                assert!(payload[STAMP..].iter().all(|byte| *byte == 0));
            }
        }
    }
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
    // Among all sequence numbers of one word, one makes the sum come out so.
    let template = Template::new(&both_families(Protocol::Udp)[0]).unwrap();
    let zeros = (0..65_536u64).filter(|sequence| {
        let stamp = Stamp { run: 7, round: 0, sequence: *sequence, time_ns: 0 };
        let mut frame = vec![0; 128];
        template.write(&template.shapes[0], 0, &stamp, &mut frame);
        assert_ne!(frame[40..42], [0, 0]);
        frame[40..42] == [0xFF, 0xFF]
    });
    assert!(zeros.count() >= 1);
}

#[test]
fn the_shortest_udp_frame_over_ipv4_has_room_for_a_stamp_and_tcp_has_not() {
    for (protocol, is_stamped) in [(Protocol::Udp, true), (Protocol::Tcp, false)] {
        let [profile, _] =
            both_families(protocol).map(|profile| Profile { sizes: Sizes::one(60), ..profile });
        let template = Template::new(&profile).unwrap();
        assert_eq!(template.shapes[0].is_stamped, is_stamped);
        let stamp = Stamp { run: 7, round: 1, sequence: 2, time_ns: 3 };
        let payload = checked(&template, &template.shapes[0], 9, &stamp);
        assert_eq!(Stamp::read(&payload).is_some(), is_stamped);
        let none = Template::new(&Profile { stamp: None, ..profile }).unwrap();
        assert_eq!(checked(&none, &none.shapes[0], 9, &stamp), vec![0; payload.len()]);
    }
}

#[test]
fn a_mix_has_one_shape_per_size() {
    let [profile, _] =
        both_families(Protocol::Tcp).map(|profile| Profile { sizes: Sizes::imix(), ..profile });
    let template = Template::new(&profile).unwrap();
    let stamp = Stamp { run: 7, round: 1, sequence: 2, time_ns: 3 };
    assert!(!template.is_stamped(), "the shortest one has no room, and a sink would take it for lost");
    for (shape, (size, _)) in template.shapes.iter().zip(Sizes::imix().all()) {
        assert_eq!(checked(&template, shape, 1, &stamp).len(), usize::from(*size) - 54);
    }
}

#[test]
fn the_shortest_syn_carries_no_data() {
    let [profile, _] = both_families(Protocol::Tcp);
    let profile = Profile { sizes: Sizes::one(60), flags: Flags::SYN, ..profile };
    let template = Template::new(&profile).unwrap();
    let stamp = Stamp { run: 7, round: 1, sequence: 2, time_ns: 3 };
    assert_eq!(checked(&template, &template.shapes[0], 1, &stamp), Vec::<u8>::new());
    let built = frame(&profile, template.tuples.flow(1)).unwrap();
    assert_eq!(built.len(), 60);
    assert_eq!(tcp::Header::parse(&built[34..]).unwrap().acknowledgment, 0);
}

#[test]
fn frames_that_are_too_short_are_refused_with_the_least_that_would_do() {
    let [_, profile] =
        both_families(Protocol::Tcp).map(|profile| Profile { sizes: Sizes::one(73), ..profile });
    let error = Template::new(&profile).unwrap_err().to_string();
    assert_eq!(
        error,
        "frames of 73 bytes are too short for TCP over IPv6: its headers have 74 (--size 74 or more, and 18 more for a stamp)"
    );
    assert!(Template::new(&Profile { sizes: Sizes::one(74), ..profile }).is_ok());
}
