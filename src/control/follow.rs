//! The loop that keeps the workers current: network changes, workers' events and reloads in, snapshots and steering out.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};

use super::announce::{Announcement, Announcer};
use super::compile::{self, CompileError, Compiled, Usage};
use super::dataplane::{DataPlane, WorkerHandle};
use super::fill::{Fill, Line, Seen};
use super::neighbors::{self, Resolver};
use super::netlink::{Netlink, NetlinkError, Notice};
use super::orders::Reload;
use super::prober::Prober;
use super::requests::Request;
use super::roster::Roster;
use super::standing::Standings;
use super::supervisor::Supervisor;
use super::topology::Topology;
use super::{ConfigFile, State, steering};
use crate::config::valid::Config;
use crate::sys::packet::PacketSender;
use crate::tables::{BackendId, Event, Snapshot, Steering};

mod differences;
mod fading;
mod interfaces;
mod pressure;
mod protection;
mod requests;
mod serving;
mod way;

use differences::{log_next_hops, log_services};
use pressure::Pressure;
use protection::Protection;
use serving::Serving;

/// One turn: short enough that a client waiting for ARP does not notice, long enough to gather a burst of changes into
/// one snapshot.
const TURN: Duration = Duration::from_millis(5);
/// Until workers that are busy have taken a snapshot over; those that are stuck are not waited for.
const ADOPTION_LIMIT: Duration = Duration::from_millis(100);
/// Events of one worker per turn.
const EVENTS_PER_TURN: usize = 256;
/// Between two attempts at something that failed: the netlink connection, opening an interface, a snapshot.
const RETRY: Duration = Duration::from_secs(1);
/// A dump of a full routing table takes long: look again no sooner than this many times its duration.
const DUMP_SHARE: u32 = 4;

/// The loop's state.
pub struct Follower {
    state: State,
    netlink: Netlink,
    supervisor: Supervisor,
    dataplane: Arc<dyn DataPlane>,
    publisher: watch::Sender<Arc<Snapshot>>,
    requests: mpsc::Receiver<Request>,
    /// Orders and reloads that came while the file was read or written: they are next.
    held: VecDeque<Request>,
    turns: Interval,
    serving: Serving,
    pressure: Pressure,
    protection: Protection,
    resolver: Resolver,
    /// Resolves instead of the kernel, in a bridge.
    prober: Prober,
    announcer: Announcer,
    fill: Fill,
    sender: Option<PacketSender>,
    /// Interfaces, by their index, that were told to let multicast in.
    let_in: HashSet<u32>,
    /// What the data plane was told about each interface: its index, if its rings are open, and whether it is up (which
    /// it takes for granted of rings that it just opened).
    told: Vec<(Option<u32>, bool)>,
    retry_interfaces: Instant,
    /// The view differs from what the newest snapshot was compiled from.
    changed: bool,
    /// What is checked and watched is still that of the snapshot before. For a hundred thousand backends that takes as long
    /// as compiling them, and whoever waits for a reload waits for the workers only.
    behind: bool,
    /// Links, addresses or routes are to be read again.
    stale: bool,
    /// Notifications were lost: everything is to be read again.
    lost: bool,
    next_dump: Instant,
    next_compile: Instant,
}

