//! Reading and writing whole frames with one TCP segment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::checksum::{self, Verified};
use crate::wire::ip::{self, Addresses};
use crate::wire::tcp::{self, Flags};
use crate::wire::{ethernet, ipv4, ipv6};

/// The receiver wants it at once; its last segment of a write carries this (RFC 9293 §3.9.1.2).
pub const PUSH: Flags = Flags(0x08);
/// What is announced as receive window, and the most that is sent at once.
pub const WINDOW: u16 = 65_535;
const TTL: u8 = 64;
/// The option of SYNs.
const MSS: [u8; 2] = [2, 4];

/// A segment as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// From whom.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Control bits.
    pub flags: Flags,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Data.
    pub payload: &'a [u8],
}

/// Why a frame is no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSegment {
    /// It is something else.
    Other,
    /// A checksum is wrong, or a length.
    Damaged,
}

impl<'a> Segment<'a> {
    /// Reads a frame without tags. A checksum that the sender left to an offload counts as right: between two namespaces of
    /// one machine nobody computes it.
    pub fn read(frame: &'a [u8]) -> Result<Self, NoSegment> {
        let layer2 = ethernet::header(frame).ok_or(NoSegment::Other)?;
        let packet = frame.get(usize::from(layer2.header_len)..).ok_or(NoSegment::Other)?;
        let (source, destination, segment, verified) = match layer2.ethertype {
            ethernet::IPV4 => {
                let header = ipv4::Header::parse(packet).map_err(|_| NoSegment::Damaged)?;
                if header.protocol != ip::TCP || header.fragment {
                    return Err(NoSegment::Other);
                }
                let range = usize::from(header.header_len)..usize::from(header.total_len);
                let segment = packet.get(range).ok_or(NoSegment::Damaged)?;
                let read = tcp::Header::parse(segment).ok_or(NoSegment::Damaged)?;
                let verified = checksum::verify_v4(header.addresses, ip::TCP, segment, read.checksum);
                let ends = [(header.addresses >> 32) as u32, header.addresses as u32];
                let [source, destination] = ends.map(|end| IpAddr::V4(Ipv4Addr::from_bits(end)));
                (source, destination, segment, verified)
            }
            ethernet::IPV6 => {
                let header = ipv6::Header::parse(packet).map_err(|_| NoSegment::Damaged)?;
                if header.protocol != ip::TCP || header.fragment.is_some() {
                    return Err(NoSegment::Other);
                }
                let range = usize::from(header.header_len)..usize::from(header.total_len);
                let segment = packet.get(range).ok_or(NoSegment::Damaged)?;
                let read = tcp::Header::parse(segment).ok_or(NoSegment::Damaged)?;
                let verified = checksum::verify_v6(header.addresses, ip::TCP, segment, read.checksum);
                let [source, destination] = header.addresses.map(|end| IpAddr::V6(Ipv6Addr::from_bits(end)));
                (source, destination, segment, verified)
            }
            _ => return Err(NoSegment::Other),
        };
        if verified == Verified::Wrong {
            return Err(NoSegment::Damaged);
        }
        let header = tcp::Header::parse(segment).ok_or(NoSegment::Damaged)?;
        let data = usize::from(segment[12] >> 4) * 4;
        Ok(Self {
            source: SocketAddr::new(source, (header.ports >> 16) as u16),
            destination: SocketAddr::new(destination, header.ports as u16),
            flags: header.flags,
            sequence: header.sequence,
            acknowledgment: header.acknowledgment,
            payload: segment.get(data..).ok_or(NoSegment::Damaged)?,
        })
    }

    /// How many sequence numbers it takes up.
    pub fn length(&self) -> u32 {
        let flags = [Flags::SYN, Flags::FIN].map(|flag| u32::from(self.flags.any(flag)));
        self.payload.len() as u32 + flags[0] + flags[1]
    }

