//! The XDP program of one interface: loads it, fills its maps, attaches it.
//!
//! It is attached through a BPF link and pinned nowhere. When the process ends, however it ends, the kernel drops the
//! link and with it the program: the kernel has its traffic back.

mod mirror;
mod raw;

use std::os::fd::RawFd;

use aya::Ebpf;
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::xdp::DevMap;
use aya::maps::{Array, MapData, PerCpuArray, XskMap};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{TestRun, TestRunOptions, Xdp, XdpMode};

use self::mirror::{Mirror, take_map};
use self::raw::{RawAddress, RawEndpoint, RawPrefix, RawRanges, RawSettings};
use crate::tables::{InterfaceId, Steering};

/// Queues that the program can steer to.
pub const MAX_QUEUES: u32 = 64;

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
        "cannot load the XDP program: {0} (needs Linux 5.11 or newer, and root or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)"
    )]
    Load(String),
    /// A map.
    #[error("XDP map `{0}`: {1}")]
    Map(&'static str, String),
    /// Running over a frame.
    #[error("cannot run the XDP program over a frame: {0}")]
    Test(String),
    /// Attaching.
    #[error("cannot attach the XDP program to {interface}: {reason}")]
    Attach {
        /// Which interface.
        interface: String,
        /// Why not, one sentence per mode tried.
        reason: String,
    },
}

/// Frames that went each way since the program was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ways {
    /// To the kernel, untouched.
    pub kernel: u64,
    /// To the socket of their queue.
    pub socket: u64,
    /// Bridge: to the other interface.
    pub peer: u64,
    /// Ours, but their queue has no socket: the kernel got them.
    pub no_socket: u64,
}

