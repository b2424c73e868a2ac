//! `[service.health]`.

use std::path::PathBuf;

/// `[service.health]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// Which way the question takes.
    pub via: Via,
    /// Port that is asked; none: the backend's.
    pub port: Option<u16>,
    /// Milliseconds from one check to the next.
    pub interval_ms: u32,
    /// Milliseconds from one check to the next while the backend is about to change, or is under suspicion.
    pub fast_interval_ms: u32,
    /// Milliseconds until a check has failed.
    pub timeout_ms: u32,
    /// Successes in a row until a backend is up.
    pub rise: u32,
    /// Failures in a row until it is down.
    pub fall: u32,
    /// Failures in a row in the traffic that make a backend suspect; 0 = the traffic is not heeded.
    pub passive_failures: u32,
    /// Port of an agent that is asked besides.
    pub agent_port: Option<u16>,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// Whether it answers a ping.
    Icmp,
    /// Whether it accepts a connection.
    Tcp,
    /// Whether it answers a datagram.
    Udp {
        /// What is sent.
        send: Vec<u8>,
        /// What its answer must contain; empty: any answer will do.
        expect: Vec<u8>,
    },
    /// Whether it answers a request as it should.
    Http(Http),
    /// The same through TLS.
    Https(Http, Tls),
    /// What an agent says of it.
    Agent,
}

impl Check {
    /// The name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp { .. } => "udp",
            Self::Http(_) => "http",
            Self::Https(..) => "https",
            Self::Agent => "agent",
        }
    }
}

/// A request and what its answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Http {
    /// Method.
    pub method: String,
    /// Path, with query.
    pub path: String,
    /// `Host` header; none: the backend's address.
    pub host: Option<String>,
    /// Statuses that will do: first and last of each range.
    pub statuses: Vec<(u16, u16)>,
    /// What the body must contain; empty: anything.
    pub body: String,
}

/// How far TLS is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whether the certificate must be valid, and for the name in `sni`.
    pub verify: bool,
    /// Server name; none: `host`, or no name at all.
    pub sni: Option<String>,
    /// Certificates of authorities to trust (PEM); none: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Which way a check takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Via {
    /// To the backend's address, like everything else that this host sends.
    #[default]
    Direct,
    /// To the VIP, as the service's packets go: through the tunnel, or to the backend's MAC address.
    Forwarding,
}
