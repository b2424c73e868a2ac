//! How long frames are.

use std::fmt;
use std::str::FromStr;

/// Sizes that one mix has at the most.
pub const MAX_SIZES: usize = 8;
/// Frames after which the mix repeats, at the most.
pub const MAX_PATTERN: usize = 64;
/// The shortest frame of Ethernet, without the check sequence.
pub const SHORTEST: u16 = 60;
/// The longest frame that one page holds with all that the kernel keeps beside it.
pub const LONGEST: u16 = 3000;
/// The simple Internet mix, as IP packets of 40, 576 and 1,500 bytes: the first is padded to Ethernet's minimum.
const IMIX: [(u16, u32); 3] = [(60, 7), (590, 4), (1514, 1)];

/// Bytes that a frame takes on the wire beside its own: check sequence 4, preamble 8, gap 12.
pub const ON_THE_WIRE: u64 = 24;

/// Sizes of frames in bytes from the Ethernet header to the end of the payload (without the check sequence of 4 bytes), with
/// weights. Frames of one mix are interleaved as evenly as can be, and after the sum of weights each size has had exactly
/// its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    sizes: Vec<(u16, u32)>,
}

/// Sizes that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size of frames: {1}; right are 60, 1514, imix, 60:7,590:4,1514:1 (size:weight)")]
pub struct SizesError(String, String);

impl Sizes {
    /// One size.
    pub fn one(size: u16) -> Self {
        Self { sizes: vec![(size, 1)] }
    }

    /// 60, 590 and 1,514 bytes as 7 to 4 to 1.
    pub fn imix() -> Self {
        Self { sizes: IMIX.to_vec() }
    }

    /// The sizes, in the order in which they were given, with their weights.
    pub fn all(&self) -> &[(u16, u32)] {
        &self.sizes
    }

    /// The longest one.
    pub fn longest(&self) -> u16 {
        self.sizes.iter().map(|(size, _)| *size).max().unwrap_or(SHORTEST)
    }

    /// The shortest one.
    pub fn shortest(&self) -> u16 {
        self.sizes.iter().map(|(size, _)| *size).min().unwrap_or(SHORTEST)
    }

    /// Mean size in bytes.
    pub fn mean(&self) -> f64 {
        let weights: f64 = self.sizes.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let bytes: f64 = self.sizes.iter().map(|(size, weight)| f64::from(*size) * f64::from(*weight)).sum();
        bytes / weights
    }

    /// Indices of sizes in the order in which frames are sent, over and over: smooth weighted round robin.
    pub fn pattern(&self) -> Vec<u8> {
        let total: u32 = self.sizes.iter().map(|(_, weight)| weight).sum();
        let mut credits = vec![0i64; self.sizes.len()];
        let turn = |_| {
            for (credit, (_, weight)) in credits.iter_mut().zip(&self.sizes) {
                *credit += i64::from(*weight);
            }
            // The first of those with most.
            let mut best = 0;
            for at in 1..credits.len() {
                if credits[at] > credits[best] {
                    best = at;
                }
            }
            credits[best] -= i64::from(total);
            best as u8
        };
        (0..total).map(turn).collect()
    }
}

impl FromStr for Sizes {
    type Err = SizesError;

    fn from_str(text: &str) -> Result<Self, SizesError> {
        let fail = |why: String| SizesError(text.to_owned(), why);
        if text.eq_ignore_ascii_case("imix") {
            return Ok(Self::imix());
        }
        let mut sizes = Vec::new();
        for part in text.split(',') {
            let (size, weight) = part.split_once(':').unwrap_or((part, "1"));
            let size: u16 = size.trim().parse().map_err(|_| fail(format!("`{size}` is no number")))?;
            let weight: u32 = weight.trim().parse().map_err(|_| fail(format!("`{weight}` is no number")))?;
            if !(SHORTEST..=LONGEST).contains(&size) {
                return Err(fail(format!(
                    "frames have {SHORTEST} to {LONGEST} bytes, without the check sequence"
                )));
            }
            if weight == 0 {
                return Err(fail("a weight is at least 1".to_owned()));
            }
            sizes.push((size, weight));
        }
        if sizes.len() > MAX_SIZES {
            return Err(fail(format!("{} sizes, and {MAX_SIZES} are the most", sizes.len())));
        }
        let divisor = sizes.iter().fold(0, |divisor, (_, weight)| common_divisor(divisor, *weight));
        for (_, weight) in &mut sizes {
            *weight /= divisor.max(1);
        }
        let total: u64 = sizes.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if total > MAX_PATTERN as u64 {
            return Err(fail(format!("weights add up to {total}, and {MAX_PATTERN} are the most")));
        }
        Ok(Self { sizes })
    }
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (size, weight)) in self.sizes.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match self.sizes.len() {
                1 => write!(f, "{size}")?,
                _ => write!(f, "{comma}{size}:{weight}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Sizes {
        text.parse().unwrap()
    }

    #[test]
    fn a_mix_has_exact_shares_and_is_interleaved() {
        let pattern = Sizes::imix().pattern();
        assert_eq!(pattern.len(), 12);
        for (index, (_, weight)) in IMIX.iter().enumerate() {
            assert_eq!(pattern.iter().filter(|at| usize::from(**at) == index).count(), *weight as usize);
        }
        assert_eq!(pattern, [0, 1, 0, 0, 1, 0, 2, 0, 1, 0, 1, 0]);
        assert_eq!(sizes("60").pattern(), [0]);
    }

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!(sizes("IMIX"), Sizes::imix());
        assert_eq!(sizes("60:7,590:4,1514:1"), Sizes::imix());
        assert_eq!(sizes("60:70,590:40,1514:10"), Sizes::imix(), "weights are reduced");
        assert_eq!(sizes("60,1514").to_string(), "60:1,1514:1");
        assert_eq!(sizes("128:9").to_string(), "128");
        assert_eq!((sizes("imix").longest(), sizes("imix").shortest()), (1514, 60));
        assert!((sizes("imix").mean() - (7.0 * 60.0 + 4.0 * 590.0 + 1514.0) / 12.0).abs() < 1e-9);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_a_reason() {
        for (wrong, why) in [
            ("", "no number"),
            ("59", "60 to 3000"),
            ("3001", "60 to 3000"),
            ("60:0", "at least 1"),
            ("60:x", "no number"),
            ("60:64,61:1", "add up to 65"),
            ("60,61,62,63,64,65,66,67,68", "9 sizes"),
        ] {
            let error = wrong.parse::<Sizes>().unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
