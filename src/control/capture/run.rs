//! Taps into the workers and out again. Who captures is bounded in time, in memory and in number; the workers never wait.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use pcap_file::PcapError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::{Question, Writer};
use crate::control::dataplane::DataPlane;
use crate::tables::Snapshot;
use crate::tables::capture::{Ring, Tap, Wanted};

/// Memory for records of all workers, in bytes, and of one at the most.
const MEMORY: usize = 64 << 20;
const WORKER_MEMORY: usize = 8 << 20;
/// Fewest records of a worker: a batch.
const FEWEST_RECORDS: usize = 64;
/// Bytes of the answer that are sent at a time, and how many such pieces may wait for a slow reader.
const PIECE: usize = 1 << 16;
const PIECES: usize = 4;
/// Between two looks at workers that had nothing: at 500,000 frames a second, half of a worker's records.
const PAUSE: Duration = Duration::from_millis(2);
/// How often it is said how it stands.
const REPORT: Duration = Duration::from_secs(1);
/// How long a reader may take no piece, once time is up.
const GRACE: Duration = Duration::from_secs(5);
/// How long workers may take to take their taps, or to give them back: they look once per turn, and sleep at most 50 ms.
const TURN_LIMIT: Duration = Duration::from_secs(2);

/// Bytes that are kept for two more reports.
const END_BYTES: u64 = 256;

/// Somebody else is at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frames are being captured for somebody else: one capture at a time")]
pub struct Busy;

/// Lets one capture at a time run.
#[derive(Debug, Clone)]
pub struct Captures(Arc<Semaphore>);

impl Default for Captures {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Captures {
    /// Begins one, if there is none. What the answer consists of comes through the channel; the capture ends with it.
    pub fn begin(
        &self,
        question: Question,
        wanted: Wanted,
        dataplane: Arc<dyn DataPlane>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
    ) -> Result<mpsc::Receiver<Bytes>, Busy> {
        let place = Arc::clone(&self.0).try_acquire_owned().map_err(|_| Busy)?;
        let (pieces, answer) = mpsc::channel(PIECES);
        let capture = Capture::start(question, wanted, dataplane, snapshot, place);
        tokio::spawn(async move {
            if let Err(error) = capture.run(pieces).await {
                tracing::warn!(%error, "a capture failed");
            }
        });
        Ok(answer)
    }
}

/// A capture that runs. Workers are rid of it when this goes.
pub struct Capture {
    question: Question,
    dataplane: Arc<dyn DataPlane>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    rings: Vec<Arc<Ring>>,
    until: Instant,
    /// Bytes sent so far.
    sent: u64,
    _place: OwnedSemaphorePermit,
}

/// Why a capture ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Time,
    Count,
    Size,
    Gone,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Time => "seconds",
            Self::Count => "count",
            Self::Size => "size",
            Self::Gone => "nobody reads it any more",
        }
    }
}

impl Capture {
    fn start(
        question: Question,
        wanted: Wanted,
        dataplane: Arc<dyn DataPlane>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let workers = dataplane.workers();
        let snaplen = usize::from(question.snaplen);
        let memory = (MEMORY / workers.len().max(1)).min(WORKER_MEMORY);
        let records = (memory / (2 * snaplen)).max(FEWEST_RECORDS);
        let ring = |_: &_| Arc::new(Ring::new(records, snaplen));
        let rings: Vec<_> = workers.iter().map(ring).collect();
        for (worker, ring) in workers.iter().zip(&rings) {
            let tap = Tap::new(wanted.clone(), Arc::clone(ring), snaplen);
            worker.mailbox.taps.hand(Some(Box::new(tap)));
        }
        dataplane.wake();
        tracing::info!(filter = ?question.filter, seconds = question.seconds, "capturing frames");
        let until = Instant::now() + Duration::from_secs(question.seconds.into());
        Self { question, dataplane, snapshot, rings, until, sent: 0, _place: place }
    }

