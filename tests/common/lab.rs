//! The topologies.
//!
//! `routed`: the switch stands between the clients' network and the backends' network.
//!
//! ```text
//!  client                      switch                            lan (a bridge)
//! ┌──────────────┐            ┌──────────────────────────┐      ┌───────┐    ┌─────────────────┐
//! │ 198.18.0.1   │            │ 198.18.0.2    198.18.1.1 │      │       ├────┤ b1  198.18.1.11 │
//! │         eth0 ├────────────┤ eth0                eth1 ├──────┤  br0  ├────┤ b2  198.18.1.12 │
//! │              │            │ VIP           198.18.1.2 │      │       ├────┤ b3  198.18.1.13 │
//! └──────────────┘            │ 198.18.0.100      (SNAT) │      └───────┘    └─────────────────┘
//!                             └──────────────────────────┘                    gateway 198.18.1.1
//! ```
//!
//! `one_arm`: everything hangs on one bridge, the switch by a single interface.
//!
//! ```text
//!  client                  lan (a bridge)
//! ┌──────────────┐        ┌───────┐    ┌─────────────────┐
//! │ 198.18.0.1   ├────────┤       ├────┤ b1  198.18.0.11 │
//! └──────────────┘        │       ├────┤ b2  198.18.0.12 │
//!  switch                 │  br0  ├────┤ b3  198.18.0.13 │
//! ┌──────────────┐        │       │    └─────────────────┘
//! │ 198.18.0.2   ├────────┤       │
//! │ 198.18.0.3   │        └───────┘
//! │ (SNAT only)  │   VIP 198.18.0.100
//! └──────────────┘
//! ```
//!
//! On one arm, backends of `dsr` also hold the VIP, on lo, and answer the client past the switch.
//!
//! `far`: for tunnels, and for full NAT with a router behind it. Answers of backends that hold the VIP go past the
//! switch, by the router's cable to the client.
//!
//! ```text
//!  client                     switch                      router (kernel)                lan
//! ┌────────────┐             ┌───────────────────────┐   ┌───────────────────────────┐  ┌─────┐  ┌─────────────────┐
//! │ 198.18.0.1 │             │ 198.18.0.2 198.18.2.1 │   │ 198.18.2.254 198.18.1.254 │  │     ├──┤ b1  198.18.1.11 │
//! │       eth0 ├─────────────┤ eth0             eth1 ├───┤ eth0                 eth1 ├──┤ br0 ├──┤ b2  198.18.1.12 │
//! │            │             │ VIP        198.18.2.2 │   │ 198.18.3.254              │  │     ├──┤ b3  198.18.1.13 │
//! │       eth1 ├──────────┐  │ 198.18.0.100   (SNAT) │ ┌─┤ eth2                      │  └─────┘  └─────────────────┘
//! │ 198.18.3.1 │          │  └───────────────────────┘ │ └───────────────────────────┘        lo of each: the VIP,
//! └────────────┘          └────────────────────────────┘                                      tun0: the decapsulator
//! ```
//!
//! `bridge`: one subnet on both sides of a transparent switch; x1 and x2 are bystanders.
//!
//! ```text
//!  client                  router (kernel)              up (a bridge)           switch              lan (a bridge)
//! ┌────────────┐          ┌──────────────────────────┐  ┌─────┐         ┌────────────────────┐      ┌─────┐
//! │ 198.18.3.1 ├──────────┤ eth1 198.18.3.254        │  │     ├─────────┤ eth0          eth1 ├──────┤     ├─ b1 198.18.0.11
//! └────────────┘          │      198.18.0.254   eth0 ├──┤ br0 │         │ 198.18.0.2         │      │ br0 ├─ b2 198.18.0.12
//!                         └──────────────────────────┘  │     │         └────────────────────┘      │     ├─ b3 198.18.0.13
//!                                  x1 198.18.0.21 ──────┤     │          VIP 198.18.0.100           │     ├─ x2 198.18.0.22
//!                                                       └─────┘                                     └─────┘
//! ```
//!
//! `home`: inside hosts reach outside servers through `[[snat]]`.
//!
//! ```text
//!  h1 10.0.0.11 (client)   ┌─────┐     ┌──────────────────────────┐     ┌─────┐
//!  h2 10.0.0.12 ───────────┤ lan ├─────┤ eth1  10.0.0.1           │     │ up  ├── b1 198.18.0.21
//!  h3 10.0.0.13            └─────┘     │       198.18.0.2    eth0 ├─────┤     ├── b2 198.18.0.22
//!                                      │ SNAT  198.18.0.3         │     └─────┘
//!                                      └──────────────────────────┘
//! ```
//!
//! With IPv6, 198.18.NET.HOST is 2001:db8:NET::HOST too, and 10.0.0.HOST is 2001:db8:10::HOST.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::decapsulator::Decapsulator;
use super::exclusive::Exclusive;
use super::namespace::{self, Namespace};
use super::servers::{self, UdpServer, Web};
use super::wait::wait_until;

