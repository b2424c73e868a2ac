//! The headers that almost every frame has, read at fixed offsets in one pass: Ethernet without tags, IPv4 without options or
//! IPv6 without extension headers, TCP or UDP, whole.
//!
//! ```text
//!   0        14                  34 (IPv6: 54)
//!   ├ Ethernet ┼ IP               ┼ TCP or UDP ┄┄┄
//! ```
//!
//! Whatever else a frame is, or is wrong with it, it is none of these here: the other readers of this room say what. What is
//! accepted here they accept too, and read the same; `tests` hold that. A frame is first named ([`ipv4`], [`ipv6`]), which
//! checks all of its headers; the rest is read off where it is needed.

use super::checksum::{self, Delta};
use super::ip::{TCP, UDP};
use super::tcp::{self, Flags};
use super::{ethernet, ipv4, ipv6, udp};

/// Where the IP header begins.
pub const IP: usize = ethernet::HEADER;
/// Where TCP or UDP begins over IPv4.
pub const TRANSPORT_V4: usize = IP + ipv4::HEADER;
/// Where TCP or UDP begins over IPv6.
pub const TRANSPORT_V6: usize = IP + ipv6::HEADER;
/// Bytes of a frame that must be there: as many as TCP headers without options take. Ethernet pads shorter ones.
const HEAD_V4: usize = TRANSPORT_V4 + tcp::HEADER;
const HEAD_V6: usize = TRANSPORT_V6 + tcp::HEADER;

/// The flow that a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<A> {
    /// Source and destination.
    pub addresses: A,
    /// Source port in the high half, destination port in the low half.
    pub ports: u32,
    /// TCP or UDP.
    pub protocol: u8,
}

/// What the headers of a named frame say besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Details {
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Length of the IP packet.
    pub ip_len: u16,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// TCP control bits; none of UDP.
    pub flags: Flags,
    /// The TCP or UDP checksum as it stands.
    pub checksum: u16,
    /// TCP sequence number; 0 of UDP.
    pub sequence: u32,
    /// TCP acknowledgment number; 0 of UDP.
    pub acknowledgment: u32,
}

/// An Ethernet address as the first six bytes of a frame are read by [`destination`].
pub const fn address(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([0, 0, a, b, c, d, e, f])
}

/// Whom `frame` is addressed to, as a number; 0 where it is too short for a header.
#[inline(always)]
pub fn destination(frame: &[u8]) -> u64 {
    frame.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first) << 16)
}

/// Names the flow of an IPv4 frame for `station` whose headers are plain and right.
#[inline(always)]
pub fn ipv4(frame: &[u8], station: u64) -> Option<Named<u64>> {
    const ETHERTYPE_VERSION_LENGTH: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0]);
    /// "More fragments", and the offset.
    const FRAGMENT: u16 = u16::from_le_bytes([0x3F, 0xFF]);
    let head = frame.first_chunk::<HEAD_V4>()?;
    if destination(head) != station
        || at(head, 12, u32::from_le_bytes) & 0x00FF_FFFF != ETHERTYPE_VERSION_LENGTH
        || at(head, IP + 6, u16::from_le_bytes) & FRAGMENT != 0
    {
        return None;
    }
    let sum = checksum::add_64(at(head, IP, u64::from_le_bytes), at(head, IP + 8, u64::from_le_bytes));
    let sum = checksum::add_64(sum, u64::from(at(head, IP + 16, u32::from_le_bytes)));
    let ip_len = usize::from(at(head, IP + 2, u16::from_be_bytes));
    if !checksum::is_complete(sum) || ip_len > frame.len() - IP {
        return None;
    }
    let named = Named {
        addresses: at(head, IP + 12, u64::from_be_bytes),
        ports: at(head, TRANSPORT_V4, u32::from_be_bytes),
        protocol: head[IP + 9],
    };
    has_room_for_transport(head, TRANSPORT_V4, named.protocol, ip_len + IP).then_some(named)
}

