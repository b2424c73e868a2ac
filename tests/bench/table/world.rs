//! The data path over memory: tables, and one driver per worker that stands in for the rings.

use std::sync::Arc;
use std::time::Instant;

use xswitch::dataplane::conntrack::EXPIRY_BUDGET;
use xswitch::dataplane::{BATCH, Batch, FlowTables, Flows, Secret, Verdict, process, settle};
use xswitch::tables::{Loads, Snapshot, Tick, WorkerCounters};
use xswitch::wire::tcp::Flags;
use xswitch::xsk::memory::Arena;

use crate::frames::Error;
use crate::traffic::{Direction, Service, Template};

/// Batches that are made ready at once: 512 frames, as many as lie in the L2 cache (chunks of 4 KiB share its sets).
pub const READY: usize = 8;

/// Entries that are looked at per call where nothing is measured.
const MANY: usize = 4096;

const CONFIG: &str = r#"
[switch]
interfaces = ["client", "server"]

[[service]]
name = "tcp"
vip = "198.18.0.100:80"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"

[[service]]
name = "udp"
vip = "198.18.0.100:80"
protocol = "udp"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"

[[service]]
name = "udp-ipv6"
vip = "[2001:db8::64]:80"
protocol = "udp"
forwarding = "nat"
[[service.backend]]
address = "[2001:db8:1::b]:8080"

[[neighbor]]
interface = "client"
address = "198.18.0.1"
mac = "02:00:00:00:00:0a"

[[neighbor]]
interface = "server"
address = "198.18.1.11"
mac = "02:00:00:00:00:0b"

[[neighbor]]
interface = "client"
address = "2001:db8::1"
mac = "02:00:00:00:00:0a"

[[neighbor]]
interface = "server"
address = "2001:db8:1::b"
mac = "02:00:00:00:00:0b"

[[route]]
prefix = "0.0.0.0/0"
interface = "client"
via = "198.18.0.1"

[[route]]
prefix = "::/0"
interface = "client"
via = "2001:db8::1"

[[interface]]
name = "client"
mac = "02:00:00:00:00:01"
addresses = ["198.18.0.2/24", "2001:db8::2/64"]
mtu = 1500

[[interface]]
name = "server"
mac = "02:00:00:00:00:02"
addresses = ["198.18.1.1/24", "2001:db8:1::1/64"]
mtu = 1500
"#;

/// What all workers of a scene share.
#[derive(Debug)]
pub struct World {
    pub snapshot: Arc<Snapshot>,
    pub tables: Arc<FlowTables>,
    workers: u16,
    started: Instant,
}

impl World {
    /// Tables for so many connections of each family and so many workers.
    pub fn new(v4: u32, v6: u32, workers: u16) -> Result<Self, Error> {
        let loaded = xswitch::config::parse(CONFIG, "bench").map_err(|error| error.to_string())?;
        let (snapshot, _) =
            xswitch::control::compile::compile_static(&loaded.config).map_err(|error| error.to_string())?;
        let loads = Arc::new(Loads::new(workers, 8));
        let tables = FlowTables::new(v4, v6, 64, workers, Secret::from_seed(1)).with_loads(loads);
        Ok(Self { snapshot: Arc::new(snapshot), tables: Arc::new(tables), workers, started: Instant::now() })
    }

    /// The next worker.
    pub fn join(&self) -> Driver {
        Driver {
            snapshot: Arc::clone(&self.snapshot),
            flows: Flows::join(Arc::clone(&self.tables), self.workers, Tick(0)),
            batches: (0..READY).map(|_| Batch::new(false)).collect(),
            arena: Arena::new(READY * BATCH),
            counters: WorkerCounters::with_capacity(8, 8),
            started: self.started,
            ahead: 0,
            stands: false,
        }
    }
}

/// One worker without rings.
#[derive(Debug)]
pub struct Driver {
    pub snapshot: Arc<Snapshot>,
    pub flows: Flows,
    pub batches: Vec<Batch>,
    arena: Arena,
    pub counters: Arc<WorkerCounters>,
    started: Instant,
    /// Milliseconds that the clock was put forward.
    ahead: u64,
    stands: bool,
}

