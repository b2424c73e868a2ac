//! Options of SYN segments, and the timestamps of all others (RFC 9293 §3.1, RFC 7323, RFC 2018).

use super::{END, FILLER, HEADER};

/// Most bytes that options can take.
pub const ROOM: usize = 40;

const SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
/// Selective acknowledgments: pairs of sequence numbers.
pub(super) const SACK: u8 = 5;
/// Value and echo.
pub(super) const TIMESTAMPS: u8 = 8;

/// The timestamps of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// What it last saw of the receiver's.
    pub echo: u32,
}

/// What a segment says besides its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Largest segment that the sender takes, in bytes.
    pub segment_size: Option<u16>,
    /// By how many bits its windows are to be shifted; at most 14 counts (RFC 7323 §2.3).
    pub window_scale: Option<u8>,
    /// Whether it understands selective acknowledgments.
    pub sack_permitted: bool,
    /// Its timestamps.
    pub timestamps: Option<Timestamps>,
}

impl Options {
    /// Reads the options of the segment; what stands behind an absurd one is not there.
    pub fn parse(segment: &[u8]) -> Self {
        let mut options = Self::default();
        for (at, kind, length) in each(segment) {
            let value = segment.get(at + 2..at + length).unwrap_or_default();
            match (kind, value) {
                (SEGMENT_SIZE, [high, low]) => options.segment_size = Some(u16::from_be_bytes([*high, *low])),
                (WINDOW_SCALE, [bits]) => options.window_scale = Some((*bits).min(14)),
                (SACK_PERMITTED, []) => options.sack_permitted = true,
                (TIMESTAMPS, [a, b, c, d, e, f, g, h]) => {
                    let (value, echo) = ([*a, *b, *c, *d], [*e, *f, *g, *h]);
                    let (value, echo) = (u32::from_be_bytes(value), u32::from_be_bytes(echo));
                    options.timestamps = Some(Timestamps { value, echo });
                }
                _ => {}
            }
        }
        options
    }

    /// Writes them in whole words, in the order that Linux has; returns how many bytes that takes, 20 at the most.
    pub fn write(&self, room: &mut [u8; ROOM]) -> usize {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(place) = room.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
                at += bytes.len();
            }
        };
        if let Some(size) = self.segment_size {
            let [high, low] = size.to_be_bytes();
            put(&[SEGMENT_SIZE, 4, high, low]);
        }
        let sack = if self.sack_permitted { [SACK_PERMITTED, 2] } else { [FILLER, FILLER] };
        if let Some(Timestamps { value, echo }) = self.timestamps {
            put(&sack);
            put(&[TIMESTAMPS, 10]);
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        } else if self.sack_permitted {
            put(&[FILLER, FILLER]);
            put(&sack);
        }
        if let Some(bits) = self.window_scale {
            put(&[FILLER, WINDOW_SCALE, 3, bits]);
        }
        at
    }
}

/// Every option of a segment but fillers: where it stands, its kind and its whole length. At most 40 steps.
pub(super) fn each(segment: &[u8]) -> impl Iterator<Item = (usize, u8, usize)> + '_ {
    let length = segment.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    let header = segment.get(..length).unwrap_or_default();
    let mut at = HEADER;
    std::iter::from_fn(move || {
        loop {
            match header.get(at..)? {
                [END, ..] => return None,
                [FILLER, ..] => at += 1,
                [kind, length, rest @ ..] if (2..=rest.len() + 2).contains(&usize::from(*length)) => {
                    let found = (at, *kind, usize::from(*length));
                    at += found.2;
                    return Some(found);
                }
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header with these options.
    fn header(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend(options);
        bytes.resize(bytes.len().next_multiple_of(4), END);
        bytes[12] = (bytes.len() / 4 * 16) as u8;
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            segment_size in proptest::option::of(any::<u16>()),
            window_scale in proptest::option::of(0u8..15),
            sack_permitted in any::<bool>(),
            timestamps in proptest::option::of(any::<(u32, u32)>()),
        ) {
            let timestamps = timestamps.map(|(value, echo)| Timestamps { value, echo });
            let options = Options { segment_size, window_scale, sack_permitted, timestamps };
            let mut room = [0; ROOM];
            let length = options.write(&mut room);
            prop_assert!(length.is_multiple_of(4) && length <= 20);
            prop_assert_eq!(Options::parse(&header(&room[..length])), options);
        }

        #[test]
        fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Options::parse(&bytes);
        }
    }

    #[test]
    fn what_is_absurd_ends_the_list() {
        let size = |options: &[u8]| Options::parse(&header(options)).segment_size;
        assert_eq!(size(&[1, 1, 2, 4, 5, 0xB4]), Some(1460));
        assert_eq!(size(&[0, 2, 4, 5, 0xB4]), None, "behind the end");
        assert_eq!(size(&[3, 0, 2, 4, 5, 0xB4]), None, "of no length");
        assert_eq!(size(&[2, 3, 5]), None, "of the wrong length");
        assert_eq!(Options::parse(&header(&[3, 3, 200])).window_scale, Some(14));
    }
}
