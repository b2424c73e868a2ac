//! The only file that sees both planes: allocates, pins, starts workers, attaches XDP last.
//!
//! At start nothing is redirected before everything that could receive it runs; at the end the programs go first.
//! Between, this is what the control plane calls [`DataPlane`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;

use crate::config::valid::{Config, Idle, Switch, Topology, XdpMode};
use crate::control::dataplane::{DataPlane, PortStatus, SteeredStatus, WorkerHandle};
use crate::control::trace::{Question, Trace};
use crate::dataplane::limits::ClientPrefixes;
use crate::dataplane::worker::{Shared, Worker};
use crate::dataplane::{FlowTables, Flows, Secret};
use crate::sys::napi::Deferral;
use crate::sys::wait::Waker;
use crate::sys::{interface, memory, sandbox};
use crate::tables::connection::{Tally, Wanted};
use crate::tables::counters::MAX_BACKENDS;
use crate::tables::{InterfaceId, Loads, Mailbox, SeenConnection, Snapshot, Steering, Tick, WorkerCounters};
use crate::xsk::steer::MAX_QUEUES;
use crate::xsk::umem::CHUNK;
use crate::xsk::{AttachMode, Steer, Umem};

mod attached;
mod error;
mod rings;
pub mod trace;

use attached::{Attached, Link};
pub use error::BootError;
use error::system;

/// How long a worker may take to give its rings back: it looks once per turn, and sleeps at most 50 ms.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// The running workers.
#[derive(Debug)]
struct Crew {
    shared: Vec<Arc<Shared>>,
    threads: Vec<JoinHandle<()>>,
    interfaces: Vec<Attached>,
}

/// A loaded XDP program for each interface, attached to none yet.
#[derive(Debug)]
pub struct Programs(Vec<Steer>);

impl Programs {
    /// Loads them; nobody needs to load one later, not even for an interface that comes back. Needs CAP_BPF and CAP_PERFMON, the
    /// latter for arithmetic on packet pointers without detours.
    pub fn load(switch: &Switch) -> Result<Self, BootError> {
        let loaded = switch.interfaces.iter().map(|_| Steer::load()).collect::<Result<_, _>>();
        Ok(Self(loaded?))
    }
}

/// The data plane as a whole: workers, rings and XDP programs.
#[derive(Debug)]
pub struct Plant {
    switch: Switch,
    queues: u32,
    handles: Vec<WorkerHandle>,
    loads: Arc<Loads>,
    tables: Arc<FlowTables>,
    /// Origin of the workers' clock.
    started: Instant,
    crew: Mutex<Crew>,
}

impl Plant {
    /// Starts the workers with their rings. Nothing is redirected to them until [`Plant::attach`].
    pub fn start(config: &Config, snapshot: &Arc<Snapshot>, programs: Programs) -> Result<Self, BootError> {
        let switch = config.switch.clone();
        let queues = workers(&switch, interface::rx_queues)?;
        let secret = random_secret()?;
        let (v4, v6) = (switch.max_connections, switch.max_connections_ipv6);
        let loads = Arc::new(Loads::new(queues as u16, MAX_BACKENDS));
        let table = FlowTables::new(v4, v6, switch.max_fragmented, queues as u16, secret)
            .with_affinities(switch.max_affinities)
            .with_clients(switch.max_clients, client_prefixes(&switch));
        let table = Arc::new(table.with_loads(Arc::clone(&loads)));
        report_memory();
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let started = Instant::now();
        let mut crew = Crew { shared: Vec::new(), threads: Vec::new(), interfaces: Vec::new() };
        let mut handles = Vec::new();
        for worker in 0..queues as usize {
            let core = (!cores.is_empty()).then(|| cores[worker % cores.len()]);
            let shared = Arc::new(Shared {
                mailbox: Arc::new(Mailbox::default()),
                counters: WorkerCounters::new(),
                waker: Waker::new().map_err(system("eventfd"))?,
                adopt: ArrayQueue::new(1),
                release: false.into(),
                released: ArrayQueue::new(1),
                stop: false.into(),
            });
            handles.push(WorkerHandle {
                mailbox: Arc::clone(&shared.mailbox),
                counters: Arc::clone(&shared.counters),
                core: core.map(|core| core.id),
            });
            let thread = start_worker(worker, &shared, snapshot, &table, queues, started, &switch, core);
            crew.threads.push(thread.map_err(system("cannot start a worker thread"))?);
            crew.shared.push(shared);
        }
        crew.interfaces = programs.0.into_iter().map(Attached::with).collect();
        let plant = Self { switch, queues, handles, loads, tables: table, started, crew: Mutex::new(crew) };
        let opened = plant.open_rings(&mut plant.crew(), None);
        match opened {
            Ok(()) => Ok(plant),
            Err(error) => {
                plant.stop();
                Err(error)
            }
        }
    }

