//! What is known of every backend at this moment, by whoever picks one: connections open, how fast it answers, and the
//! failures that the traffic showed.
//!
//! Open connections are counted by each worker in a row of its own, so that nobody waits for a cache line of another, and
//! summed by whoever asks. A connection is open from its first frame until both ends are done with it: what lingers
//! afterwards (TIME-WAIT, a reset) weighs nothing. Response times and failures are rare enough to be shared.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use super::BackendId;

/// A failure to take a connection that was seen in the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Failure {
    /// The backend answered a SYN with a reset.
    Refused = 0,
    /// The client had to repeat its SYN: nothing came back.
    Unanswered = 1,
    /// An ICMP error said that the backend cannot be reached.
    Unreachable = 2,
}

impl Failure {
    /// Whether the backend's side said so. That nothing came back, a client alone can bring about.
    pub const fn is_told(self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable)
    }
}

/// Failures of one backend since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    /// By [`Failure`].
    pub seen: [u32; 3],
    /// Since it last answered a SYN or passed a check.
    pub in_a_row: u32,
    /// Of those, failures of which the backend's side told.
    pub told_in_a_row: u32,
}

/// The share of a new measurement in the smoothed response time: 1/8, as TCP smooths its round-trip time (RFC 6298 §2).
const SMOOTHING: u32 = 3;

/// One backend, as far as it is shared by all workers.
#[derive(Debug, Default)]
struct Shared {
    connect_us: AtomicU32,
    answers: AtomicU32,
    probe_us: AtomicU32,
    failures: [AtomicU32; 3],
    in_a_row: AtomicU32,
    told_in_a_row: AtomicU32,
}

