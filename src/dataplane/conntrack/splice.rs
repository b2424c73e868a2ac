//! What lies between the two ends of a connection that a SYN cookie opened: 16 bytes beside its entry.
//!
//! ```text
//!   opening   numbers: cookie, its timestamp
//!   open      numbers: what is added to sequence numbers and timestamps    traits: scales, and that it is open
//! ```
//!
//! Both words are of the connection whose generation stands in the second, which is always written before the first changes its
//! meaning: whoever reads the first, and then finds in the second what it expects, has read what it says.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::tcp::shift::{Scale, Shift};

const OPEN: u64 = 1;
/// The backend does not do what the client was told that it does.
const WITHOUT_ECN: u64 = 2;

/// Where one connection's is kept: timestamps << 32 | sequence numbers, and generation << 48 | window << 32 | four scales of 4 bits
/// << 8 | flags.
pub type Cell = [AtomicU64; 2];

/// What the switch promised a client in the backend's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// The cookie: the sequence number of the SYN-ACK.
    pub cookie: u32,
    /// Its timestamp.
    pub stamp: u32,
    /// The window of the client's ACK, as it stood there.
    pub window: u16,
}

/// How the two ends see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spliced {
    /// What is moved.
    pub shift: Shift,
    /// Whether the client's packets must not say that they may be marked instead of dropped.
    pub without_ecn: bool,
    /// The window of the client's first ACK, as it stood there.
    pub window: u16,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The backend has not answered.
    Opening(Promise),
    /// It has.
    Open(Spliced),
}

/// Notes what a client was promised whose connection is of this generation.
pub fn promise(cell: &Cell, generation: u16, promise: Promise) {
    let Promise { cookie, stamp, window } = promise;
    // Nobody's, so that none of the connection before reads numbers that are not its own.
    cell[1].store(u64::from(generation.wrapping_add(1)) << 48, Ordering::Relaxed);
    cell[0].store(u64::from(stamp) << 32 | u64::from(cookie), Ordering::Release);
    cell[1].store(u64::from(generation) << 48 | u64::from(window) << 32, Ordering::Release);
}

/// Notes that the backend has answered.
pub fn open(cell: &Cell, generation: u16, spliced: &Spliced) {
    let Spliced { shift, without_ecn, window } = *spliced;
    let scales = [shift.replies.from, shift.replies.to, shift.requests.from, shift.requests.to];
    let scales = scales.into_iter().fold(0, |word, scale| word << 4 | u64::from(scale & 15));
    let flags = OPEN | if without_ecn { WITHOUT_ECN } else { 0 };
    let head = u64::from(generation) << 48 | u64::from(window) << 32;
    cell[1].store(head | scales << 8 | flags, Ordering::Relaxed);
    cell[0].store(u64::from(shift.timestamp) << 32 | u64::from(shift.sequence), Ordering::Release);
}

/// What is known of the connection of this generation.
///
/// While it opens on another worker, [`Stage::Open`] may come with numbers of the stage before: only of a connection whose state says that it
/// is open are they to be used.
#[inline]
pub fn stage(cell: &Cell, generation: u16) -> Option<Stage> {
    let numbers = cell[0].load(Ordering::Acquire);
    let traits = cell[1].load(Ordering::Acquire);
    if (traits >> 48) as u16 != generation {
        return None;
    }
    let (low, high, window) = (numbers as u32, (numbers >> 32) as u32, (traits >> 32) as u16);
    if traits & OPEN == 0 {
        return Some(Stage::Opening(Promise { cookie: low, stamp: high, window }));
    }
    let scale = |at: u32| (traits >> at & 15) as u8;
    let shift = Shift {
        sequence: low,
        timestamp: high,
        replies: Scale { from: scale(20), to: scale(16) },
        requests: Scale { from: scale(12), to: scale(8) },
    };
    Some(Stage::Open(Spliced { shift, without_ecn: traits & WITHOUT_ECN != 0, window }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_of_one_generation() {
        let cell = Cell::default();
        let promised = Promise { cookie: 0x8000_0001, stamp: 0xFFFF_FFFE, window: 65_535 };
        promise(&cell, 7, promised);
        assert_eq!(stage(&cell, 7), Some(Stage::Opening(promised)));
        assert_eq!((stage(&cell, 6), stage(&cell, 8)), (None, None));
        let shift = Shift {
            sequence: 0x9000_0003,
            timestamp: 0x8000_0002,
            replies: Scale { from: 14, to: 7 },
            requests: Scale { from: 0, to: 9 },
        };
        for without_ecn in [false, true] {
            let spliced = Spliced { shift, without_ecn, window: 0x8001 };
            open(&cell, 0xFFFF, &spliced);
            assert_eq!(stage(&cell, 0xFFFF), Some(Stage::Open(spliced)));
            assert_eq!(stage(&cell, 7), None);
        }
    }
}
