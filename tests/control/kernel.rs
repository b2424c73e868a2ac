//! The control plane over a real kernel. Each test runs inside a network namespace of its own:
//!
//! ```text
//!  switch namespace (the test)            peer namespace (a host with many addresses)
//!  eth0 198.18.0.2/24 ─────────────────── peer0 198.18.0.1, .9
//!  eth1 198.18.1.2/24 ─────────────────── peer1 198.18.1.11
//! ```

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use xswitch::config::valid::{Config, Topology};
use xswitch::control::dataplane::DataPlane;
use xswitch::control::ports::PortsError;
use xswitch::control::{Control, ControlError};
use xswitch::tables::{Event, Forwarding, InterfaceId, NextHop, Resolution};

use super::fake::{FakeDataPlane, Said, config, eventually, ip};

const ETH0: InterfaceId = InterfaceId(0);
const ETH1: InterfaceId = InterfaceId(1);
pub const LIMIT: Duration = Duration::from_secs(10);

/// Two namespaces that vanish, with all that is in them, when this does.
struct Namespaces {
    switch: String,
    peer: String,
}

impl Namespaces {
    fn new(test: &str) -> Self {
        let name = |role: &str| format!("xsw-{role}-{test}-{}", std::process::id());
        let namespaces = Self { switch: name("s"), peer: name("p") };
        for name in [&namespaces.switch, &namespaces.peer] {
            sh(&format!("ip netns add {name} && ip -n {name} link set lo up"));
        }
        namespaces.connect("eth0", "peer0", "198.18.0.2/24", &["198.18.0.1/24", "198.18.0.9/24"]);
        namespaces.connect("eth1", "peer1", "198.18.1.2/24", &["198.18.1.11/24"]);
        sh(&format!("ip -n {} route add default via 198.18.0.1", namespaces.switch));
        namespaces
    }

