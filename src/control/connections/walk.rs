//! The walk through the table: in slices, with long pauses, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::best::Best;
use super::{Killed, Listing, MOST_ROWS, Question, counted, row};
use crate::control::dataplane::DataPlane;
use crate::sys::clock;
use crate::tables::connection::{Tally, Wanted};
use crate::tables::{ConnectionName, SeenConnection, Snapshot};

/// Entries looked at in a row: 4096 × ~10 ns ≈ 40 µs.
const SLICE: u32 = 4096;
/// For each microsecond of looking, so many of rest: 2 % of one core.
const REST: u32 = 49;
/// Until an answer is given, complete or not: less than what an exchange over the control socket may take.
const LIMIT: Duration = Duration::from_secs(22);
/// Of that, what is left for workers to end the last ones.
const SETTLING: Duration = Duration::from_secs(1);
/// Between two looks at whether they have.
const PAUSE: Duration = Duration::from_millis(1);

/// Somebody else is at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connections are being looked through for somebody else: ask again in a few seconds")]
pub struct Busy;

/// Lets one walk at a time run, on a thread of its own.
#[derive(Debug, Clone)]
pub struct Walker {
    walks: Arc<Semaphore>,
    traces: Arc<Semaphore>,
}

impl Default for Walker {
    fn default() -> Self {
        Self { walks: Arc::new(Semaphore::new(1)), traces: Arc::new(Semaphore::new(1)) }
    }
}

/// Says at its end that nobody waits any more.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Walker {
    /// Runs a walk. It ends early once nobody waits for it any more.
    pub async fn walk<T: Send + 'static>(
        &self,
        walk: impl FnOnce(&Pace) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = Arc::clone(&self.walks).try_acquire_owned().map_err(|_| Busy)?;
        let waits = Waits(Arc::default());
        let pace = Pace { given_up: Arc::clone(&waits.0), until: Instant::now() + LIMIT };
        let walked = tokio::task::spawn_blocking(move || {
            let walked = walk(&pace);
            drop(place);
            walked
        });
        walked.await.map_err(|_| Busy)
    }

    /// Runs what takes a moment, one after the other.
    pub async fn trace<T: Send + 'static>(
        &self,
        trace: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = Arc::clone(&self.traces).acquire_owned().await.map_err(|_| Busy)?;
        let traced = tokio::task::spawn_blocking(move || {
            let traced = trace();
            drop(place);
            traced
        });
        traced.await.map_err(|_| Busy)
    }
}

/// How a walk goes.
#[derive(Debug)]
pub struct Pace {
    given_up: Arc<AtomicBool>,
    until: Instant,
}

impl Pace {
    fn is_over(&self, spare: Duration) -> bool {
        self.given_up.load(Ordering::Relaxed) || Instant::now() + spare > self.until
    }
}

/// Looks at all entries, as far as there is time. `slice` is one, from a position on: where to go on. How many were looked at.
fn walk(pace: &Pace, entries: u64, mut slice: impl FnMut(u64) -> Option<u64>) -> u64 {
    let mut from = 0;
    loop {
        // What this thread used, not what passed: on a busy core it waits for others.
        let before = clock::thread_cpu();
        let Some(next) = slice(from) else { return entries };
        from = next;
        if pace.is_over(SETTLING) {
            return from;
        }
        std::thread::sleep(clock::thread_cpu().saturating_sub(before) * REST);
    }
}

/// Lists or counts.
pub fn list(
    question: &Question,
    wanted: &Wanted,
    snapshot: &Snapshot,
    dataplane: &dyn DataPlane,
    pace: &Pace,
) -> Listing {
    let mut tally = Tally::new(snapshot.backends.len());
    let mut best = Best::new(question.sort, question.limit.min(MOST_ROWS), snapshot);
    let entries = dataplane.entries();
    let looked_at = walk(pace, entries, |from| {
        if best.is_full() {
            return dataplane.look((from, SLICE), wanted, &mut tally, None);
        }
        dataplane.look((from, SLICE), wanted, &mut tally, Some(&mut |seen| best.add(seen)))
    });
    let connections = best.into_sorted().map(|seen| row(&seen, snapshot)).collect();
    Listing { connections, looked_at, entries, ..counted(&tally, snapshot) }
}

/// Has the connections ended that are wanted.
pub fn kill(wanted: &Wanted, snapshot: &Snapshot, dataplane: &dyn DataPlane, pace: &Pace) -> Killed {
    let mut tally = Tally::new(snapshot.backends.len());
    let (entries, before) = (dataplane.entries(), so_far(dataplane));
    let (mut asked, mut refused) = (0, false);
    let mut found: Vec<(u16, ConnectionName)> = Vec::with_capacity(SLICE as usize);
    let looked_at = walk(pace, entries, |from| {
        let mut see = |seen: SeenConnection| found.push((seen.owner, seen.name));
        let next = dataplane.look((from, SLICE), wanted, &mut tally, Some(&mut see));
        for (owner, name) in found.drain(..) {
            let is_asked = ask(dataplane, owner, name, pace);
            (asked, refused) = (asked + u64::from(is_asked), refused || !is_asked);
        }
        dataplane.wake();
        next
    });
    while so_far(dataplane).0 - before.0 < asked && !pace.is_over(Duration::ZERO) {
        std::thread::sleep(PAUSE);
    }
    let (taken, ended) = so_far(dataplane);
    let complete = looked_at == entries && !refused && taken - before.0 >= asked;
    Killed { found: tally.total(), killed: ended - before.1, complete }
}

/// Asks the worker that owns a connection to end it; waits while too many wait there already.
fn ask(dataplane: &dyn DataPlane, owner: u16, name: ConnectionName, pace: &Pace) -> bool {
    let workers = dataplane.workers();
    let Some(worker) = workers.get(usize::from(owner) % workers.len().max(1)) else { return false };
    while !worker.mailbox.ends.ask(name) {
        if pace.is_over(Duration::ZERO) {
            return false;
        }
        dataplane.wake();
        std::thread::sleep(PAUSE);
    }
    true
}

/// How many the workers have taken up, and ended, since they began.
fn so_far(dataplane: &dyn DataPlane) -> (u64, u64) {
    let each = dataplane.workers().iter().map(|worker| worker.mailbox.ends.so_far());
    each.fold((0, 0), |sum, (taken, ended)| (sum.0 + taken, sum.1 + ended))
}
