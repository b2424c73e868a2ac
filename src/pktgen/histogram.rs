//! Log-linear histograms of times.

use serde::Serialize;

/// Bits of precision: each power of two is divided into 32 buckets, so that a value is known to 1/32 (3 %).
const SUB_BITS: u32 = 5;
const SUBS: u64 = 1 << SUB_BITS;
/// Buckets for values up to 2^41 − 1 (36 minutes in nanoseconds); what is above is in the last one.
pub const BUCKETS: usize = 1184;

/// How many values were seen in each range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

/// Which bucket a value is in. bpf/sink.h does the same.
fn bucket_of(value: u64) -> usize {
    if value < SUBS {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    let bucket = u64::from(shift + 1) * SUBS + (value >> shift) - SUBS;
    (bucket as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUBS {
        return bucket;
    }
    let shift = bucket / SUBS - 1;
    ((bucket % SUBS + SUBS + 1) << shift) - 1
}

impl Histogram {
    /// One of counts that were kept elsewhere, with what they do not say.
    pub fn of_buckets(buckets: Vec<u64>, sum: u64, max: u64) -> Self {
        let count = buckets.iter().sum();
        Self { buckets, count, sum, max }
    }

    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        if let Some(count) = self.buckets.get_mut(bucket_of(value)) {
            *count += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The value that this part of all values (0 to 1) does not exceed: the top of its bucket, so at most 3 % too much, and
    /// never more than the largest value. 0 of none.
    pub fn quantile(&self, part: f64) -> u64 {
        let rank = ((self.count as f64 * part).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return top_of(bucket).min(self.max);
            }
        }
        self.max
    }

    /// The figures that are reported; none of no values.
    pub fn summary(&self) -> Option<Latency> {
        (self.count > 0).then(|| Latency {
            count: self.count,
            mean_ns: self.sum / self.count,
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            p999_ns: self.quantile(0.999),
            max_ns: self.max,
        })
    }
}

/// What is reported of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean_ns: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 90 of 100.
    pub p90_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// 999 of 1,000.
    pub p999_ns: u64,
    /// The longest, exactly.
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        let mut next = 0;
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(next), bucket);
            assert_eq!(bucket_of(top_of(bucket)), bucket);
            next = top_of(bucket) + 1;
        }
        assert_eq!(next, (1 << 41) - (1 << 35), "the last bucket ends at 2^41");
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_thousand_values() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.summary(), histogram.quantile(0.5)), (None, 0));
        (1..=1000u64).for_each(|value| histogram.add(value * 1000));
        let summary = histogram.summary().unwrap();
        assert_eq!((summary.count, summary.max_ns, summary.mean_ns), (1000, 1_000_000, 500_500));
        for (got, exact) in [
            (summary.p50_ns, 500_000),
            (summary.p90_ns, 900_000),
            (summary.p99_ns, 990_000),
            (summary.p999_ns, 999_000),
        ] {
            assert!(got >= exact && got <= exact + exact / 32, "{got} for {exact}");
        }
    }

    proptest! {
        #[test]
        fn a_value_is_known_to_three_percent(value in 0u64..1 << 40) {
            let top = top_of(bucket_of(value));
            prop_assert!(top >= value && top - value <= value / 32);
        }
    }
}
