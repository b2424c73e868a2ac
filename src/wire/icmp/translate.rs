//! An ICMP error on its way through a translator: RFC 5508 §4.2 wants the quote rewritten as the packet that it quotes
//! was, backwards, or the host at the end does not know what it is told about.

use std::ops::Range;

use super::{HEADER, Quote, Transport};
use crate::wire::checksum::{self, Delta};
use crate::wire::ip::{self, Addresses};
use crate::wire::{ipv4, ipv6};

/// What an error is to say after it was translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// Source and destination of the error itself.
    pub outer: Addresses,
    /// Source and destination of the quoted packet.
    pub quoted: Addresses,
    /// Ports or echo identifier of the quoted packet. What is unseen in the quote stays unseen.
    pub transport: Transport,
}

/// Rewrites the error that `packet` is: `header_len` bytes of IP header (extension headers included), `from` as its source
/// and destination, and `quote` as [`Quote::parse`] read it from the quote.
///
/// Addresses on both levels, quoted ports or identifier, and every checksum over them, each by difference: what was right
/// stays right, what was wrong stays wrong. The TTL stays, and so does everything behind the quote. False, and nothing
/// changed, where the families do not fit each other or the packet is not what `quote` was read from.
pub fn translate(
    packet: &mut [u8],
    header_len: u16,
    from: Addresses,
    quote: &Quote,
    to: &Translation,
) -> bool {
    let (Some(outer), Some(inner)) = (from.delta(to.outer), quote.addresses.delta(to.quoted)) else {
        return false;
    };
    let Some((header, message)) = packet.split_at_mut_checked(usize::from(header_len)) else { return false };
    let Some(quoted) = message.get_mut(HEADER..) else { return false };
    // Families equal on both levels, and all that is touched is there.
    if std::mem::discriminant(&from) != std::mem::discriminant(&quote.addresses)
        || quoted.len() < touched(quote)
        || header.len() < ip_header(from)
    {
        return false;
    }
    let changed = rewrite_quote(quoted, quote, inner, to);
    let message_delta = match to.outer {
        Addresses::V4(addresses) => {
            ipv4::rewrite_addresses(header, addresses, outer);
            changed
        }
        Addresses::V6(addresses) => {
            ipv6::rewrite_addresses(header, addresses);
            // The pseudo-header.
            changed.and(outer)
        }
    };
    super::update_checksum(message, message_delta);
    true
}

/// Adds `amount` to the sequence number of the TCP segment that the error quotes, as far as it shows one; checksums by difference.
pub fn move_sequence(packet: &mut [u8], header_len: u16, quote: &Quote, amount: u32) {
    let Some(message) = packet.get_mut(usize::from(header_len)..).filter(|_| amount != 0) else { return };
    let Some(quoted) = message.get_mut(HEADER..).filter(|_| quote.protocol == ip::TCP) else { return };
    let Some(field) =
        quoted.get_mut(usize::from(quote.header_len) + 4..).and_then(|rest| rest.first_chunk_mut::<4>())
    else {
        return;
    };
    let old = u32::from_be_bytes(*field);
    let new = old.wrapping_add(amount);
    *field = new.to_be_bytes();
    let mut changed = Delta::of_u32(old, new);
    if let Some(field) = quote.checksum_range().filter(|field| field.end <= quoted.len()) {
        let before = word(quoted, field.clone());
        let after = checksum::update(before, changed);
        quoted[field].copy_from_slice(&after.to_be_bytes());
        changed = changed.and(Delta::of_u16(before, after));
    }
    super::update_checksum(message, changed);
}

/// How many bytes of the quote must be there for [`rewrite_quote`].
fn touched(quote: &Quote) -> usize {
    let transport = match quote.transport {
        Transport::Ports(_) => 4,
        Transport::Echo { .. } => 6,
        Transport::Unseen => 0,
    };
    let headers = ip_header(quote.addresses).max(usize::from(quote.header_len) + transport);
    quote.checksum_range().map_or(headers, |field| headers.max(field.end))
}

const fn ip_header(addresses: Addresses) -> usize {
    match addresses {
        Addresses::V4(_) => ipv4::HEADER,
        Addresses::V6(_) => ipv6::HEADER,
    }
}

/// Rewrites the quote; returns how the sum over its bytes changed. Every field begins at an even offset.
fn rewrite_quote(quoted: &mut [u8], quote: &Quote, addresses: Delta, to: &Translation) -> Delta {
    let mut changed = addresses;
    match to.quoted {
        Addresses::V4(new) => {
            let before = word(quoted, 10..12);
            ipv4::rewrite_addresses(quoted, new, addresses);
            changed = changed.and(Delta::of_u16(before, word(quoted, 10..12)));
        }
        Addresses::V6(new) => ipv6::rewrite_addresses(quoted, new),
    }
    let transport = usize::from(quote.header_len);
    let fields = match (quote.transport, to.transport) {
        (Transport::Ports(old), Transport::Ports(new)) => {
            quoted[transport..transport + 4].copy_from_slice(&new.to_be_bytes());
            Delta::of_u32(old, new)
        }
        (Transport::Echo { id: old, .. }, Transport::Echo { id: new, .. }) => {
            quoted[transport + 4..transport + 6].copy_from_slice(&new.to_be_bytes());
            Delta::of_u16(old, new)
        }
        _ => Delta::default(),
    };
    changed = changed.and(fields);
    if let Some(field) = quote.checksum_range() {
        let before = word(quoted, field.clone());
        let covered = if quote.protocol == ip::ICMP { fields } else { fields.and(addresses) };
        let after = quoted_checksum(quote.protocol, before, covered);
        quoted[field].copy_from_slice(&after.to_be_bytes());
        changed = changed.and(Delta::of_u16(before, after));
    }
    changed
}

/// The checksum after a change of what it covers. UDP: absent stays absent, and a computed 0 is sent as 0xFFFF.
fn quoted_checksum(protocol: u8, before: u16, covered: Delta) -> u16 {
    match (protocol, checksum::update(before, covered)) {
        (ip::UDP, _) if before == 0 => 0,
        (ip::UDP, 0) => 0xFFFF,
        (_, after) => after,
    }
}

fn word(bytes: &[u8], at: Range<usize>) -> u16 {
    bytes.get(at).and_then(|field| field.first_chunk()).map_or(0, |field| u16::from_be_bytes(*field))
}