pub mod setup;
mod wiring;

pub use setup::*;
use wiring::{cable, cable_to_bridge, give, new_bridge, new_host, new_router, route};

/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The switch's own address on its first interface.
pub const SWITCH: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The address of the services.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);
/// The TCP service.
pub const WEB: SocketAddrV4 = SocketAddrV4::new(VIP, 80);
/// The UDP service, on a port for which tshark knows no protocol.
pub const NAMES: SocketAddrV4 = SocketAddrV4::new(VIP, 31001);
/// Where backends behind NAT serve TCP.
pub const WEB_PORT: u16 = 8080;
/// Where backends behind NAT serve UDP.
pub const NAMES_PORT: u16 = 31002;
/// TCP and UDP for a server that a scene starts itself, at the same port everywhere.
pub const BULK: SocketAddrV4 = SocketAddrV4::new(VIP, 31003);
/// Number of backends.
pub const BACKENDS: u8 = 3;
/// The TUN device of a backend behind tunnels.
pub const TUNNEL_DEVICE: &str = "tun0";
/// Where backends take GUE.
const GUE_PORT: u16 = 6080;

/// A host with nginx and a UDP server, both of which say its name.
#[derive(Debug)]
pub struct Backend {
    // Servers end before the namespace that they live in.
    web: Web,
    _names: Vec<UdpServer>,
    /// Takes tunnels off, where there are tunnels.
    pub decapsulator: Option<Decapsulator>,
    /// `b1`, `b2` or `b3`.
    pub name: String,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Where it lives.
    pub host: Namespace,
}

impl Backend {
    /// Where the file lies that a client uploaded to this backend as `name`.
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.web.uploaded(name)
    }
}

/// A network that stands until it goes out of scope.
#[derive(Debug)]
pub struct Lab {
    /// What it was built from.
    pub setup: Setup,
    /// The servers.
    pub backends: Vec<Backend>,
    /// Where clients run.
    pub client: Namespace,
    /// Where the switch runs.
    pub switch: Namespace,
    others: Vec<(&'static str, Namespace)>,
    directory: TempDir,
    // Last: the next lab may start once everything above is gone.
    _exclusive: Exclusive,
}

impl Lab {
    /// Builds the network and starts the servers. The switch itself is started by the scene.
    pub fn new(setup: Setup) -> Self {
        let exclusive = Exclusive::acquire();
        let directory = namespace::temporary_directory();
        let (client, switch) = (new_host(&setup, "client"), new_host(&setup, "switch"));
        let others = others(&setup);
        let mut lab =
            Self { setup, backends: vec![], client, switch, others, directory, _exclusive: exclusive };
        lab.connect_client();
        for interface in setup.interfaces() {
            lab.plug_in(interface);
        }
        lab.connect_others();
        wiring::route_switch(&setup, &lab.switch);
        for number in 1..=setup.backends() {
            let backend = lab.backend(number);
            lab.backends.push(backend);
        }
        lab
    }

