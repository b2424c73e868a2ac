//! `POST /v1/connections` and `POST /v1/connections/kill`: which connections there are, how many, and the end of some of
//! them. These types are its documentation.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::orders::{list as list_names, no_service};
use crate::tables::connection::{ClientPrefix, STATES, Tally, Wanted};
use crate::tables::{Protocol, SeenConnection, Service, ServiceId, Snapshot};

mod best;
mod walk;

pub use walk::{Busy, Pace, Walker, kill, list};

/// Rows in an answer, at the most.
pub const MOST_ROWS: usize = 100_000;
const ICMP_NAME: &str = "icmp";

/// Which connections are meant: those for which everything holds that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // A misspelt condition would mean more than was said.
pub struct Filter {
    /// Name of a service.
    #[serde(default)]
    pub service: Option<String>,
    /// Address of a backend, with or without its port.
    #[serde(default)]
    pub backend: Option<String>,
    /// A client's address, address and port, or a prefix.
    #[serde(default)]
    pub client: Option<String>,
    /// A state.
    #[serde(default)]
    pub state: Option<String>,
    /// `tcp` or `udp`.
    #[serde(default)]
    pub protocol: Option<String>,
}

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// As they come: where there are more than are shown, any of them.
    #[default]
    Any,
    /// By the client's address and port.
    Client,
    /// By the backend's address and port.
    Backend,
    /// By the service's address and port.
    Service,
    /// By state.
    State,
    /// Those that are idle the longest first.
    Idle,
    /// Those that had a frame last first.
    Recent,
}

/// `POST /v1/connections`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Which.
    #[serde(default)]
    pub filter: Filter,
    /// In which order.
    #[serde(default)]
    pub sort: Sort,
    /// How many rows; 0: only counted.
    #[serde(default)]
    pub limit: usize,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// How many there are.
    pub total: u64,
    /// By state; those of which there are none are left out.
    pub by_state: BTreeMap<String, u64>,
    /// By service; those that have none are left out.
    pub by_service: Vec<ServiceCount>,
    /// Those of outbound source NAT.
    pub outbound: u64,
    /// Not more than was asked for.
    pub connections: Vec<Row>,
    /// Entries that were looked at, and how many there are. Fewer, where it took too long.
    pub looked_at: u64,
    /// Entries of the tables.
    pub entries: u64,
}

/// Connections of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCount {
    /// Its name.
    pub service: String,
    /// How many.
    pub total: u64,
    /// By state.
    pub by_state: BTreeMap<String, u64>,
    /// By backend; those that have none are left out.
    pub backends: Vec<BackendCount>,
}

/// Connections of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCount {
    /// Where it listens.
    pub backend: SocketAddr,
    /// How many.
    pub total: u64,
    /// By state.
    pub by_state: BTreeMap<String, u64>,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// Who opened it.
    pub client: SocketAddr,
    /// What that was addressed to.
    pub destination: SocketAddr,
    /// Name of the service; null where it is outbound.
    pub service: Option<String>,
    /// How its packets reach the backend; `snat` where it is outbound.
    pub forwarding: String,
    /// The backend; null where it is outbound.
    pub backend: Option<SocketAddr>,
    /// With which source its packets leave.
    pub source: SocketAddr,
    /// Its state.
    pub state: String,
    /// Seconds since the last frame.
    pub idle_s: u64,
    /// Seconds until it is forgotten, unless a frame comes.
    pub expires_in_s: u64,
    /// The worker that created it.
    pub worker: u16,
}

/// `POST /v1/connections/kill`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// Which.
    #[serde(default)]
    pub filter: Filter,
    /// Whether really all are meant where the filter says nothing.
    #[serde(default)]
    pub all: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// Connections that were found.
    pub found: u64,
    /// Those of them that ended by this; the others had ended by themselves.
    pub killed: u64,
    /// Whether there was time for all.
    pub complete: bool,
}

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is not understood.
    #[error("{0}")]
    Malformed(String),
    /// It names what the switch does not have.
    #[error("{0}")]
    Unknown(String),
}

use FilterError::{Malformed, Unknown};

impl Filter {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it means to the data plane.
    pub fn wanted(&self, snapshot: &Snapshot) -> Result<Wanted, FilterError> {
        let state = self.state.as_deref().map(state).transpose().map_err(Malformed)?;
        Ok(Wanted {
            backends: self.backends(snapshot)?,
            states: state.map_or(u16::MAX, |state| 1 << state),
            protocol: self.protocol.as_deref().map(protocol).transpose().map_err(Malformed)?,
            client: self.client.as_deref().map(client).transpose().map_err(Malformed)?,
            timeouts: snapshot.timeouts,
        })
    }

