//! What `GET /v1/status` answers: these types are its documentation, and what the command line reads it with.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::dataplane::{PortStatus, SteeredStatus};
use super::discover::Watched;
use super::health::{CheckDurations, Checked, Pace};
use super::orders::Reloads;
pub use super::rates::{Rates, SwitchRates};
use crate::tables::DropReason;
use crate::tables::counters::PortCounters;

mod collect;

pub use collect::{Facts, Limits};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running switch.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Bytes of memory that the process holds, packet memory included; 0 where the kernel does not say.
    #[serde(default)]
    pub resident_bytes: u64,
    /// Number of the newest snapshot. A worker whose `epoch` is lower has not looked yet.
    pub epoch: u64,
    /// Seconds since the control loop said what this has of states, checks and sources: 0 unless the loop is busy, null if
    /// it never did. Counters, weights and who takes new connections are of this moment.
    #[serde(default)]
    pub view_age_s: Option<u64>,
    /// Sums over the workers.
    pub totals: Totals,
    /// How fast they and others grow.
    #[serde(default)]
    pub rates: SwitchRates,
    /// The connection table.
    pub connections: Connections,
    /// Dropped frames by reason; every reason is there.
    pub dropped: BTreeMap<String, u64>,
    /// In the order of the configuration's rows.
    pub services: Vec<ServiceStatus>,
    /// How checking keeps up; null where nobody said.
    #[serde(default)]
    pub checks: Option<Pace>,
    /// What became of reloads; null where nobody said.
    #[serde(default)]
    pub reloads: Option<Reloads>,
    /// Rules of outbound source NAT, in the order of the configuration.
    #[serde(default)]
    pub snat: Vec<SnatStatus>,
    /// By number.
    pub workers: Vec<WorkerStatus>,
    /// How every queue of every interface is attached.
    pub ports: Vec<PortStatus>,
    /// Where the XDP program of each interface sent its frames.
    #[serde(default)]
    pub steered: Vec<SteeredStatus>,
}

/// Sums over the workers:
/// `received + created = forwarded + replied + to_kernel + dropped_total + held + unexplained`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames taken from RX rings.
    pub received: u64,
    /// Frames rewritten and handed to an egress ring.
    pub forwarded: u64,
    /// Frames answered by the switch itself.
    pub replied: u64,
    /// Frames made besides those received: pieces of packets that had to be fragmented.
    #[serde(default)]
    pub created: u64,
    /// Fragments that wait for the first of their datagram, now.
    #[serde(default)]
    pub held: u64,
    /// Frames that belong to no service.
    pub to_kernel: u64,
    /// Frames dropped, for whatever reason.
    pub dropped_total: u64,
    /// ICMP errors sent, each in place of a frame that was dropped.
    #[serde(default)]
    pub icmp_errors: u64,
    /// ICMP messages not sent because of `icmp_rate`.
    #[serde(default)]
    pub icmp_limited: u64,
    /// Frames in the middle of a turn when the counters were read; zero once the workers are quiet.
    pub unexplained: i64,
}

/// The connection tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Entries in use: connections of both families, and what `[[snat]]` remembers besides.
    pub active: u64,
    /// Of those, entries of the IPv6 table.
    #[serde(default)]
    pub active_ipv6: u64,
    /// Entries of the IPv4 table.
    pub max: u64,
    /// Entries of the IPv6 table.
    #[serde(default)]
    pub max_ipv6: u64,
    /// Connections created.
    pub new: u64,
    /// Connections removed.
    pub closed: u64,
    /// Of those, removed early because the table was nearly full.
    pub reclaimed: u64,
    /// Handshakes that were not complete and UDP flows whose client had not gone on yet, which gave way to new ones because the table was full.
    #[serde(default)]
    pub displaced: u64,
}

impl Connections {
    /// Percent of the entries that are in use, of the table that is fuller.
    pub fn percent(&self) -> u64 {
        let share = |active: u64, max: u64| (active * 100).checked_div(max).unwrap_or(0);
        let v4 = self.active.saturating_sub(self.active_ipv6);
        share(v4, self.max).max(share(self.active_ipv6, self.max_ipv6))
    }
}