impl Driver {
    /// The worker's clock, which runs as fast as any.
    pub fn now(&self) -> Tick {
        if self.stands { Tick(self.ahead) } else { Tick::from(self.started.elapsed()).after(self.ahead) }
    }

    /// Makes the clock go on where it is put forward alone, so that every run does the same.
    pub fn stand_still(&mut self) {
        self.stands = true;
    }

    /// Puts the clock forward.
    pub fn pass(&mut self, milliseconds: u64) {
        self.ahead += milliseconds;
    }

    /// Puts frames of these clients into batch number `batch`.
    pub fn load(
        &mut self,
        batch: usize,
        template: &mut Template,
        clients: impl Iterator<Item = u32>,
    ) -> Result<(), Error> {
        let into = self.batches.get_mut(batch).ok_or("no such batch")?;
        for client in clients.take(BATCH) {
            let frame = self.arena.frame(template.of(client)).ok_or("no frame is free")?;
            if let Err(frame) = into.push(frame, template.ingress) {
                self.arena.give_back(frame);
                return Err("the batch is full".into());
            }
        }
        Ok(())
    }

    /// Sends batch number `batch` through the data path: what is measured.
    #[inline(never)]
    pub fn process(&mut self, batch: usize, now: Tick) {
        if let Some(batch) = self.batches.get_mut(batch) {
            process(batch, &self.snapshot, &mut self.flows, now, &self.counters);
        }
    }

    /// Looks at connections that are due, as at the end of each turn of the poll loop. At how many.
    #[inline(never)]
    pub fn expire(&mut self, now: Tick) -> usize {
        self.look(now, EXPIRY_BUDGET)
    }

    /// Looks at all that are due.
    pub fn drain(&mut self) {
        let now = self.now();
        while self.look(now, MANY) > 0 {}
    }

    fn look(&mut self, now: Tick, budget: usize) -> usize {
        self.flows.expire(now, &self.snapshot.timeouts, &self.counters, budget)
    }

    /// Empties all batches. How many frames had the verdict that is expected, and how many another.
    pub fn collect(&mut self, expected: Verdict) -> (u32, u32) {
        let (mut right, mut wrong) = (0, 0);
        for batch in &mut self.batches {
            for (frame, verdict) in batch.drain() {
                let verdict = verdict.unwrap_or(Verdict::ToKernel);
                settle(verdict, &self.counters);
                *(if verdict == expected { &mut right } else { &mut wrong }) += 1;
                self.arena.give_back(frame);
            }
            let _ = batch.drain_events().count();
        }
        (right, wrong)
    }

    /// The same where no other verdict may be.
    pub fn demand(&mut self, expected: Verdict) -> Result<(), Error> {
        match self.collect(expected) {
            (_, 0) => Ok(()),
            (right, wrong) => {
                Err(format!("{wrong} of {} frames were not {expected:?}", right + wrong).into())
            }
        }
    }

    /// Opens the connections of these clients: a datagram, or a handshake.
    pub fn open(&mut self, service: Service, clients: std::ops::Range<u32>) -> Result<(), Error> {
        let steps: &[(Direction, Flags)] = match service {
            Service::TCP => &[
                (Direction::Request, Flags::SYN),
                (Direction::Reply, Flags::SYN.with(Flags::ACK)),
                (Direction::Request, Flags::ACK),
            ],
            _ => &[(Direction::Request, Flags::ACK)],
        };
        for (direction, flags) in steps {
            let mut template = Template::new(service, *direction, *flags)?;
            for first in clients.clone().step_by(BATCH) {
                let now = self.now();
                self.load(0, &mut template, first..clients.end.min(first + BATCH as u32))?;
                self.process(0, now);
                self.demand(template.forwarded)?;
            }
        }
        Ok(())
    }
}

/// Both directions of established connections.
pub fn established(service: Service) -> Result<[Template; 2], Error> {
    Ok([
        Template::new(service, Direction::Request, Flags::ACK)?,
        Template::new(service, Direction::Reply, Flags::ACK)?,
    ])
}
