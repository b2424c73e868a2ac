//! What is read as plain is what the other readers read; what is written over it is what the setters write.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;

/// Whom the frames are for.
const STATION: u64 = address([2, 0, 0, 0, 0, 1]);

/// A flow of either family.
type Either = Named<(Option<u64>, Option<[u128; 2]>)>;

/// What this file makes of a frame.
fn plain(frame: &[u8]) -> Option<(Either, Details)> {
    let either = |addresses, ports, protocol| Named { addresses, ports, protocol };
    if let Some(Named { addresses, ports, protocol }) = ipv4(frame, STATION) {
        return Some((either((Some(addresses), None), ports, protocol), details_v4(frame, protocol)));
    }
    let Named { addresses, ports, protocol } = ipv6(frame, STATION)?;
    Some((either((None, Some(addresses)), ports, protocol), details_v6(frame, protocol)))
}

/// What the other readers make of a frame without tags.
fn read(frame: &[u8]) -> Option<(Either, Details)> {
    let packet = frame.get(IP..)?;
    let (addresses, protocol, header_len, details) = match ethernet::header(frame)?.ethertype {
        ethernet::IPV4 => {
            let header = ipv4::Header::parse(packet).ok().filter(|header| !header.fragment)?;
            let ipv4::Header { ttl, dont_fragment, total_len: ip_len, .. } = header;
            let details = Details { ttl, ip_len, dont_fragment, ..Details::default() };
            ((Some(header.addresses), None), header.protocol, u16::from(header.header_len), details)
        }
        ethernet::IPV6 => {
            let header = ipv6::Header::parse(packet).ok().filter(|header| header.fragment.is_none())?;
            let (ttl, ip_len) = (header.hop_limit, header.total_len);
            let details = Details { ttl, ip_len, dont_fragment: true, ..Details::default() };
            ((None, Some(header.addresses)), header.protocol, header.header_len, details)
        }
        _ => return None,
    };
    let segment = packet.get(usize::from(header_len)..usize::from(details.ip_len))?;
    let (ports, details) = match protocol {
        TCP => {
            let tcp::Header { ports, flags, checksum, sequence, acknowledgment } =
                tcp::Header::parse(segment)?;
            (ports, Details { flags, checksum, sequence, acknowledgment, ..details })
        }
        UDP => {
            let udp::Header { ports, checksum, .. } = udp::Header::parse(segment)?;
            (ports, Details { checksum, ..details })
        }
        _ => return None,
    };
    Some((Named { addresses, ports, protocol }, details))
}

/// A well-formed frame, padded as Ethernet does.
fn frame(v6: bool, tcp: bool, payload: &[u8], numbers: [u32; 2]) -> Vec<u8> {
    let [sequence, acknowledgment] = numbers;
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xA], [2, 0, 0, 0, 0, 1]);
    let ip = match v6 {
        false => link.ipv4([198, 18, 0, 7], [198, 18, 0, 100], 64),
        true => link.ipv6([0x20; 16], [0x21; 16], 64),
    };
    let mut bytes = Vec::new();
    match tcp {
        true => ip.tcp(40_000, 80, sequence, 1000).ack(acknowledgment).write(&mut bytes, payload),
        false => ip.udp(40_000, 53).write(&mut bytes, payload),
    }
    .unwrap();
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

fn is_intact(frame: &[u8]) -> Option<bool> {
    let (named, details) = plain(frame)?;
    Some(match named.addresses.0 {
        Some(_) => is_intact_v4(frame, named.protocol, details.ip_len),
        None => is_intact_v6(frame, named.protocol, details.ip_len),
    })
}

/// The same by the other readers.
fn verified(frame: &[u8], (named, details): (Either, Details)) -> bool {
    let begin = if named.addresses.0.is_some() { TRANSPORT_V4 } else { TRANSPORT_V6 };
    let segment = &frame[begin..IP + usize::from(details.ip_len)];
    let right = checksum::Verified::Right;
    match named.addresses {
        (Some(_), _) if named.protocol == UDP && details.checksum == 0 => true,
        (Some(v4), _) => checksum::verify_v4(v4, named.protocol, segment, details.checksum) == right,
        (_, v6) => checksum::verify_v6(v6.unwrap(), named.protocol, segment, details.checksum) == right,
    }
}

fn vet(frame: &[u8], protocol: u8, kept: bool) -> Option<u16> {
    if frame[12] == 0x08 { vet_v4(frame, protocol, kept) } else { vet_v6(frame, protocol, kept) }
}

