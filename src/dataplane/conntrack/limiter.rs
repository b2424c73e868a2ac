//! How many ICMP errors and resets a worker may originate: a token bucket (RFC 4443 §2.4 f, RFC 1812 §4.3.2.8).

use crate::tables::Tick;

/// What one message costs, so that a millisecond's share of any rate is a whole number.
const MESSAGE: u64 = 1000;

/// A bucket that holds a second's worth, and is full at first.
#[derive(Debug, Default)]
pub struct Limiter {
    tokens: u64,
    filled: Option<Tick>,
}

impl Limiter {
    /// Takes one message's worth out of the bucket, which fills with `rate` messages per second. False where there is not
    /// so much in it.
    pub fn take(&mut self, rate: u32, now: Tick) -> bool {
        let full = u64::from(rate) * MESSAGE;
        let gained = match self.filled {
            Some(filled) => u64::from(rate) * now.0.saturating_sub(filled.0).min(MESSAGE),
            None => full,
        };
        self.filled = Some(now);
        self.tokens = (self.tokens + gained).min(full);
        let enough = self.tokens >= MESSAGE;
        if enough {
            self.tokens -= MESSAGE;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(limiter: &mut Limiter, rate: u32, now: u64) -> usize {
        (0..10_000).filter(|_| limiter.take(rate, Tick(now))).count()
    }

    #[test]
    fn a_second_brings_as_many_messages_as_the_rate_says() {
        let mut limiter = Limiter::default();
        assert_eq!(taken(&mut limiter, 100, 5), 100, "full at first");
        assert_eq!(taken(&mut limiter, 100, 14), 0);
        assert_eq!(taken(&mut limiter, 100, 15), 1, "one every 10 ms");
        assert_eq!(taken(&mut limiter, 100, 1_000_000), 100, "and no more than a second's worth is saved");
    }

    #[test]
    fn a_rate_of_zero_says_nothing_and_a_lower_rate_counts_at_once() {
        let mut limiter = Limiter::default();
        assert_eq!(taken(&mut limiter, 0, 5), 0);
        assert_eq!(taken(&mut limiter, 1000, 6), 1);
        assert_eq!(taken(&mut limiter, 1000, 2000), 1000);
        assert_eq!(taken(&mut limiter, 3, 4000), 3);
    }
}