    fn connect(&self, ours: &str, theirs: &str, address: &str, addresses: &[&str]) {
        let Self { switch, peer } = self;
        // Believes announcements of addresses that it never asked for.
        let accept = format!("ip netns exec {peer} sysctl -qw net.ipv4.conf.{theirs}.arp_accept=1");
        sh(&format!("ip -n {switch} link add {ours} type veth peer name {theirs} netns {peer} && {accept}"));
        for address in addresses {
            sh(&format!("ip -n {peer} address add {address} dev {theirs}"));
        }
        sh(&format!("ip -n {peer} link set {theirs} up"));
        sh(&format!("ip -n {switch} address add {address} dev {ours} && ip -n {switch} link set {ours} up"));
        // The kernel notices a carrier within a second.
        sh(&format!("until ip -n {switch} -o link show {ours} | grep -q 'state UP'; do sleep 0.05; done"));
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.switch, &self.peer] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

thread_local! {
    /// Name of the other namespace.
    static PEER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// One at a time: one of the tests sends its own process a SIGHUP, which all would hear.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `test` on a thread that lives in a fresh namespace, as do the threads and programs that it starts.
pub fn within_a_namespace<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let namespaces = Namespaces::new(&name[..name.len().min(8)]);
    let (switch, peer) = (namespaces.switch.clone(), namespaces.peer.clone());
    let outcome = std::thread::spawn(move || {
        let file = File::open(format!("/run/netns/{switch}")).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        PEER.set(peer);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    })
    .join();
    drop(namespaces);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

macro_rules! namespace_tests {
    ($($name:ident),*) => { $(
        #[test]
        fn $name() {
            within_a_namespace(stringify!($name), inside::$name);
        }
    )* };
}

namespace_tests!(
    backends_and_gateways_are_resolved_without_traffic,
    neighbours_are_resolved_and_learned_when_workers_say_so,
    routes_and_interfaces_are_followed,
    an_overrun_is_survived,
    vips_are_announced,
    ipv6_is_resolved_and_announced,
    a_bridge_asks_at_both_ends_and_believes_what_workers_hear,
    a_running_bridge_refuses_what_it_cannot_do,
    an_interface_that_does_not_exist_is_an_error_at_start,
    snat_ports_of_others_are_an_error_at_start
);

/// A control plane that runs, and the fake data plane it talks to.
pub struct Running {
    pub dataplane: Arc<FakeDataPlane>,
    /// What is read when the file is.
    pub config: Arc<Mutex<Result<Config, String>>>,
    /// Whoever has it keeps the file from being read.
    pub gate: Arc<tokio::sync::Mutex<()>>,
    /// How often somebody began to read the file.
    pub reads: Arc<AtomicUsize>,
    pub folder: tempfile::TempDir,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        // With RUST_LOG=info the log of a test tells its story.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // The tests of one process share it: only the first can install it.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder.path().join("xswitch.sock"));
        change(&mut config);
        let control = Control::prepare(config.clone()).await.unwrap();
        let dataplane = FakeDataPlane::new(&control.snapshot());
        let config = Arc::new(Mutex::new(Ok(config)));
        let file = Arc::clone(&config);
        let (gate, reads) = (Arc::<tokio::sync::Mutex<()>>::default(), Arc::<AtomicUsize>::default());
        let (shut, begun) = (Arc::clone(&gate), Arc::clone(&reads));
        let loader = Box::new(move || {
            begun.fetch_add(1, Ordering::Relaxed);
            drop(shut.blocking_lock());
            file.lock().unwrap().clone()
        });
        let workers = Arc::clone(&dataplane) as Arc<dyn DataPlane>;
        tokio::spawn(control.run(workers, loader, std::future::pending()));
        Self { dataplane, config, gate, reads, folder }
    }

    fn next_hop(&self, destination: &str) -> Option<NextHop> {
        let snapshot = self.dataplane.snapshot();
        match snapshot.routes.resolve(ip(destination)) {
            Resolution::NextHop(id) => snapshot.next_hop(id).copied(),
            _ => None,
        }
    }

    pub fn resolved(&self, destination: &str) -> bool {
        self.next_hop(destination).is_some_and(|next_hop| next_hop.resolved)
    }

    fn raise(&self, event: Event) {
        assert!(self.dataplane.workers()[1].mailbox.raise(event));
    }
}

fn mac(namespace: Option<&str>, device: &str) -> [u8; 6] {
    let namespace = namespace.map(|name| format!("-n {name}")).unwrap_or_default();
    let shown = sh(&format!("ip {namespace} -o link show {device}"));
    let text = shown.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn peer() -> String {
    PEER.with_borrow(Clone::clone)
}

fn learned(address: &str, last: u8) -> Event {
    Event::Learned { interface: ETH0, address: ip(address), mac: [2, 0, 0, 0, 9, last] }
}

/// The tests themselves: run by their namesakes above.
mod inside {
    use super::*;

    pub async fn backends_and_gateways_are_resolved_without_traffic() {
        let running = Running::start().await;
        for (destination, device, interface) in
            [("198.18.1.11", ("peer1", "eth1"), ETH1), ("192.0.2.1", ("peer0", "eth0"), ETH0)]
        {
            eventually(destination, LIMIT, || running.resolved(destination)).await;
            let next_hop = running.next_hop(destination).unwrap();
            assert_eq!(next_hop.macs[..6], mac(Some(&peer()), device.0));
            assert_eq!(next_hop.macs[6..], mac(None, device.1));
            assert_eq!((next_hop.interface, next_hop.mtu), (interface, 1500));
        }
        assert!(!running.resolved("198.18.1.12"), "nobody has this address");
    }

    pub async fn neighbours_are_resolved_and_learned_when_workers_say_so() {
        sh("ip neigh add 198.18.0.88 lladdr 02:00:00:00:08:08 dev eth0 nud permanent");
        let running = Running::start().await;
        assert!(running.next_hop("198.18.0.9").is_none());
        running.raise(Event::Resolve { interface: ETH0, address: ip("198.18.0.9") });
        eventually("resolved on demand", LIMIT, || running.resolved("198.18.0.9")).await;
        let epoch = running.dataplane.snapshot().routes_epoch;

        for (address, last) in [("198.18.0.77", 77), ("198.18.0.88", 88), ("198.18.0.9", 9), ("10.0.0.5", 5)]
        {
            running.raise(learned(address, last));
        }
        eventually("learned", LIMIT, || running.resolved("198.18.0.77")).await;
        assert_eq!(running.next_hop("198.18.0.77").unwrap().macs[..6], [2, 0, 0, 0, 9, 77]);
        assert!(sh("ip neigh show 198.18.0.77 dev eth0").contains("STALE"));
        assert!(sh("ip neigh show 198.18.0.88").contains("02:00:00:00:08:08 PERMANENT"));
        assert_eq!(running.next_hop("198.18.0.9").unwrap().macs[..6], mac(Some(&peer()), "peer0"));
        assert_eq!(sh("ip neigh show 10.0.0.5"), "");

        // A host that nobody answers for becomes a failed entry, and may still be learned.
        running.raise(Event::Resolve { interface: ETH0, address: ip("198.18.0.55") });
        eventually("failed", LIMIT, || sh("ip neigh show 198.18.0.55").contains("FAILED")).await;
        eventually("learned after failure", LIMIT, || {
            running.raise(learned("198.18.0.55", 55));
            running.resolved("198.18.0.55")
        })
        .await;

        let before = running.dataplane.snapshot().routes_epoch;
        assert_ne!(before, epoch);
        sh("ip neigh replace 198.18.0.9 lladdr 02:00:00:00:07:07 dev eth0 nud reachable");
        eventually("a new MAC address", LIMIT, || {
            running.next_hop("198.18.0.9").unwrap().macs[..6] == [2, 0, 0, 0, 7, 7]
        })
        .await;
        assert_eq!(running.dataplane.snapshot().routes_epoch, before);
    }

    pub async fn routes_and_interfaces_are_followed() {
        let running = Running::start().await;
        let leaves = |destination: &str| running.next_hop(destination).map(|next_hop| next_hop.address);
        assert_eq!(leaves("10.5.1.1"), Some(ip("198.18.0.1")));
        sh("ip route add 10.5.0.0/16 via 198.18.1.11");
        eventually("a route", LIMIT, || leaves("10.5.1.1") == Some(ip("198.18.1.11"))).await;
        sh("ip route add blackhole 10.5.1.0/24");
        eventually("a hole", LIMIT, || leaves("10.5.1.1").is_none()).await;
        sh("ip route del blackhole 10.5.1.0/24 && ip route replace 10.5.0.0/16 via 198.18.0.9");
        eventually("replaced", LIMIT, || leaves("10.5.1.1") == Some(ip("198.18.0.9"))).await;
        sh("ip route add 10.6.0.0/16 nexthop via 198.18.1.11 weight 1 nexthop via 198.18.0.9 weight 1");
        eventually("multipath", LIMIT, || leaves("10.6.0.1") == Some(ip("198.18.1.11"))).await;

        // The kernel removes the routes of an interface that goes down, and tells nobody.
        sh("ip link set eth1 down");
        eventually("down", LIMIT, || running.dataplane.said().contains(&Said::Link(ETH1, false))).await;
        eventually("its routes", LIMIT, || leaves("198.18.1.11") == Some(ip("198.18.0.1"))).await;
        sh("ip link set eth1 up");
        eventually("up", LIMIT, || running.dataplane.said().contains(&Said::Link(ETH1, true))).await;
        eventually("resolved again", LIMIT, || running.resolved("198.18.1.11")).await;

        sh("ip link del eth1");
        eventually("gone", LIMIT, || running.dataplane.said().contains(&Said::Gone(ETH1))).await;
        let peer = peer();
        sh(&format!("ip link add eth1 type veth peer name peer1 netns {peer} && ip link set eth1 up"));
        sh("ip address add 198.18.1.2/24 dev eth1");
        sh(&format!("ip -n {peer} address add 198.18.1.11/24 dev peer1 && ip -n {peer} link set peer1 up"));
        eventually("here again", LIMIT, || running.dataplane.said().contains(&Said::Appeared(ETH1))).await;
        eventually("with its backend", LIMIT, || running.resolved("198.18.1.11")).await;
        assert_eq!(running.next_hop("198.18.1.11").unwrap().macs[6..], mac(None, "eth1"));
    }

    pub async fn an_overrun_is_survived() {
        let running = Running::start().await;
        let routes: String = (0..30_000u32)
            .map(|number| format!("route add 10.{}.{}.0/32 via 198.18.1.11\n", number / 250, number % 250))
            .collect();
        let batch = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(batch.path(), routes).unwrap();
        // This runtime has one thread, and it waits here: nobody reads notifications.
        sh(&format!("ip -batch {}", batch.path().display()));
        sh("ip neigh replace 198.18.0.9 lladdr 02:00:00:00:07:07 dev eth0 nud reachable");
        let last = "10.119.249.0";
        eventually("the last route", LIMIT, || {
            running.next_hop(last).is_some_and(|next_hop| next_hop.address == ip("198.18.1.11"))
        })
        .await;
        eventually("a neighbour that was told of meanwhile", LIMIT, || running.resolved("198.18.0.9")).await;
    }

    pub async fn vips_are_announced() {
        let running = Running::start().await;
        let peer = peer();
        let seen = |device: &str| {
            let shown = sh(&format!("ip -n {peer} neigh show 198.18.0.100 dev {device}"));
            shown.contains("lladdr")
        };
        eventually("announced on both interfaces", LIMIT, || seen("peer0") && seen("peer1")).await;
        assert!(running.dataplane.snapshot().answers_for(ip("198.18.0.100")));
        assert!(!running.dataplane.snapshot().answers_for(ip("198.18.1.2")), "eth1 owns it");
        sh(&format!("ip -n {peer} neigh flush all && ip link set eth0 down && ip link set eth0 up"));
        eventually("announced when the interface comes up", LIMIT, || seen("peer0")).await;
    }

    pub async fn ipv6_is_resolved_and_announced() {
        let peer = peer();
        sh("ip address add 2001:db8:1::2/64 dev eth1 nodad");
        sh(&format!("ip -n {peer} address add 2001:db8:1::11/64 dev peer1 nodad"));
        // An entry that is there already: unasked, Linux learns no new neighbours from advertisements.
        sh(&format!("ip -n {peer} neigh add 2001:db8::100 lladdr 02:00:00:00:09:09 dev peer0 nud stale"));
        let far = sh(&format!("ip -n {peer} -o -6 address show dev peer1 scope link"));
        let router = far.split_whitespace().nth(3).unwrap().split('/').next().unwrap();
        sh(&format!("ip -6 route add 2001:db8:7::/48 via {router} dev eth1"));
        let running = Running::start_with(|config| {
            let service = &mut config.services[0];
            service.vip = "[2001:db8::100]:80".parse().unwrap();
            service.backends[0].address = "[2001:db8:1::11]:80".parse().unwrap();
            service.backends[1].address = "[2001:db8:7::12]:80".parse().unwrap();
            config.switch.snat_addresses = vec![ip("2001:db8:1::f")];
        })
        .await;
        for destination in ["2001:db8:1::11", "2001:db8:7::12"] {
            eventually(destination, LIMIT, || running.resolved(destination)).await;
            let next_hop = running.next_hop(destination).unwrap();
            assert_eq!((&next_hop.macs[..6], next_hop.interface), (&mac(Some(&peer), "peer1")[..], ETH1));
        }
        assert_eq!(running.next_hop("2001:db8:7::12").unwrap().address, ip(router));
        let told = || sh(&format!("ip -n {peer} neigh show 2001:db8::100 dev peer0"));
        let ours = mac(None, "eth0").map(|byte| format!("{byte:02x}")).join(":");
        eventually("announced", LIMIT, || told().contains(&ours)).await;
        running.raise(Event::Learned {
            interface: ETH1,
            address: ip("2001:db8:1::77"),
            mac: [2, 0, 0, 0, 9, 7],
        });
        eventually("learned", LIMIT, || running.resolved("2001:db8:1::77")).await;
    }

    /// Backends at both ends of the wire; the kernel has its only address on eth1.
    async fn start_bridge() -> Running {
        sh("ip address flush dev eth0");
        Running::start_with(|config| {
            config.switch.topology = Topology::Bridge;
            config.services[0].forwarding = Forwarding::Nat;
            // In the network of the backends: it asks for them in the name of this address.
            config.services[0].vip = "198.18.1.100:80".parse().unwrap();
        })
        .await
    }

    pub async fn a_bridge_asks_at_both_ends_and_believes_what_workers_hear() {
        let running = start_bridge().await;
        let peer = peer();
        let asked = |device: &str| {
            sh(&format!("ip -n {peer} neigh show 198.18.1.100 dev {device}")).contains("lladdr")
        };
        eventually("asked at both ends", LIMIT, || asked("peer0") && asked("peer1")).await;
        let heard =
            |interface| Event::Learned { interface, address: ip("198.18.1.11"), mac: [2, 0, 0, 0, 9, 9] };
        for interface in [ETH0, ETH1] {
            running.raise(heard(interface));
            let there = || {
                running.next_hop("198.18.1.11").is_some_and(|next_hop| {
                    next_hop.resolved && next_hop.interface == interface && next_hop.macs[5] == 9
                })
            };
            eventually("behind the end where it was heard", LIMIT, there).await;
        }
        assert!(running.dataplane.snapshot().bridge);
    }

    pub async fn a_running_bridge_refuses_what_it_cannot_do() {
        let running = start_bridge().await;
        eventually("it steers", LIMIT, || !running.dataplane.said().is_empty()).await;
        let mut routed = running.config.lock().unwrap().clone().unwrap();
        routed.switch.topology = Topology::Routed;
        routed.services[0].backends[0].weight = 9;
        let mut direct = routed.clone();
        direct.services[0].forwarding = Forwarding::Dsr;
        let weight = || running.dataplane.snapshot().backends[0].as_ref().map(|backend| backend.weight);
        *running.config.lock().unwrap() = Ok(direct);
        sh(&format!("kill -HUP {}", std::process::id()));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(weight(), Some(3), "no dsr in a bridge");
        *running.config.lock().unwrap() = Ok(routed);
        sh(&format!("kill -HUP {}", std::process::id()));
        eventually("the rest counts", LIMIT, || weight() == Some(9)).await;
        assert!(running.dataplane.snapshot().bridge, "until the next start");
    }

    pub async fn an_interface_that_does_not_exist_is_an_error_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder.path().join("xswitch.sock"));
        config.switch.interfaces.push("eth7".into());
        let error = Control::prepare(config).await.unwrap_err();
        assert!(matches!(&error, ControlError::NoInterface(name) if name == "eth7"), "{error}");
    }

