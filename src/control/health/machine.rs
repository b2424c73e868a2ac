//! What a row of checks says of a backend: a pure state machine, `now` passed in.
//!
//! ```text
//!              success        ┌─────────┐        failure
//!         ┌───────────────────│ unknown │───────────────────┐
//!         ▼                   └─────────┘                   ▼
//!      ┌────┐ failure  ┌─────────┐ `fall` in a row       ┌──────┐
//!  ┌──►│ up │─────────►│ falling │──────────────────────►│ down │◄──┐
//!  │   └────┘          └─────────┘                       └──────┘   │
//!  │      ▲   success       │                               │       │
//!  │      └─────────────────┘                       success │       │ failure
//!  │                                                        ▼       │
//!  │                     `rise` in a row               ┌────────┐   │
//!  └───────────────────────────────────────────────────│ rising │───┘
//!                                                      └────────┘
//! ```
//!
//! While it counts, checks follow each other at the fast interval. So they do under suspicion. Where the backend's own side
//! gave cause for that, one failed check is then enough to be down: the failures in the traffic count for the others. Where
//! nothing but silence did, `fall` are needed as ever: a client can bring that about, and is not to have a say in what takes a
//! backend down. One success clears a suspicion, if the check began after it.

use std::time::{Duration, Instant};

/// What the checks have decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It can serve.
    Up,
    /// It cannot.
    Down,
}

/// How a check failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The backend did not pass.
    Failed,
    /// It could not be asked, because the way to it is not known. Just after start that means little: it takes a moment to
    /// find neighbours.
    NoWay,
}

/// What the traffic gives cause for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Clients were not answered. It may be their doing.
    Silent,
    /// The backend's side said that it takes no connections.
    Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not decided. How often there was no way.
    Unknown(u32),
    /// Failures in a row.
    Up(u32),
    /// Successes in a row.
    Down(u32),
}

/// The state of one backend's checks.
#[derive(Debug, Clone)]
pub struct Machine {
    rise: u32,
    fall: u32,
    state: State,
    since: Instant,
    /// When the traffic last gave cause for suspicion, of whatever kind …
    suspected: Option<Instant>,
    /// … and of [`Suspicion::Told`].
    told: Option<Instant>,
}

impl Machine {
    /// Nothing known yet. `rise` successes make it up, `fall` failures make it down; 0 is taken for 1.
    pub fn new(rise: u32, fall: u32, now: Instant) -> Self {
        Self {
            rise: rise.max(1),
            fall: fall.max(1),
            state: State::Unknown(0),
            since: now,
            suspected: None,
            told: None,
        }
    }

    /// A check that began at `started` has succeeded. The verdict, if that changes it.
    pub fn succeeded(&mut self, started: Instant, now: Instant) -> Option<Verdict> {
        self.suspected = self.suspected.filter(|suspected| *suspected > started);
        self.told = self.told.filter(|told| *told > started);
        match self.state {
            State::Up(_) => {
                self.state = State::Up(0);
                None
            }
            State::Down(before) if before + 1 < self.rise => {
                self.state = State::Down(before + 1);
                None
            }
            State::Unknown(_) | State::Down(_) => self.decide(Verdict::Up, now),
        }
    }

    /// A check has failed. The verdict, if that changes it.
    pub fn failed(&mut self, kind: Kind, now: Instant) -> Option<Verdict> {
        match self.state {
            State::Unknown(before) if kind == Kind::NoWay && before + 1 < self.fall => {
                self.state = State::Unknown(before + 1);
                None
            }
            State::Up(before) if before + 1 < self.fall && self.told.is_none() => {
                self.state = State::Up(before + 1);
                None
            }
            State::Unknown(_) | State::Up(_) => self.decide(Verdict::Down, now),
            State::Down(_) => {
                self.state = State::Down(0);
                None
            }
        }
    }

    /// The traffic gives cause for suspicion. Whether that is news, and a check should follow at once; a backend that is
    /// down anyway is not suspected.
    pub fn suspect(&mut self, suspicion: Suspicion, now: Instant) -> bool {
        if matches!(self.state, State::Down(_)) {
            return false;
        }
        self.suspected = Some(now);
        if suspicion == Suspicion::Told {
            self.told = Some(now);
        }
        true
    }

    fn decide(&mut self, verdict: Verdict, now: Instant) -> Option<Verdict> {
        self.state = match verdict {
            Verdict::Up => State::Up(0),
            Verdict::Down => State::Down(0),
        };
        if verdict == Verdict::Down {
            (self.suspected, self.told) = (None, None);
        }
        self.since = now;
        Some(verdict)
    }

    /// Whether the next check is to follow at the fast interval.
    pub fn is_fast(&self) -> bool {
        let counts = match self.state {
            State::Unknown(count) | State::Up(count) | State::Down(count) => count > 0,
        };
        counts || self.is_suspect()
    }

    /// Whether it is under suspicion.
    pub fn is_suspect(&self) -> bool {
        self.suspected.is_some()
    }

    /// What is decided; none before the first result.
    pub fn verdict(&self) -> Option<Verdict> {
        match self.state {
            State::Unknown(_) => None,
            State::Up(_) => Some(Verdict::Up),
            State::Down(_) => Some(Verdict::Down),
        }
    }

