//! When each check is due, and how late checks are. Pure: `now` passed in.
//!
//! Every probe has a place of its own in the period, given by a hash of what it asks, so that the checks of all backends
//! spread evenly and stay so, whatever happens: after a time at the fast interval a probe returns to its place. Around it
//! every check is a little early or late, by another hash, so that no two keep meeting at the same instant; the mean does
//! not drift, because places are counted from the start and not from the last check. The period is as much shorter than the
//! interval as two checks can be early and late: what is promised is the interval, at the most.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::tables::hash::mix;

/// Checks are early or late by up to this part of the interval: 1/40 = 2.5 %.
const JITTER: u32 = 40;
/// A place that is nearer than this part of the interval after the last check is left out: 1/10.
const TOO_NEAR: u32 = 10;
/// First checks of new probes: so far apart on average, unless that took longer than the interval.
const FIRST_APART: Duration = Duration::from_millis(1);
/// The worst lateness is that of the last one to two of these.
const WINDOW: Duration = Duration::from_secs(60);

/// How checking keeps up, for showing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pace {
    /// Checks that have ended.
    pub checks: u64,
    /// Checks under way.
    pub in_flight: u64,
    /// How late a check began at the worst, in the last one to two minutes.
    pub late_max_ms: f64,
    /// How late they began on average, in the same time.
    pub late_mean_ms: f64,
    /// Backends of services that are checked.
    pub targets: u64,
    /// Different checks among them: backends of several services are asked once.
    pub probes: u64,
}

/// When one probe is due.
#[derive(Debug, Clone)]
pub struct Timing {
    origin: Instant,
    hash: u64,
    interval: Duration,
    period: Duration,
    fast: Duration,
}

impl Timing {
    /// Of a probe with this hash. Places are counted from `origin`.
    pub fn new(origin: Instant, hash: u64, interval_ms: u32, fast_ms: u32) -> Self {
        let interval = Duration::from_millis(interval_ms.max(1).into());
        let fast = Duration::from_millis(fast_ms.max(1).into()).min(interval);
        let period = interval - interval / JITTER * 2;
        Self { origin, hash: mix(hash, 0x5851_F42D_4C95_7F2D), interval, period, fast }
    }

    /// The first check, where `fresh` probes are new at `now`: soon where they are few, within the interval where they are
    /// many.
    pub fn first(&self, now: Instant, fresh: usize) -> Instant {
        let apart = FIRST_APART * u32::try_from(fresh).unwrap_or(u32::MAX);
        now + part(apart.min(self.interval), self.hash)
    }

    /// The check after the one that began at `started`: no later than the interval.
    pub fn next(&self, started: Instant, fast: bool) -> Instant {
        if fast {
            return started + self.fast;
        }
        let place = part(self.period, self.hash);
        let since = started.saturating_duration_since(self.origin) + self.interval / TOO_NEAR;
        // Places so far: the next one is this much times the period after the first.
        let number = match since.checked_sub(place) {
            Some(since) => (since.as_nanos() / self.period.as_nanos()) as u64 + 1,
            None => 0,
        };
        let nanos = (self.period.as_nanos() as u64).saturating_mul(number);
        let early = self.interval / JITTER;
        let due = self.origin + place + Duration::from_nanos(nanos) + part(early * 2, mix(self.hash, number));
        // The first place may lie before the start. Where a place was left out, the next one may be too far.
        due.checked_sub(early).unwrap_or(due).clamp(started, started + self.interval)
    }

    /// The check at once that a suspicion asks for: not sooner after the last than the fast interval.
    pub fn at_once(&self, started: Option<Instant>, now: Instant) -> Instant {
        started.map_or(now, |started| now.max(started + self.fast))
    }
}

/// The part of `whole` that a hash stands for.
fn part(whole: Duration, hash: u64) -> Duration {
    whole.mul_f64((hash >> 11) as f64 / (1u64 << 53) as f64)
}

/// How late checks began.
#[derive(Debug)]
pub struct Lateness {
    current: Window,
    before: Window,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    count: u32,
    sum: Duration,
    max: Duration,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, count: 0, sum: Duration::ZERO, max: Duration::ZERO }
    }
}

impl Lateness {
    /// None was late yet.
    pub fn new(now: Instant) -> Self {
        Self { current: Window::new(now), before: Window::new(now) }
    }

    /// A check begins now.
    pub fn began(&mut self, due: Instant, now: Instant) {
        self.turn(now);
        let late = now.saturating_duration_since(due);
        self.current.count += 1;
        self.current.sum += late;
        self.current.max = self.current.max.max(late);
    }