/// Names the flow of an IPv6 frame for `station` whose headers are plain and right.
#[inline(always)]
pub fn ipv6(frame: &[u8], station: u64) -> Option<Named<[u128; 2]>> {
    let head = frame.first_chunk::<HEAD_V6>()?;
    if destination(head) != station
        || at(head, 12, u16::from_be_bytes) != ethernet::IPV6
        || head[IP] >> 4 != 6
    {
        return None;
    }
    let end = TRANSPORT_V6 + usize::from(at(head, IP + 4, u16::from_be_bytes));
    // A longer one would be a jumbogram (RFC 2675).
    if end > frame.len() || end - IP > usize::from(u16::MAX) {
        return None;
    }
    let named = Named {
        addresses: [at(head, IP + 8, u128::from_be_bytes), at(head, IP + 24, u128::from_be_bytes)],
        ports: at(head, TRANSPORT_V6, u32::from_be_bytes),
        protocol: head[IP + 6],
    };
    has_room_for_transport(head, TRANSPORT_V6, named.protocol, end).then_some(named)
}

/// Whether the header of TCP or UDP that begins at `begin` fits a packet that ends at `end`.
#[inline(always)]
fn has_room_for_transport<const N: usize>(head: &[u8; N], begin: usize, protocol: u8, end: usize) -> bool {
    match protocol {
        TCP => {
            let header_len = usize::from(head[begin + 12] >> 4) * 4;
            header_len >= tcp::HEADER && begin + header_len <= end
        }
        // One that is shorter than its packet leaves a rest that its checksum does not cover: for the other readers.
        UDP => {
            let length = usize::from(at(head, begin + 4, u16::from_be_bytes));
            length >= udp::HEADER && begin + length == end
        }
        _ => false,
    }
}

/// Whether a named IPv4 frame may pass as those before it did, as far as it says itself: its time is not up, it does not move its
/// connection, and its TCP or UDP checksum is right or rightly absent, which is not asked where `kept`. The length of its packet.
#[inline(always)]
pub fn vet_v4(frame: &[u8], protocol: u8, kept: bool) -> Option<u16> {
    let head = frame.first_chunk::<HEAD_V4>()?;
    if head[IP + 8] <= 1 || (protocol == TCP && !Flags(head[TRANSPORT_V4 + 13]).carries_on()) {
        return None;
    }
    let ip_len = at(head, IP + 2, u16::from_be_bytes);
    (kept || is_intact_v4(frame, protocol, ip_len)).then_some(ip_len)
}

/// The same of an IPv6 frame.
#[inline(always)]
pub fn vet_v6(frame: &[u8], protocol: u8, kept: bool) -> Option<u16> {
    let head = frame.first_chunk::<HEAD_V6>()?;
    if head[IP + 7] <= 1 || (protocol == TCP && !Flags(head[TRANSPORT_V6 + 13]).carries_on()) {
        return None;
    }
    let ip_len = at(head, IP + 4, u16::from_be_bytes).wrapping_add(ipv6::HEADER as u16);
    (kept || is_intact_v6(frame, protocol, ip_len)).then_some(ip_len)
}

/// Reads what a named IPv4 frame says besides.
#[inline(always)]
pub fn details_v4(frame: &[u8], protocol: u8) -> Details {
    let Some(head) = frame.first_chunk::<HEAD_V4>() else { return Details::default() };
    Details {
        ttl: head[IP + 8],
        ip_len: at(head, IP + 2, u16::from_be_bytes),
        dont_fragment: head[IP + 6] & 0x40 != 0,
        ..transport_details(head, TRANSPORT_V4, protocol)
    }
}

/// Reads what a named IPv6 frame says besides.
#[inline(always)]
pub fn details_v6(frame: &[u8], protocol: u8) -> Details {
    let Some(head) = frame.first_chunk::<HEAD_V6>() else { return Details::default() };
    Details {
        ttl: head[IP + 7],
        ip_len: at(head, IP + 4, u16::from_be_bytes).wrapping_add(ipv6::HEADER as u16),
        dont_fragment: true,
        ..transport_details(head, TRANSPORT_V6, protocol)
    }
}

