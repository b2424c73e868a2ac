//! Workers that do nothing but count, and a configuration for them.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use xswitch::boot;
use xswitch::config::valid::{
    AdminState, Backend, Config, Cookies, HugePages, Idle, Scheduler, Service, Snat, StaticInterface,
    StaticNeighbor, Switch, Timeouts, Topology, XdpMode, ZeroCopy,
};
use xswitch::control::dataplane::{DataPlane, PortStatus, SteeredStatus, WorkerHandle};
use xswitch::control::trace::{Question, Trace};
use xswitch::dataplane::{FlowTables, Flows, Secret};
use xswitch::tables::capture::{Record, Tap};
use xswitch::tables::connection::{SeenConnection, Tally, Wanted};
use xswitch::tables::{
    Fate, Filtering, Forwarding, InterfaceId, Loads, Mailbox, Mapping, MssClamp, OnNoBackend, Protocol,
    Snapshot, Steering, Tick, VerifyChecksums, WorkerCounters,
};

/// The time, always.
pub const NOW: Tick = Tick(1_000_000);

/// An address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// eth0 and eth1, and a `full-nat` service at 198.18.0.100:80 with backends 198.18.1.11 and 198.18.1.12.
pub fn config(socket: &Path) -> Config {
    let backend = |address: &str, weight| Backend::new(address.parse().unwrap(), weight);
    Config {
        switch: Switch {
            interfaces: vec!["eth0".into(), "eth1".into()],
            topology: Topology::Routed,
            workers: 0,
            xdp_mode: XdpMode::Auto,
            zero_copy: ZeroCopy::Auto,
            huge_pages: HugePages::Auto,
            idle: Idle::Adaptive,
            busy_poll: false,
            busy_poll_device: false,
            snat_addresses: vec![ip("198.18.1.2")],
            snat_ports: (1024, 32767),
            max_connections: 4096,
            max_connections_ipv6: 1024,
            max_fragmented: 64,
            icmp_rate: 1000,
            max_affinities: 64,
            max_clients: 1024,
            client_prefix_ipv4: 32,
            client_prefix_ipv6: 64,
            icmp_budget: 0,
            fragment_budget: 0,
            resolvers: vec![],
            tunnel_sources: vec![],
            ring_size: 2048,
            verify_checksums: VerifyChecksums::Always,
            control_socket: socket.into(),
            metrics_listen: None,
            status_listen: None,
            status_token_file: None,
        },
        timeouts: Timeouts::default(),
        acl: None,
        services: vec![Service {
            name: "web".into(),
            vip: "198.18.0.100:80".parse().unwrap(),
            protocol: Protocol::Tcp,
            forwarding: Forwarding::FullNat,
            scheduler: Scheduler::WeightedRoundRobin,
            mss_clamp: MssClamp::Off,
            syn_cookies: Cookies::Auto,
            half_open: 4096,
            gue_port: 6080,
            maglev_table_size: 251,
            announce: true,
            state: AdminState::default(),
            affinity: None,
            acl: None,
            limits: None,
            dscp: None,
            on_no_backend: OnNoBackend::default(),
            on_down: Fate::default(),
            drain_timeout_s: 0,
            slow_start_s: 0,
            health: None,
            discover: None,
            backends: vec![backend("198.18.1.11:8080", 3), backend("198.18.1.12:8080", 1)],
        }],
        snat: vec![],
        neighbors: vec![],
        routes: vec![],
        interfaces: vec![],
    }
}

/// The same with an IPv6 service, a rule of outbound NAT and all that the kernel would tell; only the first backend's MAC address is known.
pub fn static_config(socket: &Path) -> Config {
    let mut config = config(socket);
    for (name, last, address) in [("eth0", 1, "198.18.0.2"), ("eth1", 2, "198.18.1.2")] {
        config.interfaces.push(StaticInterface {
            name: name.into(),
            mac: Some([2, 0, 0, 0, 0, last]),
            vlan: vec![],
            addresses: vec![(ip(address), 24)],
            mtu: None,
        });
    }
    config.services.push(Service {
        name: "web6".into(),
        vip: "[2001:db8::100]:80".parse().unwrap(),
        forwarding: Forwarding::Gue,
        backends: vec![Backend::new("[2001:db8:1::11]:80".parse().unwrap(), 1)],
        ..config.services[0].clone()
    });
    config.snat.push(Snat {
        name: "home".into(),
        inside: vec![(ip("10.0.0.0"), 24)],
        addresses: vec![ip("198.18.0.3")],
        ports: (1024, 32767),
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressDependent,
        hairpinning: true,
    });
    let mac = [2, 0, 0, 0, 1, 11];
    config.neighbors.push(StaticNeighbor { interface: "eth1".into(), address: ip("198.18.1.11"), mac });
    config
}

/// What the control plane said to the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Steer so.
    Steer(Box<Steering>),
    /// The interface is gone.
    Gone(InterfaceId),
    /// It is here (again).
    Appeared(InterfaceId),
    /// Its link is up or down.
    Link(InterfaceId, bool),
}

