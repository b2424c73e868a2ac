//! What a SYN-ACK without an entry must remember: in its sequence number, and in its timestamp (RFC 4987 §3.6).
//!
//! ```text
//!  sequence number   [ 29 bits: keyed hash of flow, client's number, period and size ][ 3: segment size ]
//!  timestamp         [ 26 bits: the time, in 64 ms                     ][ 1: ECN ][ 1: SACK ][ 4: scale ]
//! ```
//!
//! Nobody but the switch can make the first; what a client makes of the second concerns its own connection alone.

use super::siphash::Key;
use crate::dataplane::conntrack::{FlowKey, Secret};
use crate::dataplane::family::Pair;
use crate::tables::Tick;
use crate::tables::exact::address_bits;
use crate::wire::tcp::options::{Options, Timestamps};

/// For how long a cookie is of one period, in milliseconds: it is valid in that and in the next, so for 64 s to 128 s.
const PERIOD_MS: u64 = 64_000;
/// For how long after it was made a cookie may be valid, in milliseconds.
pub const VALID_MS: u64 = 2 * PERIOD_MS;

/// Segment sizes that can be remembered, for clients over IPv4: what their links and the usual tunnels leave …
const SIZES_V4: [u16; 8] = [536, 1220, 1360, 1400, 1440, 1452, 1460, 8960];
/// … and over IPv6.
const SIZES_V6: [u16; 8] = [1220, 1280, 1340, 1380, 1420, 1432, 1440, 8940];

/// In the low bits of a timestamp: the window scale, or that there is none …
const SCALE: u32 = 0x0F;
pub(super) const NO_SCALE: u32 = 15;
/// … whether the client understands selective acknowledgments …
const SACK: u32 = 0x10;
/// … and whether it asked for ECN.
const ECN: u32 = 0x20;
/// All of them.
const LOW: u32 = 0x3F;

/// What is remembered of a client's SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Largest segment that it takes, rounded down.
    pub segment_size: u16,
    /// By how many bits its windows are to be shifted.
    pub window_scale: Option<u8>,
    /// Whether it understands selective acknowledgments.
    pub sack_permitted: bool,
    /// Whether it asked for ECN.
    pub ecn: bool,
}

/// Makes cookies and knows them again.
#[derive(Debug, Clone, Copy)]
pub struct Baker {
    key: Key,
    /// Added to the time, so that timestamps do not say for how long the switch has run.
    clock: u32,
}

impl Baker {
    /// One whose key follows from the secret of the tables.
    pub fn new(secret: &Secret) -> Self {
        let word = |number| secret.hash_word(number);
        let root = Key([word(1), word(2)]);
        Self { key: Key([root.hash([3]), root.hash([4])]), clock: root.hash([5]) as u32 }
    }

    /// The cookie for a SYN of this flow, which has this sequence number and these options.
    pub fn bake<P: Pair>(&self, flow: FlowKey<P>, sequence: u32, options: &Options, now: Tick) -> u32 {
        let sizes = sizes::<P>();
        let wanted = options.segment_size.unwrap_or(sizes[0]);
        let size = sizes.iter().rposition(|size| *size <= wanted).unwrap_or(0);
        self.hash(flow, sequence, now.0 / PERIOD_MS, size as u32)
    }

    /// The timestamp that goes with it: at most 63 ms, and never later, than the time.
    pub fn stamp(&self, options: &Options, ecn: bool, now: Tick) -> u32 {
        let scale = options.window_scale.map_or(NO_SCALE, u32::from);
        let bits = scale | if options.sack_permitted { SACK } else { 0 } | if ecn { ECN } else { 0 };
        let time = (now.0 as u32).wrapping_add(self.clock);
        let stamp = time & !LOW | bits;
        // Serial arithmetic: later than the time by less than 64.
        if bits > time & LOW { stamp.wrapping_sub(LOW + 1) } else { stamp }
    }

    /// What a segment of this flow remembers, that brings `cookie` back, made for a SYN with this sequence number. None where it was not made
    /// here, or too long ago.
    pub fn read<P: Pair>(
        &self,
        flow: FlowKey<P>,
        sequence: u32,
        cookie: u32,
        timestamps: Option<Timestamps>,
        now: Tick,
    ) -> Option<Remembered> {
        let period = now.0 / PERIOD_MS;
        let is_of = |period| self.hash(flow, sequence, period, cookie & 7) == cookie;
        if !is_of(period) && !period.checked_sub(1).is_some_and(is_of) {
            return None;
        }
        let segment_size = sizes::<P>()[(cookie & 7) as usize];
        Some(remembered(segment_size, timestamps.map_or(NO_SCALE, |timestamps| timestamps.echo)))
    }

