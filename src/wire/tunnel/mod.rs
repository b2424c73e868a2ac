//! Packets inside packets: IP in IP (RFC 2003, RFC 2473, RFC 4213) and Generic UDP Encapsulation
//! (draft-ietf-intarea-gue, variant 0).
//!
//! No tunnel encapsulation limit option is written over IPv6 (RFC 2473 §4.1.1): it guards against tunnels that lead into
//! themselves, which the switch, that never encapsulates twice, cannot make; and it would cost eight bytes of every packet,
//! and put most routers and adapters on their slow path.

use std::net::IpAddr;

use super::icmp::Quote;
pub use super::ip::Family;
use super::ip::{self, Addresses};
use super::plain::{at, put};
use super::{checksum, ethernet, ipv4, ipv6, udp};

/// TTL or hop limit of the outer header: how far the backend is, not how far the client was (RFC 2003 §3.1).
const TTL: u8 = 64;
/// Length of the base header of Generic UDP Encapsulation.
const GUE: usize = 4;
const DONT_FRAGMENT: u8 = 0x40;
/// The longest outer header: IPv6, UDP, and that.
pub const LONGEST: usize = ipv6::HEADER + udp::HEADER + GUE;

/// Ethernet, and IPv4 in IPv4.
const WRAPPED_V4: usize = INNER + ipv4::HEADER;
/// Where the inner packet begins there.
const INNER: usize = OUTER + ipv4::HEADER;
/// Where the outer one begins.
const OUTER: usize = ethernet::HEADER;

/// How a packet stands inside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// Directly behind the outer IP header.
    Ipip,
    /// Behind UDP and a header of four bytes, so that routers see ports to spread the flows by.
    Gue {
        /// Where the backend listens; 6080 is the registered port.
        port: u16,
    },
}

/// The header that is put in front of packets to one backend, as far as it is the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// IP header, then UDP and GUE headers if there are such.
    template: [u8; LONGEST],
    len: u8,
    ip_len: u8,
    /// Sum over what of the checksum does not change: IPv4 header, or pseudo-header and header of UDP over IPv6.
    sum: u16,
}

