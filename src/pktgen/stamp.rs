//! The stamp: what the sink needs to know of a frame, in its payload where that has room.
//!
//! ```text
//!   0      2      4       6                  12                 18
//!   │ 7857 │ run  │ round │ sequence number   │ time             │   all big-endian
//! ```
//!
//! `run` tells generators and their runs apart. `sequence number` counts the frames of a run. `round` is that of the flow: it
//! grows by one with every frame of the flow, so that a sink can tell which flows lose frames. `time` is the monotonic clock
//! in nanoseconds, of which it holds 78 hours.

/// Bytes of a stamp: as many as the shortest UDP frame over IPv4 has room for.
pub const STAMP: usize = 18;
/// How it begins.
const MAGIC: u16 = 0x7857;
const MASK_48: u64 = (1 << 48) - 1;

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which run of which generator.
    pub run: u16,
    /// How many frames of its flow came before, modulo 2^16.
    pub round: u16,
    /// How many frames of the run came before, modulo 2^48.
    pub sequence: u64,
    /// When it was made: nanoseconds of the monotonic clock, modulo 2^48.
    pub time_ns: u64,
}

impl Stamp {
    /// As it stands in a payload.
    pub fn bytes(&self) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        bytes[..2].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.round.to_be_bytes());
        bytes[6..12].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        bytes[12..].copy_from_slice(&self.time_ns.to_be_bytes()[2..]);
        bytes
    }

    /// Reads the beginning of a payload; none where there is no stamp.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP] = payload.first_chunk()?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| bytes[at..at + 6].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        (word(0) == MAGIC).then(|| Self {
            run: word(2),
            round: word(4),
            sequence: long(6),
            time_ns: long(12),
        })
    }

    /// How long ago it was made; right where both ends have one clock, which is on one machine, or at the sender of what is
    /// sent back.
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        now_ns.wrapping_sub(self.time_ns) & MASK_48
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp { run: 0xABCD, round: 7, sequence: 0x1234_5678_9ABC, time_ns: MASK_48 };
        assert_eq!(Stamp::read(&stamp.bytes()), Some(stamp));
        assert_eq!(Stamp::read(&[&stamp.bytes()[..], &[9; 40]].concat()), Some(stamp));
        assert_eq!(Stamp::read(&stamp.bytes()[..17]), None);
        assert_eq!(Stamp::read(&[0; 18]), None);
        assert_eq!(stamp.age_ns(1 << 48 | 4), 5, "across the end of the clock");
    }
}
