//! The poll loop: owns the rings, and is the only place of the data plane that waits or makes a system call.
//!
//! ```text
//!            ┌──────────────────────── one turn ────────────────────────┐
//!   mailbox ─┤ for each port:  rx ring ─▶ batch ─▶ process ─▶ tx rings  │
//!            │ flush and refill every port · expire a few connections   │
//!            └── nothing to do for a while? sleep in poll ──────────────┘
//! ```

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use crate::sys::wait::{WaitSet, Waker};
use crate::tables::capture::Tap;
use crate::tables::counters::MAX_INTERFACES;
use crate::tables::{DropReason, InterfaceId, Mailbox, Snapshot, Tick, WorkerCounters};
use crate::xsk::RingSet;

use super::batch::{BATCH, Batch};
use super::capture;
use super::conntrack::{EXPIRY_BUDGET, Flows};
use super::pipeline::{process, settle};
use super::verdict::Verdict;

/// Turns without work before an adaptive worker sleeps: about 30 µs of looking.
const SPINS: u32 = 256;
/// Longest sleep, in milliseconds: timers of connections are looked at this often.
const SLEEP_MS: i32 = 50;
/// Sleep while sent frames have not come back yet.
const SHORT_SLEEP_MS: i32 = 1;
/// Sleep while fragments wait for the first of their datagram, which may have come to another worker.
const WAITING_SLEEP_MS: i32 = 2;
/// How long a worker that is to stop goes on sending what it has.
const DRAIN: Duration = Duration::from_millis(200);
/// Connections that are ended per turn because somebody asks for it: 32 × ~300 ns ≈ 10 µs.
const ENDS_BUDGET: usize = 32;
/// How often the kernel's statistics are read and ports that are down are tried, in milliseconds.
const HOUSEKEEPING_MS: u64 = 250;

/// What a worker shares with those who start and feed it.
#[derive(Debug)]
pub struct Shared {
    /// Snapshots in, snapshots and events out.
    pub mailbox: Arc<Mailbox>,
    /// Its counters.
    pub counters: Arc<WorkerCounters>,
    /// Rung to wake the worker.
    pub waker: Waker,
    /// Rings for the worker to adopt.
    pub adopt: ArrayQueue<RingSet>,
    /// Asks the worker to give its rings back.
    pub release: AtomicBool,
    /// Where it puts them.
    pub released: ArrayQueue<RingSet>,
    /// Asks the worker to end.
    pub stop: AtomicBool,
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    flows: Flows,
    batch: Batch,
    rings: Option<RingSet>,
    wait: WaitSet<{ MAX_INTERFACES + 1 }>,
    started: Instant,
    adaptive: bool,
    idle_turns: u32,
    housekeeping: Tick,
    /// What it captures, if it is asked to, and by which order.
    tap: Option<Box<Tap>>,
    tap_epoch: u64,
}

impl Worker {
    /// A worker that is ready to run. `started` is the origin of its clock, the same for all workers.
    pub fn new(
        shared: Arc<Shared>,
        snapshot: Arc<Snapshot>,
        flows: Flows,
        started: Instant,
        adaptive: bool,
    ) -> Self {
        Self {
            shared,
            snapshot,
            flows,
            batch: Batch::new(false),
            rings: None,
            wait: WaitSet::default(),
            started,
            adaptive,
            idle_turns: 0,
            housekeeping: Tick(0),
            tap: None,
            tap_epoch: 0,
        }
    }