    /// Sends what comes until a limit is reached.
    async fn run(mut self, pieces: mpsc::Sender<Bytes>) -> Result<(), PcapError> {
        let origin = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default() - self.dataplane.clock();
        let mut writer = Writer::new(&self.newest(), self.question.snaplen, origin.as_nanos() as u64)?;
        self.begun().await;
        let mut report = Instant::now() + REPORT;
        let end = loop {
            let (more, full) = self.drain(&mut writer)?;
            if report <= Instant::now() && full.is_none() {
                report = Instant::now() + REPORT;
                self.report(&mut writer, None)?;
            }
            if !self.send(&mut writer, &pieces).await {
                break End::Gone;
            }
            match full {
                Some(end) => break end,
                None if Instant::now() >= self.until => break End::Time,
                None if !more => tokio::time::sleep(PAUSE).await,
                None => {}
            }
        };
        self.stop().await;
        if end == End::Time {
            while let (true, None) = self.drain(&mut writer)? {
                if !self.send(&mut writer, &pieces).await {
                    break;
                }
            }
        }
        self.report(&mut writer, Some(end.name()))?;
        let _ = self.send(&mut writer, &pieces).await;
        let (matched, lost) = self.sums();
        tracing::info!(frames = writer.frames(), matched, lost, ended = end.name(), "the capture is over");
        Ok(())
    }

    /// Waits until all workers capture: who sees the head of the file need wait for nothing else.
    async fn begun(&self) {
        let limit = Instant::now() + TURN_LIMIT;
        for worker in self.dataplane.workers() {
            while !worker.mailbox.taps.is_taken() && Instant::now() < limit {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Writes what workers have, a piece at the most. Whether there is more, and which limit is reached.
    fn drain(&self, writer: &mut Writer) -> Result<(bool, Option<End>), PcapError> {
        let snapshot = self.newest();
        let Question { count, size, .. } = &self.question;
        loop {
            let mut came = false;
            for (worker, ring) in self.rings.iter().enumerate() {
                let Some(record) = ring.take() else { continue };
                came = true;
                let before = writer.waiting();
                let written = writer.record(&record, worker, &snapshot);
                ring.give_back(record);
                written?;
                if size.is_some_and(|size| self.sent + writer.waiting() as u64 + END_BYTES > size) {
                    writer.undo(before);
                    return Ok((true, Some(End::Size)));
                }
                if count.is_some_and(|count| writer.frames() >= count) {
                    return Ok((true, Some(End::Count)));
                }
            }
            if !came || writer.waiting() >= PIECE {
                return Ok((came, None));
            }
        }
    }

    /// Frames that matched, and those of them that were lost.
    fn sums(&self) -> (u64, u64) {
        let each = self.rings.iter().map(|ring| (ring.matched.get(), ring.lost.get()));
        each.fold((0, 0), |sum, (matched, lost)| (sum.0 + matched, sum.1 + lost))
    }

    fn report(&self, writer: &mut Writer, ended: Option<&str>) -> Result<(), PcapError> {
        let (matched, lost) = self.sums();
        writer.statistics(matched, lost, self.dataplane.clock().as_nanos() as u64, ended)
    }

    /// Sends what was written. Whether anybody took it.
    async fn send(&mut self, writer: &mut Writer, pieces: &mpsc::Sender<Bytes>) -> bool {
        if writer.waiting() == 0 {
            return !pieces.is_closed();
        }
        let piece = Bytes::from(writer.take());
        self.sent += piece.len() as u64;
        let until = self.until.max(Instant::now()) + GRACE;
        matches!(tokio::time::timeout_at(until, pieces.send(piece)).await, Ok(Ok(())))
    }

    /// Has the workers give their taps back.
    async fn stop(&self) {
        let limit = Instant::now() + TURN_LIMIT;
        self.untap();
        for worker in self.dataplane.workers() {
            while !worker.mailbox.taps.collect() && Instant::now() < limit {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn untap(&self) {
        for worker in self.dataplane.workers() {
            worker.mailbox.taps.hand(None);
        }
        self.dataplane.wake();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Where it was given up in the middle; otherwise there is nothing left to take.
        self.untap();
    }
}