    /// Where scenes may put files.
    pub fn directory(&self) -> &FilePath {
        self.directory.path()
    }

    /// A host that only some topologies have: `router`, `x1`, `x2`, `h2`, `h3`, and the bridges `lan` and `up`.
    pub fn host(&self, name: &str) -> &Namespace {
        let found = self.others.iter().find(|(other, _)| *other == name);
        &found.unwrap_or_else(|| panic!("this lab has no {name}")).1
    }

    /// All hosts but the client, the switch and the backends.
    pub fn others(&self) -> impl Iterator<Item = &Namespace> {
        self.others.iter().map(|(_, host)| host)
    }

    /// The other end of the cable of one of the switch's interfaces. To be listened at: what an XDP program takes is not
    /// seen at the switch's own end.
    pub fn beyond(&self, interface: &str) -> (&Namespace, String) {
        match (self.setup.topology, interface) {
            (Topology::Routed | Topology::Far, "eth0") => (&self.client, "eth0".into()),
            (Topology::Far, _) => (self.host("router"), "eth0".into()),
            _ => (self.bridge_of(interface), format!("switch-{interface}")),
        }
    }

    /// The MAC address of an interface of a host.
    pub fn mac(host: &Namespace, interface: &str) -> String {
        host.run(&format!("cat /sys/class/net/{interface}/address")).trim().to_owned()
    }

    /// Whether an XDP program is attached to an interface of the switch.
    pub fn has_xdp_program(&self, interface: &str) -> bool {
        let answer = self.switch.ip(&format!("-json link show dev {interface}"));
        let links: serde_json::Value = serde_json::from_str(&answer).expect("ip prints JSON");
        links.pointer("/0/xdp").is_some()
    }

    /// The bridge at which an interface of the switch hangs.
    fn bridge_of(&self, interface: &str) -> &Namespace {
        let is_up = matches!(self.setup.topology, Topology::Bridge | Topology::Home) && interface == "eth0";
        self.host(if is_up { "up" } else { "lan" })
    }

    /// Creates the cable of one of the switch's interfaces, with the addresses of both ends.
    fn plug_in(&self, interface: &str) {
        let (queues, end) = (self.setup.queues, (&self.switch, interface));
        match (self.setup.topology, interface) {
            (Topology::Routed | Topology::Far, "eth0") => {
                cable(queues, end, (&self.client, "eth0"));
                self.give_client();
            }
            (Topology::Far, _) => {
                let router = self.host("router");
                cable(queues, end, (router, "eth0"));
                self.setup
                    .families()
                    .iter()
                    .for_each(|&family| give(router, "eth0", address(family, 2, 254)));
            }
            _ => {
                let (bridge, port) = (self.bridge_of(interface), format!("switch-{interface}"));
                cable_to_bridge(queues, end, bridge, &port);
                if self.setup.topology == Topology::Bridge {
                    wiring::take_redirected_frames(bridge, &port);
                }
            }
        }
        for address in self.setup.switch_addresses(interface) {
            give(&self.switch, interface, address);
        }
    }

    /// Plugs an interface in again that was deleted. Its MAC address is another one now, which the neighbours of the
    /// kernel's own addresses must hear from the kernel's side, as network managers see to.
    pub fn plug_in_again(&self, interface: &str) {
        self.plug_in(interface);
        for address in self.setup.switch_addresses(interface).into_iter().filter(IpAddr::is_ipv4) {
            self.switch
                .run_within(Duration::from_secs(3), &format!("arping -U -c 1 -w 1 -I {interface} {address}"));
        }
    }

    fn give_client(&self) {
        for &family in self.setup.families() {
            give(&self.client, "eth0", self.setup.client_address(family));
        }
    }

