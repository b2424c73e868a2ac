//! How long checks took that succeeded, as a histogram for each service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bounds of the buckets, in microseconds: half a millisecond to five seconds, in steps of 2 to 2.5.
const BOUNDS_US: [u64; 13] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000,
];

/// Counts by bucket; the last one is for what took longer.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    counts: [u64; BOUNDS_US.len() + 1],
    sum: Duration,
}

impl Durations {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let bucket = BOUNDS_US.partition_point(|bound| u128::from(*bound) < took.as_micros());
        self.counts[bucket] += 1;
        self.sum += took;
    }

    /// For showing.
    pub fn shown(&self) -> CheckDurations {
        let mut checks = 0;
        let buckets = BOUNDS_US.iter().zip(self.counts).map(|(bound, count)| {
            checks += count;
            DurationBucket { up_to_s: *bound as f64 / 1e6, checks }
        });
        let buckets = buckets.collect();
        CheckDurations { checks: self.counts.iter().sum(), sum_s: self.sum.as_secs_f64(), buckets }
    }
}

/// How long a service's checks took that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckDurations {
    /// How many there were.
    pub checks: u64,
    /// How long they took together, in seconds.
    pub sum_s: f64,
    /// How many took so long at the most, for each of some bounds.
    pub buckets: Vec<DurationBucket>,
}

/// Checks that took so long at the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DurationBucket {
    /// Seconds.
    pub up_to_s: f64,
    /// How many, those of the buckets before included.
    pub checks: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_in_every_bucket_that_is_wide_enough() {
        let mut durations = Durations::default();
        for micros in [100, 500, 501, 6_000_000] {
            durations.add(Duration::from_micros(micros));
        }
        let shown = durations.shown();
        let checks = |up_to_s| shown.buckets.iter().find(|bucket| bucket.up_to_s == up_to_s).unwrap().checks;
        assert_eq!([0.0005, 0.001, 5.0].map(checks), [2, 3, 3]);
        assert_eq!((shown.checks, shown.sum_s), (4, 6.001_101));
    }
}