    pub async fn snat_ports_of_others_are_an_error_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let good = config(&folder.path().join("xswitch.sock"));
        let mut overlapping = good.clone();
        overlapping.switch.snat_ports = (1024, 65535);
        let error = Control::prepare(overlapping).await.unwrap_err();
        assert!(matches!(error, ControlError::Ports(PortsError::Overlap { .. })), "{error}");

        let mut hidden = good.clone();
        hidden.switch.metrics_listen = Some("0.0.0.0:9500".parse().unwrap());
        let error = Control::prepare(hidden).await.unwrap_err();
        assert!(matches!(error, ControlError::Ports(PortsError::Endpoint { .. })), "{error}");

        let log = folder.path().join("log");
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::new(File::create(&log).unwrap()))
            .with_ansi(false)
            .finish();
        let _logged = tracing::subscriber::set_default(subscriber);
        let _listener = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
        let _socket = std::net::UdpSocket::bind("198.18.1.2:5353").unwrap();
        let _elsewhere = std::net::TcpListener::bind("198.18.0.2:9000").unwrap();
        Control::prepare(good).await.unwrap();
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains("198.18.1.2 is an address of this host"), "{log}");
        assert!(log.contains("listens there: TCP 8080, UDP 5353;"), "{log}");
    }
}