#[test]
fn a_frame_cut_short_or_of_another_kind_is_not_plain() {
    let whole = frame(false, true, b"", [1, 2]);
    assert!(ipv4(&whole, STATION).is_some() && ipv6(&whole, STATION).is_none());
    assert_eq!((ipv4(&whole[..53], STATION), ipv4(&whole, STATION + 1)), (None, None));
    for (at, value) in
        [(12, 0x86), (14, 0x46), (14, 0x44), (20, 0x20), (21, 1), (23, 1), (46, 0x40), (46, 0xF0)]
    {
        let mut other = whole.clone();
        other[at] = value;
        if (14..34).contains(&at) {
            ipv4::seal(&mut other[14..34]);
        }
        assert_eq!(ipv4(&other, STATION), None, "byte {at} is {value:#x}");
    }
    let whole = frame(true, false, &[0; 40], [1, 2]);
    assert!(ipv6(&whole, STATION).is_some() && ipv4(&whole, STATION).is_none());
    assert_eq!((ipv6(&whole[..73], STATION), ipv6(&whole, 0)), (None, None));
    for (at, value) in [(13, 0), (14, 0x50), (20, 58), (20, 44), (59, 1)] {
        let mut other = whole.clone();
        other[at] = value;
        assert_eq!(ipv6(&other, STATION), None, "byte {at} is {value:#x}");
    }
}

#[test]
fn the_destination_is_read_as_a_number() {
    assert_eq!(destination(&[2, 0, 0, 0, 0, 1, 9, 9]), address([2, 0, 0, 0, 0, 1]));
    assert_ne!(destination(&[2, 0, 0, 0, 0, 2, 9, 9]), address([2, 0, 0, 0, 0, 1]));
    assert_eq!(destination(&[2, 0, 0, 0, 0, 1, 9]), 0);
}

proptest! {
    #[test]
    fn well_formed_frames_are_plain_and_intact(
        (v6, tcp) in any::<(bool, bool)>(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        numbers in any::<[u32; 2]>(),
    ) {
        let frame = frame(v6, tcp, &payload, numbers);
        // The shortest UDP over IPv6 is left to the other readers.
        let short = v6 && frame.len() < 74;
        prop_assert_eq!(is_intact(&frame), (!short).then_some(true));
    }

    #[test]
    fn what_is_plain_is_read_alike_whatever_is_wrong_with_it(
        (v6, tcp) in any::<(bool, bool)>(),
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        damage in proptest::collection::vec((12usize..140, any::<u8>()), 0..4),
        (cut, seal) in any::<(Option<prop::sample::Index>, bool)>(),
    ) {
        let mut frame = frame(v6, tcp, &payload, [7, 8]);
        let length = frame.len();
        for (at, value) in damage {
            frame[at % length] = value;
        }
        if seal && !v6 {
            ipv4::seal(&mut frame[14..34]);
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(length));
        }
        let expected = read(&frame);
        if let Some(read) = plain(&frame) {
            prop_assert_eq!(Some(read), expected);
            let (protocol, Details { ttl, ip_len, flags, .. }) = (read.0.protocol, read.1);
            let passes = ttl > 1 && (protocol == UDP || flags.carries_on());
            prop_assert_eq!(vet(&frame, protocol, true), passes.then_some(ip_len));
            let intact = verified(&frame, read);
            prop_assert_eq!(is_intact(&frame), Some(intact));
            prop_assert_eq!(vet(&frame, protocol, false), (passes && intact).then_some(ip_len));
        }
    }

    #[test]
    fn a_translation_is_what_the_setters_write(
        (v6, tcp) in any::<(bool, bool)>(),
        payload in proptest::collection::vec(any::<u8>(), 14..60),
        (addresses, ports, absent) in any::<([u128; 2], u32, bool)>(),
    ) {
        let mut frame = frame(v6, tcp, &payload, [7, 8]);
        if absent && !tcp {
            let field = if v6 { TRANSPORT_V6 } else { TRANSPORT_V4 } + 6;
            frame[field..field + 2].fill(0);
        }
        let mut other = frame.clone();
        let rewrite = |segment: &mut [u8], delta| match tcp {
            true => tcp::rewrite(segment, ports, delta),
            false => udp::rewrite(segment, ports, delta),
        };
        let written = |delta: Delta| delta.as_written() as u16;
        if let Some(named) = ipv4(&frame, STATION) {
            let addresses = addresses[0] as u64;
            let of_addresses = Delta::of_u64(named.addresses, addresses);
            let of_all = of_addresses.and(Delta::of_u32(named.ports, ports));
            let (address_delta, transport_delta) = (written(of_addresses), written(of_all));
            let to = Translation { addresses, ports, address_delta, transport_delta };
            translate_v4(&mut frame, named.protocol, &to);
            ipv4::rewrite(&mut other[IP..], addresses, of_addresses);
            rewrite(&mut other[TRANSPORT_V4..], of_all);
            let again = ipv4(&frame, STATION).unwrap();
            prop_assert_eq!((again.addresses, again.ports), (addresses, ports));
        } else {
            let named = ipv6(&frame, STATION).unwrap();
            let of_all = Delta::of_pair(named.addresses, addresses).and(Delta::of_u32(named.ports, ports));
            let transport_delta = written(of_all);
            let to = Translation { addresses, ports, address_delta: 0, transport_delta };
            translate_v6(&mut frame, named.protocol, &to);
            ipv6::rewrite(&mut other[IP..], addresses);
            rewrite(&mut other[TRANSPORT_V6..], of_all);
        }
        prop_assert_eq!(&frame, &other);
        prop_assert!(is_intact(&frame) == Some(true) || (absent && v6));
    }
}