    /// Writes a whole frame, all checksums in place, over what `frame` holds. A SYN names the largest segment that fits
    /// `mtu`. Endpoints of two families make no frame.
    pub fn write(&self, macs: &[u8; 12], mtu: u16, frame: &mut Vec<u8>) {
        frame.clear();
        let Some(addresses) = Addresses::between(self.source.ip(), self.destination.ip()) else { return };
        let (ethertype, ip_header) = match addresses {
            Addresses::V4(_) => (ethernet::IPV4, ipv4::HEADER),
            Addresses::V6(_) => (ethernet::IPV6, ipv6::HEADER),
        };
        let options = if self.flags.any(Flags::SYN) { 4 } else { 0 };
        let upper = tcp::HEADER + options + self.payload.len();
        let mut header = [0; ethernet::HEADER];
        ethernet::write_header(&mut header, macs, &ethernet::Tags::none(), ethertype);
        frame.extend(header);
        let pseudo = match addresses {
            Addresses::V4(addresses) => {
                let mut ip = [0; ipv4::HEADER];
                ipv4::write(&mut ip, addresses, ip::TCP, upper as u16, TTL);
                frame.extend(ip);
                checksum::pseudo_header_v4(addresses, ip::TCP, upper as u16)
            }
            Addresses::V6(addresses) => {
                let mut ip = [0; ipv6::HEADER];
                ipv6::write(&mut ip, addresses, ip::TCP, upper as u16, TTL);
                frame.extend(ip);
                checksum::pseudo_header_v6(addresses, ip::TCP, upper as u32)
            }
        };
        let l4 = frame.len();
        frame.extend(self.source.port().to_be_bytes());
        frame.extend(self.destination.port().to_be_bytes());
        frame.extend(self.sequence.to_be_bytes());
        frame.extend(self.acknowledgment.to_be_bytes());
        frame.extend([((tcp::HEADER + options) as u8 / 4) << 4, self.flags.0]);
        frame.extend(WINDOW.to_be_bytes());
        frame.extend([0; 4]);
        if options > 0 {
            frame.extend(MSS);
            frame.extend((mtu.saturating_sub((ip_header + tcp::HEADER) as u16)).to_be_bytes());
        }
        frame.extend_from_slice(self.payload);
        let sum = !checksum::fold(pseudo + u64::from(checksum::sum(&frame[l4..])));
        frame[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
        if frame.len() < usize::from(super::super::sizes::SHORTEST) {
            frame.resize(super::super::sizes::SHORTEST.into(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn segment<'a>(ends: [&str; 2], flags: Flags, payload: &'a [u8]) -> Segment<'a> {
        let [source, destination] = ends.map(|end| end.parse().unwrap());
        Segment { source, destination, flags, sequence: 7, acknowledgment: 9, payload }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut frame = Vec::new();
        for ends in [["198.18.0.1:1024", "198.18.0.2:80"], ["[2001:db8::1]:1024", "[2001:db8::2]:80"]] {
            for (flags, payload) in
                [(Flags::SYN, &b""[..]), (Flags::ACK.with(PUSH), b"data"), (Flags::ACK.with(Flags::FIN), b"")]
            {
                let sent = segment(ends, flags, payload);
                sent.write(&MACS, 1500, &mut frame);
                assert_eq!(Segment::read(&frame), Ok(sent), "padding is no data");
                assert!(frame.len() >= 60);
                let at = frame.len() - 1 - if frame.len() == 60 { 6 } else { 0 };
                frame[at] ^= 1;
                assert_eq!(Segment::read(&frame), Err(NoSegment::Damaged));
            }
        }
        segment(["198.18.0.1:1", "[2001:db8::2]:80"], Flags::SYN, b"").write(&MACS, 1500, &mut frame);
        assert_eq!((frame.as_slice(), Segment::read(&frame)), (&[][..], Err(NoSegment::Other)));
    }

    #[test]
    fn a_syn_names_the_largest_segment() {
        let mut frame = Vec::new();
        segment(["198.18.0.1:1", "198.18.0.2:80"], Flags::SYN, b"").write(&MACS, 1500, &mut frame);
        assert_eq!(frame[54..58], [2, 4, 0x05, 0xB4]);
        segment(["[2001:db8::1]:1", "[2001:db8::2]:80"], Flags::SYN, b"").write(&MACS, 1500, &mut frame);
        assert_eq!(frame[74..78], [2, 4, 0x05, 0xA0]);
    }

    #[test]
    fn sequence_numbers_that_a_segment_takes_up() {
        let ends = ["198.18.0.1:1024", "198.18.0.2:80"];
        assert_eq!(segment(ends, Flags::SYN, b"").length(), 1);
        assert_eq!(segment(ends, Flags::ACK.with(Flags::FIN), b"abc").length(), 4);
    }
}