/// What the program did to one frame; see [`Steer::test`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `XDP_PASS` (2) or `XDP_REDIRECT` (4).
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// The program of one interface. Dropping it detaches it.
pub struct Steer {
    ebpf: Ebpf,
    program: &'static str,
    /// While it is attached.
    link: Option<XdpLinkId>,
    sockets: XskMap<MapData>,
    peer: DevMap<MapData>,
    settings: Array<MapData, RawSettings>,
    services: Mirror<RawEndpoint, u32>,
    replies: Mirror<RawEndpoint, u32>,
    tunnels: Mirror<RawEndpoint, u32>,
    snat: Mirror<RawAddress, RawRanges>,
    addresses: Mirror<RawAddress, u32>,
    prefixes: Mirror<RawPrefix, u32, LpmTrie<MapData, RawAddress, u32>>,
    ways: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Steer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steer").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

/// For frames of one or several buffers, and for one only: kernels before 5.18 know no other.
const PROGRAMS: [&str; 2] = ["steer", "steer_single"];

impl Steer {
    /// Loads the program into the kernel; nothing is steered until [`Steer::attach`].
    pub fn load() -> Result<Self, Error> {
        let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));
        let mut ebpf = Ebpf::load(object).map_err(|e| Error::Load(with_sources(&e)))?;
        let mut refused = String::new();
        for program in PROGRAMS {
            match program_of(&mut ebpf, program)?.load() {
                Ok(()) => return Self::with_maps(ebpf, program),
                // The first error is about the program that is wanted.
                Err(error) if refused.is_empty() => refused = with_sources(&error),
                Err(_) => {}
            }
        }
        Err(Error::Load(refused))
    }

    fn with_maps(mut ebpf: Ebpf, program: &'static str) -> Result<Self, Error> {
        Ok(Self {
            program,
            link: None,
            sockets: take_map(&mut ebpf, "sockets")?,
            peer: take_map(&mut ebpf, "peer")?,
            settings: take_map(&mut ebpf, "settings")?,
            services: Mirror::take(&mut ebpf, "services")?,
            replies: Mirror::take(&mut ebpf, "replies")?,
            tunnels: Mirror::take(&mut ebpf, "tunnels")?,
            snat: Mirror::take(&mut ebpf, "snat")?,
            addresses: Mirror::take(&mut ebpf, "addresses")?,
            prefixes: Mirror::take(&mut ebpf, "prefixes")?,
            ways: take_map(&mut ebpf, "ways")?,
            ebpf,
        })
    }

    /// Whether frames that lie in several buffers reach the program. Where not, a driver with a large MTU refuses it.
    pub fn takes_frames_of_several_buffers(&self) -> bool {
        self.program == PROGRAMS[0]
    }

    /// Steers a queue to a socket. The kernel takes the socket out again when it is closed.
    pub fn set_socket(&mut self, queue: u32, socket: RawFd) -> Result<(), Error> {
        self.sockets.set(queue, socket, 0).map_err(|e| Error::Map("sockets", with_sources(&e)))
    }

    /// Bridge: the other interface, by its index in the kernel. Until it is set, and after that interface is gone, the
    /// kernel gets what would cross.
    pub fn set_peer(&mut self, ifindex: u32) -> Result<(), Error> {
        self.peer.set(0, ifindex, None, 0).map_err(|e| Error::Map("peer", with_sources(&e)))
    }

    /// Makes the maps say exactly this, for the program of `interface`.
    pub fn set(&mut self, steering: &Steering, interface: InterfaceId) -> Result<(), Error> {
        if interface.index() < steering.macs.len() {
            self.settings
                .set(0, raw::settings(steering, interface), 0)
                .map_err(|e| Error::Map("settings", with_sources(&e)))?;
        }
        // Exceptions before what they are exceptions from.
        self.addresses.set(raw::addresses(steering))?;
        self.services
            .set(steering.services.iter().map(|(e, room)| (e.into(), u32::from(*room))).collect())?;
        self.replies.set(steering.replies.iter().map(|e| (e.into(), 1)).collect())?;
        self.tunnels.set(raw::tunnels(steering))?;
        self.snat.set(raw::snat(steering))?;
        self.prefixes.set(raw::prefixes(steering))
    }

    /// Counts of all processors.
    pub fn ways(&self) -> Result<Ways, Error> {
        let sum = |way: u32| match self.ways.get(&way, 0) {
            Ok(values) => Ok(values.iter().sum()),
            Err(error) => Err(Error::Map("ways", with_sources(&error))),
        };
        Ok(Ways { kernel: sum(0)?, socket: sum(1)?, peer: sum(2)?, no_socket: sum(3)? })
    }

    /// Runs the program over one frame, as if it had come from queue 0, without sending it anywhere.
    pub fn test(&mut self, frame: &[u8]) -> Result<Outcome, Error> {
        let mut out = vec![0; frame.len() + 256];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = program_of(&mut self.ebpf, self.program)?
            .test_run(options)
            .map_err(|e| Error::Test(with_sources(&e)))?;
        out.truncate(result.data_size_out as usize);
        Ok(Outcome { action: result.return_value, frame: out })
    }

    /// Attaches the program in the first of `modes` that the driver accepts.
    pub fn attach(&mut self, interface: &str, modes: &[AttachMode]) -> Result<AttachMode, Error> {
        let mut reasons = Vec::new();
        for mode in modes {
            let flags = match mode {
                AttachMode::Native => XdpMode::Driver,
                AttachMode::Generic => XdpMode::Skb,
            };
            match program_of(&mut self.ebpf, self.program)?.attach(interface, flags) {
                Ok(link) => {
                    self.link = Some(link);
                    return Ok(*mode);
                }
                Err(error) => reasons.push(format!("{}: {}", mode.name(), explain(&error, interface))),
            }
        }
        Err(Error::Attach { interface: interface.into(), reason: reasons.join("; ") })
    }

    /// Steers no queue to a socket any more.
    pub fn unset_sockets(&mut self) {
        for queue in 0..MAX_QUEUES {
            // Most queues have none, or lost theirs when it was closed.
            let _ = self.sockets.unset(queue);
        }
    }

    /// Takes the program off, and keeps it. It may be attached again, also to another interface; without sockets, it passes
    /// everything.
    pub fn detach(&mut self) {
        self.unset_sockets();
        if let (Some(link), Ok(program)) = (self.link.take(), program_of(&mut self.ebpf, self.program)) {
            // Of an interface that is gone the kernel has taken it off itself.
            let _ = program.detach(link);
        }
    }
}

fn program_of<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Error::Load(format!("the object holds no program `{name}`")))
}

fn explain(error: &dyn std::error::Error, interface: &str) -> String {
    let text = with_sources(error);
    // EBUSY and EEXIST: the hook is taken.
    let taken = ["(os error 16)", "(os error 17)"].iter().any(|code| text.contains(code));
    if taken {
        format!(
            "{text}: another XDP program is attached, maybe by another xswitch: end what holds it (`bpftool link` lists them); \
             `ip link set dev {interface} xdp off` takes off only what `ip` attached"
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