    /// Runs until asked to stop. The rings are closed at the end.
    pub fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let elapsed = self.started.elapsed();
            let now = Tick::from(elapsed);
            self.flows.clock_us = elapsed.as_micros() as u32;
            self.exchange();
            let busy = self.turn(now);
            self.keep_house(now);
            self.rest(busy);
        }
        self.drain();
    }

    /// Forwards what is still in the rings, and counts what no longer can be. Nothing new comes: the XDP programs are gone by
    /// now, or know of no socket.
    fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        let waiting =
            |rings: &RingSet| rings.ports.iter().flatten().any(|port| port.levels().1 > 0 && !port.is_down());
        while Instant::now() < deadline {
            let busy = self.turn(Tick::from(self.started.elapsed()));
            if !busy && !self.rings.as_ref().is_some_and(waiting) {
                break;
            }
        }
        if let Some(rings) = &mut self.rings {
            give_back(&mut self.batch, rings, &self.shared.counters);
        }
    }

    /// Hands over the rings, which are to be closed.
    fn let_go(&mut self) {
        self.rings = self.rings.take().or_else(|| self.shared.adopt.pop());
        self.drain();
        if let Some(rings) = self.rings.take() {
            let _ = self.shared.released.push(rings);
        }
        self.shared.release.store(false, Ordering::Release);
    }

    /// Takes what others left: a newer snapshot, new rings, the wish to have the rings back, or to see frames.
    fn exchange(&mut self) {
        if !self.shared.mailbox.taps.is_current(self.tap_epoch) {
            self.shared.mailbox.taps.exchange(&mut self.tap, &mut self.tap_epoch);
        }
        if self.shared.mailbox.refresh(&mut self.snapshot) {
            self.shared.counters.epoch.set(self.snapshot.epoch);
        }
        if self.shared.release.load(Ordering::Relaxed) {
            self.let_go();
        }
        if self.rings.is_none()
            && let Some(rings) = self.shared.adopt.pop()
        {
            self.shared.counters.pool_size.set(u64::from(rings.umem.frames()));
            self.rings = Some(rings);
        }
    }

    /// One turn: whether there was anything to do.
    fn turn(&mut self, now: Tick) -> bool {
        let counters = Arc::clone(&self.shared.counters);
        let mut busy = false;
        if let Some(mut rings) = self.rings.take() {
            for position in 0..rings.ports.len() {
                busy |= self.receive(&mut rings, InterfaceId(position as u8), now, &counters);
            }
            let tells = self.flows.has_to_tell(&self.snapshot);
            if !busy && (tells || self.batch.waiting() > 0) {
                self.forward(&mut rings, now, &counters);
                busy |= tells;
            }
            for (port, ring_counters) in rings.ports.iter_mut().zip(&counters.ports) {
                let Some(port) = port else { continue };
                busy |= port.flush(&mut rings.umem, ring_counters);
                port.refill(&mut rings.umem);
                port.wake_receive();
            }
            debug_assert_eq!(
                rings.accounted() + self.batch.in_hand() as u32,
                rings.umem.frames(),
                "a frame was lost or is in two places"
            );
            self.rings = Some(rings);
        }
        let looked = self.flows.expire(now, &self.snapshot.timeouts, &counters, EXPIRY_BUDGET);
        busy |= self.end_asked(&counters);
        counters.turns.add(1);
        counters.busy_turns.add(u64::from(busy));
        busy || looked == EXPIRY_BUDGET
    }

    /// Ends connections that somebody asks to have ended, a few per turn. Whether there were any.
    #[inline]
    fn end_asked(&self, counters: &WorkerCounters) -> bool {
        let ends = &self.shared.mailbox.ends;
        for asked in 0..ENDS_BUDGET {
            let Some(name) = ends.next() else { return asked > 0 };
            ends.done(self.flows.end_named(name, counters));
        }
        true
    }

    /// Moves one batch from the RX ring of `ingress` through the pipeline to wherever its frames go.
    fn receive(
        &mut self,
        rings: &mut RingSet,
        ingress: InterfaceId,
        now: Tick,
        counters: &WorkerCounters,
    ) -> bool {
        let (batch, umem) = (&mut self.batch, &mut rings.umem);
        let (Some(Some(port)), Some(port_counters)) =
            (rings.ports.get_mut(ingress.index()), counters.port(ingress))
        else {
            return false;
        };
        let received = port.receive(umem, BATCH, port_counters, |frame| {
            // The batch is empty before each call and takes as many as were asked for.
            if let Err(frame) = batch.push(frame, ingress) {
                std::mem::forget(frame);
            }
        });
        if received == 0 {
            return false;
        }
        self.forward(rings, now, counters);
        true
    }

    /// Sends the batch through the pipeline, and its frames to wherever they go. An empty one is for fragments that wait,
    /// and for clients who must be told something.
    fn forward(&mut self, rings: &mut RingSet, now: Tick, counters: &WorkerCounters) {
        let (batch, umem) = (&mut self.batch, &mut rings.umem);
        batch.lend(|| umem.take());
        if self.tap.is_some() {
            return self.forward_tapped(rings, now, counters);
        }
        process(batch, &self.snapshot, &mut self.flows, now, counters);
        self.dispatch(rings, counters, |_| {});
    }

    /// The same while somebody captures: slower, to the same effect.
    #[cold]
    #[inline(never)]
    fn forward_tapped(&mut self, rings: &mut RingSet, now: Tick, counters: &WorkerCounters) {
        let Some(mut tap) = self.tap.take() else { return };
        capture::before(&mut tap, &mut self.batch, self.started.elapsed().as_nanos() as u64);
        process(&mut self.batch, &self.snapshot, &mut self.flows, now, counters);
        let done = self.started.elapsed().as_nanos() as u64;
        capture::after(&mut tap, &mut self.batch, (&self.snapshot, &self.flows), done);
        self.dispatch(rings, counters, |verdict| capture::settle(&mut tap, verdict));
        self.tap = Some(tap);
    }

    /// Finds every frame of the batch its place and counts its verdict, which `note` is told.
    #[inline(always)]
    fn dispatch(&mut self, rings: &mut RingSet, counters: &WorkerCounters, mut note: impl FnMut(Verdict)) {
        let RingSet { ports, umem } = rings;
        for (frame, verdict) in self.batch.drain() {
            let verdict = verdict.unwrap_or(Verdict::ToKernel);
            let verdict = match verdict {
                Verdict::Forward(egress) | Verdict::Reply(egress) => {
                    let port = ports.get_mut(egress.index()).and_then(Option::as_mut);
                    match (port, counters.port(egress)) {
                        (Some(port), Some(ring_counters)) => {
                            let down = port.is_down();
                            match port.transmit(frame, umem, ring_counters) {
                                Ok(()) => verdict,
                                Err(frame) => {
                                    umem.give_back(frame);
                                    Verdict::Drop(if down {
                                        DropReason::NoEgress
                                    } else {
                                        DropReason::TxRingFull
                                    })
                                }
                            }
                        }
                        _ => {
                            umem.give_back(frame);
                            Verdict::Drop(DropReason::NoEgress)
                        }
                    }
                }
                Verdict::ToKernel | Verdict::Drop(_) => {
                    umem.give_back(frame);
                    verdict
                }
            };
            note(verdict);
            settle(verdict, counters);
        }
        for event in self.batch.drain_events() {
            self.shared.mailbox.raise(event);
        }
    }

    /// What need not be done every turn.
    fn keep_house(&mut self, now: Tick) {
        if now < self.housekeeping {
            return;
        }
        self.housekeeping = now.after(HOUSEKEEPING_MS);
        let counters = &self.shared.counters;
        let Some(rings) = &mut self.rings else { return };
        counters.pool_level.set(rings.umem.available() as u64);
        for (port, counters) in rings.ports.iter_mut().zip(&counters.ports) {
            let Some(port) = port else { continue };
            port.read_statistics(counters);
            port.retry(counters);
            let (fill, in_flight) = port.levels();
            counters.fill_level.set(u64::from(fill));
            counters.tx_in_flight.set(u64::from(in_flight));
        }
    }

    /// Sleeps in `poll` when there has been nothing to do for a while.
    fn rest(&mut self, busy: bool) {
        self.idle_turns = if busy { 0 } else { self.idle_turns + 1 };
        if !self.adaptive && self.rings.is_some() {
            self.idle_turns = 0;
        }
        if self.idle_turns < SPINS {
            std::hint::spin_loop();
            return;
        }
        self.wait.clear();
        self.wait.add(self.shared.waker.as_raw_fd());
        let mut in_flight = 0;
        for port in self.rings.iter().flat_map(|rings| rings.ports.iter().flatten()) {
            self.wait.add(port.fd());
            in_flight += port.levels().1;
        }
        self.shared.counters.sleeps.add(1);
        let something_came = self.wait.wait(match (in_flight, self.batch.waiting()) {
            (0, 0) => SLEEP_MS,
            (0, _) => WAITING_SLEEP_MS,
            _ => SHORT_SLEEP_MS,
        });
        self.shared.waker.clear();
        // Where nothing came, one turn for the timers, and on it sleeps.
        self.idle_turns = if something_came { 0 } else { SPINS - 1 };
    }
}

/// Returns the frames that the batch holds, so that the rings can go. Fragments that wait do so in vain, as do frames that an
/// interface has not sent.
fn give_back(batch: &mut Batch, rings: &mut RingSet, counters: &WorkerCounters) {
    for (port, counters) in rings.ports.iter_mut().zip(&counters.ports) {
        let Some(port) = port else { continue };
        port.read_statistics(counters);
        counters.tx_lost.add(u64::from(port.levels().1));
    }
    for frame in batch.take_back() {
        rings.umem.give_back(frame);
    }
    for frame in batch.take_waiting() {
        rings.umem.give_back(frame);
        settle(Verdict::Drop(DropReason::FragmentTimeout), counters);
    }
    counters.held.set(0);
}