/// What services and backends both count. Directions are the client's: `in` is towards the backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes of those from clients, Ethernet header included.
    pub bytes_in: u64,
    /// Bytes of those to clients.
    pub bytes_out: u64,
    /// Connections created.
    pub connections_new: u64,
    /// Connections there are.
    pub connections_active: u64,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What clients connect to.
    pub vip: SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// `nat`, `full-nat`, `dsr`, `ipip` or `gue`.
    pub forwarding: String,
    /// `rr`, `wrr`, `sh`, `hash`, `lc`, `wlc`, `maglev`, `lrt`, `resource` or `p2c`.
    pub scheduler: String,
    /// `enabled`, `drain` or `disabled`, as it is in force; empty where nobody knows.
    #[serde(default)]
    pub state: String,
    /// Whether that is an order given at run time, not what the file says.
    #[serde(default)]
    pub ordered: bool,
    /// Seconds until the connections of a drained service end; null: as long as they last.
    #[serde(default)]
    pub drain_left_s: Option<u64>,
    /// How many backends it has, and how many of them serve.
    #[serde(default)]
    pub serving: ServingStatus,
    /// Sums over its backends.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// How fast they grow.
    #[serde(default)]
    pub rates: Rates,
    /// Frames of new connections that were dropped.
    pub refused: u64,
    /// Packets of its connections that were dropped because of a limit.
    #[serde(default)]
    pub limited: u64,
    /// How long its checks took that succeeded, agents aside; null where there were none.
    #[serde(default)]
    pub check_durations: Option<CheckDurations>,
    /// Frames that were forwarded without a connection: the table was full, or did not have it.
    #[serde(default)]
    pub stateless: u64,
    /// SYN cookies of the service.
    #[serde(default)]
    pub syn_cookies: CookiesStatus,
    /// Where more backends are discovered, and how that stands.
    #[serde(default)]
    pub discover: Option<Watched>,
    /// Discovered backends that it cannot have, and why.
    #[serde(default)]
    pub misfits: Vec<String>,
    /// Its backends.
    pub backends: Vec<BackendStatus>,
}

/// SYN cookies of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookiesStatus {
    /// SYNs that were answered with one.
    pub sent: u64,
    /// Those that came back, each of which opened a connection.
    pub valid: u64,
    /// ACKs that brought none back while some were sent.
    pub invalid: u64,
    /// Workers that answer SYNs with cookies because of pressure, as of the last SYN.
    pub workers: u64,
}

/// The backends of a service, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingStatus {
    /// Backends without backups and without those that leave.
    pub backends: usize,
    /// Those of them that new connections go to.
    pub serving: usize,
    /// Backups, without those that leave.
    pub backups: usize,
    /// Those of them that could serve.
    pub backups_able: usize,
    /// Those of them that new connections go to, because no other backend can take them.
    pub backups_serving: usize,
    /// Backends that leave and still have connections.
    pub leaving: usize,
}

/// One backend of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of new connections.
    pub weight: u32,
    /// `up`, `down`, `drain`, `drained`, `disabled`, `leaving` or `starting`; empty where nobody knows.
    #[serde(default)]
    pub state: String,
    /// Why, or why one that is up takes no new connections, for a person; empty where there is nothing to say.
    #[serde(default)]
    pub why: String,
    /// Whether new connections go to it, as the newest snapshot has it.
    #[serde(default)]
    pub takes_new: bool,
    /// Whether it serves only while no other can.
    #[serde(default)]
    pub backup: bool,
    /// Percent of its weight that count: less while it starts slowly, or its agent says so.
    #[serde(default)]
    pub share: u8,
    /// Whether it was discovered, not listed in the configuration.
    #[serde(default)]
    pub discovered: bool,
    /// Seconds until the connections of a drained backend end; null: as long as they last.
    #[serde(default)]
    pub drain_left_s: Option<u64>,
    /// Connections that are still in use: of `connections_active`, those that an end has not finished with.
    #[serde(default)]
    pub connections_open: u64,
    /// Microseconds to answer, smoothed, as schedulers see it; 0 while nothing is known.
    #[serde(default)]
    pub response_us: u32,
    /// Connections that the traffic showed it to fail.
    #[serde(default)]
    pub failures: FailuresStatus,
    /// How its checks stand; null where it is not checked.
    #[serde(default)]
    pub health: Option<Checked>,
    /// What it has seen.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// How fast that grows.
    #[serde(default)]
    pub rates: Rates,
    /// Where frames to it leave; null while there is no route.
    pub next_hop: Option<NextHopStatus>,
}

impl BackendStatus {
    /// Whether nothing speaks against it: neither its checks, nor its agent, nor an operator. None where nobody knows.
    pub fn up(&self) -> Option<bool> {
        (!self.state.is_empty()).then_some(matches!(self.state.as_str(), "up" | "starting"))
    }

