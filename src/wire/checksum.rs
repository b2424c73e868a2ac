//! The Internet checksum: full (RFC 1071) for verifying, by difference (RFC 1624) for rewriting.
//!
//! A frame whose checksum was wrong stays wrong by the same amount after an update by difference, so a damaged frame
//! can never be laundered into a good one.

use super::ipv6::Pair;

/// A change of checksummed data: the one's-complement sum of `~old + new` over all 16-bit words that changed.
///
/// Adding it to a checksum with [`update`] is equation 3 of RFC 1624, for any number of words at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta(pub u16);

impl Delta {
    /// The change from `old` to `new`, two 32-bit words (such as IPv4 addresses).
    #[inline]
    pub fn of_u32(old: u32, new: u32) -> Self {
        Self::from_sum(u64::from(!old) + u64::from(new))
    }

    /// The change from `old` to `new`, two 64-bit words (such as a pair of addresses).
    #[inline]
    pub fn of_u64(old: u64, new: u64) -> Self {
        Self::from_sum(add_64(!old, new))
    }

    /// The change from `old` to `new`, one 16-bit word.
    #[inline]
    pub fn of_u16(old: u16, new: u16) -> Self {
        Self(add(!old, new))
    }

    /// The change from `old` to `new`, two pairs of IPv6 addresses.
    #[inline]
    pub fn of_pair(old: Pair, new: Pair) -> Self {
        Self::from_sum(words_of(old.map(|address| !address)) + words_of(new))
    }

    /// The change from `old` to `new`, bytes of equal length that begin at an even offset of the checksummed data.
    #[inline]
    pub fn of_bytes(old: &[u8], new: &[u8]) -> Self {
        Self(add(!sum(old), sum(new)))
    }

    /// Both changes together.
    #[inline]
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// The change back: from new to old. (One's complement negation.)
    #[inline]
    #[must_use]
    pub fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// The change of the word that holds TTL and protocol when the TTL goes down by one: − 0x0100.
    pub const TTL_MINUS_ONE: Self = Self(!0x0100);

    /// The number as it stands in memory: what may be added to a checksum that was read without turning its bytes (RFC 1071
    /// §2 B).
    #[inline]
    pub const fn as_written(self) -> u32 {
        self.0.to_be() as u32
    }

    /// The delta of such a number.
    #[inline]
    pub const fn of_written(written: u16) -> Self {
        Self(u16::from_be(written))
    }

    #[inline]
    fn from_sum(sum: u64) -> Self {
        Self(fold(sum))
    }
}

/// The checksum after data under it changed by `delta`: HC' = ~(~HC + ~m + m'), RFC 1624 equation 3.
#[inline]
pub fn update(checksum: u16, delta: Delta) -> u16 {
    !add(!checksum, delta.0)
}

/// One's-complement addition: the carry comes back in at the low end.
#[inline(always)]
pub fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// A checksum that a change of data under it was taken away from: the complement of what [`add`] makes of its complement, in
/// fewer steps. Both in the same order of bytes.
#[inline(always)]
pub fn without(checksum: u16, change: u16) -> u16 {
    let (difference, borrow) = checksum.overflowing_sub(change);
    difference - u16::from(borrow)
}

/// Folds a sum of 16-bit (or 32-bit) words into 16 bits with end-around carry.
#[inline]
pub fn fold(sum: u64) -> u16 {
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    fold_words(sum + u32::from(carry))
}

/// The same of a sum of 32 bits. Added to itself with its halves exchanged, it has in the
/// upper one both, and what the lower one carried.
#[inline(always)]
pub fn fold_words(sum: u32) -> u16 {
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// One's-complement sum of `bytes` as 16-bit big-endian words, an odd last byte padded with zero (RFC 1071).
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    fold(raw(bytes)).swap_bytes()
}

/// The same before it is folded, of little-endian words: sums of this kind may be added by [`add_64`], be asked whether they
/// are complete ([`is_complete`]), and be swapped once they are folded (RFC 1071 §2 B).
#[inline]
pub fn raw(bytes: &[u8]) -> u64 {
    // 64-bit words: an add and an add-with-carry each.
    let (words, rest) = bytes.as_chunks::<8>();
    let mut total: u128 = words.iter().map(|word| u128::from(u64::from_le_bytes(*word))).sum();
    // What is left in halves: a copy of unknown length would be a call.
    let (fours, rest) = rest.as_chunks::<4>();
    total += fours.first().map_or(0, |word| u128::from(u32::from_le_bytes(*word)));
    let (twos, rest) = rest.as_chunks::<2>();
    total += twos.first().map_or(0, |word| u128::from(u16::from_le_bytes(*word)));
    total += rest.first().map_or(0, |byte| u128::from(*byte));
    // At most 2^61 words: the high half is far below 2^63.
    add_64(total as u64, (total >> 64) as u64)
}