impl Outer {
    /// The header from `source` to `destination` around packets of family `inner`; none where those two are of different
    /// families.
    pub fn new(
        encapsulation: Encapsulation,
        source: IpAddr,
        destination: IpAddr,
        inner: Family,
    ) -> Option<Self> {
        let mut template = [0; LONGEST];
        let protocol = match encapsulation {
            Encapsulation::Ipip => inner.as_payload(),
            Encapsulation::Gue { .. } => ip::UDP,
        };
        let ip_len = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                (template[0], template[8], template[9]) = (0x45, TTL, protocol);
                template[12..16].copy_from_slice(&source.octets());
                template[16..20].copy_from_slice(&destination.octets());
                ipv4::HEADER
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let addresses = [source.into(), destination.into()];
                ipv6::write(template.first_chunk_mut()?, addresses, protocol, 0, TTL);
                ipv6::HEADER
            }
            _ => return None,
        };
        let mut len = ip_len;
        if let Encapsulation::Gue { port } = encapsulation {
            template[len + 2..len + 4].copy_from_slice(&port.to_be_bytes());
            // Variant 0, no flags, no options: all but the number of the protocol inside is zero.
            template[len + udp::HEADER + 1] = inner.as_payload();
            len += udp::HEADER + GUE;
        }
        let sum = match ip_len {
            ipv4::HEADER => checksum::sum(&template[..ip_len]),
            _ => {
                let pseudo = checksum::sum(&template[8..ip_len]);
                let headers = checksum::sum(&template[ip_len..len]);
                checksum::fold(u64::from(pseudo) + u64::from(headers) + u64::from(protocol))
            }
        };
        Some(Self { template, len: len as u8, ip_len: ip_len as u8, sum })
    }

    /// By how much the MTU for what is inside is smaller: [`Outer::len`], counted as MTUs are.
    #[inline]
    pub const fn overhead(&self) -> u16 {
        self.len as u16
    }

    /// Length of the header in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "it never is empty")]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Family of the outer header.
    #[inline]
    pub const fn family(&self) -> Family {
        if self.ip_len as usize == ipv4::HEADER { Family::V4 } else { Family::V6 }
    }

    /// Source and destination of the outer header.
    pub fn addresses(&self) -> Option<Addresses> {
        Some(match self.family() {
            Family::V4 => Addresses::V4(u64::from_be_bytes(*self.template.get(12..)?.first_chunk()?)),
            Family::V6 => {
                let (addresses, _) = self.template.get(8..ipv6::HEADER)?.as_chunks::<16>();
                Addresses::V6([
                    u128::from_be_bytes(*addresses.first()?),
                    u128::from_be_bytes(*addresses.get(1)?),
                ])
            }
        })
    }

    /// Writes the header into `room`, which is exactly [`Outer::len`] bytes long and directly in front of `inner`, a packet
    /// of `inner_len` bytes. False, and nothing written, where that is not so, or the whole becomes too long for IP.
    ///
    /// - DSCP and ECN are those of the inner packet (RFC 2983 uniform model; RFC 6040 §4.1 normal mode).
    /// - Over IPv4: DF where the inner packet must not be cut either (RFC 2003 §3.1; IPv6 packets never may). Only where it
    ///   may be cut is `id` written: elsewhere it means nothing (RFC 6864 §4.1).
    /// - Over IPv6: a flow label of `flow` (RFC 6438), never 0, which would be none.
    /// - GUE: a source port of `flow`, in the dynamic range. Its UDP checksum is absent over IPv4 (RFC 768), where the outer
    ///   addresses have the header checksum and what is inside has its own. Over IPv6 receivers drop datagrams without one
    ///   (RFC 8200 §8.1) unless told otherwise for the tunnel (RFC 6935), so that it is computed, over all of `inner`:
    ///   from the checksums inside it could be derived only if they were right.
    #[inline]
    pub fn write(&self, room: &mut [u8], inner: &[u8], inner_len: u16, id: u16, flow: u16) -> bool {
        let total = self.len() + usize::from(inner_len);
        let Some(inner) = inner.get(..usize::from(inner_len)) else { return false };
        let Some(seen) = Inside::of(inner) else { return false };
        if room.len() != self.len() || total > usize::from(u16::MAX) {
            return false;
        }
        // The two usual ones of lengths that the compiler knows, which makes the difference of a call.
        if let Some(outer) = room.as_mut_array::<{ ipv4::HEADER }>() {
            self.write_v4(outer, seen, total as u16, id);
        } else if let (Family::V4, Some((outer, rest))) =
            (self.family(), room.split_first_chunk_mut::<{ ipv4::HEADER }>())
        {
            self.write_v4(outer, seen, total as u16, id);
            self.write_udp(rest, inner, flow);
        } else if let Some((outer, rest)) = room.split_first_chunk_mut::<{ ipv6::HEADER }>() {
            self.write_v6(outer, seen, total, flow);
            if !rest.is_empty() {
                self.write_udp(rest, inner, flow);
            }
        }
        true
    }

    /// What differs from one header around IPv4 that is IPv4 alone to another; none of other headers.
    pub fn ipip(&self) -> Option<Ipip> {
        let template = self.template.first_chunk::<{ ipv4::HEADER }>()?;
        let is_it = self.len() == ipv4::HEADER && template[9] == ip::IPV4;
        let addresses = template.last_chunk().filter(|_| is_it)?;
        let sum = checksum::add(self.sum, !(VERSION_AND_LENGTH << 8)).to_be();
        Some(Ipip { addresses: *addresses, sum })
    }

    #[inline(always)]
    fn write_v4(&self, outer: &mut [u8; ipv4::HEADER], inner: Inside, total: u16, id: u16) {
        let Some(template) = self.template.first_chunk::<{ ipv4::HEADER }>() else { return };
        *outer = *template;
        let (flags, id) = if inner.dont_fragment { (DONT_FRAGMENT, 0) } else { (0, id) };
        let [a, b] = total.to_be_bytes();
        let [c, d] = id.to_be_bytes();
        outer[1..7].copy_from_slice(&[inner.traffic_class, a, b, c, d, flags]);
        let changing = u32::from(inner.traffic_class) + u32::from(total) + u32::from(id);
        let sum = changing + (u32::from(flags) << 8) + u32::from(self.sum);
        [outer[10], outer[11]] = (!checksum::fold_words(sum)).to_be_bytes();
    }

    #[inline(always)]
    fn write_v6(&self, outer: &mut [u8; ipv6::HEADER], inner: Inside, total: usize, flow: u16) {
        let Some(template) = self.template.first_chunk() else { return };
        *outer = *template;
        let label = 0x1_0000 | u32::from(flow);
        let word = 6 << 28 | u32::from(inner.traffic_class) << 20 | label;
        outer[..4].copy_from_slice(&word.to_be_bytes());
        outer[4..6].copy_from_slice(&((total - ipv6::HEADER) as u16).to_be_bytes());
    }

    /// Completes the UDP header at the start of `headers`, in front of `inner`.
    #[inline]
    fn write_udp(&self, headers: &mut [u8], inner: &[u8], flow: u16) {
        let ip_len = usize::from(self.ip_len);
        let Some(template) = self.template.get(ip_len..ip_len + headers.len()) else { return };
        headers.copy_from_slice(template);
        let source = 0xC000 | flow;
        let length = (headers.len() + inner.len()) as u16;
        headers[..2].copy_from_slice(&source.to_be_bytes());
        headers[4..6].copy_from_slice(&length.to_be_bytes());
        if self.family() == Family::V6 {
            // The length is in the pseudo-header and in the header.
            let changing = u64::from(source) + 2 * u64::from(length) + u64::from(checksum::sum(inner));
            let checksum = match !checksum::fold(changing + u64::from(self.sum)) {
                0 => 0xFFFF,
                checksum => checksum,
            };
            headers[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

/// The header of IPv4 around IPv4, as far as it is the same for all packets to one backend and for those of no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipip {
    /// Source and destination.
    addresses: [u8; 8],
    /// Sum over what of the header does not change, but for the first byte, as it is written.
    sum: u16,
}

/// The first byte of an IPv4 header without options.
const VERSION_AND_LENGTH: u16 = 0x45;

impl Ipip {
    /// No header.
    pub const NONE: Self = Self { addresses: [0; 8], sum: 0 };
    /// Bytes of the header.
    pub const LEN: usize = ipv4::HEADER;

    /// Does all that is to be done to a plain IPv4 packet of `inner_len` bytes that leaves behind such a header: writes the Ethernet
    /// header, but for its addresses given by `macs`; the outer header as [`Outer::write`] does; and takes one from the
    /// TTL. `head` is those two and the packet's own header. `id` is asked for one where the packet may be cut.
    ///
    /// Numbers are words as they are read and written by a little-endian processor, so that nothing is turned (RFC 1071 §2 B).
    #[inline(always)]
    pub fn wrap(
        &self,
        head: &mut [u8; WRAPPED_V4],
        macs: &[u8; 12],
        inner_len: u16,
        id: impl FnOnce() -> u16,
    ) {
        const FLAGS: u32 = DONT_FRAGMENT as u32;
        const TTL_AND_PROTOCOL: u32 = u16::from_le_bytes([TTL, ip::IPV4]) as u32;
        // Version, header length and traffic class; length of the packet; identification; flags.
        let inner = at(head, INNER, u64::from_le_bytes);
        let (rest, changing) = if inner & u64::from(FLAGS) << 48 == 0 {
            let id = id().swap_bytes();
            (u64::from(id) << 32, id.into())
        } else {
            (u64::from(FLAGS) << 48, FLAGS)
        };
        let total = u64::from(inner_len.wrapping_add(ipv4::HEADER as u16).swap_bytes());
        let first = u64::from(inner as u16);
        let sum = (first + total) as u32 + changing + u32::from(self.sum);
        let checksum = !sum.wrapping_add(sum.rotate_left(16)) & 0xFFFF_0000;
        put(head, 0, *macs);
        put(head, 12, ethernet::IPV4.to_be_bytes());
        put(head, OUTER, (first | total << 16 | rest).to_le_bytes());
        put(head, OUTER + 8, (TTL_AND_PROTOCOL | checksum).to_le_bytes());
        put(head, OUTER + 12, self.addresses);
        if let Some(inner) = head.last_chunk_mut::<{ ipv4::HEADER }>() {
            ipv4::decrement_ttl(inner);
        }
    }
}

/// What the outer header takes from the inner one.
#[derive(Clone, Copy)]
struct Inside {
    traffic_class: u8,
    dont_fragment: bool,
}

impl Inside {
    #[inline]
    fn of(inner: &[u8]) -> Option<Self> {
        let header = inner.first_chunk::<{ ipv4::HEADER }>()?;
        Some(match Family::of_packet(header)? {
            Family::V4 => Self { traffic_class: header[1], dont_fragment: header[6] & DONT_FRAGMENT != 0 },
            Family::V6 => Self { traffic_class: header[0] << 4 | header[1] >> 4, dont_fragment: true },
        })
    }
}

/// A packet that has another one inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decapsulated {
    /// Source and destination of the outer packet.
    pub outer: Addresses,
    /// How the inner packet stands in it; the port is the destination port as it stands there.
    pub encapsulation: Encapsulation,
    /// Family of the inner packet.
    pub family: Family,
    /// Where the inner packet begins.
    pub offset: u16,
}

/// Finds the inner packet of `packet`, which may be cut short as ICMP errors quote it. None where there is none, or nothing
/// of it before the cut. Whether the GUE port is ours, and the backend one of ours, is for the caller to know: any UDP may
/// look like GUE.
pub fn decapsulate(packet: &[u8]) -> Option<Decapsulated> {
    let outer = Quote::parse(packet)?;
    if outer.fragment_offset > 0 {
        return None;
    }
    let at = usize::from(outer.header_len);
    let (encapsulation, protocol, offset) = match outer.protocol {
        ip::UDP => {
            let headers = packet.get(at..)?.first_chunk::<{ udp::HEADER + GUE }>()?;
            let [first, protocol] = [headers[udp::HEADER], headers[udp::HEADER + 1]];
            // Variant (2 bits) 0 and no control message (1 bit); then the length of options in words.
            if first & 0xE0 != 0 {
                return None;
            }
            let port = u16::from_be_bytes([headers[2], headers[3]]);
            (Encapsulation::Gue { port }, protocol, at + headers.len() + usize::from(first) * 4)
        }
        protocol => (Encapsulation::Ipip, protocol, at),
    };
    let family = Family::of_packet(packet.get(offset..)?)?;
    (protocol == family.as_payload()).then_some(Decapsulated {
        outer: outer.addresses,
        encapsulation,
        family,
        offset: offset as u16,
    })
}

#[cfg(test)]
mod tests;