/// Two workers, each with a snapshot, and a list of all that was said. Their connections are real ones, which `flows` makes.
pub struct FakeDataPlane {
    pub flows: Mutex<Flows>,
    workers: Vec<WorkerHandle>,
    loads: Arc<Loads>,
    snapshots: Mutex<Vec<Arc<Snapshot>>>,
    said: Mutex<Vec<Said>>,
    /// What each worker captures with, and by which order.
    taps: Mutex<Vec<(Option<Box<Tap>>, u64)>>,
}

impl FakeDataPlane {
    /// Workers that start with this snapshot.
    pub fn new(snapshot: &Arc<Snapshot>) -> Arc<Self> {
        let worker = |core| WorkerHandle {
            mailbox: Arc::new(Mailbox::default()),
            counters: WorkerCounters::with_capacity(16, 16),
            core: Some(core),
        };
        let loads = Arc::new(Loads::new(2, 16));
        let tables = FlowTables::new(4096, 1024, 8, 2, Secret::from_seed(1)).with_loads(Arc::clone(&loads));
        Arc::new(Self {
            workers: (0..2).map(worker).collect(),
            flows: Mutex::new(Flows::join(Arc::new(tables), 2, NOW)),
            loads,
            snapshots: Mutex::new(vec![Arc::clone(snapshot); 2]),
            said: Mutex::default(),
            taps: Mutex::new(vec![(None, 0), (None, 0)]),
        })
    }

    /// What was said so far.
    pub fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap().clone()
    }

    /// The snapshot of worker 0.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.wake();
        Arc::clone(&self.snapshots.lock().unwrap()[0])
    }

    /// A frame passes at a worker. Whether somebody captures there.
    pub fn see(&self, worker: usize, fill: impl FnOnce(&mut Record)) -> bool {
        let mut taps = self.taps.lock().unwrap();
        let Some(tap) = &mut taps[worker].0 else { return false };
        fill(&mut tap.scratch[0]);
        tap.ring.matched.add(1);
        tap.ring.put(&mut tap.scratch[0]);
        true
    }

    fn say(&self, what: Said) {
        self.said.lock().unwrap().push(what);
    }
}

impl DataPlane for FakeDataPlane {
    fn workers(&self) -> &[WorkerHandle] {
        &self.workers
    }

    fn loads(&self) -> &Arc<Loads> {
        &self.loads
    }

    fn wake(&self) {
        let flows = self.flows.lock().unwrap();
        for worker in &self.workers {
            while let Some(name) = worker.mailbox.ends.next() {
                worker.mailbox.ends.done(flows.end_named(name, &worker.counters));
            }
        }
        drop(flows);
        for (worker, (tap, epoch)) in self.workers.iter().zip(self.taps.lock().unwrap().iter_mut()) {
            if !worker.mailbox.taps.is_current(*epoch) {
                worker.mailbox.taps.exchange(tap, epoch);
            }
        }
        for (worker, snapshot) in self.workers.iter().zip(self.snapshots.lock().unwrap().iter_mut()) {
            worker.mailbox.refresh(snapshot);
            worker.counters.epoch.set(snapshot.epoch);
        }
    }

    fn steer(&self, steering: &Steering) -> Vec<String> {
        self.say(Said::Steer(Box::new(steering.clone())));
        vec![]
    }

    fn interface_gone(&self, interface: InterfaceId) {
        self.say(Said::Gone(interface));
    }

    fn interface_appeared(&self, interface: InterfaceId, _: &Steering) -> Result<(), String> {
        self.say(Said::Appeared(interface));
        Ok(())
    }

    fn interface_link(&self, interface: InterfaceId, up: bool) {
        self.say(Said::Link(interface, up));
    }

    fn ports(&self) -> Vec<PortStatus> {
        vec![PortStatus {
            interface: "eth0".into(),
            queue: 7,
            worker: 1,
            xdp_mode: "native".into(),
            copy_mode: "copy".into(),
            link: "up".into(),
        }]
    }

    fn steered(&self) -> Vec<SteeredStatus> {
        let to_socket = |interface: &str, to_socket| SteeredStatus {
            interface: interface.into(),
            to_socket,
            ..SteeredStatus::default()
        };
        vec![to_socket("eth0", 100), to_socket("eth1", 101)]
    }

    fn entries(&self) -> u64 {
        self.flows.lock().unwrap().tables().entries()
    }

    fn look(
        &self,
        (from, count): (u64, u32),
        wanted: &Wanted,
        tally: &mut Tally,
        see: Option<&mut dyn FnMut(SeenConnection)>,
    ) -> Option<u64> {
        self.flows.lock().unwrap().tables().look(from, count, NOW.coarse(), wanted, tally, see)
    }

    fn trace(&self, question: &Question, snapshot: &Snapshot) -> Result<Trace, String> {
        boot::trace::trace(question, snapshot, self.flows.lock().unwrap().tables(), (NOW, true))
    }
}

/// Waits until something holds, for `limit` at most.
pub async fn eventually(what: &str, limit: Duration, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