/// One's-complement addition of 64-bit words: as 2^64 ≡ 1 modulo 2^16 − 1, such a sum stands for that of its 16-bit words.
#[inline(always)]
pub fn add_64(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// Whether the sum over data and the checksum in it is what a right checksum makes of it: 0xFFFF once folded, which is to
/// say a multiple of it, in whichever order of bytes, but not zero.
///
/// A number is a multiple of an odd one if its product with the inverse of that (modulo 2^64) is the quotient, and so no
/// larger than a quotient can be: one multiplication, where a division by a constant takes one and more (Granlund and
/// Montgomery, "Division by Invariant Integers using Multiplication", §9). One is taken away so that zero is none.
#[inline(always)]
pub fn is_complete(sum: u64) -> bool {
    const INVERSE: u64 = 0xFFFE_FFFE_FFFE_FFFF;
    const _: () = assert!(INVERSE.wrapping_mul(0xFFFF) == 1);
    sum.wrapping_mul(INVERSE).wrapping_sub(1) < u64::MAX / 0xFFFF
}

/// The same for the 20 bytes of an IPv4 header without options: of a length known beforehand it is a handful of adds.
#[inline]
pub fn sum_20(bytes: &[u8; 20]) -> u16 {
    let (words, _) = bytes.as_chunks::<4>();
    u16::from_be(fold(words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()))
}

/// Sum of the IPv4 pseudo-header (RFC 9293 §3.1, RFC 768). `addresses` is source then destination, big end first.
#[inline]
pub fn pseudo_header_v4(addresses: u64, protocol: u8, length: u16) -> u64 {
    (addresses >> 32) + (addresses & 0xFFFF_FFFF) + u64::from(protocol) + u64::from(length)
}

/// Sum of the IPv6 pseudo-header (RFC 8200 §8.1). `addresses` is source then destination.
#[inline]
pub fn pseudo_header_v6(addresses: Pair, protocol: u8, length: u32) -> u64 {
    words_of(addresses) + u64::from(protocol) + u64::from(length)
}

/// The sum of the eight 32-bit words of two addresses.
#[inline]
fn words_of(addresses: Pair) -> u64 {
    addresses
        .iter()
        .map(|address| {
            let (high, low) = ((address >> 64) as u64, *address as u64);
            (high >> 32) + (high & 0xFFFF_FFFF) + (low >> 32) + (low & 0xFFFF_FFFF)
        })
        .sum()
}

/// What a TCP or UDP checksum turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Right, or absent where that is allowed.
    Right,
    /// Wrong.
    Wrong,
    /// Not computed: the field holds the sum of the pseudo-header, as senders leave it to an offload.
    LeftToOffload,
}

/// Verifies `segment` (header and payload) of `protocol` under the pseudo-header of `addresses`.
/// `field` is the checksum as it stands in the segment.
#[inline]
pub fn verify_v4(addresses: u64, protocol: u8, segment: &[u8], field: u16) -> Verified {
    let pseudo = pseudo_header_v4(addresses, protocol, segment.len() as u16);
    if fold(pseudo + u64::from(sum(segment))) == 0xFFFF { Verified::Right } else { blame(pseudo, field) }
}

/// The same over IPv6. A UDP checksum of zero is wrong there: no packet goes without (RFC 8200 §8.1).
#[inline]
pub fn verify_v6(addresses: Pair, protocol: u8, segment: &[u8], field: u16) -> Verified {
    const UDP: u8 = 17;
    let pseudo = pseudo_header_v6(addresses, protocol, segment.len() as u32);
    if fold(pseudo + u64::from(sum(segment))) != 0xFFFF {
        blame(pseudo, field)
    } else if protocol == UDP && field == 0 {
        Verified::Wrong
    } else {
        Verified::Right
    }
}