    fn connect_client(&self) {
        match self.setup.topology {
            Topology::Routed => {}
            Topology::OneArm => {
                cable_to_bridge(1, (&self.client, "eth0"), self.host("lan"), "client");
                self.give_client();
            }
            Topology::Home => {
                cable_to_bridge(1, (&self.client, "eth0"), self.host("lan"), "client");
                wiring::give_inside(&self.setup, &self.client, 1);
            }
            Topology::Far | Topology::Bridge => {
                wiring::connect_client(&self.setup, &self.client, Some(self.host("router")));
            }
        }
    }

    fn connect_others(&self) {
        let join = |name: &str, bridge: &str, host: u8| {
            cable_to_bridge(1, (self.host(name), "eth0"), self.host(bridge), name);
            self.setup
                .families()
                .iter()
                .for_each(|&family| give(self.host(name), "eth0", address(family, 0, host)));
        };
        match self.setup.topology {
            Topology::Routed | Topology::OneArm => {}
            Topology::Far => {
                let router = self.host("router");
                cable_to_bridge(1, (router, "eth1"), self.host("lan"), "router");
                self.setup
                    .families()
                    .iter()
                    .for_each(|&family| give(router, "eth1", address(family, 1, 254)));
            }
            Topology::Bridge => {
                join("router", "up", 254);
                join("x1", "up", 21);
                join("x2", "lan", 22);
            }
            Topology::Home => {
                for (number, name) in [(2, "h2"), (3, "h3")] {
                    cable_to_bridge(1, (self.host(name), "eth0"), self.host("lan"), name);
                    wiring::give_inside(&self.setup, self.host(name), number);
                }
            }
        }
    }

    fn backend(&self, number: u8) -> Backend {
        let (name, setup) = (format!("b{number}"), &self.setup);
        let host = new_host(setup, &name);
        let bridge = if setup.topology == Topology::Home { "up" } else { "lan" };
        cable_to_bridge(1, (&host, "eth0"), self.host(bridge), &name);
        for &family in setup.families() {
            give(&host, "eth0", setup.backend_address_of(number, family));
            if let Some(gateway) = setup.backend_gateway(family) {
                route(&host, "default", gateway);
            }
        }
        if setup.is_direct() {
            wiring::hold_vips(&host, setup);
        }
        let decapsulator = setup.is_tunnel().then(|| take_tunnels_off(&host));
        let listens = |service: fn(Path) -> SocketAddr| {
            setup.paths.iter().map(move |&path| setup.listens(number, path, service(path)))
        };
        let web = Web::start(&host, &name, &listens(Path::web).collect::<Vec<_>>(), self.directory());
        let names = listens(Path::names).map(|address| servers::udp_names(&host, &name, address)).collect();
        wait_until("nginx listens", Duration::from_secs(10), || {
            let listening = host.run("ss --no-header --listening --tcp --numeric");
            listening.lines().count() >= setup.paths.len()
        });
        let address = setup.backend_address(number);
        Backend { web, _names: names, decapsulator, name, address, host }
    }
}

/// Routers, bystanders and bridges.
fn others(setup: &Setup) -> Vec<(&'static str, Namespace)> {
    let names: &[&str] = match setup.topology {
        Topology::Routed | Topology::OneArm => &["lan"],
        Topology::Far => &["router", "lan"],
        Topology::Bridge => &["router", "x1", "x2", "up", "lan"],
        Topology::Home => &["h2", "h3", "up", "lan"],
    };
    let create = |&name: &&'static str| match name {
        "router" => (name, new_router(setup)),
        "lan" | "up" => (name, new_bridge(name)),
        _ => (name, new_host(setup, name)),
    };
    names.iter().map(create).collect()
}

fn take_tunnels_off(host: &Namespace) -> Decapsulator {
    let started = host.enter(|| Decapsulator::start(TUNNEL_DEVICE, GUE_PORT));
    let started = started.expect("a TUN device and raw sockets can be opened");
    host.ip(&format!("link set {TUNNEL_DEVICE} up"));
    started
}