    /// Attaches the XDP program to every interface: from here on, frames are ours.
    ///
    /// Done last for one more reason: the kernel closes a killed process' descriptors from the youngest to the oldest, and
    /// takes its time over sockets. The programs' links are the youngest, so the programs go first.
    pub fn attach(&self, steering: &Steering) -> Result<(), BootError> {
        let mut crew = self.crew();
        for position in 0..self.switch.interfaces.len() {
            self.attach_one(&mut crew, position, steering)?;
        }
        Ok(())
    }

    /// Takes the programs off, then ends the workers.
    pub fn stop(&self) {
        let mut crew = self.crew();
        crew.interfaces.clear();
        for shared in &crew.shared {
            shared.stop.store(true, Ordering::Relaxed);
            shared.waker.wake();
        }
        for thread in crew.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
    }

    /// The time as the workers have it.
    fn now(&self) -> Tick {
        Tick::from(self.started.elapsed())
    }

    fn crew(&self) -> std::sync::MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives every worker a new set of rings over all interfaces that are there (`but` one), and the programs their sockets.
    fn open_rings(&self, crew: &mut Crew, but: Option<InterfaceId>) -> Result<(), BootError> {
        for (position, (name, attached)) in
            self.switch.interfaces.iter().zip(&mut crew.interfaces).enumerate()
        {
            let wanted = but.is_none_or(|but| but.index() != position) && interface::exists(name);
            attached.sockets.clear();
            attached.link = if wanted { Link::Up } else { Link::Gone };
        }
        let there: Vec<bool> = crew.interfaces.iter().map(|attached| attached.link != Link::Gone).collect();
        for queue in 0..self.queues {
            let (opened, sockets) = rings::open(&self.switch, (queue, self.queues), &there)?;
            for (attached, socket) in crew.interfaces.iter_mut().zip(sockets) {
                attached.sockets.extend(socket);
            }
            let Some(shared) = crew.shared.get(queue as usize) else { continue };
            drop(shared.adopt.force_push(opened));
            shared.waker.wake();
        }
        self.defer_interrupts(crew);
        for attached in &mut crew.interfaces {
            attached.connect()?;
        }
        Ok(())
    }

    /// Leaves the drivers to the workers, where that is asked for. Where it cannot be, interrupts come as before.
    fn defer_interrupts(&self, crew: &mut Crew) {
        for (name, attached) in self.switch.interfaces.iter().zip(&mut crew.interfaces) {
            if !self.switch.busy_poll_device || attached.link == Link::Gone || attached.deferral.is_some() {
                continue;
            }
            match Deferral::set(name) {
                Ok(deferral) => {
                    if deferral.was_set() {
                        tracing::warn!(
                            interface = name,
                            "its interrupts were deferred before, maybe by an xswitch that was killed; they will stay so"
                        );
                    }
                    attached.deferral = Some(deferral);
                }
                Err(error) => tracing::warn!(interface = name, %error, "cannot defer its interrupts"),
            }
        }
    }

    /// Takes the rings from all workers and closes them, once what came has been forwarded.
    fn close_rings(&self, crew: &mut Crew) {
        crew.interfaces.iter_mut().for_each(Attached::disconnect);
        for shared in &crew.shared {
            shared.release.store(true, Ordering::Relaxed);
            shared.waker.wake();
        }
        let deadline = Instant::now() + RELEASE_LIMIT;
        for shared in &crew.shared {
            while shared.release.load(Ordering::Acquire) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(shared.released.pop());
        }
    }