#[inline(always)]
fn transport_details<const N: usize>(head: &[u8; N], begin: usize, protocol: u8) -> Details {
    if protocol != TCP {
        return Details { checksum: at(head, begin + 6, u16::from_be_bytes), ..Details::default() };
    }
    Details {
        flags: Flags(head[begin + 13]),
        checksum: at(head, begin + 16, u16::from_be_bytes),
        sequence: at(head, begin + 4, u32::from_be_bytes),
        acknowledgment: at(head, begin + 8, u32::from_be_bytes),
        ..Details::default()
    }
}

/// Whether the TCP or UDP checksum of a named frame is right, or rightly absent. `ip_len` is of its packet.
#[inline(always)]
pub fn is_intact_v4(frame: &[u8], protocol: u8, ip_len: u16) -> bool {
    let Some(head) = frame.first_chunk::<HEAD_V4>() else { return false };
    let rest = pseudo(protocol, ip_len, ipv4::HEADER as u16);
    let addresses = at(head, IP + 12, u64::from_le_bytes);
    is_complete(frame, head, (TRANSPORT_V4, IP + usize::from(ip_len)), addresses, rest)
        || (protocol == UDP && at(head, TRANSPORT_V4 + 6, u16::from_le_bytes) == 0)
}

/// The same over IPv6, where no checksum may be absent (RFC 8200 §8.1).
#[inline(always)]
pub fn is_intact_v6(frame: &[u8], protocol: u8, ip_len: u16) -> bool {
    let Some(head) = frame.first_chunk::<HEAD_V6>() else { return false };
    let rest = pseudo(protocol, ip_len, ipv6::HEADER as u16);
    let mut addresses = at(head, IP + 8, u64::from_le_bytes);
    for word in [IP + 16, IP + 24, IP + 32] {
        addresses = checksum::add_64(addresses, at(head, word, u64::from_le_bytes));
    }
    is_complete(frame, head, (TRANSPORT_V6, IP + usize::from(ip_len)), addresses, rest)
        && (protocol != UDP || at(head, TRANSPORT_V6 + 6, u16::from_le_bytes) != 0)
}

/// What the pseudo-header holds besides addresses, where headers are so long: the protocol, and the length of the packet less
/// that of its headers, taken away by its complement so that the length need not be turned.
#[inline(always)]
fn pseudo(protocol: u8, ip_len: u16, headers: u16) -> u64 {
    (u64::from(protocol) << 8) + u64::from(ip_len.swap_bytes()) + u64::from(!headers.swap_bytes())
}

/// Whether the sum over a segment from `begin` to `end`, `addresses` and `rest` is complete. Its first 20 bytes are in `head`, and
/// then at once. `rest`, and all that is added to it, is too small to overflow.
#[inline(always)]
fn is_complete<const N: usize>(
    frame: &[u8],
    head: &[u8; N],
    (begin, end): (usize, usize),
    addresses: u64,
    rest: u64,
) -> bool {
    let Some(packet) = frame.get(..end) else { return false };
    let Some(behind) = packet.get(N..) else { return is_short_complete(packet, begin, addresses, rest) };
    let Some(last) = packet.last_chunk::<8>() else { return false };
    let sum = checksum::add_64(at(head, begin, u64::from_le_bytes), at(head, begin + 8, u64::from_le_bytes));
    let sum = checksum::add_64(sum, addresses);
    let (words, _) = behind.as_chunks::<8>();
    let sum = words.iter().fold(sum, |sum, word| checksum::add_64(sum, u64::from_le_bytes(*word)));
    // Of the last eight bytes those that were not summed already, if any: 8 × (8 − n) bits less, in two steps as it may be all.
    let tail = (u64::from_le_bytes(*last) >> 8).wrapping_shr(!(behind.len() as u32) << 3);
    let rest = rest + u64::from(at(head, begin + 16, u32::from_le_bytes)) + tail;
    checksum::is_complete(checksum::add_64(sum, rest))
}

