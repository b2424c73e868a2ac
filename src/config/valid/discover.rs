//! `[service.discover]`.

use std::path::PathBuf;

/// `[service.discover]`: backends besides those of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Discover {
    /// Where from.
    pub source: Source,
    /// Weight of backends whose source names none.
    pub weight: u32,
    /// An answer with fewer backends than this is not believed while there are more.
    pub min_backends: u32,
    /// Least and most seconds between two looks, whatever the TTL says.
    pub interval_s: (u32, u32),
}

/// Where backends are discovered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A and AAAA records of this name, of the VIP's family, at this port.
    Dns {
        /// The name.
        name: String,
        /// The port of every backend.
        port: u16,
    },
    /// SRV records of this name: ports and weights are theirs.
    Srv {
        /// The name: `_http._tcp.example.net`.
        name: String,
    },
    /// A file with a backend per line: `ADDRESS:PORT [WEIGHT]`, `#` begins a comment.
    File {
        /// The file.
        path: PathBuf,
    },
}