    /// Milliseconds: worst and mean.
    pub fn shown(&mut self, now: Instant) -> (f64, f64) {
        self.turn(now);
        let (a, b) = (self.before, self.current);
        let mean = (a.sum + b.sum).as_secs_f64() * 1e3 / f64::from((a.count + b.count).max(1));
        (a.max.max(b.max).as_secs_f64() * 1e3, mean)
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.current.began);
        if age >= WINDOW {
            self.before = if age < WINDOW * 2 { self.current } else { Window::new(now) };
            self.current = Window::new(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn timing(origin: Instant, hash: u64) -> Timing {
        Timing::new(origin, hash, 5000, 500)
    }

    #[test]
    fn first_checks_of_few_come_at_once_and_of_many_within_the_interval() {
        let now = Instant::now();
        let firsts = |fresh: usize| (0..1000u64).map(move |hash| timing(now, hash).first(now, fresh) - now);
        assert!(firsts(3).max().unwrap() < 3 * MS);
        let many: Vec<_> = firsts(1_000_000).collect();
        assert!(many.iter().max().unwrap() < &(5000 * MS) && many.iter().max().unwrap() > &(4900 * MS));
        let early = many.iter().filter(|first| **first < 1000 * MS).count();
        assert!((150..250).contains(&early), "about a fifth in each fifth, not {early}");
    }

    #[test]
    fn the_mean_interval_does_not_drift_although_each_differs() {
        let origin = Instant::now();
        let timing = timing(origin, 42);
        let mut at = timing.next(origin, false);
        let first = at;
        let mut gaps = Vec::new();
        for _ in 0..1000 {
            // A little late every time.
            let next = timing.next(at + 3 * MS, false);
            gaps.push(next - at);
            at = next;
        }
        assert!((at - first).abs_diff(4_750_000 * MS) < 250 * MS, "{:?}", at - first);
        assert!(gaps.iter().all(|gap| (4500 * MS..=5003 * MS).contains(gap)));
        assert!(gaps.iter().max() != gaps.iter().min());
    }

    #[test]
    fn no_two_checks_are_further_apart_than_the_interval() {
        let origin = Instant::now();
        let mut longest = Duration::ZERO;
        for hash in 0..1000 {
            let timing = timing(origin, hash);
            let mut at = timing.first(origin, 1000);
            for round in 0..40 {
                // Four calm checks, and then so many at the fast interval that every place is left out by some.
                let next = timing.next(at, round % 8 > 3 && hash % 5 < 3);
                assert!(next > at && next - at <= 5000 * MS, "{:?} after {hash}, {round}", next - at);
                longest = longest.max(next - at);
                at = next;
            }
        }
        assert_eq!(longest, 5000 * MS, "what is promised is used");
    }

    #[test]
    fn after_a_time_at_the_fast_interval_a_probe_returns_to_its_place() {
        let origin = Instant::now();
        let timing = timing(origin, 7);
        let calm = timing.next(origin + 100_000 * MS, false);
        let mut at = calm;
        for _ in 0..7 {
            let next = timing.next(at, true);
            assert_eq!(next - at, 500 * MS);
            at = next;
        }
        let back = timing.next(at, false);
        assert!((back - calm).abs_diff(4750 * MS) <= 250 * MS, "{:?}", back - calm);
    }

    #[test]
    fn a_check_that_was_much_too_late_is_not_followed_by_those_that_were_missed() {
        let origin = Instant::now();
        let timing = timing(origin, 9);
        let late = timing.next(origin, false) + 23_000 * MS;
        let next = timing.next(late, false);
        assert!(next > late && next - late <= 5000 * MS);
    }

    #[test]
    fn a_suspicion_waits_for_the_fast_interval_and_no_longer() {
        let now = Instant::now();
        let timing = timing(now, 1);
        assert_eq!(timing.at_once(None, now), now);
        assert_eq!(timing.at_once(Some(now), now + 100 * MS), now + 500 * MS);
        assert_eq!(timing.at_once(Some(now), now + 900 * MS), now + 900 * MS);
    }

    #[test]
    fn lateness_is_forgotten_after_two_minutes() {
        let now = Instant::now();
        let mut lateness = Lateness::new(now);
        lateness.began(now, now + 30 * MS);
        lateness.began(now, now + 10 * MS);
        assert_eq!(lateness.shown(now), (30.0, 20.0));
        assert_eq!(lateness.shown(now + WINDOW).0, 30.0);
        assert_eq!(lateness.shown(now + WINDOW * 3), (0.0, 0.0));
    }
}
