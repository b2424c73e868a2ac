//! Values as sentences show them: as they are written in the file, but without quotes where none are needed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::config::valid::{
    AdminState, Cookies, HugePages, Idle, Scheduler, Source, Topology, Via, XdpMode, ZeroCopy,
};
use crate::config::words;
use crate::tables::{
    Access, Dscp, Fate, Filtering, Forwarding, Mapping, MssClamp, OnNoBackend, Protocol, VerifyChecksums,
};

/// How a value is shown.
pub(super) trait Said {
    /// The value, for a sentence.
    fn said(&self) -> String;
}

/// More items of a list than this are counted, not shown.
const MOST_SHOWN: usize = 8;

/// A list, or its beginning.
pub(super) fn several<'a, T: Said + 'a>(items: impl ExactSizeIterator<Item = &'a T>) -> String {
    let beyond = items.len().saturating_sub(MOST_SHOWN);
    let shown: Vec<_> = items.take(MOST_SHOWN).map(Said::said).collect();
    match beyond {
        0 => shown.join(", "),
        _ => format!("{} and {beyond} more", shown.join(", ")),
    }
}

macro_rules! said {
    ($($type:ty: $value:ident => $said:expr),+ $(,)?) => {
        $(impl Said for $type {
            fn said(&self) -> String {
                let $value = self;
                $said.to_string()
            }
        })+
    };
}

said! {
    bool: value => value,
    u16: value => value,
    u32: value => value,
    u64: value => value,
    IpAddr: value => value,
    SocketAddr: value => value,
    String: value => value,
    PathBuf: value => value.display(),
    (IpAddr, u8): value => format!("{}/{}", value.0, value.1),
    (u16, u16): value => format!("{}-{}", value.0, value.1),
    (u32, u32): value => format!("[{}, {}]", value.0, value.1),
    [u8; 6]: value => value.map(|byte| format!("{byte:02x}")).join(":"),
    Dscp: value => value.number(),
    Access: value => words::ACCESS.name(*value),
    AdminState: value => value.name(),
    Cookies: value => words::SYN_COOKIES.name(*value),
    Fate: value => value.name(),
    Filtering: value => words::FILTERING.name(*value),
    Forwarding: value => value.name(),
    HugePages: value => words::HUGE_PAGES.name(*value),
    Idle: value => words::IDLE.name(*value),
    Mapping: value => words::MAPPING.name(*value),
    OnNoBackend: value => value.name(),
    Protocol: value => value.name(),
    Scheduler: value => value.name(),
    Topology: value => words::TOPOLOGY.name(*value),
    VerifyChecksums: value => words::VERIFY_CHECKSUMS.name(*value),
    Via: value => words::VIA.name(*value),
    XdpMode: value => words::XDP_MODE.name(*value),
    ZeroCopy: value => words::ZERO_COPY.name(*value),
}

impl<T: Said> Said for Option<T> {
    fn said(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Said::said)
    }
}

impl Said for MssClamp {
    fn said(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Auto => "auto".to_owned(),
            Self::Bytes(bytes) => bytes.to_string(),
        }
    }
}

impl Said for Source {
    fn said(&self) -> String {
        match self {
            Self::Dns { name, port } => format!("dns {name}:{port}"),
            Self::Srv { name } => format!("srv {name}"),
            Self::File { path } => format!("file {}", path.display()),
        }
    }
}

/// Text and bytes that may hold anything.
#[derive(PartialEq)]
pub(super) struct Quoted<'a>(pub &'a [u8]);

impl Said for Quoted<'_> {
    fn said(&self) -> String {
        format!("\"{}\"", self.0.escape_ascii())
    }
}
