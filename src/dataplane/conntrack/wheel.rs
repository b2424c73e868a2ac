//! When to look at which connection again.
//!
//! A wheel of lists of entry positions, one per slot of about a second. Frames only note when their connection was
//! last seen; the wheel looks at it at the latest every [`HORIZON`], and either re-arms it or lets it go. So a
//! connection costs the packet path one store per tick, and a timer that got shorter (a FIN came) takes effect within
//! the horizon. The lists are linked through the entries themselves and belong to one worker.
//!
//! A list is walked from one cache miss to the next. So each slot has several, which are filled and emptied in turn: when one
//! is taken from, its next entry is asked for, and has come by the time that it is its turn again.

use crate::tables::Coarse;

use super::sync::{AtomicU32, Ordering};

/// Coarse units per slot: 16 × 64 ms = 1.024 s.
const SLOT: u32 = 16;
/// Slots: a power of two larger than the horizon.
const SLOTS: usize = 64;
/// At the latest after 28 slots ≈ 29 s an entry is looked at again.
pub const HORIZON: u32 = 28 * SLOT;
const NONE: u32 = u32::MAX;
/// Lists per slot: a cache miss of 120 ns ÷ 8 is about what is done with an entry.
const LISTS: usize = 8;

/// One worker's wheel.
#[derive(Debug)]
pub struct Wheel {
    heads: Box<[[u32; LISTS]; SLOTS]>,
    /// Which lists are next to be added to, and to be taken from.
    filling: usize,
    emptying: usize,
    /// The slot that is being emptied, in slots since the origin.
    slot: u32,
}

/// The link that belongs to an entry.
pub trait Links {
    /// The link of the entry at `position`.
    fn link(&self, position: u32) -> &AtomicU32;
    /// Asks for it ahead of its use. Of none that exists, nothing happens.
    fn prefetch(&self, _position: u32) {}
}

impl Wheel {
    /// An empty wheel that starts at `now`.
    pub fn new(now: Coarse) -> Self {
        let heads = Box::new([[NONE; LISTS]; SLOTS]);
        Self { heads, filling: 0, emptying: 0, slot: now.0 / SLOT }
    }

    /// Asks to look at `position` after `delay` coarse units (at least one slot, at most the horizon).
    #[inline(always)]
    pub fn arm(&mut self, links: &impl Links, position: u32, now: Coarse, delay: u32) {
        self.arm_link(links.link(position), position, now, delay);
    }

    /// The same where the link of `position` is at hand.
    #[inline(always)]
    pub fn arm_link(&mut self, link: &AtomicU32, position: u32, now: Coarse, delay: u32) {
        let due = now.0.wrapping_add(delay.min(HORIZON)) / SLOT + 1;
        // A wheel that lags behind must not be handed slots further away than it is long.
        let due = due.max(self.slot + 1).min(self.slot + SLOTS as u32 - 1);
        self.filling = (self.filling + 1) % LISTS;
        let head = &mut self.heads[due as usize % SLOTS][self.filling];
        link.store(*head, Ordering::Relaxed);
        *head = position;
    }

    /// The next entry that is due, if any.
    pub fn next_due(&mut self, links: &impl Links, now: Coarse) -> Option<u32> {
        let current = now.0 / SLOT;
        loop {
            let heads = &mut self.heads[self.slot as usize % SLOTS];
            for _ in 0..LISTS {
                self.emptying = (self.emptying + 1) % LISTS;
                let head = &mut heads[self.emptying];
                if *head != NONE {
                    let position = *head;
                    *head = links.link(position).load(Ordering::Relaxed);
                    links.prefetch(*head);
                    return Some(position);
                }
            }
            if self.slot >= current {
                return None;
            }
            // After a long sleep every list is visited once at most: a full turn empties all of them.
            self.slot = (self.slot + 1).max(current.saturating_sub(SLOTS as u32 - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List(Vec<AtomicU32>);

    impl Links for List {
        fn link(&self, position: u32) -> &AtomicU32 {
            &self.0[position as usize]
        }
    }

    fn list(len: usize) -> List {
        List((0..len).map(|_| AtomicU32::new(0)).collect())
    }

    #[test]
    fn entries_come_when_due_and_not_before() {
        let links = list(3);
        let mut wheel = Wheel::new(Coarse(1000));
        for (position, delay) in [(0, 16), (1, 160), (2, 160)] {
            wheel.arm(&links, position, Coarse(1000), delay);
        }
        let mut seen = Vec::new();
        for now in 1000..1400 {
            while let Some(position) = wheel.next_due(&links, Coarse(now)) {
                seen.push((position, now - 1000));
            }
        }
        seen.sort_unstable();
        assert_eq!(seen.iter().map(|(p, _)| *p).collect::<Vec<_>>(), [0, 1, 2]);
        for (position, delay) in seen {
            let wanted = if position == 0 { 16 } else { 160 };
            assert!((wanted..=wanted + 2 * SLOT).contains(&delay), "{position} after {delay}");
        }
    }

    /// The lists of a slot are emptied in turn, whatever their lengths.
    #[test]
    fn no_entry_stays_in_a_list_of_its_slot() {
        for count in 0..3 * LISTS as u32 {
            let links = list(count as usize);
            let mut wheel = Wheel::new(Coarse(0));
            (0..count).for_each(|position| wheel.arm(&links, position, Coarse(0), 16));
            let mut seen: Vec<u32> =
                std::iter::from_fn(|| wheel.next_due(&links, Coarse(3 * SLOT))).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_horizon_caps_a_long_timer() {
        let links = list(1);
        let mut wheel = Wheel::new(Coarse(0));
        wheel.arm(&links, 0, Coarse(0), 1_000_000);
        assert_eq!(wheel.next_due(&links, Coarse(HORIZON)), None);
        assert_eq!(wheel.next_due(&links, Coarse(HORIZON + 2 * SLOT)), Some(0));
    }

    #[test]
    fn a_sleep_longer_than_the_wheel_loses_nothing() {
        let links = list(50);
        let mut wheel = Wheel::new(Coarse(0));
        for position in 0..50 {
            wheel.arm(&links, position, Coarse(0), position * 9);
        }
        let mut seen = 0;
        while wheel.next_due(&links, Coarse(10_000_000)).is_some() {
            seen += 1;
        }
        assert_eq!(seen, 50);
    }

    #[test]
    fn arming_while_lagging_is_still_due_later() {
        let links = list(2);
        let mut wheel = Wheel::new(Coarse(0));
        wheel.arm(&links, 0, Coarse(0), 0);
        assert_eq!(wheel.next_due(&links, Coarse(5000)), Some(0));
        wheel.arm(&links, 0, Coarse(5000), 16);
        wheel.arm(&links, 1, Coarse(5000), 100);
        let mut seen = Vec::new();
        for now in 5000..6000 {
            while let Some(position) = wheel.next_due(&links, Coarse(now)) {
                seen.push(position);
            }
        }
        assert_eq!(seen, [0, 1]);
    }
}
