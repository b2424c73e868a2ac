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

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::exclusive::Exclusive;
use super::namespace::{self, Namespace};
use super::process;
use super::servers::{self, UdpServer, Web};
use super::wait::wait_until;

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
/// Where the backends serve TCP.
pub const WEB_PORT: u16 = 8080;
/// Where the backends serve UDP.
pub const NAMES_PORT: u16 = 31002;
/// TCP and UDP for a server that a scene starts itself, at the same port everywhere.
pub const BULK: SocketAddrV4 = SocketAddrV4::new(VIP, 31003);
/// Number of backends.
pub const BACKENDS: u8 = 3;

/// Who is connected to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Two interfaces, two subnets; the switch is the backends' gateway.
    Routed,
    /// One interface, one subnet.
    OneArm,
}

/// What a scene runs on.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The cables.
    pub topology: Topology,
    /// `nat` or `full-nat`.
    pub forwarding: &'static str,
    /// RX and TX queues of every interface, and so workers of the switch.
    pub queues: u16,
}

/// `nat` between two networks.
pub const fn nat(queues: u16) -> Setup {
    Setup { topology: Topology::Routed, forwarding: "nat", queues }
}

/// `full-nat` between two networks.
pub const fn full_nat(queues: u16) -> Setup {
    Setup { topology: Topology::Routed, forwarding: "full-nat", queues }
}

/// `full-nat` within one network.
pub const fn full_nat_one_arm(queues: u16) -> Setup {
    Setup { topology: Topology::OneArm, forwarding: "full-nat", queues }
}

impl Setup {
    /// The switch's interfaces.
    pub fn interfaces(&self) -> &'static [&'static str] {
        match self.topology {
            Topology::Routed => &["eth0", "eth1"],
            Topology::OneArm => &["eth0"],
        }
    }

    /// The switch's own addresses, with the interface of each.
    fn switch_addresses(&self) -> &'static [(&'static str, &'static str)] {
        match self.topology {
            Topology::Routed => &[("eth0", "198.18.0.2"), ("eth1", "198.18.1.1"), ("eth1", "198.18.1.2")],
            // The SNAT address is nobody's but the switch's: it answers ARP for it by itself.
            Topology::OneArm => &[("eth0", "198.18.0.2")],
        }
    }

    /// Where full NAT comes from.
    pub fn snat_address(&self) -> Ipv4Addr {
        match self.topology {
            Topology::Routed => Ipv4Addr::new(198, 18, 1, 2),
            Topology::OneArm => Ipv4Addr::new(198, 18, 0, 3),
        }
    }

    /// The address of backend `number` (1, 2, 3).
    pub fn backend_address(&self, number: u8) -> Ipv4Addr {
        match self.topology {
            Topology::Routed => Ipv4Addr::new(198, 18, 1, 10 + number),
            Topology::OneArm => Ipv4Addr::new(198, 18, 0, 10 + number),
        }
    }
}

/// A host with nginx and a UDP server, both of which say its name.
#[derive(Debug)]
pub struct Backend {
    // Servers end before the namespace that they live in.
    web: Web,
    names: UdpServer,
    /// `b1`, `b2` or `b3`.
    pub name: String,
    /// Its address.
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
    lan: Namespace,
    directory: TempDir,
    // Last: the next lab may start once everything above is gone.
    _exclusive: Exclusive,
}

impl Lab {
    /// Builds the network and starts the servers. The switch itself is started by the scene.
    pub fn new(setup: Setup) -> Self {
        let exclusive = Exclusive::acquire();
        let directory = namespace::temporary_directory();
        let (client, switch) = (Namespace::new("client"), Namespace::new("switch"));
        let lan = Namespace::new("lan");
        lan.ip("link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        lan.ip("link set br0 up");
        let mut lab = Self { setup, backends: vec![], client, switch, lan, directory, _exclusive: exclusive };
        lab.connect_switch();
        for number in 1..=BACKENDS {
            let backend = lab.backend(number);
            lab.backends.push(backend);
        }
        lab
    }

    /// Where scenes may put files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
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

    /// Creates the cable of one of the switch's interfaces, with the addresses of both ends.
    fn plug_in(&self, interface: &str) {
        match (self.setup.topology, interface) {
            (Topology::Routed, "eth0") => {
                self.cable(self.setup.queues, (&self.switch, "eth0"), (&self.client, "eth0"));
                self.client.ip(&format!("address add {CLIENT}/24 dev eth0"));
            }
            _ => self.cable_to_bridge(
                self.setup.queues,
                (&self.switch, interface),
                &format!("switch-{interface}"),
            ),
        }
        for (_, address) in self.setup.switch_addresses().iter().filter(|(name, _)| *name == interface) {
            self.switch.ip(&format!("address add {address}/24 dev {interface}"));
        }
    }

    /// Plugs an interface in again that was deleted. Its MAC address is another one now, which the neighbours of the
    /// kernel's own addresses must hear from the kernel's side, as network managers see to.
    pub fn plug_in_again(&self, interface: &str) {
        self.plug_in(interface);
        for (_, address) in self.setup.switch_addresses().iter().filter(|(name, _)| *name == interface) {
            self.switch
                .run_within(Duration::from_secs(3), &format!("arping -U -c 1 -w 1 -I {interface} {address}"));
        }
    }

    fn connect_switch(&self) {
        if self.setup.topology == Topology::OneArm {
            self.cable_to_bridge(1, (&self.client, "eth0"), "client");
            self.client.ip(&format!("address add {CLIENT}/24 dev eth0"));
        }
        for interface in self.setup.interfaces() {
            self.plug_in(interface);
        }
    }

    fn backend(&self, number: u8) -> Backend {
        let (name, address) = (format!("b{number}"), self.setup.backend_address(number));
        let host = Namespace::new(&name);
        self.cable_to_bridge(1, (&host, "eth0"), &name);
        host.ip(&format!("address add {address}/24 dev eth0"));
        if self.setup.topology == Topology::Routed {
            host.ip("route add default via 198.18.1.1");
        }
        let web = Web::start(&host, &name, SocketAddrV4::new(address, WEB_PORT), self.directory());
        let names = servers::udp_names(&host, &name, SocketAddrV4::new(address, NAMES_PORT));
        wait_until("nginx listens", Duration::from_secs(10), || {
            !host.run(&format!("ss --no-header --listening --tcp --numeric sport = :{WEB_PORT}")).is_empty()
        });
        Backend { web, names, name, address, host }
    }

    /// Hosts get one queue towards a bridge: a frame that its sender put on a queue by flow hash keeps that mark, and
    /// then the bridge would send every flow to queue 0 instead of spreading them over the switch's queues.
    fn cable_to_bridge(&self, queues: u16, host: (&Namespace, &str), port: &str) {
        self.cable(queues, host, (&self.lan, port));
        self.lan.ip(&format!("link set {port} master br0"));
    }

    /// A veth pair, both ends up and without offloads.
    fn cable(&self, queues: u16, (host, name): (&Namespace, &str), (peer_host, peer): (&Namespace, &str)) {
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        process::run(&format!(
            "ip link add name {name} netns {} {queues} type veth peer name {peer} netns {} {queues}",
            host.name(),
            peer_host.name(),
        ));
        for (host, interface) in [(host, name), (peer_host, peer)] {
            // A sender on a veth leaves its checksums to the receiving kernel and its segments uncut, which is
            // right between two kernels and wrong when a switch reads the frames in between.
            host.run(&format!("ethtool --offload {interface} tx off tso off gso off gro off"));
            host.ip(&format!("link set {interface} up"));
        }
    }
}
