//! Values that are one of some words.

use super::valid::{AdminState, Cookies, HugePages, Idle, Scheduler, Topology, Via, XdpMode, ZeroCopy};
use super::values::Mistake;
use crate::tables::{Access, Fate, Filtering, Forwarding, Mapping, OnNoBackend, Protocol, VerifyChecksums};

/// A set of words.
#[derive(Debug)]
pub(super) struct Words<T: 'static> {
    /// Those that a help lists, one for each meaning.
    listed: &'static [(&'static str, T)],
    /// Other names of the same.
    also: &'static [(&'static str, T)],
    /// What others have and this switch has not, and what comes nearest here.
    elsewhere: &'static [(&'static str, &'static str)],
}

/// What `check` of `[service.health]` asks; what goes with it stands under other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckKind {
    Icmp,
    Tcp,
    Udp,
    Http,
    Https,
    Agent,
}

/// `topology`.
pub(super) const TOPOLOGY: Words<Topology> =
    Words::of(&[("routed", Topology::Routed), ("bridge", Topology::Bridge)]);
/// `xdp_mode`.
pub(super) const XDP_MODE: Words<XdpMode> =
    Words::of(&[("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)]);
/// `zero_copy`.
pub(super) const ZERO_COPY: Words<ZeroCopy> =
    Words::of(&[("auto", ZeroCopy::Auto), ("on", ZeroCopy::On), ("off", ZeroCopy::Off)]);
/// `huge_pages`.
pub(super) const HUGE_PAGES: Words<HugePages> =
    Words::of(&[("auto", HugePages::Auto), ("on", HugePages::On), ("off", HugePages::Off)]);
/// `idle`.
pub(super) const IDLE: Words<Idle> = Words::of(&[("adaptive", Idle::Adaptive), ("spin", Idle::Spin)]);
/// `verify_checksums`.
pub(super) const VERIFY_CHECKSUMS: Words<VerifyChecksums> =
    Words::of(&[("always", VerifyChecksums::Always), ("state", VerifyChecksums::State)]);
/// `protocol`.
pub(super) const PROTOCOL: Words<Protocol> = Words::of(&[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]);
/// `forwarding`.
pub(super) const FORWARDING: Words<Forwarding> = Words::of(&[
    ("nat", Forwarding::Nat),
    ("full-nat", Forwarding::FullNat),
    ("dsr", Forwarding::Dsr),
    ("ipip", Forwarding::Ipip),
    ("gue", Forwarding::Gue),
]);
/// `mapping` of `[[snat]]`.
pub(super) const MAPPING: Words<Mapping> = Words::of(&[
    ("endpoint-independent", Mapping::EndpointIndependent),
    ("address-and-port-dependent", Mapping::AddressAndPortDependent),
]);
/// `filtering` of `[[snat]]`.
pub(super) const FILTERING: Words<Filtering> = Words::of(&[
    ("endpoint-independent", Filtering::EndpointIndependent),
    ("address-dependent", Filtering::AddressDependent),
    ("address-and-port-dependent", Filtering::AddressAndPortDependent),
]);
/// `state` of services and backends.
pub(super) const STATE: Words<AdminState> = Words::of(&[
    ("enabled", AdminState::Enabled),
    ("drain", AdminState::Drain),
    ("disabled", AdminState::Disabled),
]);
/// `on_no_backend`.
pub(super) const ON_NO_BACKEND: Words<OnNoBackend> = Words::of(&[
    ("drop", OnNoBackend::Drop),
    ("reject", OnNoBackend::Reject),
    ("to_kernel", OnNoBackend::ToKernel),
]);
/// `syn_cookies`.
pub(super) const SYN_COOKIES: Words<Cookies> =
    Words::of(&[("off", Cookies::Off), ("auto", Cookies::Auto), ("always", Cookies::Always)]);
/// `on_down`.
pub(super) const ON_DOWN: Words<Fate> =
    Words::of(&[("keep", Fate::Keep), ("reset", Fate::Reset), ("reschedule", Fate::Reschedule)]);
/// `default` of `[acl]` and `[service.acl]`.
pub(super) const ACCESS: Words<Access> = Words::of(&[("allow", Access::Allow), ("deny", Access::Deny)]);
/// `check` of `[service.health]`.
pub(super) const CHECK: Words<CheckKind> = Words::of(&[
    ("icmp", CheckKind::Icmp),
    ("tcp", CheckKind::Tcp),
    ("udp", CheckKind::Udp),
    ("http", CheckKind::Http),
    ("https", CheckKind::Https),
    ("agent", CheckKind::Agent),
]);
/// `via` of `[service.health]`.
pub(super) const VIA: Words<Via> = Words::of(&[("direct", Via::Direct), ("forwarding", Via::Forwarding)]);
/// `scheduler`, with the names that ipvsadm(8) and the modules of IPVS (`net/netfilter/ipvs/Kconfig`) go by.
pub(super) const SCHEDULER: Words<Scheduler> = Words {
    listed: &[
        ("rr", Scheduler::RoundRobin),
        ("wrr", Scheduler::WeightedRoundRobin),
        ("lc", Scheduler::LeastConnections),
        ("wlc", Scheduler::WeightedLeastConnections),
        ("lrt", Scheduler::LeastResponseTime),
        ("p2c", Scheduler::TwoChoices),
        ("resource", Scheduler::Resource),
        ("maglev", Scheduler::Maglev),
        ("sh", Scheduler::SourceHash),
        ("hash", Scheduler::FlowHash),
    ],
    also: &[
        ("round-robin", Scheduler::RoundRobin),
        ("weighted-round-robin", Scheduler::WeightedRoundRobin),
        ("least-connection", Scheduler::LeastConnections),
        ("least-connections", Scheduler::LeastConnections),
        ("weighted-least-connection", Scheduler::WeightedLeastConnections),
        ("weighted-least-connections", Scheduler::WeightedLeastConnections),
        ("least-response-time", Scheduler::LeastResponseTime),
        ("two-choices", Scheduler::TwoChoices),
        ("power-of-two-choices", Scheduler::TwoChoices),
        ("resource-based", Scheduler::Resource),
        ("mh", Scheduler::Maglev),
        ("maglev-hash", Scheduler::Maglev),
        ("maglev-hashing", Scheduler::Maglev),
        ("source-hash", Scheduler::SourceHash),
        ("source-hashing", Scheduler::SourceHash),
        ("flow-hash", Scheduler::FlowHash),
        ("flow-hashing", Scheduler::FlowHash),
    ],
    elsewhere: &[
        ("sed", WLC),
        ("shortest-expected-delay", WLC),
        ("nq", WLC),
        ("never-queue", WLC),
        ("ovf", OVERFLOW),
        ("weighted-overflow", OVERFLOW),
        ("fo", FAILOVER),
        ("weighted-failover", FAILOVER),
        ("dh", DESTINATION),
        ("destination-hash", DESTINATION),
        ("destination-hashing", DESTINATION),
        ("lblc", LOCALITY),
        ("locality-based-least-connection", LOCALITY),
        ("lblcr", LOCALITY),
        ("locality-based-least-connection-with-replication", LOCALITY),
    ],
};

const WLC: &str =
    "\"wlc\" comes nearest: it counts the connection to come as well, so idle backends go first";
const OVERFLOW: &str =
    "\"wlc\" comes nearest; backends that serve only while no other can have backup = true";
const FAILOVER: &str =
    "any scheduler does that for backends with backup = true: they serve while no other can";
const DESTINATION: &str =
    "a service has one destination; \"maglev\" hashes addresses and ports, \"sh\" the client's address";
const LOCALITY: &str = "\"sh\" keeps clients at their backend, \"wlc\" goes by open connections";

impl<T: Copy> Words<T> {
    const fn of(listed: &'static [(&'static str, T)]) -> Self {
        Self { listed, also: &[], elsewhere: &[] }
    }

    /// What the word means.
    pub fn parse(&self, word: &str) -> Result<T, Mistake> {
        if let Some((_, value)) = self.listed.iter().chain(self.also).find(|(name, _)| *name == word) {
            return Ok(*value);
        }
        let help = match self.elsewhere.iter().find(|(name, _)| *name == word) {
            Some((_, nearest)) => format!("{nearest}; {}", self.list()),
            None => match nearest(word, self.listed.iter().chain(self.also).map(|(name, _)| *name)) {
                Some(near) => format!("did you mean {near:?}? {}", self.list()),
                None => self.list(),
            },
        };
        Err(Mistake::new(format!("unknown word {word:?}"), help))
    }

    /// Those that can be written, for a help.
    pub fn list(&self) -> String {
        format!("available: {}", self.listed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
    }
}

impl<T: Copy + PartialEq> Words<T> {
    /// The word for it.
    pub fn name(&self, value: T) -> &'static str {
        self.listed.iter().find(|(_, listed)| *listed == value).map_or("", |(name, _)| *name)
    }
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4 && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