    fn backends(&self, snapshot: &Snapshot) -> Result<Option<Box<[bool]>>, FilterError> {
        if self.service.is_none() && self.backend.is_none() {
            return Ok(None);
        }
        let names = || snapshot.services.iter().flatten().map(|service| service.name.as_str());
        if let Some(name) = self.service.as_deref().filter(|name| !names().any(|other| other == *name)) {
            return Err(Unknown(no_service(name, names())));
        }
        let address = self.backend.as_deref().map(backend).transpose().map_err(Malformed)?;
        let is_meant = |service: &Service| self.service.as_ref().is_none_or(|name| *name == service.name);
        let rows = snapshot.backends.iter().map(|backend| {
            let Some(backend) = backend else { return false };
            let of_service = snapshot.service(backend.service).is_some_and(is_meant);
            let (ip, port) = (backend.address.ip(), backend.address.port());
            of_service && address.is_none_or(|(its, of)| its == ip && of.is_none_or(|of| of == port))
        });
        let rows: Box<[bool]> = rows.collect();
        match (&self.backend, rows.contains(&true)) {
            (Some(text), false) => {
                let meant = snapshot.backends.iter().flatten();
                let meant = meant.filter(|b| snapshot.service(b.service).is_some_and(is_meant));
                let there_are = list_names(meant.map(|backend| backend.address.to_string()));
                Err(Unknown(format!("there is no backend {text}; there are {there_are}")))
            }
            _ => Ok(Some(rows)),
        }
    }
}

fn state(name: &str) -> Result<usize, String> {
    let found = STATES.iter().position(|state| *state == name && !name.is_empty());
    found.ok_or_else(|| format!("there is no state {name:?}: it is one of {}", STATES[1..].join(", ")))
}

fn protocol(name: &str) -> Result<u8, String> {
    match name {
        "tcp" => Ok(Protocol::Tcp as u8),
        "udp" => Ok(Protocol::Udp as u8),
        _ => Err(format!("{name:?} is no protocol of connections: it is tcp or udp")),
    }
}

fn backend(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    let whole = text.parse::<SocketAddr>().map(|address| (address.ip(), Some(address.port())));
    let alone = || text.parse::<IpAddr>().map(|address| (address, None));
    whole
        .or_else(|_| alone())
        .map_err(|_| format!("{text:?} is no address of a backend: 198.18.1.11:8080, say"))
}

pub(super) fn client(text: &str) -> Result<ClientPrefix, String> {
    let wrong =
        || format!("{text:?} is no client: an address, ADDRESS:PORT, or a prefix like 203.0.113.0/24");
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    if let Ok(address) = text.parse::<SocketAddr>() {
        let (address, port) = (address.ip(), Some(address.port()));
        return Ok(ClientPrefix { address, length: bits(address), port });
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let length = length.unwrap_or(bits(address));
    if length > bits(address) {
        return Err(wrong());
    }
    Ok(ClientPrefix { address, length, port: None })
}

/// What stands in a row.
fn row(seen: &SeenConnection, snapshot: &Snapshot) -> Row {
    let backend = snapshot.backend(seen.backend);
    let service = backend.and_then(|backend| snapshot.service(backend.service));
    Row {
        protocol: match seen.protocol {
            6 => "tcp".into(),
            17 => "udp".into(),
            _ => ICMP_NAME.into(),
        },
        client: seen.client,
        destination: seen.destination,
        service: service.map(|service| service.name.clone()),
        forwarding: match backend {
            _ if seen.is_outbound => "snat".into(),
            backend => backend.map_or_else(String::new, |backend| backend.forwarding.name().into()),
        },
        backend: backend.map(|backend| backend.address),
        source: seen.source,
        state: STATES.get(usize::from(seen.state)).copied().unwrap_or_default().into(),
        idle_s: seen.idle_ms / 1000,
        expires_in_s: seen.left_ms / 1000,
        worker: seen.owner,
    }
}

fn by_state(counts: Counts) -> BTreeMap<String, u64> {
    STATES.iter().zip(counts).filter(|(_, n)| *n > 0).map(|(state, n)| ((*state).to_owned(), n)).collect()
}

type Counts = [u64; STATES.len()];

/// The sums of a walk.
fn counted(tally: &Tally, snapshot: &Snapshot) -> Listing {
    let mut of: HashMap<ServiceId, Vec<(SocketAddr, Counts)>> = HashMap::new();
    for backend in snapshot.backends.iter().flatten() {
        let counts = tally.of(backend.id);
        if counts.iter().any(|n| *n > 0) {
            of.entry(backend.service).or_default().push((backend.address, counts));
        }
    }
    let services = snapshot.services.iter().flatten();
    let by_service = services.filter_map(|service| Some(service_count(service, &of.remove(&service.id)?)));
    Listing {
        total: tally.total(),
        by_state: by_state(tally.by_state()),
        by_service: by_service.collect(),
        outbound: tally.outbound().iter().sum(),
        ..Listing::default()
    }
}

fn service_count(service: &Service, backends: &[(SocketAddr, Counts)]) -> ServiceCount {
    let add = |sum: Counts, (_, counts): &(SocketAddr, Counts)| {
        std::array::from_fn(|state| sum[state] + counts[state])
    };
    let sum = backends.iter().fold([0; STATES.len()], add);
    let count = |(backend, counts): &(SocketAddr, Counts)| BackendCount {
        backend: *backend,
        total: counts.iter().sum(),
        by_state: by_state(*counts),
    };
    ServiceCount {
        service: service.name.clone(),
        total: sum.iter().sum(),
        by_state: by_state(sum),
        backends: backends.iter().map(count).collect(),
    }
}
