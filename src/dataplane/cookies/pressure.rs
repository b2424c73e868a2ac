//! When cookies are needed: one worker's count of the handshakes of a service that began and did not complete.
//!
//! ```text
//!           in this and the last period more than the budget, or no free entry
//!     off ─────────────────────────────────────────────────────────────────────▶ on
//!         ◀─────────────────────────────────────────────────────────────────────
//!           a whole period with less than half of it, and free entries
//! ```
//!
//! A cookie that is sent counts like a SYN that is admitted, and one that comes back like a handshake that completes: so a flood keeps
//! them on, and its end turns them off.

use crate::tables::Tick;

/// Bits of a [`Tick`] in a period: 4,096 ms. A client has completed its handshake by then, or lost a frame twice.
const PERIOD: u32 = 12;
/// The same in milliseconds.
pub const PERIOD_MS: u64 = 1 << PERIOD;

/// The handshakes of one service at one worker.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    period: u32,
    /// Begun and not completed in this and the last period, by its parity.
    pending: [i32; 2],
    on: bool,
}

impl Meter {
    /// A client begins a handshake: whether it is to be answered with a cookie. `budget` are the handshakes that may be
    /// pending, `scarce` says that there are no free entries.
    pub fn begun(&mut self, budget: u32, scarce: bool, now: Tick) -> bool {
        self.roll(budget, scarce, now);
        self.count(1);
        let pending = i64::from(self.pending[0]) + i64::from(self.pending[1]);
        self.on |= scarce || pending > i64::from(budget);
        self.on
    }

    /// A client completed one.
    pub fn completed(&mut self, budget: u32, now: Tick) {
        self.roll(budget, false, now);
        self.count(-1);
    }

    /// Takes over that they are on.
    pub fn press(&mut self, now: Tick) {
        (self.period, self.on) = ((now.0 >> PERIOD) as u32, true);
    }

    /// Whether cookies are on.
    pub fn is_on(&self) -> bool {
        self.on
    }

    fn count(&mut self, amount: i32) {
        let cell = &mut self.pending[(self.period & 1) as usize];
        *cell = cell.saturating_add(amount);
    }

    /// Takes up the period of `now`.
    fn roll(&mut self, budget: u32, scarce: bool, now: Tick) {
        let period = (now.0 >> PERIOD) as u32;
        match period.wrapping_sub(self.period) {
            0 => return,
            1 => {
                let ended = self.pending[(self.period & 1) as usize];
                self.on &= scarce || i64::from(ended) * 2 >= i64::from(budget);
                self.pending[(period & 1) as usize] = 0;
            }
            // Nobody came in all of the last one.
            _ => (self.on, self.pending) = (self.on && scarce, [0; 2]),
        }
        self.period = period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u32 = 100;

    fn flood(meter: &mut Meter, count: u32, now: Tick) -> bool {
        (0..count).fold(meter.is_on(), |_, _| meter.begun(BUDGET, false, now))
    }

    #[test]
    fn clients_that_complete_are_no_pressure() {
        let mut meter = Meter::default();
        for at in 0..100_000u64 {
            assert!(!meter.begun(BUDGET, false, Tick(at)));
            if at >= 50 {
                // As long as 50 handshakes take.
                meter.completed(BUDGET, Tick(at));
            }
        }
    }

    #[test]
    fn a_flood_turns_them_on_and_its_end_off() {
        let mut meter = Meter::default();
        assert!(!flood(&mut meter, BUDGET, Tick(0)), "as many as may be");
        assert!(flood(&mut meter, 1, Tick(1)), "one more");
        for period in 1..20 {
            assert!(flood(&mut meter, BUDGET / 2, Tick(period << PERIOD)), "half of it keeps them on");
        }
        assert!(flood(&mut meter, 1, Tick(20 << PERIOD)), "the last period was still one of flood");
        assert!(!flood(&mut meter, 1, Tick(21 << PERIOD)), "this one was not");
        assert!(!flood(&mut meter, BUDGET - 2, Tick(21 << PERIOD)));
        assert!(flood(&mut meter, 1 + BUDGET, Tick(21 << PERIOD)));
        assert!(!flood(&mut meter, 1, Tick(23 << PERIOD)), "nobody came for a whole period");
    }

    #[test]
    fn without_free_entries_they_are_on() {
        let mut meter = Meter::default();
        assert!(meter.begun(BUDGET, true, Tick(0)));
        assert!(meter.begun(BUDGET, true, Tick(1 << PERIOD)));
        assert!(!meter.begun(BUDGET, false, Tick(2 << PERIOD)));
    }

    #[test]
    fn completions_of_an_earlier_period_do_not_add_up() {
        let mut meter = Meter::default();
        for _ in 0..10 * BUDGET {
            meter.completed(BUDGET, Tick(0));
        }
        assert!(!flood(&mut meter, BUDGET, Tick(2 << PERIOD)));
        assert!(flood(&mut meter, 1, Tick(2 << PERIOD)));
    }
}