    fn attach_one(&self, crew: &mut Crew, position: usize, steering: &Steering) -> Result<(), BootError> {
        let (Some(name), Some(attached)) =
            (self.switch.interfaces.get(position), crew.interfaces.get_mut(position))
        else {
            return Ok(());
        };
        let Some(steer) = attached.take_up() else { return Ok(()) };
        steer.set(steering, InterfaceId(position as u8))?;
        attached.connect()?;
        let Some(steer) = &mut attached.steer else { return Ok(()) };
        let mode = steer.attach(name, attach_modes(self.switch.xdp_mode))?;
        tracing::info!(interface = name, xdp_mode = mode.name(), "XDP program attached");
        attached.xdp_mode = Some(mode);
        self.join_bridge(crew)
    }

    /// Tells the program of each port of a bridge which interface the other is: a new one where it came back.
    fn join_bridge(&self, crew: &mut Crew) -> Result<(), BootError> {
        let ([one, two], Topology::Bridge) = (&self.switch.interfaces[..], self.switch.topology) else {
            return Ok(());
        };
        for (attached, peer) in crew.interfaces.iter_mut().zip([two, one]) {
            if let (Some(steer), Some(index)) = (&mut attached.steer, interface::index(peer)) {
                steer.set_peer(index)?;
            }
        }
        Ok(())
    }
}

/// Says how much memory the tables take, and how much of it is in huge pages.
fn report_memory() {
    if let (Ok(resident), Ok(huge)) = (memory::resident_bytes(), memory::huge_bytes()) {
        tracing::info!(resident_mib = resident >> 20, huge_pages_mib = huge >> 20, "tables allocated");
    }
}

impl DataPlane for Plant {
    fn workers(&self) -> &[WorkerHandle] {
        &self.handles
    }

    fn loads(&self) -> &Arc<Loads> {
        &self.loads
    }

    fn wake(&self) {
        for shared in &self.crew().shared {
            shared.waker.wake();
        }
    }

    fn steer(&self, steering: &Steering) -> Vec<String> {
        let mut errors = Vec::new();
        let mut crew = self.crew();
        for (position, (name, attached)) in
            self.switch.interfaces.iter().zip(&mut crew.interfaces).enumerate()
        {
            let Some(steer) = &mut attached.steer else { continue };
            if let Err(error) = steer.set(steering, InterfaceId(position as u8)) {
                errors.push(format!("{name}: {error}"));
            }
        }
        errors
    }

    fn interface_gone(&self, interface: InterfaceId) {
        // Its rings stay with the workers, dead, until it returns: frames for it are refused and counted.
        if let Some(attached) = self.crew().interfaces.get_mut(interface.index()) {
            attached.let_go();
        }
    }

    fn interface_appeared(&self, interface: InterfaceId, steering: &Steering) -> Result<(), String> {
        let mut crew = self.crew();
        let name = self.switch.interfaces.get(interface.index()).ok_or("no such interface")?;
        let found = interface::rx_queues(name);
        if found != self.queues {
            return Err(format!("it has {found} RX queues, and there are {} workers", self.queues));
        }
        // The program first: where it cannot be attached, the rings of the others need not be touched. Without sockets it
        // passes everything.
        if let Err(error) = self.attach_one(&mut crew, interface.index(), steering) {
            if let Some(attached) = crew.interfaces.get_mut(interface.index()) {
                attached.let_go();
            }
            return Err(error.to_string());
        }
        // All rings of a worker share packet memory and are opened together; see `RingSet`.
        self.close_rings(&mut crew);
        let Err(error) = self.open_rings(&mut crew, None) else { return Ok(()) };
        if let Some(attached) = crew.interfaces.get_mut(interface.index()) {
            attached.let_go();
        }
        self.close_rings(&mut crew);
        match self.open_rings(&mut crew, Some(interface)) {
            Ok(()) => Err(error.to_string()),
            Err(worse) => Err(format!("{error}; and now the others cannot be opened either: {worse}")),
        }
    }

    fn interface_link(&self, interface: InterfaceId, up: bool) {
        if let Some(attached) = self.crew().interfaces.get_mut(interface.index())
            && attached.link != Link::Gone
        {
            attached.link = if up { Link::Up } else { Link::Down };
        }
    }

    fn ports(&self) -> Vec<PortStatus> {
        let crew = self.crew();
        let mut ports = Vec::new();
        for (name, attached) in self.switch.interfaces.iter().zip(&crew.interfaces) {
            for queue in 0..self.queues {
                let copy_mode = attached.sockets.get(queue as usize).map_or("", |(_, mode)| mode.name());
                ports.push(PortStatus {
                    interface: name.clone(),
                    queue,
                    worker: queue as usize,
                    xdp_mode: attached.xdp_mode.map_or("", AttachMode::name).into(),
                    copy_mode: copy_mode.into(),
                    link: attached.link.name().into(),
                });
            }
        }
        ports
    }

