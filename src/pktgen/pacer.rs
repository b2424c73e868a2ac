//! When the next frame is due.

/// Behind by more than this, lost time stays lost: nobody wants a second's worth of frames at once.
pub const CATCH_UP_NS: u64 = 10_000_000;
/// Parts of a nanosecond in which time is kept: at 10 million a second, rounding is 0.2 in a thousand.
pub const FRACTION_BITS: u32 = 8;

/// Hands out turns at a constant rate. Time is handed in, in nanoseconds; it may start anywhere.
///
/// Whoever asks late gets what is due by then, so that the average holds; but never more than [`CATCH_UP_NS`] worth of it.
/// The XDP program does the same for frames that it makes.
#[derive(Debug, Clone, Copy)]
pub struct Pacer {
    /// Time between two turns in fractions of a nanosecond; 0 = as fast as it goes.
    interval: u64,
    next: u64,
}

impl Pacer {
    /// `per_second` turns per second, the first at `now_ns`; none = as many as are asked for.
    pub fn new(per_second: Option<f64>, now_ns: u64) -> Self {
        Self { interval: per_second.map_or(0, interval), next: now_ns << FRACTION_BITS }
    }

    /// How many turns are due, at most `most`; they count as taken.
    pub fn take(&mut self, now_ns: u64, most: u32) -> u32 {
        if self.interval == 0 {
            return most;
        }
        let now = now_ns << FRACTION_BITS;
        self.next = self.next.max(now.saturating_sub(CATCH_UP_NS << FRACTION_BITS));
        let Some(behind) = now.checked_sub(self.next) else { return 0 };
        let due = (behind / self.interval + 1).min(u64::from(most));
        self.next += due * self.interval;
        due as u32
    }

    /// Gives turns back that could not be used.
    pub fn give_back(&mut self, turns: u32) {
        self.next = self.next.saturating_sub(u64::from(turns) * self.interval);
    }

    /// Nanoseconds until the next turn; 0 when it is due.
    pub fn wait_ns(&self, now_ns: u64) -> u64 {
        if self.interval == 0 { 0 } else { (self.next >> FRACTION_BITS).saturating_sub(now_ns) }
    }
}

/// Time between two turns in fractions of a nanosecond, at least one.
pub fn interval(per_second: f64) -> u64 {
    ((1e9 * f64::from(1 << FRACTION_BITS) / per_second).round() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000_000_007;

    /// Turns that were taken within a second by someone who asks every `step` nanoseconds.
    fn taken(rate: f64, step: u64, most: u32) -> u64 {
        let mut pacer = Pacer::new(Some(rate), START);
        (0..1_000_000_000 / step).map(|at| u64::from(pacer.take(START + at * step, most))).sum()
    }

    #[test]
    fn the_average_holds_however_often_it_is_asked() {
        for (rate, step) in
            [(1_000.0, 50_000), (100_000.0, 3_000), (100_000.0, 777_777), (3_333_333.0, 10_000)]
        {
            let taken = taken(rate, step, u32::MAX) as f64;
            assert!((taken - rate).abs() <= rate * 0.001 + rate * step as f64 / 1e9 + 1.0, "{rate}: {taken}");
        }
    }

    #[test]
    fn no_turn_comes_before_its_time() {
        let mut pacer = Pacer::new(Some(1_000.0), START);
        assert_eq!((pacer.take(START, 9), pacer.take(START, 9), pacer.take(START + 999_999, 9)), (1, 0, 0));
        assert_eq!(pacer.wait_ns(START + 999_000), 1_000);
        assert_eq!((pacer.take(START + 1_000_000, 9), pacer.wait_ns(START + 2_000_000)), (1, 0));
    }

    #[test]
    fn lost_time_is_made_up_for_but_not_all_of_it() {
        let mut pacer = Pacer::new(Some(100_000.0), START);
        assert_eq!(pacer.take(START + 5_000_000, 100), 100);
        assert_eq!(pacer.take(START + 5_000_000, 1000), 401);
        assert_eq!(pacer.take(START + 2_000_000_000, 1_000_000), 1_001, "ten milliseconds' worth");
    }

    #[test]
    fn what_could_not_be_used_comes_again() {
        let mut pacer = Pacer::new(Some(1_000.0), START);
        assert_eq!(pacer.take(START + 3_000_000, 10), 4);
        pacer.give_back(3);
        assert_eq!(pacer.take(START + 3_000_000, 10), 3);
    }

    #[test]
    fn without_a_rate_there_is_no_end() {
        let mut pacer = Pacer::new(None, START);
        assert_eq!((pacer.take(START, 64), pacer.take(START, 64), pacer.wait_ns(START)), (64, 64, 0));
    }
}
