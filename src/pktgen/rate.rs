//! How fast frames are sent.

use std::fmt;
use std::str::FromStr;

use super::sizes::ON_THE_WIRE;

/// A rate as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Rate {
    /// As fast as it goes.
    #[default]
    Max,
    /// Frames (or connections) per second.
    PerSecond(f64),
    /// Bits per second on the wire, with the 24 bytes around each frame: a 10 Gbps line carries 10 Gbps of those.
    BitsPerSecond(f64),
}

/// A rate that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no rate: right are max, 100000, 250k, 1.5M or 1.5Mpps (per second), 500Mbps, 10Gbps (bits on the wire)"
)]
pub struct RateError(String);

impl Rate {
    /// Frames per second for frames of `mean` bytes on average; none = as fast as it goes.
    pub fn per_second(self, mean: f64) -> Option<f64> {
        match self {
            Self::Max => None,
            Self::PerSecond(rate) => Some(rate),
            Self::BitsPerSecond(bits) => Some(bits / (8.0 * (mean + ON_THE_WIRE as f64))),
        }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let fail = || RateError(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        if lower == "max" {
            return Ok(Self::Max);
        }
        let (rest, is_bits) = match (lower.strip_suffix("bps"), lower.strip_suffix("pps")) {
            (Some(rest), _) => (rest, true),
            (_, Some(rest)) => (rest, false),
            (None, None) => (lower.as_str(), false),
        };
        let (digits, unit) = match rest.chars().last() {
            Some('k') => (&rest[..rest.len() - 1], 1e3),
            Some('m') => (&rest[..rest.len() - 1], 1e6),
            Some('g') => (&rest[..rest.len() - 1], 1e9),
            _ => (rest, 1.0),
        };
        let number: f64 = digits.trim().parse().map_err(|_| fail())?;
        let rate = number * unit;
        // Less than one an hour is a mistake.
        if !(1.0 / 3600.0..=1e12).contains(&rate) {
            return Err(fail());
        }
        Ok(if is_bits { Self::BitsPerSecond(rate) } else { Self::PerSecond(rate) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::PerSecond(rate) => write!(f, "{rate}/s"),
            Self::BitsPerSecond(bits) => write!(f, "{bits} bit/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_in_every_unit() {
        for (text, rate) in [
            ("max", Rate::Max),
            ("100000", Rate::PerSecond(1e5)),
            ("250k", Rate::PerSecond(2.5e5)),
            ("1.5M", Rate::PerSecond(1.5e6)),
            ("1.5Mpps", Rate::PerSecond(1.5e6)),
            ("800pps", Rate::PerSecond(800.0)),
            ("10Gbps", Rate::BitsPerSecond(1e10)),
            ("500 Mbps", Rate::BitsPerSecond(5e8)),
            ("0.5", Rate::PerSecond(0.5)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
        for wrong in ["", "fast", "-1", "0", "1x", "inf", "NaN", "k", "1e99"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ten_gigabits_carry_14_88_million_of_the_shortest_frames() {
        let rate = Rate::BitsPerSecond(1e10).per_second(60.0).unwrap();
        assert!((rate - 14_880_952.38).abs() < 1.0);
        assert_eq!(Rate::Max.per_second(60.0), None);
    }
}