    /// The state's name.
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Unknown(_) => "unknown",
            State::Up(0) => "up",
            State::Up(_) => "falling",
            State::Down(0) => "down",
            State::Down(_) => "rising",
        }
    }

    /// How long ago it was decided.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with rise 2 and fall 3, and a clock.
    struct Bench {
        machine: Machine,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { machine: Machine::new(2, 3, now), now }
        }

        fn up() -> Self {
            let mut bench = Self::new();
            assert_eq!(bench.ok(), Some(Verdict::Up));
            bench
        }

        fn down() -> Self {
            let mut bench = Self::new();
            assert_eq!(bench.fail(), Some(Verdict::Down));
            bench
        }

        fn ok(&mut self) -> Option<Verdict> {
            let started = self.now;
            self.now += Duration::from_secs(1);
            self.machine.succeeded(started, self.now)
        }

        fn fail(&mut self) -> Option<Verdict> {
            self.now += Duration::from_secs(1);
            self.machine.failed(Kind::Failed, self.now)
        }
    }

    #[test]
    fn the_first_result_decides() {
        assert_eq!(Bench::new().machine.verdict(), None);
        assert_eq!(Bench::up().machine.name(), "up");
        assert_eq!(Bench::down().machine.name(), "down");
    }

    #[test]
    fn three_failures_in_a_row_take_a_backend_down() {
        let mut bench = Bench::up();
        assert_eq!((bench.fail(), bench.machine.name(), bench.machine.is_fast()), (None, "falling", true));
        assert_eq!(bench.fail(), None);
        assert_eq!((bench.fail(), bench.machine.name()), (Some(Verdict::Down), "down"));
        assert_eq!(
            (bench.fail(), bench.machine.is_fast()),
            (None, false),
            "it is told once, and checked calmly"
        );
    }

    #[test]
    fn a_success_between_failures_begins_the_count_anew() {
        let mut bench = Bench::up();
        for _ in 0..10 {
            assert_eq!((bench.fail(), bench.fail(), bench.ok()), (None, None, None));
        }
        assert_eq!((bench.machine.name(), bench.machine.is_fast()), ("up", false));
    }

    #[test]
    fn two_successes_in_a_row_bring_it_back() {
        let mut bench = Bench::down();
        assert_eq!((bench.ok(), bench.machine.name(), bench.machine.is_fast()), (None, "rising", true));
        assert_eq!((bench.fail(), bench.machine.name()), (None, "down"), "a failure begins the count anew");
        assert_eq!((bench.ok(), bench.ok()), (None, Some(Verdict::Up)));
        assert_eq!(bench.machine.age(bench.now), Duration::ZERO);
    }

    #[test]
    fn a_flapping_backend_stays_what_it_was() {
        let mut up = Bench::up();
        let mut down = Bench::down();
        for _ in 0..100 {
            assert_eq!((up.fail(), up.ok()), (None, None));
            assert_eq!((down.ok(), down.fail()), (None, None));
        }
        assert_eq!((up.machine.verdict(), down.machine.verdict()), (Some(Verdict::Up), Some(Verdict::Down)));
    }

    #[test]
    fn where_the_backends_side_told_so_one_failure_is_enough() {
        let mut bench = Bench::up();
        assert!(bench.machine.suspect(Suspicion::Told, bench.now) && bench.machine.is_fast());
        bench.machine.suspect(Suspicion::Silent, bench.now);
        assert_eq!(bench.fail(), Some(Verdict::Down));
        assert!(!bench.machine.is_suspect(), "it is no longer suspected but known");
        assert!(!bench.machine.suspect(Suspicion::Told, bench.now));
    }

    #[test]
    fn silence_has_a_backend_checked_soon_and_takes_no_failure_off_the_count() {
        let mut bench = Bench::up();
        for _ in 0..2 {
            assert!(bench.machine.suspect(Suspicion::Silent, bench.now) && bench.machine.is_fast());
            assert_eq!((bench.fail(), bench.machine.name()), (None, "falling"));
        }
        bench.machine.suspect(Suspicion::Silent, bench.now);
        assert_eq!(bench.fail(), Some(Verdict::Down));
    }

    #[test]
    fn what_a_success_has_cleared_later_silence_does_not_bring_back() {
        let mut bench = Bench::up();
        bench.machine.suspect(Suspicion::Told, bench.now);
        let started = bench.now + Duration::from_millis(1);
        bench.now += Duration::from_secs(1);
        bench.machine.suspect(Suspicion::Silent, bench.now);
        assert_eq!(bench.machine.succeeded(started, bench.now), None);
        assert!(bench.machine.is_suspect(), "the silence is younger than the check");
        assert_eq!((bench.fail(), bench.machine.name()), (None, "falling"));
    }

    #[test]
    fn a_success_clears_the_suspicion_if_its_check_began_later() {
        let mut bench = Bench::up();
        let before = bench.now;
        bench.now += Duration::from_secs(1);
        bench.machine.suspect(Suspicion::Told, bench.now);
        assert_eq!(bench.machine.succeeded(before, bench.now), None);
        assert!(bench.machine.is_suspect(), "that answer is older than the suspicion");
        assert_eq!(bench.ok(), None);
        assert!(!bench.machine.is_suspect() && !bench.machine.is_fast());
    }

    #[test]
    fn without_a_way_nothing_is_decided_before_the_third_time() {
        let mut bench = Bench::new();
        for _ in 0..2 {
            assert_eq!(bench.machine.failed(Kind::NoWay, bench.now), None);
            assert!(bench.machine.is_fast());
        }
        assert_eq!(bench.machine.failed(Kind::NoWay, bench.now), Some(Verdict::Down));
    }

    #[test]
    fn with_rise_and_fall_of_one_every_result_decides() {
        let now = Instant::now();
        let mut machine = Machine::new(1, 0, now);
        for _ in 0..3 {
            assert_eq!(machine.failed(Kind::Failed, now), Some(Verdict::Down));
            assert_eq!(machine.succeeded(now, now), Some(Verdict::Up));
        }
    }
}