    fn steered(&self) -> Vec<SteeredStatus> {
        let crew = self.crew();
        let interfaces = self.switch.interfaces.iter().zip(&crew.interfaces);
        let steered = interfaces.filter_map(|(name, attached)| {
            let ways = attached.steer.as_ref()?.ways().ok()?;
            Some(SteeredStatus {
                interface: name.clone(),
                to_kernel: ways.kernel,
                to_socket: ways.socket,
                to_peer: ways.peer,
                no_socket: ways.no_socket,
            })
        });
        steered.collect()
    }

    fn entries(&self) -> u64 {
        self.tables.entries()
    }

    fn look(
        &self,
        (from, count): (u64, u32),
        wanted: &Wanted,
        tally: &mut Tally,
        see: Option<&mut dyn FnMut(SeenConnection)>,
    ) -> Option<u64> {
        self.tables.look(from, count, self.now().coarse(), wanted, tally, see)
    }

    fn clock(&self) -> Duration {
        self.started.elapsed()
    }

    fn trace(&self, question: &Question, snapshot: &Snapshot) -> Result<Trace, String> {
        trace::trace(question, snapshot, &self.tables, (self.now(), true))
    }
}

const fn attach_modes(mode: XdpMode) -> &'static [AttachMode] {
    match mode {
        XdpMode::Auto => &[AttachMode::Native, AttachMode::Generic],
        XdpMode::Native => &[AttachMode::Native],
        XdpMode::Generic => &[AttachMode::Generic],
    }
}

#[allow(clippy::too_many_arguments, reason = "everything a thread is born with")]
fn start_worker(
    number: usize,
    shared: &Arc<Shared>,
    snapshot: &Arc<Snapshot>,
    table: &Arc<FlowTables>,
    workers: u32,
    started: Instant,
    switch: &Switch,
    core: Option<core_affinity::CoreId>,
) -> std::io::Result<JoinHandle<()>> {
    let flows = Flows::join(Arc::clone(table), workers as u16, Tick(0));
    let worker =
        Worker::new(Arc::clone(shared), Arc::clone(snapshot), flows, started, switch.idle == Idle::Adaptive);
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        if let Some(core) = core
            && !core_affinity::set_for_current(core)
        {
            tracing::warn!(worker = number, core = core.id, "cannot pin the worker to its core");
        }
        if let Err(error) = sandbox::confine_worker() {
            tracing::error!(worker = number, %error, "the worker keeps the privileges of the process");
        }
        worker.run();
    })
}

/// How many workers there are to be, one per RX queue: every interface must have as many. `rx_queues` says how many one has.
///
/// # Errors
///
/// [`BootError::Queues`] names the first that has not.
pub fn workers(switch: &Switch, rx_queues: impl Fn(&str) -> u32) -> Result<u32, BootError> {
    let mut wanted = u32::from(switch.workers);
    let mut reason = String::from("workers are asked for");
    for name in &switch.interfaces {
        let found = rx_queues(name);
        if wanted == 0 {
            (wanted, reason) = (found, format!("are on {name}"));
        }
        if found != wanted || found > MAX_QUEUES {
            let wanted = wanted.min(MAX_QUEUES);
            return Err(BootError::Queues { interface: name.clone(), found, wanted, reason });
        }
    }
    Ok(wanted)
}

/// What makes a client, where clients are limited.
pub fn client_prefixes(switch: &Switch) -> ClientPrefixes {
    ClientPrefixes { v4: switch.client_prefix_ipv4, v6: switch.client_prefix_ipv6 }
}

/// Packet memory of one worker: bytes, and huge pages of 2 MiB that it takes where it lies in such.
pub fn packet_memory(switch: &Switch) -> (u64, u32) {
    let frames = rings::frames(switch);
    (u64::from(frames) * CHUNK as u64, Umem::huge_pages(frames))
}

fn random_secret() -> Result<Secret, BootError> {
    let mut words = [0u64; 4];
    for word in &mut words {
        *word = getrandom::u64()
            .map_err(|e| system("no random numbers")(std::io::Error::other(e.to_string())))?;
    }
    Ok(Secret::new(words))
}
