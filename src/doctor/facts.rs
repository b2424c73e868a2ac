//! Everything that is known of a machine before anything is thought of it. What could not be found out is none, and then
//! nothing is said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::finding::Place;
use crate::control::netlink::links::Attached;
use crate::control::network::NetworkView;
use crate::control::ports::Listener;
use crate::control::status::Status;
use crate::sys::ethtool::{Channels, Feature};
use crate::sys::kernel::{AfXdp, Capabilities};

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Kernel, memory, processor, parameters.
    pub host: Host,
    /// The switch's interfaces, in the order of the configuration.
    pub devices: Vec<Device>,
    /// The kernel's network.
    pub view: NetworkView,
    /// Programs of this host that wait for others.
    pub listeners: Vec<Listener>,
    /// What was asked on the wire, and who answered.
    pub wire: Wire,
    /// The control socket as a file.
    pub socket: SocketFile,
    /// What a running switch says.
    pub status: Option<Status>,
}

impl Facts {
    /// Whether the switch that runs has its program on this interface.
    pub fn is_ours(&self, interface: &str) -> bool {
        let ports = self.status.iter().flat_map(|status| &status.ports);
        ports.into_iter().any(|port| port.interface == interface && !port.xdp_mode.is_empty())
    }
}

/// The machine.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Major and minor number of the kernel's version.
    pub kernel: Option<(u32, u32)>,
    /// Whether AF_XDP sockets can be had.
    pub af_xdp: AfXdp,
    /// What this process may do.
    pub capabilities: Capabilities,
    /// Why the XDP program cannot be loaded; none where it can, or was not tried.
    pub xdp_refused: Option<String>,
    /// Whether the kernel can poll drivers for programs (CONFIG_NET_RX_BUSY_POLL).
    pub can_busy_poll: Option<bool>,
    /// Limit on locked memory in bytes; none: unlimited.
    pub locked_memory: Option<u64>,
    /// Pages of 2 MiB: reserved, and of those free.
    pub huge_pages: (u32, u32),
    /// Whether transparent huge pages are given to who asks.
    pub huge_on_demand: Option<bool>,
    /// Bytes of memory, and those that could still be had.
    pub memory: Option<(u64, u64)>,
    /// Cores that this process may use.
    pub cores: Option<usize>,
    /// Name of the clock that the kernel reads time from.
    pub clocksource: Option<String>,
    /// How the frequency of the first core is governed.
    pub governor: Option<String>,
    /// Cores that the scheduler leaves alone.
    pub isolated: Option<String>,
    /// Kernel parameters that matter, by name; absent where there is no such parameter.
    pub sysctls: BTreeMap<String, String>,
    /// The ports that the kernel takes its own from.
    pub local_ports: Option<(u16, u16)>,
    /// Connections that the kernel's own tracking has, and may have.
    pub conntrack: Option<(u64, u64)>,
}

impl Host {
    /// A kernel parameter that is a number; none where it is not there.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.sysctls.get(key)?.trim().parse().ok()
    }

    /// Whether the kernel is at least this new; yes where it does not say.
    pub fn is_at_least(&self, version: (u32, u32)) -> bool {
        self.kernel.is_none_or(|kernel| kernel >= version)
    }
}

impl Default for Capabilities {
    /// Facts made by hand say what is missing.
    fn default() -> Self {
        Self::ALL
    }
}

/// What a driver lets XDP do (`enum netdev_xdp_act` of `linux/netdev.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdpFeatures(pub u64);

impl XdpFeatures {
    /// Programs in the driver.
    pub const fn native(self) -> bool {
        self.0 & 1 != 0
    }

    /// Frames without a copy between driver and AF_XDP.
    pub const fn zero_copy(self) -> bool {
        self.0 & 1 << 3 != 0
    }

    /// Frames in several buffers.
    pub const fn multi_buffer(self) -> bool {
        self.0 & 1 << 5 != 0
    }
}

/// One interface.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Whether the kernel has it.
    pub exists: bool,
    /// By its administrator's will.
    pub is_up: bool,
    /// Whether somebody is at the other end.
    pub has_carrier: bool,
    /// The driver's name.
    pub driver: Option<String>,
    /// Whether there is an adapter behind it.
    pub is_hardware: bool,
    /// RX queues.
    pub queues: u32,
    /// What it could have.
    pub channels: Option<Channels>,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Features by whether they are on.
    pub features: BTreeMap<Feature, bool>,
    /// What XDP may do there.
    pub xdp: Option<XdpFeatures>,
    /// The XDP program on it, and what it is called.
    pub program: Option<(Attached, Option<String>)>,
    /// Queues of the entries of its RSS table.
    pub indirection: Vec<u32>,
    /// The bridge or bond that it belongs to.
    pub master: Option<String>,
    /// Name of the far end's place, if it is a veth.
    pub far: Far,
}

impl Device {
    /// Whether a feature is on; no where it is not known.
    pub fn is_on(&self, feature: Feature) -> bool {
        self.features.get(&feature) == Some(&true)
    }

    /// Whether XDP programs run in its driver; none where nobody says.
    pub fn is_native(&self) -> Option<bool> {
        self.xdp.map(XdpFeatures::native)
    }
}

/// The other end of a veth.
#[derive(Debug, Clone, Default)]
pub enum Far {
    /// It is none.
    #[default]
    NoVeth,
    /// It is one, but its other end is somewhere that we cannot look at.
    Unseen,
    /// There it is.
    Seen(Box<FarEnd>),
}

/// The other end of a veth, seen.
#[derive(Debug, Clone, Default)]
pub struct FarEnd {
    /// In which namespace.
    pub place: Place,
    /// Its name there.
    pub name: String,
    /// Whether it is up.
    pub is_up: bool,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// TX queues: native XDP wants no more than we have RX queues.
    pub tx_queues: u32,
    /// Whether it has an XDP program.
    pub has_program: bool,
    /// Features by whether they are on.
    pub features: BTreeMap<Feature, bool>,
}

impl FarEnd {
    /// Whether a feature is on; no where it is not known.
    pub fn is_on(&self, feature: Feature) -> bool {
        self.features.get(&feature) == Some(&true)
    }
}

/// Questions on the wire and their answers.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// What was asked for, by interface.
    pub asked: BTreeSet<(String, IpAddr)>,
    /// Who said that it has it.
    pub answers: BTreeMap<(String, IpAddr), BTreeSet<[u8; 6]>>,
    /// Ways back from backends.
    pub ways_back: Vec<WayBack>,
}

/// How a backend's answers come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBack {
    /// The backend.
    pub backend: IpAddr,
    /// The interface that leads to it.
    pub interface: String,
    /// Our address on its link: where its gateway should be.
    pub near: IpAddr,
    /// Our address that is not on its link.
    pub far: IpAddr,
    /// Whether it answers a ping from its own link.
    pub answers_near: bool,
    /// The interface through which its answer to the other address came; none: it did not come.
    pub answers_far: Option<String>,
}

/// The control socket's place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SocketFile {
    /// Nothing is in the way.
    #[default]
    Free,
    /// A file that is not a socket.
    Another(PathBuf),
    /// There is no such directory.
    NoDirectory(PathBuf),
}