    /// Whether it could take new connections, if they came to it.
    pub fn able(&self) -> bool {
        self.up() == Some(true) && self.weight > 0 && self.share > 0
    }
}

/// Failures to take a connection, as the traffic showed them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailuresStatus {
    /// SYNs that it answered with a reset.
    pub refused: u32,
    /// SYNs that clients had to repeat.
    pub unanswered: u32,
    /// ICMP errors that said that it cannot be reached.
    pub unreachable: u32,
}

/// Where frames to a backend leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopStatus {
    /// The backend itself or a router.
    pub address: IpAddr,
    /// The interface.
    pub interface: String,
    /// Its MAC address; null while it is not known.
    pub mac: Option<String>,
    /// Whether it is known.
    pub resolved: bool,
}

/// One rule of outbound source NAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnatStatus {
    /// Its name.
    pub name: String,
    /// Whose packets are translated: prefixes.
    pub inside: Vec<String>,
    /// What they are translated to.
    pub addresses: Vec<IpAddr>,
    /// First and last public port: `1024-32767`.
    pub ports: String,
    /// `endpoint-independent` or `address-and-port-dependent`.
    pub mapping: String,
    /// `endpoint-independent`, `address-dependent` or `address-and-port-dependent`.
    pub filtering: String,
    /// Whether inside hosts reach each other by their public addresses.
    pub hairpinning: bool,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: usize,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Number of the snapshot it uses.
    pub epoch: u64,
    /// Its frames.
    #[serde(flatten)]
    pub totals: Totals,
    /// Connections it created.
    pub connections_new: u64,
    /// Connections it removed.
    pub connections_closed: u64,
    /// Connections it created that still exist.
    pub connections_active: u64,
    /// Connections it removed early because the table was nearly full.
    pub connections_reclaimed: u64,
    /// Handshakes that were not complete and UDP flows whose client had not gone on yet, which gave way to new ones because the table was full.
    #[serde(default)]
    pub connections_displaced: u64,
    /// Turns of its loop.
    pub turns: u64,
    /// Turns that found something to do.
    pub busy_turns: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Frames free for use.
    pub pool_level: u64,
    /// Frames in all.
    pub pool_size: u64,
    /// Its rings, by interface.
    pub ports: Vec<PortTraffic>,
}

macro_rules! port_traffic {
    ($($field:ident: $kind:ident, $doc:literal;)*) => {
        /// One worker's rings on one interface.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct PortTraffic {
            /// Name of the interface.
            pub interface: String,
            /// RX queue; null while there is no socket.
            pub queue: Option<u32>,
            $( #[doc = $doc] #[serde(default)] pub $field: u64, )*
        }

        impl PortTraffic {
            fn new(interface: String, queue: Option<u32>, counters: &PortCounters) -> Self {
                Self { interface, queue, $( $field: counters.$field.get(), )* }
            }

            /// Name, value, whether it only grows, and explanation of every number.
            pub fn numbers(&self) -> Vec<(&'static str, u64, Kind, &'static str)> {
                vec![ $( (stringify!($field), self.$field, Kind::$kind, $doc), )* ]
            }
        }
    };
}

/// Whether a number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

port_traffic! {
    rx_frames: Counter, "Frames taken from the RX ring";
    rx_bytes: Counter, "Bytes taken from the RX ring";
    tx_frames: Counter, "Frames put into the TX ring";
    tx_bytes: Counter, "Bytes put into the TX ring";
    tx_completed: Counter, "Frames that came back through the completion ring";
    tx_lost: Counter, "Frames that the kernel completed without sending because the device's queue was full, or that an interface which went away had not sent";
    tx_kicks: Counter, "Calls that told the kernel to send";
    tx_retries: Counter, "Calls that the kernel asked to repeat; nothing is lost";
    tx_down: Counter, "Calls that failed because the interface is down or gone";
    rx_ring_full: Counter, "Frames that the kernel dropped because the RX ring was full";
    rx_fill_empty: Counter, "Frames that the kernel dropped because the fill ring was empty";
    rx_dropped: Counter, "Frames that the kernel dropped for another reason, such as their size";
    rx_jumbo_lost: Counter, "Frames of several chunks that were dropped: no large buffer was free, or over 9,216 bytes";
    fill_level: Gauge, "Frames that wait to receive";
    tx_in_flight: Gauge, "Frames in the TX ring or with the driver";
}

/// Explanations of the drop reasons, by name, for those who show them.
pub fn drop_explanations() -> HashMap<&'static str, &'static str> {
    DropReason::ALL.iter().map(|reason| (reason.name(), reason.explanation().trim())).collect()
}
