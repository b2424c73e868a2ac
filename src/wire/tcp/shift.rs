//! Moving the numbers of a connection whose ends do not agree where the server's began.
//!
//! | | of the server's segments | of the client's |
//! |---|---|---|
//! | sequence number | moved | |
//! | acknowledgment, SACK blocks | | moved back |
//! | timestamp value | moved | |
//! | timestamp echo | | moved back |
//! | window | scaled anew | scaled anew |
//!
//! The checksum follows by difference, so what was damaged stays damaged.

use super::options::{SACK, TIMESTAMPS, each};
use super::{CHECKSUM, Flags, HEADER};
use crate::wire::checksum::{self, Delta};

/// From one scale of windows to another, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scale {
    /// By which the sender shifts.
    pub from: u8,
    /// By which the receiver does.
    pub to: u8,
}

impl Scale {
    /// The same window for the receiver, as near as it can be said; one that is open stays open.
    pub fn apply(self, window: u16) -> u16 {
        let bytes = u64::from(window) << self.from.min(14);
        let scaled = (bytes >> self.to.min(14)).min(u16::MAX.into()) as u16;
        if window > 0 { scaled.max(1) } else { 0 }
    }
}

/// What lies between the two views of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shift {
    /// From the server's sequence number to what the client takes it for.
    pub sequence: u32,
    /// From its timestamp likewise.
    pub timestamp: u32,
    /// Of the server's windows.
    pub replies: Scale,
    /// Of the client's windows.
    pub requests: Scale,
}

impl Shift {
    /// Makes a segment of the server what the client expects.
    pub fn reply(&self, segment: &mut [u8]) {
        change(segment, |header| {
            add(header, 4, self.sequence);
            scale(header, self.replies);
            options(header, |option, kind| {
                if kind == TIMESTAMPS {
                    add(option, 2, self.timestamp);
                }
            });
        });
    }

    /// Makes a segment of the client what the server expects. What it acknowledges and echoes without ACK means nothing.
    pub fn request(&self, segment: &mut [u8]) {
        change(segment, |header| {
            scale(header, self.requests);
            if !Flags(header[13]).any(Flags::ACK) {
                return;
            }
            add(header, 8, self.sequence.wrapping_neg());
            options(header, |option, kind| match kind {
                TIMESTAMPS => add(option, 6, self.timestamp.wrapping_neg()),
                SACK => {
                    (2..option.len()).step_by(4).for_each(|at| add(option, at, self.sequence.wrapping_neg()))
                }
                _ => {}
            });
        });
    }
}

/// Writes the sequence number, checksum with it.
pub fn set_sequence(segment: &mut [u8], sequence: u32) {
    change(segment, |header| header[4..8].copy_from_slice(&sequence.to_be_bytes()));
}

/// Changes the header, options included, and the checksum with it.
fn change(segment: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let length = segment.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    let Some(header) = segment.get_mut(..length).filter(|header| header.len() >= HEADER) else { return };
    let mut before = [0; 60];
    let before = &mut before[..length];
    before.copy_from_slice(header);
    change(header);
    let delta = Delta::of_bytes(before, header);
    let old = u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
    header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum::update(old, delta).to_be_bytes());
}

/// Every option whose length is right for its kind.
fn options(header: &mut [u8], mut visit: impl FnMut(&mut [u8], u8)) {
    let mut found = [(0, 0, 0); 20];
    let mut count = 0;
    for (place, option) in found.iter_mut().zip(each(header)) {
        (*place, count) = (option, count + 1);
    }
    for (at, kind, length) in found.iter().take(count) {
        let fits = match *kind {
            TIMESTAMPS => *length == 10,
            SACK => length % 8 == 2,
            _ => false,
        };
        if fits && let Some(option) = header.get_mut(*at..at + length) {
            visit(option, *kind);
        }
    }
}

/// Adds to the number that stands here.
fn add(bytes: &mut [u8], at: usize, amount: u32) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *field = u32::from_be_bytes(*field).wrapping_add(amount).to_be_bytes();
    }
}

fn scale(header: &mut [u8], scale: Scale) {
    if scale.from != scale.to
        && let Some(field) = header.get_mut(14..16).and_then(|rest| rest.first_chunk_mut::<2>())
    {
        *field = scale.apply(u16::from_be_bytes(*field)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(flags: u8, numbers: [u32; 2], window: u16, options: &[u8], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 80, 0x12, 0x34];
        bytes.extend(numbers[0].to_be_bytes());
        bytes.extend(numbers[1].to_be_bytes());
        bytes.extend([((HEADER + options.len()) / 4 * 16) as u8, flags]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(data);
        let checksum = !checksum::fold(5 + u64::from(checksum::sum(&bytes)));
        bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// Fillers, timestamps and one SACK block, `odd` of the fillers in front.
    fn options(odd: bool, [value, echo, left, right]: [u32; 4]) -> Vec<u8> {
        let mut options = vec![1; if odd { 1 } else { 2 }];
        options.extend([TIMESTAMPS, 10]);
        options.extend(value.to_be_bytes());
        options.extend(echo.to_be_bytes());
        options.extend([SACK, 10]);
        options.extend(left.to_be_bytes());
        options.extend(right.to_be_bytes());
        options.resize(24, 1);
        options
    }

    proptest! {
        #[test]
        fn numbers_move_and_checksums_stay_right(
            sequence in any::<u32>(), timestamp in any::<u32>(), numbers in any::<[u32; 2]>(),
            said in any::<[u32; 4]>(), odd in any::<bool>(), window in any::<u16>(),
        ) {
            let [value, echo, left, right] = said;
            let shift = Shift { sequence, timestamp, ..Shift::default() };
            let before = segment(0x10, numbers, window, &options(odd, said), b"data!");
            let mut reply = before.clone();
            shift.reply(&mut reply);
            let moved = options(odd, [value.wrapping_add(timestamp), echo, left, right]);
            prop_assert_eq!(reply, segment(0x10, [numbers[0].wrapping_add(sequence), numbers[1]], window, &moved, b"data!"));
            let mut request = before;
            shift.request(&mut request);
            let back = |number: u32| number.wrapping_sub(sequence);
            let moved = options(odd, [value, echo.wrapping_sub(timestamp), back(left), back(right)]);
            prop_assert_eq!(request, segment(0x10, [numbers[0], back(numbers[1])], window, &moved, b"data!"));
        }

        #[test]
        fn no_bytes_make_it_stumble(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let shift = Shift { sequence: 1, timestamp: 2, replies: Scale { from: 9, to: 7 }, ..Shift::default() };
            shift.reply(&mut bytes);
            shift.request(&mut bytes);
        }
    }

    #[test]
    fn a_client_that_acknowledges_nothing_keeps_its_numbers() {
        let shift = Shift { sequence: 1000, timestamp: 2000, ..Shift::default() };
        let mut bytes = segment(0x04, [1, 0], 5, &options(false, [1, 2, 3, 4]), b"");
        let before = bytes.clone();
        shift.request(&mut bytes);
        assert_eq!(bytes, before);
    }

    #[test]
    fn windows_are_scaled_anew() {
        for (from, to, window, wanted) in [
            (7, 7, 512, 512),
            (9, 7, 512, 2048),
            (14, 7, 60_000, 65_535),
            (0, 7, 65_535, 511),
            (0, 7, 100, 1),
            (0, 7, 0, 0),
            (7, 0, 512, 65_535),
            (255, 255, 3, 3),
        ] {
            assert_eq!(Scale { from, to }.apply(window), wanted, "{from} to {to} of {window}");
        }
    }
}
