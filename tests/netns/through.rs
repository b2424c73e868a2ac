//! Checks that take the way of a service's packets, against a backend's real kernel. No switch runs: what sends them needs
//! none.
//!
//! ```text
//!  switch                                 backend
//! ┌──────────────────┐                   ┌─────────────────────────────┐
//! │ 198.18.0.2  eth0 ├───────────────────┤ eth0  198.18.0.11           │
//! │ 2001:db8:0::2    │                   │       2001:db8:0::11        │
//! └──────────────────┘                   │ lo: the VIPs ◀── tun0       │
//!                                        └─────────────────────────────┘
//! ```

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use xswitch::config::valid::Check;
use xswitch::control::health::Through;
use xswitch::control::health::through::Prober;
use xswitch::tables::Protocol;
use xswitch::wire::ethernet;
use xswitch::wire::tunnel::{self, Encapsulation, Outer};

use crate::common::decapsulator::Decapsulator;
use crate::common::exclusive::Exclusive;
use crate::common::lab::{Family, Lab, TUNNEL_DEVICE, address, vip};
use crate::common::namespace::Namespace;
use crate::common::process;
use crate::common::servers::{self, UdpServer};
use crate::common::wait::wait_until;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const GUE_PORT: u16 = 6080;
const WEB: u16 = 80;
const NAMES: u16 = 31001;
/// Nobody listens here.
const CLOSED: u16 = 81;
/// Answers come within milliseconds, also where both cores are busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough for whoever would answer.
const SILENCE: Duration = Duration::from_millis(700);

/// Two hosts and a cable.
struct Pair {
    _decapsulator: Option<Decapsulator>,
    _listeners: Vec<TcpListener>,
    _names: Vec<UdpServer>,
    switch: Namespace,
    backend: Namespace,
    _exclusive: Exclusive,
}

impl Pair {
    /// A backend as it should be, but for what `takes_tunnels_off` says.
    fn new(takes_tunnels_off: bool) -> Self {
        let exclusive = Exclusive::acquire();
        let [switch, backend] = ["switch", "b1"].map(Namespace::new);
        for host in [&switch, &backend] {
            host.sysctl("net.ipv4.conf.all.rp_filter", "0");
            host.sysctl("net.ipv4.conf.default.rp_filter", "0");
            host.enable_ipv6();
        }
        let (near, far) = (switch.name(), backend.name());
        process::run(&format!("ip link add name eth0 netns {near} type veth peer name eth0 netns {far}"));
        for (host, number) in [(&switch, 2), (&backend, 11)] {
            host.run("ethtool --offload eth0 tx off tso off gso off gro off");
            host.ip("link set eth0 up");
            host.ip(&format!("address add {}/24 dev eth0", address(Family::V4, 0, number)));
            host.ip(&format!("address add {}/64 dev eth0 nodad", address(Family::V6, 0, number)));
        }
        backend.sysctl("net.ipv4.conf.all.arp_ignore", "1");
        backend.sysctl("net.ipv4.conf.all.arp_announce", "2");
        for family in FAMILIES {
            backend.ip(&vip_on_lo("add", family));
        }
        let decapsulator = takes_tunnels_off.then(|| {
            let started = backend.enter(|| Decapsulator::start(TUNNEL_DEVICE, GUE_PORT));
            backend.ip(&format!("link set {TUNNEL_DEVICE} up"));
            started.expect("a TUN device and raw sockets can be opened")
        });
        let at = |family, port| SocketAddr::new(vip(family), port);
        let listen = |family| backend.enter(|| TcpListener::bind(at(family, WEB))).expect("the port is free");
        let listeners = FAMILIES.map(listen).into();
        let names = FAMILIES.map(|family| servers::udp_names(&backend, "b1", at(family, NAMES))).into();
        Self {
            _decapsulator: decapsulator,
            _listeners: listeners,
            _names: names,
            switch,
            backend,
            _exclusive: exclusive,
        }
    }

