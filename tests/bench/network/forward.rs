//! The bare forwarder: what AF_XDP itself costs. Receives on one interface, sends on the other, looks at nothing.
//!
//! Same rings, same batches and the same way of sleeping as the switch's worker; what is missing is the data path.

use std::io::BufRead;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{MapData, XskMap};
use aya::programs::XdpMode;
use xswitch::dataplane::BATCH;
use xswitch::sys::wait::{WaitSet, Waker};
use xswitch::tables::{DropReason, WorkerCounters};
use xswitch::xsk::{CopyMode, Frame, Port, RingSet, Umem};

use super::ends;
use super::ledger;
use super::{Error, SWITCH_DEVICES};

/// The switch's default.
const RING: u32 = 2048;
/// The worker's patience: turns without work before it sleeps.
const SPINS: u32 = 256;
const SLEEP_MS: i32 = 50;
/// How often the kernel's statistics are read.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// Forwards until standard input ends.
pub fn run() -> Result<(), Error> {
    let umem = Umem::new(2 * 2 * RING + 256, RING)?;
    let mut ports = Vec::new();
    for device in SWITCH_DEVICES {
        ports.push(Some(Port::open(&umem, device, 0, RING, CopyMode::Copy)?));
    }
    let rings = RingSet { ports, umem };
    let counters = WorkerCounters::with_capacity(0, 0);
    let (stop, waker) = (Arc::new(AtomicBool::new(false)), Arc::new(Waker::new()?));
    let sockets = rings.ports.iter().flatten().map(Port::fd).collect::<Vec<_>>();
    let worker = {
        let (stop, waker, counters) = (Arc::clone(&stop), Arc::clone(&waker), Arc::clone(&counters));
        std::thread::spawn(move || work(rings, &counters, &stop, &waker))
    };
    let programs = SWITCH_DEVICES
        .into_iter()
        .zip(sockets)
        .map(|(device, socket)| Program::attach(device, socket))
        .collect::<Result<Vec<_>, _>>()?;
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", serde_json::to_string(&ledger::of_counters(&counters))?);
    }
    drop(programs);
    stop.store(true, Ordering::Relaxed);
    waker.wake();
    worker.join().map_err(|_| "the forwarder failed".into())
}

fn work(mut rings: RingSet, counters: &WorkerCounters, stop: &AtomicBool, waker: &Waker) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut wait = WaitSet::<3>::default();
    let (mut idle, mut housekeeping) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let busy = turn(&mut rings, &mut batch, counters);
        idle = if busy { 0 } else { idle + 1 };
        // As the worker does: one look at the clock per turn.
        if housekeeping.elapsed() >= HOUSEKEEPING {
            housekeeping = Instant::now();
            for (port, counters) in rings.ports.iter().flatten().zip(&counters.ports) {
                port.read_statistics(counters);
            }
        }
        if idle < SPINS {
            std::hint::spin_loop();
            continue;
        }
        wait.clear();
        wait.add(waker.as_raw_fd());
        rings.ports.iter().flatten().for_each(|port| wait.add(port.fd()));
        wait.wait(SLEEP_MS);
        waker.clear();
        idle = 0;
    }
}

/// One turn: whether there was anything to do.
fn turn(rings: &mut RingSet, batch: &mut Vec<Frame>, counters: &WorkerCounters) -> bool {
    let RingSet { ports, umem } = rings;
    let mut busy = false;
    if let [Some(ingress), Some(egress)] = &mut ports[..] {
        busy = ingress.receive(umem, BATCH, &counters.ports[0], |frame| batch.push(frame)) > 0;
        for frame in batch.drain(..) {
            if let Err(frame) = egress.transmit(frame, umem, &counters.ports[1]) {
                umem.give_back(frame);
                counters.dropped(DropReason::TxRingFull).add(1);
            }
        }
    }
    for (port, counters) in ports.iter_mut().flatten().zip(&counters.ports) {
        busy |= port.flush(umem, counters);
        port.refill(umem);
        port.wake_receive();
    }
    busy
}

/// Brings every frame to the socket: the shortest program there is. Detached when dropped.
struct Program {
    _program: Ebpf,
    _sockets: XskMap<MapData>,
}

impl Program {
    fn attach(device: &str, socket: RawFd) -> Result<Self, Error> {
        let mut ebpf = ends::load()?;
        let mut sockets: XskMap<MapData> = XskMap::try_from(ends::map(&mut ebpf, "sockets")?)?;
        sockets.set(0, socket, 0)?;
        let program = ends::program(&mut ebpf, "forward")?;
        program.load()?;
        program.attach(device, XdpMode::Driver)?;
        Ok(Self { _program: ebpf, _sockets: sockets })
    }
}