impl Follower {
    /// Takes over where preparation ended. Within a Tokio runtime only.
    pub fn new(
        state: State,
        (netlink, supervisor): (Netlink, Supervisor),
        sender: Option<PacketSender>,
        dataplane: Arc<dyn DataPlane>,
        publisher: watch::Sender<Arc<Snapshot>>,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let now = Instant::now();
        let roster = Roster::new(state.config.clone(), now);
        let serving = Serving::new(roster, Arc::clone(dataplane.loads()), now);
        let told = state.topology.ports.iter().map(|port| (port.ifindex, true)).collect();
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            state,
            netlink,
            supervisor,
            dataplane,
            publisher,
            requests,
            held: VecDeque::new(),
            turns,
            serving,
            pressure: Pressure::default(),
            protection: Protection::default(),
            resolver: Resolver::new(now),
            prober: Prober::default(),
            announcer: Announcer::default(),
            fill: Fill::default(),
            sender,
            let_in: HashSet::new(),
            told,
            retry_interfaces: now,
            changed: false,
            behind: true,
            stale: true,
            lost: false,
            next_dump: now,
            next_compile: now,
        }
    }

    /// Runs until dropped, answers requests and reloads at every `hangup`.
    pub async fn run(mut self, file: Box<dyn ConfigFile>, mut hangup: Option<Signal>) {
        let file = Arc::new(Mutex::new(file));
        self.steer(self.state.steering.clone()).await;
        self.announcer.update(&steering::told(&self.state.steering), &self.state.topology, Instant::now());
        self.prober.want(&self.state.wanted, Instant::now());
        self.open_filters();
        self.supervisor.ready(&self.summary());
        loop {
            if let Some(request) = self.held.pop_front() {
                self.serve(request, &file).await;
                continue;
            }
            tokio::select! {
                _ = self.turns.tick() => self.turn().await,
                notice = self.netlink.next(), if !self.lost => self.note(notice),
                Some(request) = self.requests.recv() => self.serve(request, &file).await,
                () = hung_up(&mut hangup) => drop(self.reload(Reload::default(), &file).await),
            }
        }
    }

    fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Neighbor(change) => self.changed |= self.state.view.apply(change),
            Notice::Stale => self.stale = true,
            Notice::Lost => {
                tracing::warn!("the kernel's notifications overran: reading the network again");
                self.lost = true;
            }
        }
    }

    async fn turn(&mut self) {
        self.supervisor.beat();
        self.catch_up();
        let now = Instant::now();
        self.watch_fill(now);
        self.read_network(now).await;
        self.hear_serving(now);
        if self.changed && self.next_compile <= now {
            self.changed = false;
            // A hundred thousand backends take a fifth of a second: leave as much time for everything else.
            let mut pause = Duration::ZERO;
            if let Err(error) = self.apply().await {
                tracing::error!(%error, "something changed, but the workers keep the former tables; trying again");
                // Rows come free as connections end, and nothing else says so.
                (self.changed, pause) = (true, RETRY);
            }
            self.next_compile = Instant::now() + now.elapsed().max(pause);
        } else if self.retry_interfaces <= now {
            self.tell_interfaces().await;
        }
        self.hear_workers(now);
        self.pressure.turn(&self.state.snapshot, self.dataplane.workers(), now);
        self.protection.turn(self.dataplane.workers(), now);
        if self.state.topology.bridge {
            let (questions, lost) =
                self.prober.turn(&self.state.topology, &self.state.steering.announced, now);
            self.changed |= lost;
            self.send(questions);
        } else {
            for request in self.resolver.turn(&self.state.wanted, &self.state.topology, now) {
                self.ask(request);
            }
        }
        let announcements = self.announcer.turn(&self.state.topology, now);
        self.send(announcements);
    }

    fn watch_fill(&mut self, now: Instant) {
        if self.fill.is_due(now) {
            let switch = &self.state.config.switch;
            let max = (switch.max_connections, switch.max_connections_ipv6);
            let seen = Seen::of(self.dataplane.workers(), max);
            self.fill.look(seen, now).iter().for_each(Line::log);
        }
    }

    /// What the service manager shows of the switch.
    fn summary(&self) -> String {
        let services = &self.state.config.services;
        let backends: usize = services.iter().map(|service| service.backends.len()).sum();
        format!("switching: services {}, backends {backends}", services.len())
    }

    /// From now on, what the newest snapshot has is checked and watched.
    fn catch_up(&mut self) {
        if std::mem::replace(&mut self.behind, false) {
            self.serving.published(&self.state.config, &self.state.topology, &self.state.snapshot);
        }
    }

    fn send(&self, frames: Vec<Announcement>) {
        let Some(sender) = &self.sender else { return };
        for Announcement { ifindex, frame } in frames {
            if let Err(error) = sender.send(ifindex, &frame) {
                tracing::debug!(ifindex, %error, "a frame was not sent");
            }
        }
    }

    /// Reads again what notifications say has changed.
    async fn read_network(&mut self, now: Instant) {
        if !(self.stale || self.lost) || now < self.next_dump {
            return;
        }
        let read = if self.lost { self.reconnect().await } else { self.read_paths().await };
        match read {
            Ok(()) => self.next_dump = now + now.elapsed() * DUMP_SHARE,
            Err(error) => {
                tracing::warn!(%error, "the network could not be read; trying again");
                (self.lost, self.next_dump) = (true, now + RETRY);
            }
        }
    }

    async fn read_paths(&mut self) -> Result<(), NetlinkError> {
        // Before the dump, not after it: what changes meanwhile is read again.
        self.stale = false;
        let mut view = self.state.view.clone();
        self.netlink.dump_paths(&mut view).await?;
        self.changed |= view != self.state.view;
        self.state.view = view;
        Ok(())
    }

    /// A new connection has an empty queue, so nothing older than the dump follows it.
    async fn reconnect(&mut self) -> Result<(), NetlinkError> {
        self.netlink = Netlink::open()?;
        self.state.view = self.netlink.dump().await?;
        (self.changed, self.stale, self.lost) = (true, false, false);
        Ok(())
    }

    fn hear_serving(&mut self, now: Instant) {
        let (workers, loads) = (self.dataplane.workers(), self.dataplane.loads());
        let (active, open) = (|id| connections(workers, id), |id| u64::from(loads.open(id)));
        let usage = Usage { adopted: adopted(workers), active: &active, open: &open };
        self.changed |= self.serving.turn(&self.state.snapshot, self.state.compiler.left(), &usage, now);
    }

    fn hear_workers(&mut self, now: Instant) {
        let dataplane = Arc::clone(&self.dataplane);
        for worker in dataplane.workers() {
            worker.mailbox.collect();
            for event in std::iter::from_fn(|| worker.mailbox.event()).take(EVENTS_PER_TURN) {
                if let Event::Failing(id) = event {
                    self.serving.failing(id, &self.state.snapshot);
                } else if self.state.topology.bridge {
                    self.changed |= self.prober.event(event, now);
                } else if let Some(request) = self.resolver.event(event, &self.state.topology, now) {
                    self.ask(request);
                }
            }
        }
    }

    fn ask(&self, request: neighbors::Request) {
        match request {
            neighbors::Request::Resolve(target) => self.netlink.resolve(target),
            neighbors::Request::Learn { target, mac, fresh } => self.netlink.learn(target, mac, fresh),
        }
    }

    /// Makes what the roster says now, and the network as it is known now, the state in force.
    async fn apply(&mut self) -> Result<(), CompileError> {
        let config = self.serving.roster.config();
        let mut topology = Topology::new(&config, &self.state.view);
        if topology.bridge {
            topology.learn(self.prober.neighbors());
        }
        let standings = self.serving.roster.standings(Instant::now());
        let mut compiled = self.compile(&config, &topology, &standings)?;
        steering::keep_replies(&mut compiled.steering, &self.state.steering, &config);
        compiled.snapshot.announced = compile::set(&compiled.steering.announced);
        (self.state.config, self.state.topology) = (config, topology);
        self.open_filters();
        log_next_hops(&self.state.wanted, &compiled.wanted, &self.state.topology);
        log_services(&self.state.snapshot, &compiled.snapshot);
        let now = Instant::now();
        self.prober.want(&compiled.wanted, now);
        self.announcer.update(&steering::told(&compiled.steering), &self.state.topology, now);
        if compiled.wanted.iter().any(|wanted| !wanted.resolved && !self.state.wanted.contains(wanted)) {
            self.resolver.look_again(now);
        }
        self.serving.hand_over(&self.state.snapshot, &compiled.snapshot);
        self.publish(compiled).await;
        self.behind = true;
        self.tell_interfaces().await;
        Ok(())
    }

    fn compile(
        &mut self,
        config: &Config,
        topology: &Topology,
        standings: &Standings,
    ) -> Result<Compiled, CompileError> {
        let loads = Arc::clone(self.dataplane.loads());
        let open = |id| u64::from(loads.open(id));
        let workers = self.dataplane.workers();
        let active = |id| connections(workers, id);
        let usage = Usage { adopted: adopted(workers), active: &active, open: &open };
        let compiled = self.state.compiler.compile(config, topology, standings, &usage)?;
        self.state.compiler.forget(Instant::now());
        Ok(compiled)
    }

    /// Has new interfaces let in what is for the switch: in a bridge everything, else multicast.
    fn open_filters(&mut self) {
        let Some(sender) = &self.sender else { return };
        let topology = &self.state.topology;
        let present: HashSet<u32> = topology.ports.iter().filter_map(|port| port.ifindex).collect();
        for ifindex in present.difference(&self.let_in) {
            if let Err(error) = sender.let_in(*ifindex, topology.bridge) {
                tracing::warn!(ifindex, %error, "the interface may filter out neighbour solicitations");
            }
        }
        self.let_in = present;
    }

    /// What is no longer redirected goes first, then the snapshot, then what is redirected from now on.
    async fn publish(&mut self, compiled: Compiled) {
        let between = steering::common(&self.state.steering, &compiled.steering);
        if between != self.state.steering {
            self.steer(between.clone()).await;
        }
        let snapshot = Arc::new(compiled.snapshot);
        for worker in self.dataplane.workers() {
            worker.mailbox.publish(Arc::clone(&snapshot));
        }
        self.dataplane.wake();
        self.publisher.send_replace(Arc::clone(&snapshot));
        if between != compiled.steering {
            self.adoption(snapshot.epoch).await;
            self.steer(compiled.steering.clone()).await;
        }
        self.state.snapshot = snapshot;
        self.state.steering = compiled.steering;
        self.state.wanted = compiled.wanted;
    }

    async fn adoption(&self, epoch: u64) {
        let workers = self.dataplane.workers();
        let adopted = || workers.iter().all(|worker| worker.counters.epoch.get() >= epoch);
        let wait = async {
            while !adopted() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(ADOPTION_LIMIT, wait).await.is_err() {
            tracing::debug!(epoch, "a worker has not taken the snapshot over yet");
        }
    }

    async fn steer(&self, steering: Steering) {
        for error in self.on_dataplane(move |dataplane| dataplane.steer(&steering)).await.unwrap_or_default()
        {
            tracing::error!("steering: {error}");
        }
    }

    /// Runs what may block on a thread where it may.
    async fn on_dataplane<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn DataPlane) -> T + Send + 'static,
    ) -> Option<T> {
        let dataplane = Arc::clone(&self.dataplane);
        tokio::task::spawn_blocking(move || work(&*dataplane)).await.ok()
    }
}

/// The oldest epoch that a worker still uses.
fn adopted(workers: &[WorkerHandle]) -> u64 {
    workers.iter().map(|worker| worker.counters.epoch.get()).min().unwrap_or(0)
}

/// Connections of a backend row, those included that both ends are done with.
fn connections(workers: &[WorkerHandle], id: BackendId) -> u64 {
    let rows = || workers.iter().filter_map(|worker| worker.counters.backend(id));
    let created: u64 = rows().map(|row| row.connections_new.get()).sum();
    created.saturating_sub(rows().map(|row| row.connections_closed.get()).sum())
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}
