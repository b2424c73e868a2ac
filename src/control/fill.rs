//! When the connection table's fill is worth a line in the log: thresholds that are crossed, and the beginning and the end of
//! what a full table does. Never a line per connection.

use std::time::{Duration, Instant};

use super::dataplane::WorkerHandle;
use super::status::Connections;
use crate::tables::DropReason;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Percent of all entries from which on something is said, in rising order.
const STEPS: [u64; 3] = [75, 90, 99];
/// Percent below a step before it counts as left: a table that hovers about it is not worth a line each second.
const SLACK: u64 = 5;
/// For this long nothing has happened when it is over.
const QUIET: Duration = Duration::from_secs(60);

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Percent of the entries in use, of the table that is fuller.
    pub percent: u64,
    /// Connections that gave way, since the start.
    pub displaced: u64,
    /// Frames of new connections that found no room, since the start.
    pub refused: u64,
}

impl Seen {
    /// Sums over the workers, whose tables have so many entries.
    pub fn of(workers: &[WorkerHandle], (max, max_ipv6): (u32, u32)) -> Self {
        let mut seen = Self::default();
        let mut tables = Connections { max: max.into(), max_ipv6: max_ipv6.into(), ..Connections::default() };
        for worker in workers {
            tables.active += worker.counters.connections_active.get();
            tables.active_ipv6 += worker.counters.connections_active_ipv6.get();
            seen.displaced += worker.counters.connections_displaced.get();
            seen.refused += worker.counters.dropped(DropReason::TableFull).get();
        }
        seen.percent = tables.percent();
        seen
    }
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The fill rose over a step.
    Filling(u64),
    /// It fell below the lowest of those that it was over.
    Easing(u64),
    /// Handshakes that are not complete and UDP flows whose client has not gone on are given up for new ones.
    GivingWay,
    /// New connections begin to be refused.
    Refusing,
    /// Neither has happened for [`QUIET`]: how many gave way and were refused.
    Over(u64, u64),
}

/// What has been said.
#[derive(Debug, Default)]
pub struct Fill {
    next: Option<Instant>,
    /// How many of [`STEPS`] it is over.
    over: usize,
    last: Seen,
    /// While the table is full: what had been counted before, and when something was last counted.
    episode: Option<(Seen, Instant)>,
    said: (bool, bool),
}

impl Fill {
    /// Whether it is time to look; then not again before [`LOOK`] has passed.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_none_or(|next| next <= now);
        if due {
            self.next = Some(now + LOOK);
        }
        due
    }

    /// What is to be said of `seen`.
    pub fn look(&mut self, seen: Seen, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        let percent = seen.percent;
        let risen = STEPS.iter().filter(|step| percent >= **step).count();
        let left = STEPS.iter().filter(|step| percent + SLACK >= **step).count();
        if risen > self.over {
            lines.push(Line::Filling(percent));
            self.over = risen;
        } else if left < self.over {
            lines.push(Line::Easing(percent));
            self.over = left;
        }
        self.look_for_pressure(seen, now, &mut lines);
        self.last = seen;
        lines
    }

    fn look_for_pressure(&mut self, seen: Seen, now: Instant, lines: &mut Vec<Line>) {
        let (gave_way, refused) = (seen.displaced > self.last.displaced, seen.refused > self.last.refused);
        if gave_way || refused {
            let before = self.episode.map_or(self.last, |(before, _)| before);
            self.episode = Some((before, now));
            if gave_way && !std::mem::replace(&mut self.said.0, true) {
                lines.push(Line::GivingWay);
            }
            if refused && !std::mem::replace(&mut self.said.1, true) {
                lines.push(Line::Refusing);
            }
        } else if let Some((before, _)) = self.episode.filter(|(_, last)| *last + QUIET <= now) {
            lines.push(Line::Over(seen.displaced - before.displaced, seen.refused - before.refused));
            (self.episode, self.said) = (None, (false, false));
        }
    }
}

impl Line {
    /// Writes it.
    pub fn log(&self) {
        match *self {
            Self::Filling(percent) => tracing::warn!(percent, "the connection table fills up"),
            Self::Easing(percent) => tracing::info!(percent, "the connection table empties"),
            Self::GivingWay => {
                tracing::warn!(
                    "the connection table is full: handshakes and UDP flows that are not confirmed give way"
                );
            }
            Self::Refusing => tracing::error!("the connection table is full: new connections are refused"),
            Self::Over(gave_way, refused) => {
                tracing::info!(gave_way, refused, "the connection table has room again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tables::{Mailbox, WorkerCounters};

    fn seen(percent: u64, displaced: u64, refused: u64) -> Seen {
        Seen { percent, displaced, refused }
    }

    #[test]
    fn the_fuller_of_two_tables_counts() {
        let counters = WorkerCounters::with_capacity(1, 1);
        counters.connections_active.add(90);
        let workers = [WorkerHandle { mailbox: Arc::new(Mailbox::default()), counters, core: None }];
        let percent = || Seen::of(&workers, (100, 25)).percent;
        assert_eq!(percent(), 90, "IPv4 connections have no place in the other");
        workers[0].counters.connections_active_ipv6.add(24);
        assert_eq!(percent(), 96, "66 of 100 and 24 of 25");
        assert_eq!(Seen::of(&workers, (0, 0)).percent, 0);
    }

    #[test]
    fn a_threshold_is_said_once_on_the_way_up_and_once_on_the_way_down() {
        let (mut fill, now) = (Fill::default(), Instant::now());
        let mut look = |active| fill.look(seen(active, 0, 0), now);
        assert_eq!(look(74), []);
        assert_eq!(look(75), [Line::Filling(75)]);
        for hovering in [74, 76, 70, 89] {
            assert_eq!(look(hovering), [], "{hovering}");
        }
        assert_eq!(look(100), [Line::Filling(100)], "two steps at once are one line");
        assert_eq!(look(93), [Line::Easing(93)]);
        assert_eq!(look(0), [Line::Easing(0)]);
        assert_eq!(look(0), []);
    }

    #[test]
    fn a_full_table_has_a_beginning_and_an_end() {
        let (mut fill, start) = (Fill::default(), Instant::now());
        let mut look = |seconds, displaced, refused| {
            fill.look(seen(10, displaced, refused), start + Duration::from_secs(seconds))
        };
        assert_eq!(look(0, 0, 0), []);
        assert_eq!(look(1, 100, 0), [Line::GivingWay]);
        assert_eq!(look(2, 900, 0), []);
        assert_eq!(look(3, 950, 7), [Line::Refusing]);
        assert_eq!(look(62, 950, 7), []);
        assert_eq!(look(63, 950, 7), [Line::Over(950, 7)]);
        assert_eq!(look(200, 950, 7), []);
        assert_eq!(look(201, 951, 7), [Line::GivingWay], "the next flood is said again");
    }

    #[test]
    fn it_is_looked_at_once_a_second_and_never_divides_by_nothing() {
        let (mut fill, now) = (Fill::default(), Instant::now());
        assert!(fill.is_due(now) && !fill.is_due(now + LOOK / 2) && fill.is_due(now + LOOK));
        assert_eq!(fill.look(Seen::default(), now), []);
    }
}
