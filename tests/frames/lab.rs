//! The data path with an arena of frames under it, and every invariant looked at after every batch.

use std::sync::Arc;

use xswitch::config;
use xswitch::control::compile::compile_static;
use xswitch::dataplane::conntrack::EXPIRY_BUDGET;
use xswitch::dataplane::fragments::waiting::WAITING;
use xswitch::dataplane::turn::SPARES;
use xswitch::dataplane::{BATCH, Batch, FlowTables, Flows, Secret, Verdict, capture, process, settle};
use xswitch::tables::capture::{Record, Ring, Tap, Wanted};
use xswitch::tables::{Event, InterfaceId, Snapshot, Tick, Ways, WorkerCounters};
use xswitch::xsk::memory::Arena;

/// Datagrams in fragments that the data path tracks at once.
const FRAGMENTED: u32 = 64;

/// One worker's data path.
pub struct Lab {
    pub snapshot: Snapshot,
    pub flows: Flows,
    pub counters: Arc<WorkerCounters>,
    pub now: Tick,
    /// Raised by the last batch.
    pub events: Vec<Event>,
    /// Bytes in front of frames that arrive, as the XDP program makes them for tunnels.
    pub room: usize,
    /// Where somebody captures.
    tap: Option<Box<Tap>>,
    arena: Arena,
    batch: Batch,
}

/// What became of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub bytes: Vec<u8>,
}

/// The snapshot of a configuration.
pub fn compile(text: &str) -> Snapshot {
    let loaded = config::parse(text, "test").unwrap_or_else(|error| panic!("{error}"));
    compile_static(&loaded.config).unwrap().0
}

impl Lab {
    /// A data path with this configuration and a table for `connections`.
    pub fn new(text: &str, connections: u32) -> Self {
        Self::of(compile(text), connections)
    }

    /// The same with a snapshot that exists already.
    pub fn of(snapshot: Snapshot, connections: u32) -> Self {
        let rows = snapshot.services.len().max(snapshot.backends.len());
        Self::with_rows(snapshot, connections, rows)
    }

    /// The same with counters for `rows` services and backends, for snapshots to come.
    pub fn with_rows(snapshot: Snapshot, connections: u32, rows: usize) -> Self {
        let table = Arc::new(FlowTables::new(connections, connections, FRAGMENTED, 1, Secret::from_seed(1)));
        Self {
            flows: Flows::join(table, 1, Tick(0)),
            counters: WorkerCounters::with_capacity(rows, rows),
            now: Tick(0),
            events: Vec::with_capacity(BATCH),
            arena: Arena::new(BATCH + SPARES + WAITING),
            batch: Batch::new(true),
            room: 0,
            tap: None,
            snapshot,
        }
    }

    /// The same without ways that are written out: every frame is looked at in full.
    pub fn without_ways(mut self) -> Self {
        self.snapshot.ways = Ways::none();
        self
    }

    /// The same for frames that came through AF_XDP, which has no way back into the kernel.
    pub fn without_kernel(mut self) -> Self {
        self.batch = Batch::new(false);
        self
    }

    /// The same for frames that arrive with `room` bytes in front of them, as the XDP program makes it for tunnels.
    pub fn with_room(mut self, room: usize) -> Self {
        self.room = room;
        self
    }

    /// The same while somebody captures: a worker's tap with room for this many frames.
    pub fn tapped(mut self, wanted: Wanted, records: usize) -> Self {
        self.tap = Some(Box::new(Tap::new(wanted, Arc::new(Ring::new(records, 2048)), 2048)));
        self
    }

    /// What was captured since the last call, and the numbers of frames that matched and that were lost so far.
    pub fn captured(&mut self) -> (Vec<Record>, u64, u64) {
        let ring = &self.tap.as_ref().expect("it is tapped").ring;
        let mut records = Vec::new();
        while let Some(record) = ring.take() {
            records.push(record.clone());
            ring.give_back(record);
        }
        (records, ring.matched.get(), ring.lost.get())
    }

    /// Sends one frame.
    pub fn send(&mut self, ingress: InterfaceId, frame: &[u8]) -> Outcome {
        let mut outcomes = self.send_all(ingress, &[frame]);
        outcomes.pop().expect("the frame does not wait")
    }

    /// Sends frames as one batch. What came out, which may be more or less than that: packets leave in pieces, fragments
    /// wait.
    pub fn send_all(&mut self, ingress: InterfaceId, frames: &[impl AsRef<[u8]>]) -> Vec<Outcome> {
        for frame in frames {
            self.add(ingress, frame.as_ref());
        }
        let mut outcomes = Vec::new();
        self.run(|verdict, bytes| outcomes.push(Outcome { verdict, bytes: bytes.to_vec() }));
        outcomes
    }

    /// How many fragments wait for the first of their datagram.
    pub fn waiting(&self) -> usize {
        self.batch.waiting()
    }

    /// Adds one frame to the batch that [`Lab::run`] will process.
    pub fn add(&mut self, ingress: InterfaceId, frame: &[u8]) {
        self.place(ingress, frame);
    }

    /// The same; returns where its bytes lie: what comes out at that place is the same frame.
    pub fn place(&mut self, ingress: InterfaceId, frame: &[u8]) -> *const u8 {
        let frame = self
            .arena
            .frame_with_room(self.room, frame)
            .expect("a frame fits a chunk and a batch fits the arena");
        let place = frame.bytes().as_ptr();
        if let Err(frame) = self.batch.push(frame, ingress) {
            self.arena.give_back(frame);
            panic!("the batch is full");
        }
        place
    }

    /// How many more frames the batch takes.
    pub fn room(&self) -> usize {
        self.batch.room()
    }

    /// Processes the batch; `seen` learns of every frame in the order they came, then of those that it released or made.
    pub fn run(&mut self, mut seen: impl FnMut(Verdict, &[u8])) {
        let arena = &mut self.arena;
        self.batch.lend(|| arena.frame(&[]));
        if let Some(tap) = &mut self.tap {
            capture::before(tap, &mut self.batch, 1);
        }
        process(&mut self.batch, &self.snapshot, &mut self.flows, self.now, &self.counters);
        if let Some(tap) = &mut self.tap {
            capture::after(tap, &mut self.batch, (&self.snapshot, &self.flows), 2);
        }
        for (frame, verdict) in self.batch.drain() {
            let verdict = verdict.expect("every frame has a verdict");
            seen(verdict, frame.bytes());
            if let Some(tap) = &mut self.tap {
                capture::settle(tap, verdict);
            }
            self.arena.give_back(frame);
            settle(verdict, &self.counters);
        }
        for frame in self.batch.take_back() {
            self.arena.give_back(frame);
        }
        self.events.clear();
        self.events.extend(self.batch.drain_events());
        assert_eq!(self.arena.outstanding(), self.batch.waiting(), "a frame was lost");
        assert_eq!(
            self.counters.unexplained(),
            0,
            "received + created = forwarded + replied + to_kernel + dropped + held"
        );
    }

    /// Lets time pass, and connections expire as a worker's loop has it.
    pub fn pass(&mut self, milliseconds: u64) {
        self.now = self.now.after(milliseconds);
        let timeouts = &self.snapshot.timeouts;
        while self.flows.expire(self.now, timeouts, &self.counters, EXPIRY_BUDGET) == EXPIRY_BUDGET {}
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for frame in self.batch.take_waiting() {
            self.arena.give_back(frame);
        }
    }
}