#[cold]
fn blame(pseudo: u64, field: u16) -> Verified {
    if fold(pseudo) == field { Verified::LeftToOffload } else { Verified::Wrong }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xDDF2);
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[0xAB]), 0xAB00);
    }

    #[test]
    fn rfc_1624_example() {
        // §4: the case that equation 2 of RFC 1141 gets wrong.
        let delta = Delta::of_u32(0x5555, 0x3285);
        assert_eq!(update(0xDD2F, delta), 0x0000);
    }

    #[test]
    fn ttl_delta_is_a_decrement_of_the_high_byte() {
        let old = [0x40, 0x06, 0x12, 0x34];
        let new = [0x3F, 0x06, 0x12, 0x34];
        assert_eq!(update(!sum(&old), Delta::TTL_MINUS_ONE), !sum(&new));
    }

    #[test]
    fn a_change_is_taken_away_as_it_is_added_to_the_complement() {
        let edges = [0, 1, 2, 0x7FFF, 0x8000, 0xFEFF, 0xFF00, 0xFFFD, 0xFFFE, 0xFFFF];
        for checksum in 0..=u16::MAX {
            for change in edges {
                assert_eq!(without(checksum, change), !add(!checksum, change), "{checksum:x} {change:x}");
                assert_eq!(without(change, checksum), !add(!change, checksum), "{change:x} {checksum:x}");
            }
        }
    }

    #[test]
    fn sums_of_words_fold_alike() {
        for high in [0, 1, 2, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF] {
            for low in 0..=0xFFFF {
                let sum = high << 16 | low;
                let plain = (1..3).fold(sum, |sum, _| (sum & 0xFFFF) + (sum >> 16));
                assert_eq!(u32::from(fold_words(sum)), plain, "{sum:x}");
            }
        }
    }

    #[test]
    fn a_partial_checksum_is_recognised() {
        let addresses = 0xC612_0001_C612_0064;
        let mut segment = [0u8; 20];
        segment[12] = 0x50;
        let field = fold(pseudo_header_v4(addresses, 6, 20));
        segment[16..18].copy_from_slice(&field.to_be_bytes());
        assert_eq!(verify_v4(addresses, 6, &segment, field), Verified::LeftToOffload);
    }

    #[test]
    fn udp_over_ipv6_never_goes_without_a_checksum() {
        let addresses = [1, 2];
        let mut datagram = [0xC0, 0, 0x1F, 0x90, 0, 8, 0, 0];
        assert_eq!(verify_v6(addresses, 17, &datagram, 0), Verified::Wrong);
        let checksum = !fold(pseudo_header_v6(addresses, 17, 8) + u64::from(sum(&datagram)));
        datagram[6..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(verify_v6(addresses, 17, &datagram, checksum), Verified::Right);
        // A datagram whose sum happens to come out right with a field of zero still says "absent".
        let mut zero = [0, 0, 0, 0, 0, 8, 0, 0];
        zero[..2].copy_from_slice(&(!fold(pseudo_header_v6(addresses, 17, 8) + 8)).to_be_bytes());
        assert_eq!(verify_v6(addresses, 17, &zero, 0), Verified::Wrong);
    }

    fn plain_sum(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            total = (total & 0xFFFF) + (total >> 16);
        }
        total as u16
    }

    proptest! {
        #[test]
        fn a_sum_is_complete_where_it_folds_to_all_ones(
            words in proptest::collection::vec(any::<u64>(), 0..9),
            zero in any::<bool>(),
        ) {
            let sum = words.iter().fold(0, |sum, word| add_64(sum, *word));
            // Few sums are complete by chance: what is missing is added.
            let sum = if zero { add_64(sum, u64::from(!fold(sum))) } else { sum };
            prop_assert_eq!(is_complete(sum), fold(sum) == 0xFFFF);
            prop_assert!(!zero || is_complete(sum));
        }

        #[test]
        fn sum_agrees_with_the_plain_definition(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(sum(&bytes), plain_sum(&bytes));
            if let Some(header) = bytes.first_chunk::<20>() {
                prop_assert_eq!(sum_20(header), plain_sum(header));
            }
        }

        #[test]
        fn update_agrees_with_computing_anew(
            mut data in proptest::collection::vec(any::<u8>(), 24..200),
            at in 0usize..5,
            new in any::<u64>(),
        ) {
            let at = at * 2;
            data[20] |= 1; // not all zero, so that the canonical checksum is unique
            let before = !sum(&data);
            let old = u64::from_be_bytes(data[at..at + 8].try_into().unwrap());
            data[at..at + 8].copy_from_slice(&new.to_be_bytes());
            let delta = Delta::of_u64(old, new);
            prop_assert_eq!(update(before, delta), !sum(&data));
            prop_assert_eq!(update(update(before, delta), delta.reversed()), before);
        }

        #[test]
        fn the_pseudo_header_of_ipv6_sums_as_its_bytes_do(source in any::<u128>(), destination in any::<u128>(), protocol in any::<u8>(), length in any::<u32>()) {
            let mut bytes = source.to_be_bytes().to_vec();
            bytes.extend(destination.to_be_bytes());
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
            prop_assert_eq!(fold(pseudo_header_v6([source, destination], protocol, length)), plain_sum(&bytes));
        }

        #[test]
        fn changes_of_other_widths_agree_with_changes_of_bytes(old in any::<[u128; 2]>(), new in any::<[u128; 2]>(), narrow in any::<[u16; 2]>(), before in any::<u16>()) {
            let bytes = |pair: [u128; 2]| pair.map(u128::to_be_bytes).concat();
            prop_assert_eq!(
                update(before, Delta::of_pair(old, new)),
                update(before, Delta::of_bytes(&bytes(old), &bytes(new)))
            );
            let [from, to] = narrow;
            prop_assert_eq!(
                update(before, Delta::of_u16(from, to)),
                update(before, Delta::of_u32(from.into(), to.into()))
            );
        }

        #[test]
        fn a_wrong_checksum_stays_wrong(mut data in proptest::collection::vec(any::<u8>(), 24..64), damage in 1u16..0xFFFF, new in any::<u32>()) {
            data[20] |= 1;
            let wrong = !sum(&data) ^ damage;
            prop_assume!(fold(u64::from(wrong) + u64::from(sum(&data))) != 0xFFFF);
            let old = u32::from_be_bytes(data[0..4].try_into().unwrap());
            data[0..4].copy_from_slice(&new.to_be_bytes());
            let after = update(wrong, Delta::of_u32(old, new));
            prop_assert_ne!(fold(u64::from(after) + u64::from(sum(&data))), 0xFFFF);
        }
    }
}