    /// The way to the VIP of `inner`: directly, or in a tunnel over `outer`.
    fn way(&self, inner: Family, tunnel: Option<(Encapsulation, Family)>) -> Through {
        let mac = |host| {
            let text = Lab::mac(host, "eth0");
            let bytes: Vec<_> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            <[u8; 6]>::try_from(bytes).expect("a MAC address has six bytes")
        };
        let leaving = tunnel.map_or(inner, |(_, outer)| outer);
        let ethertype = if leaving == Family::V4 { ethernet::IPV4 } else { ethernet::IPV6 };
        let link =
            [&ethernet::macs(mac(&self.backend), mac(&self.switch))[..], &ethertype.to_be_bytes()].concat();
        let outer = tunnel.map(|(encapsulation, outer)| {
            let [source, destination] = [2, 11].map(|number| address(outer, 0, number));
            Outer::new(encapsulation, source, destination, tunnel::Family::of(vip(inner)))
                .expect("both ends are of one family")
        });
        let ifindex = self.switch.run("cat /sys/class/net/eth0/ifindex").trim().parse().expect("a number");
        let vip = SocketAddr::new(vip(inner), WEB);
        Through { ifindex, link, outer, source: address(inner, 0, 2), vip, protocol: Protocol::Tcp }
    }

    /// Every way that there is, with a name.
    fn ways(&self) -> Vec<(String, Through)> {
        let mut tunnels = vec![None];
        for encapsulation in [Encapsulation::Ipip, Encapsulation::Gue { port: GUE_PORT }] {
            tunnels.extend(FAMILIES.map(|outer| Some((encapsulation, outer))));
        }
        let ways = FAMILIES.into_iter().flat_map(|inner| tunnels.iter().map(move |tunnel| (inner, *tunnel)));
        ways.map(|(inner, tunnel)| (format!("{inner:?} by {tunnel:?}"), self.way(inner, tunnel))).collect()
    }

    /// Sends all of these at once; the results in the same order.
    fn probe(
        &self,
        probes: impl IntoIterator<Item = (Through, Check, u16)>,
        timeout: Duration,
    ) -> Vec<Result<Duration, String>> {
        let probes: Vec<_> = probes.into_iter().collect();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let run = async {
            let prober = Arc::new(Prober::open().expect("root may open packet sockets"));
            let mut running = JoinSet::new();
            for (at, (through, check, port)) in probes.into_iter().enumerate() {
                let prober = Arc::clone(&prober);
                running.spawn(async move {
                    let result = prober.probe(&through, &check, port, timeout).await;
                    (at, result.map_err(|failed| failed.to_string()))
                });
            }
            let mut results = running.join_all().await;
            results.sort_by_key(|(at, _)| *at);
            results.into_iter().map(|(_, result)| result).collect()
        };
        self.switch.enter(|| runtime.block_on(run))
    }

    /// One check, by every way.
    fn by_every_way(
        &self,
        check: &Check,
        port: u16,
        timeout: Duration,
    ) -> Vec<(String, Result<Duration, String>)> {
        let (names, ways): (Vec<_>, Vec<_>) = self.ways().into_iter().unzip();
        let results = self.probe(ways.into_iter().map(|way| (way, check.clone(), port)), timeout);
        names.into_iter().zip(results).collect()
    }
}

fn vip_on_lo(verb: &str, family: Family) -> String {
    let (length, nodad) = if family == Family::V4 { (32, "") } else { (128, " nodad") };
    format!("address {verb} {}/{length} dev lo{}", vip(family), if verb == "add" { nodad } else { "" })
}

fn udp(send: &str, expect: &str) -> Check {
    Check::Udp { send: send.into(), expect: expect.into() }
}

#[test]
fn a_backend_that_is_as_it_should_be_answers_by_every_way() {
    let pair = Pair::new(true);
    for (check, port) in [(Check::Tcp, WEB), (udp("hello", "b1 hello"), NAMES), (Check::Icmp, 0)] {
        for (way, result) in pair.by_every_way(&check, port, PATIENCE) {
            assert!(
                result.as_ref().is_ok_and(|took| *took < PATIENCE),
                "{way}, {}: {result:?}",
                check.name()
            );
        }
    }
    // The kernel's own reset would not get there: the backend answers no ARP for the VIP.
    wait_until("the backend has forgotten every connection", Duration::from_millis(600), || {
        pair.backend.run("ss --no-header --tcp --all --numeric state syn-recv").trim().is_empty()
    });
}