impl Shared {
    /// Written only where it says something else: all workers read it.
    #[inline]
    fn serves(&self) {
        for row in [&self.in_a_row, &self.told_in_a_row] {
            if row.load(Ordering::Relaxed) != 0 {
                row.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// What is known of every backend row.
#[derive(Debug)]
pub struct Loads {
    open: Box<[Box<[AtomicI32]>]>,
    backends: Box<[Shared]>,
}

impl Loads {
    /// Nothing known yet of so many backend rows, for so many workers.
    pub fn new(workers: u16, backends: usize) -> Self {
        let row = || (0..backends).map(|_| AtomicI32::new(0)).collect();
        Self {
            open: (0..workers.max(1)).map(|_| row()).collect(),
            backends: (0..backends).map(|_| Shared::default()).collect(),
        }
    }

    /// The same at this moment, as one worker would know it, for trying something.
    #[must_use]
    pub fn copied(&self) -> Self {
        let same = |cell: &AtomicU32| AtomicU32::new(cell.load(Ordering::Relaxed));
        let shared = |backend: &Shared| Shared {
            connect_us: same(&backend.connect_us),
            answers: same(&backend.answers),
            probe_us: same(&backend.probe_us),
            failures: backend.failures.each_ref().map(same),
            in_a_row: same(&backend.in_a_row),
            told_in_a_row: same(&backend.told_in_a_row),
        };
        let open =
            (0..).map(BackendId).take(self.backends.len()).map(|id| AtomicI32::new(self.open(id) as i32));
        Self { open: [open.collect()].into(), backends: self.backends.iter().map(shared).collect() }
    }

    /// Counts a connection that `worker` saw begin. Only that worker may say so.
    #[inline]
    pub fn opened(&self, worker: u16, id: BackendId) {
        self.add(worker, id, 1);
    }

    /// Counts a connection that `worker` saw end, whoever saw it begin. Only that worker may say so.
    #[inline]
    pub fn closed(&self, worker: u16, id: BackendId) {
        self.add(worker, id, -1);
    }

    #[inline]
    fn add(&self, worker: u16, id: BackendId, change: i32) {
        if let Some(cell) = self.open.get(usize::from(worker)).and_then(|row| row.get(id.index())) {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
        }
    }

    /// Connections that are open, at all workers. Counts on while it is read.
    #[inline]
    pub fn open(&self, id: BackendId) -> u32 {
        let cells = self.open.iter().filter_map(|row| row.get(id.index()));
        cells.fold(0i32, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed))).max(0) as u32
    }

    /// Notes how long the backend took to answer a SYN, in microseconds. It has answered: failures are counted anew.
    #[inline]
    pub fn answered(&self, id: BackendId, microseconds: u32) {
        let Some(backend) = self.backends.get(id.index()) else { return };
        smooth(&backend.connect_us, microseconds);
        // Of two workers that do this at once one is lost: it says that there are answers, not how many.
        backend.answers.store(backend.answers.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        backend.serves();
    }

    /// Notes that the backend passed a health check. Failures are counted anew: of UDP, and where answers do not pass the
    /// switch, nothing else shows that it serves.
    pub fn passed(&self, id: BackendId) {
        if let Some(backend) = self.backends.get(id.index()) {
            backend.serves();
        }
    }

    /// Notes how long the backend took to answer a health check, in microseconds.
    pub fn probed(&self, id: BackendId, microseconds: u32) {
        if let Some(backend) = self.backends.get(id.index()) {
            smooth(&backend.probe_us, microseconds);
        }
    }

    /// Changes with every SYN that the backend answers.
    pub fn answers(&self, id: BackendId) -> u32 {
        self.backends.get(id.index()).map_or(0, |backend| backend.answers.load(Ordering::Relaxed))
    }

    /// Lets what was measured in the traffic fade, for a backend that gets none: it may have become faster.
    pub fn fade(&self, id: BackendId) {
        if let Some(backend) = self.backends.get(id.index()) {
            let before = backend.connect_us.load(Ordering::Relaxed);
            backend.connect_us.store(before - before.div_ceil(1 << SMOOTHING), Ordering::Relaxed);
        }
    }

    /// Microseconds to answer, measured by checks and in the traffic together; 0 while nothing is known.
    #[inline]
    pub fn response_us(&self, id: BackendId) -> u32 {
        let Some(backend) = self.backends.get(id.index()) else { return 0 };
        backend.connect_us.load(Ordering::Relaxed).saturating_add(backend.probe_us.load(Ordering::Relaxed))
    }

    /// Smoothed microseconds from SYN to SYN-ACK, as seen in the traffic.
    pub fn connect_us(&self, id: BackendId) -> u32 {
        self.backends.get(id.index()).map_or(0, |backend| backend.connect_us.load(Ordering::Relaxed))
    }

    /// Notes a failure that was seen in the traffic. How many in a row that makes; of one that the backend's side told of,
    /// how many of those.
    pub fn failed(&self, id: BackendId, failure: Failure) -> u32 {
        let Some(backend) = self.backends.get(id.index()) else { return 0 };
        let next = |cell: &AtomicU32| cell.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        next(&backend.failures[failure as usize]);
        let in_a_row = next(&backend.in_a_row);
        if failure.is_told() { next(&backend.told_in_a_row) } else { in_a_row }
    }

    /// Failures seen so far.
    pub fn failures(&self, id: BackendId) -> Failures {
        self.backends.get(id.index()).map_or_else(Failures::default, |backend| Failures {
            seen: std::array::from_fn(|kind| backend.failures[kind].load(Ordering::Relaxed)),
            in_a_row: backend.in_a_row.load(Ordering::Relaxed),
            told_in_a_row: backend.told_in_a_row.load(Ordering::Relaxed),
        })
    }

    /// Forgets what was measured of a row that another backend has from now on. Open connections are not forgotten: a row
    /// changes hands only when it has none.
    pub fn forget(&self, id: BackendId) {
        if let Some(backend) = self.backends.get(id.index()) {
            let cells = [&backend.connect_us, &backend.probe_us, &backend.in_a_row, &backend.told_in_a_row];
            for cell in cells.into_iter().chain(&backend.failures) {
                cell.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// Two workers may do this at once and one measurement is lost: there will be others.
#[inline]
fn smooth(cell: &AtomicU32, measured: u32) {
    let (before, measured) = (cell.load(Ordering::Relaxed), measured.max(1));
    let after = match before {
        0 => measured,
        _ => (before - (before >> SMOOTHING)).saturating_add((measured >> SMOOTHING).max(1)),
    };
    cell.store(after, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BackendId = BackendId(3);

    #[test]
    fn what_one_worker_opens_another_may_close() {
        let loads = Loads::new(2, 8);
        loads.opened(0, ID);
        loads.opened(0, ID);
        loads.closed(1, ID);
        assert_eq!(loads.open(ID), 1);
        loads.closed(1, ID);
        assert_eq!((loads.open(ID), loads.open(BackendId(4)), loads.open(BackendId(99))), (0, 0, 0));
    }

    #[test]
    fn response_times_are_smoothed_and_fade() {
        let loads = Loads::new(1, 8);
        loads.answered(ID, 800);
        assert_eq!(loads.response_us(ID), 800, "the first is taken as it is");
        loads.answered(ID, 1600);
        assert_eq!(loads.response_us(ID), 900);
        loads.probed(ID, 100);
        assert_eq!((loads.response_us(ID), loads.connect_us(ID)), (1000, 900));
        for _ in 0..200 {
            loads.fade(ID);
        }
        assert_eq!(loads.response_us(ID), 100);
    }

    #[test]
    fn an_answer_and_a_passed_check_end_a_row_of_failures() {
        let loads = Loads::new(1, 8);
        let failures = |seen, in_a_row, told_in_a_row| Failures { seen, in_a_row, told_in_a_row };
        assert_eq!((loads.failed(ID, Failure::Refused), loads.failed(ID, Failure::Unanswered)), (1, 2));
        assert_eq!(loads.failures(ID), failures([1, 1, 0], 2, 1));
        loads.answered(ID, 5);
        assert_eq!(loads.failures(ID), failures([1, 1, 0], 0, 0));
        assert_eq!((loads.failed(ID, Failure::Unanswered), loads.failed(ID, Failure::Unreachable)), (1, 1));
        assert_eq!((loads.failed(ID, Failure::Unreachable), loads.failed(ID, Failure::Unanswered)), (2, 4));
        loads.passed(ID);
        assert_eq!(loads.failures(ID), failures([1, 3, 2], 0, 0));
    }
}
