//! What limits, budgets and access lists drop is told in the log: when it begins, once a minute while it lasts, and when it is
//! over. Never for a single frame.

use std::time::{Duration, Instant};

use crate::control::dataplane::WorkerHandle;
use crate::tables::DropReason;

/// Between two looks.
const TURN: Duration = Duration::from_secs(1);
/// Between two lines about the same reason while it lasts.
const AGAIN: Duration = Duration::from_secs(60);
/// After so long without a drop it is over.
const QUIET: Duration = Duration::from_secs(10);
/// The reasons that protection has.
const WATCHED: [DropReason; 8] = [
    DropReason::Denied,
    DropReason::RateLimited,
    DropReason::ClientFull,
    DropReason::BackendFull,
    DropReason::Policed,
    DropReason::IcmpBudget,
    DropReason::FragmentBudget,
    DropReason::BadCookie,
];

/// What was seen of one reason.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    dropped: u64,
    /// When there was last one more, while it lasts.
    last: Option<Instant>,
    /// As of when, and as of how many, it was last told.
    told: Option<(Instant, u64)>,
}

/// What is to be told of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It begins: so many so far.
    Begins(u64),
    /// It lasts: so many more since the last line.
    Lasts(u64),
    /// It is over: so many more since the last line.
    Over(u64),
}

/// The reasons, by their place in [`WATCHED`].
#[derive(Debug, Default)]
pub(super) struct Protection {
    seen: [Seen; WATCHED.len()],
    next: Option<Instant>,
}

impl Protection {
    /// Tells what has changed since the last look.
    pub(super) fn turn(&mut self, workers: &[WorkerHandle], now: Instant) {
        for (reason, line) in self.look(workers, now) {
            let (name, meaning) = (reason.name(), reason.explanation().trim());
            match line {
                Line::Begins(frames) => {
                    tracing::warn!(reason = name, frames, meaning, "protection drops frames");
                }
                Line::Lasts(frames) => {
                    tracing::warn!(reason = name, frames, "protection drops frames, in the last minute");
                }
                Line::Over(frames) => {
                    tracing::info!(reason = name, frames, "protection drops no more frames for this reason");
                }
            }
        }
    }

    fn look(&mut self, workers: &[WorkerHandle], now: Instant) -> Vec<(DropReason, Line)> {
        if self.next.is_some_and(|next| now < next) {
            return Vec::new();
        }
        self.next = Some(now + TURN);
        let mut lines = Vec::new();
        for (reason, seen) in WATCHED.into_iter().zip(&mut self.seen) {
            let dropped = workers.iter().map(|worker| worker.counters.dropped(reason).get()).sum();
            lines.extend(seen.look(dropped, now).map(|line| (reason, line)));
        }
        lines
    }
}

impl Seen {
    fn look(&mut self, dropped: u64, now: Instant) -> Option<Line> {
        let more = dropped.saturating_sub(self.dropped);
        self.dropped = dropped;
        if more > 0 {
            self.last = Some(now);
        }
        let line = match (self.told, self.last) {
            (None, Some(_)) => Line::Begins(more),
            (Some((_, before)), Some(last)) if now - last >= QUIET => {
                Line::Over(dropped - before.min(dropped))
            }
            (Some((at, before)), Some(_)) if now - at >= AGAIN => Line::Lasts(dropped - before.min(dropped)),
            _ => return None,
        };
        match line {
            Line::Over(_) => (self.told, self.last) = (None, None),
            _ => self.told = Some((now, dropped)),
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tables::{Mailbox, WorkerCounters};

    #[test]
    fn a_flood_of_drops_is_a_line_a_minute() {
        let handle = || WorkerHandle {
            mailbox: Arc::new(Mailbox::default()),
            counters: WorkerCounters::with_capacity(1, 1),
            core: None,
        };
        let workers = [handle(), handle()];
        let (mut protection, mut now) = (Protection::default(), Instant::now());
        let mut look = |dropped: u64| {
            now += TURN;
            workers[0].counters.dropped(DropReason::Denied).add(dropped);
            workers[1].counters.dropped(DropReason::Denied).add(dropped);
            // What is no matter of protection.
            workers[0].counters.dropped(DropReason::NoConnection).add(7);
            protection.look(&workers, now).into_iter().map(|(_, line)| line).collect::<Vec<_>>()
        };
        assert_eq!(look(0), []);
        assert_eq!(look(500), [Line::Begins(1000)]);
        let lines: Vec<_> = (0..120).flat_map(|_| look(1)).collect();
        assert_eq!(lines, [Line::Lasts(120), Line::Lasts(120)]);
        let lines: Vec<_> = (0..30).flat_map(|second| look(u64::from(second == 0))).collect();
        assert_eq!(lines, [Line::Over(2)]);
        assert_eq!(look(3), [Line::Begins(6)]);
    }

    /// A turn may come late, or twice at once.
    #[test]
    fn no_look_comes_too_early() {
        let mut protection = Protection::default();
        let now = Instant::now();
        assert!(protection.look(&[], now).is_empty() && protection.next == Some(now + TURN));
        assert!(protection.look(&[], now + TURN / 2).is_empty() && protection.next == Some(now + TURN));
    }
}
