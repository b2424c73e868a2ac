//! The name of one direction of a flow, and its keyed hash.

use std::net::IpAddr;

use crate::dataplane::family::{Pair, V4};
use crate::tables::exact::address_bits;
use crate::tables::hash::mix;

/// One direction of a flow: TCP, UDP, or ICMP queries under one identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowKey<P = V4> {
    /// Source and destination address.
    pub addresses: P,
    /// Source port in the high half, destination in the low half. ICMP queries have their identifier as the port of who
    /// asks, and 0 as the other.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u8,
}

impl<P: Pair> FlowKey<P> {
    /// The same flow seen from the other side.
    #[inline]
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            addresses: self.addresses.reversed(),
            ports: self.ports.rotate_left(16),
            protocol: self.protocol,
        }
    }

    /// Port of the sender.
    #[inline]
    pub fn source_port(self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// Port of the receiver.
    #[inline]
    pub fn destination_port(self) -> u16 {
        self.ports as u16
    }
}

/// The secret under which flows are hashed: new at every start, so that nobody outside can aim at one bucket.
#[derive(Debug, Clone, Copy)]
pub struct Secret([u64; 4]);

impl Secret {
    /// A secret from four random words.
    pub fn new(words: [u64; 4]) -> Self {
        Self(words)
    }

    /// A secret that follows from `seed`, for deterministic replays (splitmix64).
    pub fn from_seed(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }))
    }

    /// Keyed hash of a flow direction: two multiplications to 128 bits, each folded.
    #[inline(always)]
    pub fn hash<P: Pair>(&self, key: FlowKey<P>) -> u64 {
        let rest = u64::from(key.ports) << 8 | u64::from(key.protocol);
        let addresses = key.addresses.hash([self.0[0], self.0[2]]);
        let first = fold_multiply(addresses, rest ^ self.0[1]);
        fold_multiply(first ^ self.0[2], rest ^ self.0[3])
    }

    /// Keyed hash of a client: the first bits of its address, as many as its family has here, and what it is about.
    pub fn hash_client(&self, address: IpAddr, [v4, v6]: [u8; 2], about: u64) -> u64 {
        let host = match address {
            IpAddr::V4(_) => 32 - u32::from(v4.min(32)),
            IpAddr::V6(_) => 128 - u32::from(v6.min(128)),
        };
        let bits = u128::MAX.checked_shl(host).unwrap_or(0) & address_bits(address);
        let family = u64::from(address.is_ipv6());
        let low = self.hash_word(bits as u64 ^ about.rotate_left(32));
        let high = self.hash_word((bits >> 64) as u64 ^ family << 63 ^ low.rotate_left(32));
        mix(low, high)
    }

    /// Keyed hash of anything that fits a word.
    #[inline]
    pub fn hash_word(&self, word: u64) -> u64 {
        fold_multiply(word ^ self.0[3], self.0[1] | 1)
    }
}

#[inline(always)]
fn fold_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_decides_the_hash() {
        let key = FlowKey { addresses: 1, ports: 2, protocol: 6 };
        assert_eq!(Secret::from_seed(1).hash(key), Secret::from_seed(1).hash(key));
        assert_ne!(Secret::from_seed(1).hash(key), Secret::from_seed(2).hash(key));
        assert_ne!(Secret::from_seed(1).hash(key), Secret::from_seed(1).hash(key.reversed()));
    }

    #[test]
    fn neighbouring_flows_spread_evenly() {
        let secret = Secret::from_seed(7);
        let mut buckets = [0u32; 64];
        for i in 0..64_000u32 {
            let key = FlowKey {
                addresses: 0xC612_0001_C612_0064 + (u64::from(i / 256) << 32),
                ports: i << 16 | 80,
                protocol: 6,
            };
            buckets[(secret.hash(key) >> 58) as usize] += 1;
        }
        // 1,000 expected, standard deviation about 31.
        assert!(buckets.iter().all(|n| (814..=1186).contains(n)), "{buckets:?}");
    }
}
