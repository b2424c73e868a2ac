//! The bare forwarder: what AF_XDP itself costs. Receives on one interface, sends on the other, looks at nothing.
//!
//! Same rings, same batches and the same turn as the switch's worker; what is missing is the data path. Neither sleeps
//! while it is measured: on a busy machine it is a matter of luck when a sleeper runs again.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xswitch::dataplane::BATCH;
use xswitch::pktgen::divert::{Divert, Wanted};
use xswitch::tables::{DropReason, WorkerCounters};
use xswitch::xsk::{CopyMode, Frame, Port, RingSet, Umem};

use super::ledger;
use super::{Error, SWITCH_DEVICES};

/// The switch's default.
const RING: u32 = 2048;
/// How often the kernel's statistics are read.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// Forwards until standard input ends.
pub fn run() -> Result<(), Error> {
    let umem = Umem::new(2 * 2 * RING + 256, RING, false)?;
    let mut ports = Vec::new();
    for device in SWITCH_DEVICES {
        ports.push(Some(Port::open(&umem, device, 0, RING, CopyMode::Copy, false)?));
    }
    let rings = RingSet { ports, umem };
    let counters = WorkerCounters::with_capacity(0, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let sockets = rings.ports.iter().flatten().map(Port::fd).collect::<Vec<_>>();
    let worker = {
        let (stop, counters) = (Arc::clone(&stop), Arc::clone(&counters));
        std::thread::spawn(move || work(rings, &counters, &stop))
    };
    let programs = SWITCH_DEVICES
        .into_iter()
        .zip(sockets)
        // The shortest program there is.
        .map(|(device, socket)| Divert::attach(device, Wanted::All, &[socket]))
        .collect::<Result<Vec<_>, _>>()?;
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", serde_json::to_string(&ledger::of_counters(&counters))?);
    }
    drop(programs);
    stop.store(true, Ordering::Relaxed);
    worker.join().map_err(|_| "the forwarder failed".into())
}

fn work(mut rings: RingSet, counters: &WorkerCounters, stop: &AtomicBool) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut housekeeping = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        turn(&mut rings, &mut batch, counters);
        // As the worker does: one look at the clock per turn.
        if housekeeping.elapsed() >= HOUSEKEEPING {
            housekeeping = Instant::now();
            for (port, counters) in rings.ports.iter().flatten().zip(&counters.ports) {
                port.read_statistics(counters);
            }
        }
    }
}

/// What is there goes from one interface to the other.
fn turn(rings: &mut RingSet, batch: &mut Vec<Frame>, counters: &WorkerCounters) {
    let RingSet { ports, umem } = rings;
    if let [Some(ingress), Some(egress)] = &mut ports[..] {
        ingress.receive(umem, BATCH, &counters.ports[0], |frame| batch.push(frame));
        for frame in batch.drain(..) {
            if let Err(frame) = egress.transmit(frame, umem, &counters.ports[1]) {
                umem.give_back(frame);
                counters.dropped(DropReason::TxRingFull).add(1);
            }
        }
    }
    for (port, counters) in ports.iter_mut().flatten().zip(&counters.ports) {
        port.flush(umem, counters);
        port.refill(umem);
        port.wake_receive();
    }
}
