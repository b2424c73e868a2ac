//! The XDP program of one interface: loads it, fills its maps, attaches it.
//!
//! It is attached through a BPF link and pinned nowhere. When the process ends, however it ends, the kernel drops the
//! link and with it the program: the kernel has its traffic back.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::os::fd::RawFd;

use aya::maps::{Array, HashMap, Map, MapData, XskMap};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, Pod};

use crate::tables::exact::address_bits;
use crate::tables::{Endpoint, InterfaceId, Steering};

/// Queues that the program can steer to.
pub const MAX_QUEUES: u32 = 64;

const IS_VIP: u32 = 1;
const IS_ANNOUNCED: u32 = 2;
const IS_LOCAL: u32 = 4;

/// Where the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the kernel's generic receive path.
    Generic,
}

impl AttachMode {
    /// The name in `status` and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// What went wrong with a program, and what to look at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Loading.
    #[error(
        "cannot load the XDP program: {0} (needs Linux 5.11 or newer, and root or CAP_BPF with CAP_NET_ADMIN)"
    )]
    Load(String),
    /// A map.
    #[error("XDP map `{0}`: {1}")]
    Map(&'static str, String),
    /// Attaching.
    #[error("cannot attach the XDP program to {interface}: {reason}")]
    Attach {
        /// Which interface.
        interface: String,
        /// Why not, one sentence per mode tried.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
struct RawEndpoint {
    address: [u8; 16],
    port: [u8; 2],
    protocol: u8,
    zero: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct RawSettings {
    mac: [u8; 6],
    zero: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct RawRange {
    first: u16,
    last: u16,
}

// SAFETY: plain bytes and integers without padding, every bit pattern is valid.
unsafe impl Pod for RawEndpoint {}
// SAFETY: as above.
unsafe impl Pod for RawSettings {}
// SAFETY: as above.
unsafe impl Pod for RawRange {}

impl From<&Endpoint> for RawEndpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            address: raw_address(endpoint.address),
            port: endpoint.port.to_be_bytes(),
            protocol: endpoint.protocol as u8,
            zero: 0,
        }
    }
}

fn raw_address(address: IpAddr) -> [u8; 16] {
    address_bits(address).to_be_bytes()
}

/// A hash map of the program with what was last written to it, so that only differences are written.
struct Mirror<K: Pod, V: Pod> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
    content: BTreeMap<K, V>,
}

impl<K: Pod + Ord + Hash, V: Pod + PartialEq> Mirror<K, V> {
    fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, Error> {
        let map = HashMap::try_from(take_map(ebpf, name)?).map_err(|e| Error::Map(name, with_sources(&e)))?;
        Ok(Self { name, map, content: BTreeMap::new() })
    }

    fn set(&mut self, wanted: BTreeMap<K, V>) -> Result<(), Error> {
        let fail = |e: aya::maps::MapError| Error::Map(self.name, with_sources(&e));
        for (key, value) in &wanted {
            if self.content.get(key) != Some(value) {
                self.map.insert(key, value, 0).map_err(fail)?;
            }
        }
        for key in self.content.keys().filter(|key| !wanted.contains_key(key)) {
            self.map.remove(key).map_err(fail)?;
        }
        self.content = wanted;
        Ok(())
    }
}

fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, Error> {
    ebpf.take_map(name).ok_or_else(|| Error::Map(name, "not in the program".into()))
}

/// The program of one interface. Dropping it detaches it.
pub struct Steer {
    ebpf: Ebpf,
    sockets: XskMap<MapData>,
    settings: Array<MapData, RawSettings>,
    services: Mirror<RawEndpoint, u32>,
    replies: Mirror<RawEndpoint, u32>,
    snat: Mirror<[u8; 16], RawRange>,
    addresses: Mirror<[u8; 16], u32>,
}

impl std::fmt::Debug for Steer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steer").field("services", &self.services.content.len()).finish_non_exhaustive()
    }
}

