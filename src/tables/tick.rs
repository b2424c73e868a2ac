//! Time as the data plane sees it: handed in once per batch, never read per packet.

use std::time::Duration;

/// Milliseconds since an arbitrary origin: the start of the process for `run`, the earliest frame for `replay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick that lies `milliseconds` later.
    #[inline]
    #[must_use]
    pub fn after(self, milliseconds: u64) -> Self {
        Self(self.0 + milliseconds)
    }

    /// The 32-bit form that a connection stores, in units of 64 ms (wraps after 8.7 years).
    #[inline]
    pub fn coarse(self) -> Coarse {
        Coarse((self.0 >> Coarse::SHIFT) as u32)
    }
}

impl From<Duration> for Tick {
    fn from(since_origin: Duration) -> Self {
        Self(since_origin.as_millis() as u64)
    }
}

/// A [`Tick`] in units of 64 ms: fine enough for idle timers, and small enough for the hot cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coarse(pub u32);

impl Coarse {
    /// 1 unit = 2^6 ms = 64 ms.
    pub const SHIFT: u32 = 6;

    /// Units that `seconds` take, rounded up so that a timer never fires early.
    pub const fn from_seconds(seconds: u32) -> u32 {
        ((seconds as u64 * 1000).div_ceil(1 << Self::SHIFT)) as u32
    }

    /// How long ago `earlier` was, correct across the wrap of 32 bits.
    #[inline]
    pub fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_time_survives_its_wrap() {
        assert_eq!(Coarse(5).since(Coarse(u32::MAX - 4)), 10);
    }

    #[test]
    fn a_timer_never_fires_early() {
        assert!(u64::from(Coarse::from_seconds(7440)) << Coarse::SHIFT >= 7_440_000);
        assert_eq!(Coarse::from_seconds(0), 0);
    }
}
