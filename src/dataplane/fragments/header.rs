//! What a fragment says by itself: whether it can be at all, and of the first, whose it is.

use crate::dataplane::parse::{ICMP, ICMPV6, Parsed, TCP, UDP, ping};
use crate::tables::DropReason;
use crate::wire::{tcp, udp};

/// Checks that a fragment can be, and returns the ports of a first one, as [`crate::dataplane::conntrack::FlowKey`] has
/// them. `before` is the length of what stands in front of the payload in the whole datagram and counts as part of it.
///
/// A first fragment must hold the whole TCP or UDP header: one that does not only serves to slip past those who look at
/// ports and flags (RFC 1858 §3).
pub fn read(payload: &[u8], before: u16, protocol: u8, parsed: &mut Parsed) -> Result<u32, DropReason> {
    let end = usize::from(before) + usize::from(parsed.fragment_offset) + payload.len();
    let whole_units = !parsed.more_fragments || payload.len().is_multiple_of(8);
    if payload.is_empty() || !whole_units || end > usize::from(u16::MAX) {
        return Err(DropReason::FragmentAbsurd);
    }
    if parsed.fragment_offset > 0 {
        return Ok(0);
    }
    first(payload, protocol, parsed).ok_or(DropReason::FragmentAbsurd)
}

fn first(payload: &[u8], protocol: u8, parsed: &mut Parsed) -> Option<u32> {
    match protocol {
        TCP => {
            let header = tcp::Header::parse(payload)?;
            (parsed.flags, parsed.checksum) = (header.flags, header.checksum);
            (parsed.sequence, parsed.acknowledgment) = (header.sequence, header.acknowledgment);
            Some(header.ports)
        }
        UDP => {
            // The length is that of the whole datagram.
            let [a, b, c, d, length_high, length_low, high, low] =
                *payload.first_chunk::<{ udp::HEADER }>()?;
            let length = u16::from_be_bytes([length_high, length_low]);
            parsed.checksum = u16::from_be_bytes([high, low]);
            (usize::from(length) > payload.len()).then_some(u32::from_be_bytes([a, b, c, d]))
        }
        ICMP | ICMPV6 => {
            let [kind, code, _, _, high, low, _, _] = *payload.first_chunk::<8>()?;
            let (echo, ports) = ping(protocol, kind, code, u16::from_be_bytes([high, low]));
            parsed.echo = echo;
            Some(ports)
        }
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::conntrack::Direction;

    fn parsed(fragment_offset: u16, more_fragments: bool) -> Parsed {
        Parsed { fragment_offset, more_fragments, ..Parsed::NOTHING }
    }

    #[test]
    fn fragments_that_cannot_be() {
        let bytes = [0; 2000];
        for (why, length, offset, more) in [
            ("nothing in it", 0, 8, false),
            ("nothing in it, and more to come", 0, 8, true),
            ("not of whole units", 1481, 8, true),
            ("beyond the longest datagram", 1480, 65_528 - 1480, false),
            ("too short for a UDP header", 0, 0, true),
        ] {
            let read = read(&bytes[..length], 20, UDP, &mut parsed(offset, more));
            assert_eq!(read, Err(DropReason::FragmentAbsurd), "{why}");
        }
        assert_eq!(read(&bytes[..13], 20, UDP, &mut parsed(8, false)), Ok(0), "the last may have any length");
        assert_eq!(read(&bytes[..35], 20, UDP, &mut parsed(65_480, false)), Ok(0), "the longest datagram");
        assert_eq!(
            read(&bytes[..16], 20, TCP, &mut parsed(0, true)),
            Err(DropReason::FragmentAbsurd),
            "not all of the TCP header"
        );
        assert_eq!(
            read(&bytes[..8], 20, UDP, &mut parsed(0, true)),
            Err(DropReason::FragmentAbsurd),
            "a UDP length that the first fragment already has"
        );
    }

    #[test]
    fn a_first_fragment_has_the_ports() {
        let datagram = [0x9C, 0x40, 0, 53, 0x10, 0, 0xAB, 0xCD, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut of_udp = parsed(0, true);
        assert_eq!(read(&datagram, 20, UDP, &mut of_udp), Ok(0x9C40_0035));
        assert_eq!(of_udp.checksum, 0xABCD);
        let echo = [8, 0, 0, 0, 0x12, 0x34, 0, 1];
        let mut of_ping = parsed(0, true);
        assert_eq!(read(&echo, 20, ICMP, &mut of_ping), Ok(0x1234_0000));
        assert_eq!(of_ping.echo, Some(Direction::Request));
    }
}