#[test]
fn a_backend_that_nobody_listens_at_says_so() {
    let pair = Pair::new(true);
    for (way, result) in pair.by_every_way(&Check::Tcp, CLOSED, PATIENCE) {
        assert_eq!(result, Err("connection refused".into()), "{way}");
    }
    for (way, result) in pair.by_every_way(&udp("hello", ""), CLOSED, PATIENCE) {
        let from: IpAddr = if way.starts_with("V4") { vip(Family::V4) } else { vip(Family::V6) };
        assert_eq!(result, Err(format!("port unreachable, says {from}")), "{way}");
    }
    for (way, result) in pair.by_every_way(&udp("hello", "goodbye"), NAMES, SILENCE) {
        assert_eq!(result, Err("no answer within 0.7 s that holds what is expected".into()), "{way}");
    }
}

#[test]
fn a_vip_that_is_missing_is_noticed() {
    let pair = Pair::new(true);
    for family in FAMILIES {
        pair.backend.ip(&vip_on_lo("delete", family));
    }
    for (check, port) in [(Check::Tcp, WEB), (udp("hello", ""), NAMES), (Check::Icmp, 0)] {
        for (way, result) in pair.by_every_way(&check, port, SILENCE) {
            let error = result.expect_err(&way);
            assert!(
                error.starts_with("no answer within 0.7 s: does the backend have the VIP"),
                "{way}: {error}"
            );
            assert_eq!(error.contains("tunnel"), !way.contains("None"), "{way}: {error}");
        }
    }
}

#[test]
fn a_tunnel_that_is_missing_is_noticed() {
    let pair = Pair::new(false);
    for (way, result) in pair.by_every_way(&Check::Tcp, WEB, PATIENCE) {
        if way.contains("None") {
            assert!(result.is_ok(), "{way}: {result:?}");
        } else {
            let error = result.expect_err(&way);
            assert!(error.contains("unreachable, says "), "{way}: {error}");
        }
    }
}

#[test]
fn hundreds_at_a_time_are_told_apart() {
    let pair = Pair::new(true);
    let ways = pair.ways();
    let kinds = [
        (Check::Tcp, WEB, true),
        (Check::Tcp, CLOSED, false),
        (udp("hello", "b1 hello"), NAMES, true),
        (Check::Icmp, 0, true),
    ];
    let probes: Vec<_> = (0..15)
        .flat_map(|_| ways.iter().flat_map(|(_, way)| kinds.iter().map(move |kind| (way.clone(), kind))))
        .collect();
    assert_eq!(probes.len(), 600);
    let sent = probes.iter().map(|(way, (check, port, _))| (way.clone(), check.clone(), *port));
    let results = pair.probe(sent, PATIENCE);
    for ((way, (check, port, right)), result) in probes.iter().zip(results) {
        assert_eq!(result.is_ok(), *right, "{} to {port} by {way:?}: {result:?}", check.name());
    }
}

#[test]
fn what_cannot_take_that_way_says_so() {
    let pair = Pair::new(false);
    let way = pair.way(Family::V4, None);
    let foreign = Through { source: address(Family::V6, 0, 2), ..way.clone() };
    let gone = Through { ifindex: 9999, ..way.clone() };
    let results = pair.probe(
        [(way.clone(), Check::Agent, WEB), (foreign, Check::Tcp, WEB), (gone, Check::Tcp, WEB)]
            .into_iter()
            .chain([(way, udp(&"x".repeat(2000), ""), NAMES)]),
        SILENCE,
    );
    for (result, part) in results.into_iter().zip(["agent", "family", "cannot be sent", "cannot be sent"]) {
        let error = result.expect_err(part);
        assert!(error.contains(part), "{error}");
    }
}
