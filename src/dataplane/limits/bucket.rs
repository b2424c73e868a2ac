//! A token bucket that all workers take from.
//!
//! Not how much is in it is kept, but when it will be full again: that is one number, which moves on by the time that
//! what was taken takes to come back (the generic cell rate algorithm, ITU-T I.371 §A). A bucket that nobody touches fills by itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tables::Tick;
use crate::tables::limits::Rate;

/// Tries where others take at the same time. Who was outrun so often is let through.
const TRIES: usize = 8;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// One bucket, full at first.
#[derive(Debug, Default)]
pub struct Bucket {
    /// When it is full again, in nanoseconds of the workers' clock.
    full_at: AtomicU64,
}

impl Bucket {
    /// Has as much as `other` has.
    pub fn copy(&self, other: &Self) {
        self.full_at.store(other.full_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Takes `amount` out of the bucket. False where there is not so much in it, and nothing was taken. Of a full one more
    /// than it holds may be taken at once: else a frame that is larger than the bucket would never pass.
    #[inline]
    pub fn take(&self, rate: &Rate, amount: u64, now: Tick) -> bool {
        let now = now.0.saturating_mul(SECOND / 1000);
        let cost = rate.time(amount, SECOND);
        let room = rate.burst(SECOND).max(cost);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let after = full_at.max(now).saturating_add(cost);
            if after - now > room {
                return false;
            }
            match self.full_at.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(changed) => full_at = changed,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &Bucket, rate: &Rate, amount: u64, now: u64) -> usize {
        (0..10_000).filter(|_| bucket.take(rate, amount, Tick(now))).count()
    }

    #[test]
    fn what_comes_back_in_a_time_can_be_taken_again() {
        let (bucket, rate) = (Bucket::default(), Rate::of(1000, 500).unwrap());
        assert_eq!(taken(&bucket, &rate, 1, 7000), 500, "full at first");
        assert_eq!(taken(&bucket, &rate, 1, 7000), 0);
        assert_eq!(taken(&bucket, &rate, 1, 7003), 3, "one each millisecond");
        assert_eq!(taken(&bucket, &rate, 1, 1_000_000), 500, "no more than a burst is saved");
    }

    #[test]
    fn over_any_time_not_more_passes_than_the_rate_and_one_burst() {
        let (bucket, rate) = (Bucket::default(), Rate::of(777, 100).unwrap());
        let passed: usize = (0..60_000).map(|now| usize::from(bucket.take(&rate, 1, Tick(now)))).sum();
        assert!((777 * 60 - 1..=777 * 60 + 78).contains(&passed), "{passed}");
    }

    #[test]
    fn something_larger_than_the_bucket_passes_once_it_is_full() {
        let (bucket, rate) = (Bucket::default(), Rate::of(8000, 10).unwrap());
        assert_eq!(taken(&bucket, &rate, 12_000, 100), 1, "1,500 bytes at 1 kB/s");
        assert_eq!(taken(&bucket, &rate, 12_000, 1500), 0);
        assert_eq!(taken(&bucket, &rate, 12_000, 1600), 1);
    }

    #[test]
    fn workers_share_one_bucket() {
        let (bucket, rate) = (Bucket::default(), Rate::of(1000, 1000).unwrap());
        let passed: usize = std::thread::scope(|scope| {
            let worker = || (0..2000).filter(|_| bucket.take(&rate, 1, Tick(5))).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        // Whoever was outrun eight times passes without having taken anything.
        assert!((1000..1100).contains(&passed), "{passed}");
    }
}