impl Steer {
    /// Loads the program into the kernel; nothing is steered until [`Steer::attach`].
    pub fn load() -> Result<Self, Error> {
        let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));
        let mut ebpf = Ebpf::load(object).map_err(|e| Error::Load(with_sources(&e)))?;
        let program: &mut Xdp = ebpf
            .program_mut("steer")
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| Error::Load("the object holds no program `steer`".into()))?;
        program.load().map_err(|e| Error::Load(with_sources(&e)))?;
        let fail = |name| move |e: aya::maps::MapError| Error::Map(name, with_sources(&e));
        Ok(Self {
            sockets: XskMap::try_from(take_map(&mut ebpf, "sockets")?).map_err(fail("sockets"))?,
            settings: Array::try_from(take_map(&mut ebpf, "settings")?).map_err(fail("settings"))?,
            services: Mirror::take(&mut ebpf, "services")?,
            replies: Mirror::take(&mut ebpf, "replies")?,
            snat: Mirror::take(&mut ebpf, "snat")?,
            addresses: Mirror::take(&mut ebpf, "addresses")?,
            ebpf,
        })
    }

    /// Steers a queue to a socket. The kernel takes the socket out again when it is closed.
    pub fn set_socket(&mut self, queue: u32, socket: RawFd) -> Result<(), Error> {
        self.sockets.set(queue, socket, 0).map_err(|e| Error::Map("sockets", with_sources(&e)))
    }

    /// Makes the maps say exactly this, for the program of `interface`.
    pub fn set(&mut self, steering: &Steering, interface: InterfaceId) -> Result<(), Error> {
        if let Some(mac) = steering.macs.get(interface.index()) {
            let settings = RawSettings { mac: *mac, zero: 0 };
            self.settings.set(0, settings, 0).map_err(|e| Error::Map("settings", with_sources(&e)))?;
        }
        let endpoints =
            |set: &std::collections::BTreeSet<Endpoint>| set.iter().map(|e| (e.into(), 1)).collect();
        self.services
            .set(steering.services.iter().map(|(e, room)| (e.into(), u32::from(*room))).collect())?;
        self.replies.set(endpoints(&steering.replies))?;
        self.snat.set(
            steering
                .snat
                .iter()
                .map(|(address, (first, last))| {
                    (raw_address(*address), RawRange { first: *first, last: *last })
                })
                .collect(),
        )?;
        let mut roles: BTreeMap<[u8; 16], u32> = BTreeMap::new();
        for (set, role) in
            [(&steering.vips, IS_VIP), (&steering.announced, IS_ANNOUNCED), (&steering.locals, IS_LOCAL)]
        {
            for address in set {
                *roles.entry(raw_address(*address)).or_default() |= role;
            }
        }
        self.addresses.set(roles)
    }

    /// Attaches the program in the first of `modes` that the driver accepts.
    pub fn attach(&mut self, interface: &str, modes: &[AttachMode]) -> Result<AttachMode, Error> {
        let mut reasons = Vec::new();
        for mode in modes {
            let flags = match mode {
                AttachMode::Native => XdpMode::Driver,
                AttachMode::Generic => XdpMode::Skb,
            };
            let Some(program) = self.ebpf.program_mut("steer") else { break };
            let program: Result<&mut Xdp, _> = program.try_into();
            match program.and_then(|program| program.attach(interface, flags)) {
                Ok(_) => return Ok(*mode),
                Err(error) => reasons.push(format!("{}: {}", mode.name(), explain(&error, interface))),
            }
        }
        Err(Error::Attach { interface: interface.into(), reason: reasons.join("; ") })
    }
}

fn explain(error: &dyn std::error::Error, interface: &str) -> String {
    let text = with_sources(error);
    // EBUSY and EEXIST: the hook is taken.
    let taken = ["(os error 16)", "(os error 17)"].iter().any(|code| text.contains(code));
    if taken {
        format!(
            "{text}: another XDP program is attached, maybe another xswitch; `ip link set dev {interface} xdp off` takes it off"
        )
    } else {
        text
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