    /// The cookie of this period that names this size.
    fn hash<P: Pair>(&self, flow: FlowKey<P>, sequence: u32, period: u64, size: u32) -> u32 {
        let (source, destination) =
            (address_bits(flow.addresses.source()), address_bits(flow.addresses.destination()));
        let hash = self.key.hash([
            source as u64,
            (source >> 64) as u64,
            destination as u64,
            (destination >> 64) as u64,
            u64::from(flow.ports) << 32 | u64::from(sequence),
            period << 3 | u64::from(size),
        ]);
        hash as u32 & !7 | size
    }
}

/// What a cookie of this size remembers, and the timestamp that came back with it.
pub(super) fn remembered(segment_size: u16, stamp: u32) -> Remembered {
    let bits = stamp & LOW;
    Remembered {
        segment_size,
        window_scale: Some(bits & SCALE).filter(|scale| *scale != NO_SCALE).map(|scale| scale as u8),
        sack_permitted: bits & SACK != 0,
        ecn: bits & ECN != 0,
    }
}

/// The segment size that a cookie remembers.
pub(super) fn size_of<P: Pair>(cookie: u32) -> u16 {
    sizes::<P>()[(cookie & 7) as usize]
}

fn sizes<P: Pair>() -> &'static [u16; 8] {
    if P::IS_V4 { &SIZES_V4 } else { &SIZES_V6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::family::{V4, V6};
    use proptest::prelude::*;

    fn baker() -> Baker {
        Baker::new(&Secret::from_seed(7))
    }

    fn flow(number: u32) -> FlowKey<V4> {
        FlowKey { addresses: u64::from(number), ports: 4000 << 16 | 80, protocol: 6 }
    }

    proptest! {
        #[test]
        fn what_was_baked_is_read_for_one_period_and_up_to_two(
            number in any::<u32>(), sequence in any::<u32>(), size in any::<u16>(), at in 0u64..1 << 40, later in 0u64..200_000,
        ) {
            let options = Options { segment_size: Some(size), ..Options::default() };
            let cookie = baker().bake(flow(number), sequence, &options, Tick(at));
            let read = baker().read(flow(number), sequence, cookie, None, Tick(at + later));
            let periods = (at + later) / PERIOD_MS - at / PERIOD_MS;
            prop_assert_eq!(read.is_some(), periods < 2);
            if let Some(read) = read {
                let rounded = read.segment_size <= size || size < SIZES_V4[0];
                prop_assert!(rounded && SIZES_V4.contains(&read.segment_size));
            }
            prop_assert_eq!(baker().read(flow(number), sequence.wrapping_add(1), cookie, None, Tick(at)), None);
            prop_assert_eq!(baker().read(flow(!number), sequence, cookie, None, Tick(at)), None);
            for bit in 0..32 {
                prop_assert_eq!(baker().read(flow(number), sequence, cookie ^ 1 << bit, None, Tick(at)), None);
            }
        }

        #[test]
        fn the_timestamp_remembers_the_rest_and_never_goes_back(
            scale in proptest::option::of(0u8..15), sack_permitted in any::<bool>(), ecn in any::<bool>(), at in any::<u32>(), later in 64u64..1000,
        ) {
            let options = Options { window_scale: scale, sack_permitted, ..Options::default() };
            let stamp = baker().stamp(&options, ecn, Tick(at.into()));
            let read = remembered(536, stamp);
            prop_assert_eq!(read, Remembered { segment_size: 536, window_scale: scale, sack_permitted, ecn });
            let time = at.wrapping_add(baker().clock);
            prop_assert!(time.wrapping_sub(stamp) < 64);
            let other = Options { window_scale: Some(0), ..Options::default() };
            let next = baker().stamp(&other, false, Tick(u64::from(at) + later));
            prop_assert!((next.wrapping_sub(stamp) as i32) >= 0 || later < 128);
        }
    }

    #[test]
    fn without_timestamps_there_is_the_segment_size_alone() {
        let options = Options { window_scale: Some(7), sack_permitted: true, ..Options::default() };
        let cookie = baker().bake(flow(1), 5, &options, Tick(0));
        let read = baker().read(flow(1), 5, cookie, None, Tick(0)).unwrap();
        let nothing = Remembered { segment_size: 536, window_scale: None, sack_permitted: false, ecn: false };
        assert_eq!(read, nothing);
        let v6 = FlowKey::<V6> { addresses: [1, 2], ports: 7, protocol: 6 };
        let cookie = baker().bake(v6, 5, &options, Tick(0));
        assert_eq!(baker().read(v6, 5, cookie, None, Tick(0)).unwrap().segment_size, 1220);
    }

    #[test]
    fn a_guess_is_right_once_in_so_many() {
        let right = (0..200_000u32).filter(|guess| {
            baker().read(flow(9), 9, guess.wrapping_mul(0x9E37_79B9), None, Tick(PERIOD_MS)).is_some()
        });
        // 200,000 guesses, of which each is right once in 2^28.
        assert_eq!(right.count(), 0);
    }
}