/// The same of one that is shorter than 20 bytes: what follows it in the head is padding.
#[cold]
fn is_short_complete(packet: &[u8], begin: usize, addresses: u64, rest: u64) -> bool {
    let sum = checksum::raw(packet.get(begin..).unwrap_or_default());
    checksum::is_complete(checksum::add_64(checksum::add_64(sum, addresses), rest))
}

/// What a translated frame looks like.
#[derive(Debug, Clone, Copy)]
pub struct Translation<A> {
    /// Source and destination address.
    pub addresses: A,
    /// Source and destination port.
    pub ports: u32,
    /// The change of the IP checksum, that of the TTL not counted, as it is written ([`Delta::as_written`]).
    pub address_delta: u16,
    /// The change of the TCP or UDP checksum, likewise.
    pub transport_delta: u16,
}

/// Writes a translated frame over a named one: addresses, ports, TTL less one, checksums.
#[inline(always)]
pub fn translate_v4(frame: &mut [u8], protocol: u8, to: &Translation<u64>) {
    const TTL_MINUS_ONE: u16 = Delta::TTL_MINUS_ONE.as_written() as u16;
    let Some(head) = frame.first_chunk_mut::<HEAD_V4>() else { return };
    head[IP + 8] = head[IP + 8].wrapping_sub(1);
    let old = at(head, IP + 10, u16::from_ne_bytes);
    let new = checksum::without(checksum::without(old, to.address_delta), TTL_MINUS_ONE);
    put(head, IP + 10, new.to_ne_bytes());
    put(head, IP + 12, to.addresses.to_be_bytes());
    put(head, TRANSPORT_V4, to.ports.to_be_bytes());
    translate_transport::<TRANSPORT_V4, HEAD_V4>(head, protocol, to.transport_delta);
}

/// The same over IPv6, whose header has no checksum.
#[inline(always)]
pub fn translate_v6(frame: &mut [u8], protocol: u8, to: &Translation<[u128; 2]>) {
    let Some(head) = frame.first_chunk_mut::<HEAD_V6>() else { return };
    head[IP + 7] = head[IP + 7].wrapping_sub(1);
    put(head, IP + 8, to.addresses[0].to_be_bytes());
    put(head, IP + 24, to.addresses[1].to_be_bytes());
    put(head, TRANSPORT_V6, to.ports.to_be_bytes());
    translate_transport::<TRANSPORT_V6, HEAD_V6>(head, protocol, to.transport_delta);
}

/// Updates the TCP or UDP checksum; one of UDP that is absent stays so, and one that becomes 0 is sent as 0xFFFF (RFC 768).
#[inline(always)]
fn translate_transport<const BEGIN: usize, const N: usize>(head: &mut [u8; N], protocol: u8, delta: u16) {
    if protocol == TCP {
        let old = at(head, BEGIN + 16, u16::from_ne_bytes);
        let new = checksum::without(old, delta);
        put(head, BEGIN + 16, new.to_ne_bytes());
        return;
    }
    let old = at(head, BEGIN + 6, u16::from_ne_bytes);
    if old != 0 {
        let new = match checksum::without(old, delta) {
            0 => 0xFFFF,
            new => new,
        };
        put(head, BEGIN + 6, new.to_ne_bytes());
    }
}

/// The `N` bytes at a constant offset, read by `of`. No check is left of it once it is compiled.
#[inline(always)]
pub(super) fn at<const N: usize, const M: usize, T: Default>(
    head: &[u8; M],
    at: usize,
    of: fn([u8; N]) -> T,
) -> T {
    match head.get(at..).and_then(|rest| rest.first_chunk::<N>()) {
        Some(bytes) => of(*bytes),
        None => T::default(),
    }
}

/// Writes bytes at a constant offset, likewise.
#[inline(always)]
pub(super) fn put<const N: usize, const M: usize>(head: &mut [u8; M], at: usize, bytes: [u8; N]) {
    if let Some(place) = head.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = bytes;
    }
}

#[cfg(test)]
mod tests;
