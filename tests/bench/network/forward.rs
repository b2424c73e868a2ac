//! The bare forwarder: what AF_XDP itself costs. Receives on one interface, sends on the other, looks at nothing.
//!
//! Same rings, same batches and the same way of sleeping as the switch's worker; what is missing is the data path.

use std::io::BufRead;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{MapData, XskMap};
use aya::programs::XdpMode;
use xswitch::dataplane::BATCH;
use xswitch::sys::wait::{WaitSet, Waker};
use xswitch::tables::{DropReason, Endpoint, Protocol, Steering, WorkerCounters};
use xswitch::xsk::{AttachMode, CopyMode, Frame, Port, RingSet, Steer, Umem};

use super::ends;
use super::ledger;
use super::scenes::VIP;
use super::{Error, SWITCH_DEVICES};

/// The switch's default.
const RING: u32 = 2048;
/// The worker's patience: turns without work before it sleeps.
const SPINS: u32 = 256;
const SLEEP_MS: i32 = 50;
/// How often the kernel's statistics are read.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// Forwards until standard input ends.
pub fn run(steered: bool) -> Result<(), Error> {
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
    let program = if steered { Program::steer(sockets)? } else { Program::shortest(sockets)? };
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", serde_json::to_string(&ledger::of_counters(&counters))?);
    }
    drop(program);
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

/// What brings frames to the socket. Detached when dropped.
#[allow(dead_code, reason = "held for as long as frames are to come")]
enum Program {
    Shortest(Vec<Ebpf>, Vec<XskMap<MapData>>),
    Steer(Vec<Steer>),
}

impl Program {
    /// The shortest program there is.
    fn shortest(sockets: Vec<i32>) -> Result<Self, Error> {
        let (mut programs, mut maps) = (Vec::new(), Vec::new());
        for (device, socket) in SWITCH_DEVICES.into_iter().zip(sockets) {
            let mut ebpf = ends::load()?;
            let mut map: XskMap<MapData> = XskMap::try_from(ends::map(&mut ebpf, "sockets")?)?;
            map.set(0, socket, 0)?;
            let program = ends::program(&mut ebpf, "forward")?;
            program.load()?;
            program.attach(device, XdpMode::Driver)?;
            programs.push(ebpf);
            maps.push(map);
        }
        Ok(Self::Shortest(programs, maps))
    }

    /// The switch's own program, with the services of the benchmark.
    fn steer(sockets: Vec<i32>) -> Result<Self, Error> {
        let mut steering = Steering::default();
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let endpoint = Endpoint { address: IpAddr::V4(*VIP.ip()), port: VIP.port(), protocol };
            steering.services.insert(endpoint, 0);
        }
        let mut programs = Vec::new();
        for (position, (device, socket)) in SWITCH_DEVICES.into_iter().zip(sockets).enumerate() {
            let mut steer = Steer::load()?;
            steer.set_mac(super::scenes::SWITCH_MACS[position])?;
            steer.set(&steering)?;
            steer.set_socket(0, socket)?;
            steer.attach(device, &[AttachMode::Native])?;
            programs.push(steer);
        }
        Ok(Self::Steer(programs))
    }
}
