//! Backends from names: the A or AAAA records of one, or the servers of its SRV records (RFC 2782).
//!
//! A name is absolute, with or without a dot at its end: a search list could answer for a name that is gone, and its
//! answer would be believed. `/etc/hosts` is not read: what the name servers say counts. They are asked again when the
//! shortest TTL of what they said is over, within `interval_s`, so no answer is remembered in between.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;

use super::judge::Judge;
use crate::config::valid::{Backend, Discover, Source};

/// Until a question is repeated, and for good.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// For a whole look, whatever it takes: targets of SRV records are asked for a few at a time.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
const AT_A_TIME: usize = 8;
/// Names of servers in SRV records: each is a question, which must all fit into one look.
const MAX_TARGETS: usize = 1000;

/// What the name servers said.
#[derive(Debug)]
struct Answer {
    backends: Vec<Backend>,
    ttl_s: u32,
}

/// Watches the name for ever.
pub(super) async fn watch(source: Source, wanted: Discover, resolvers: Vec<SocketAddr>, mut judge: Judge) {
    let bounds = Bounds::of(&wanted);
    let mut resolver = None;
    let mut failures = 0;
    loop {
        let answer = match resolver.take().map_or_else(|| resolver_of(&resolvers), Ok) {
            Ok(ready) => {
                let look = look(&ready, &source, wanted.weight, judge.wants_ipv4());
                let answer = tokio::time::timeout(LOOK_LIMIT, look).await;
                resolver = Some(ready);
                answer.unwrap_or_else(|_| Err(format!("no whole answer in {} s", LOOK_LIMIT.as_secs())))
            }
            Err(problem) => Err(problem),
        };
        let ttl_s = answer.as_ref().map_or(0, |answer| answer.ttl_s);
        let said = answer.map(|answer| answer.backends);
        let is_good = judge.hear(said.map_err(|problem| format!("{problem}: last good set kept")));
        let pause = if is_good {
            failures = 0;
            bounds.after_answer(ttl_s)
        } else {
            // The system's name servers may be others by now.
            resolver = None;
            failures += 1;
            bounds.after_failure(failures)
        };
        tokio::time::sleep(pause).await;
    }
}

/// Least and most seconds between two looks.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    least: u32,
    most: u32,
}

impl Bounds {
    fn of(wanted: &Discover) -> Self {
        let least = wanted.interval_s.0.max(1);
        Self { least, most: wanted.interval_s.1.max(least) }
    }

    fn after_answer(self, ttl_s: u32) -> Duration {
        Duration::from_secs(ttl_s.clamp(self.least, self.most).into())
    }

    /// Soon, and less and less so: twice as long after each failure.
    fn after_failure(self, failures: u32) -> Duration {
        let doubled = self.least.saturating_mul(1 << failures.saturating_sub(1).min(16));
        Duration::from_secs(doubled.min(self.most).into())
    }
}

fn resolver_of(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?
    } else {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.to_vec())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = TIMEOUT;
    options.attempts = ATTEMPTS;
    builder.build().map_err(|error| error.to_string())
}

async fn look(resolver: &TokioResolver, source: &Source, weight: u32, ipv4: bool) -> Result<Answer, String> {
    match source {
        Source::Dns { name, port } => {
            let (addresses, ttl_s) = addresses(resolver, absolute(name)?, ipv4).await?;
            let backend = |address| Backend::new(SocketAddr::new(address, *port), weight);
            Ok(Answer { backends: addresses.into_iter().map(backend).collect(), ttl_s })
        }
        Source::Srv { name } => servers(resolver, absolute(name)?, weight, ipv4).await,
        Source::File { .. } => Err("not a name".to_owned()),
    }
}

fn absolute(text: &str) -> Result<Name, String> {
    let mut name = Name::from_utf8(text).map_err(|error| format!("{text:?}: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// Why there is no answer.
#[derive(Debug)]
enum Silence {
    /// The name servers say that there is nothing.
    Denied(String),
    /// Nothing was learnt.
    Unknown(String),
}

impl From<Silence> for String {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Denied(why) | Silence::Unknown(why) => why,
        }
    }
}

/// The addresses of a name, of one family, and for how many seconds they are good.
async fn addresses(resolver: &TokioResolver, name: Name, ipv4: bool) -> Result<(Vec<IpAddr>, u32), Silence> {
    let (records, ttl_s) = ask(resolver, &name, if ipv4 { RecordType::A } else { RecordType::AAAA }).await?;
    let addresses = records.iter().filter_map(|record| match record {
        RData::A(address) if ipv4 => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) if !ipv4 => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    Ok((addresses.collect(), ttl_s))
}

/// The records of a name, at least one of which is of this kind, and for how many seconds all of them are good.
async fn ask(resolver: &TokioResolver, name: &Name, kind: RecordType) -> Result<(Vec<RData>, u32), Silence> {
    let lookup = resolver.lookup(name.clone(), kind).await.map_err(|error| silence(name, kind, &error))?;
    let records = lookup.answers();
    if !records.iter().any(|record| record.record_type() == kind) {
        return Err(Silence::Denied(format!("{name} has no {kind} records")));
    }
    let ttl_s = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    Ok((records.iter().map(|record| record.data.clone()).collect(), ttl_s))
}

fn silence(name: &Name, kind: RecordType, error: &NetError) -> Silence {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(found)) if found.response_code == ResponseCode::NXDomain => {
            Silence::Denied(format!("there is no name {name}"))
        }
        NetError::Dns(DnsError::NoRecordsFound(found)) if found.response_code == ResponseCode::NoError => {
            Silence::Denied(format!("{name} has no {kind} records"))
        }
        NetError::Dns(DnsError::NoRecordsFound(found)) => {
            Silence::Unknown(format!("{name}: the name server says: {}", found.response_code))
        }
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Silence::Unknown(format!("{name}: the name server says: {code}"))
        }
        NetError::Timeout | NetError::NoConnections => {
            Silence::Unknown(format!("{name}: no name server answers"))
        }
        error => Silence::Unknown(format!("{name}: {error}")),
    }
}

/// The servers of a name's SRV records: those of the first priority, and all others as their backups. RFC 2782 would have
/// the next priority tried before the one after it; backups know no order among themselves.
async fn servers(resolver: &TokioResolver, name: Name, weight: u32, ipv4: bool) -> Result<Answer, String> {
    let (records, ttl_s) = ask(resolver, &name, RecordType::SRV).await?;
    let records = records.into_iter().filter_map(|record| match record {
        RData::SRV(record) => Some(record),
        _ => None,
    });
    // "." as the target: decidedly no such service.
    let records: Vec<SRV> = records.filter(|record| !record.target.is_root()).collect();
    let first = records.iter().map(|record| record.priority).min();
    let targets: BTreeSet<Name> = records.iter().map(|record| record.target.clone()).collect();
    let Some(first) = first else { return Err(format!("{name} has no SRV records with a target")) };
    if targets.len() > MAX_TARGETS {
        return Err(format!("{name} has {} targets, more than {MAX_TARGETS}", targets.len()));
    }
    let (resolved, shortest) = resolve(resolver, targets.into_iter().collect(), ipv4).await?;
    let backends = records.iter().flat_map(|record| {
        let weight = if record.weight == 0 { weight } else { record.weight.into() };
        let addresses = resolved.get(&record.target).into_iter().flatten();
        addresses.map(move |address| Backend {
            backup: record.priority > first,
            ..Backend::new(SocketAddr::new(*address, record.port), weight)
        })
    });
    let backends: Vec<Backend> = backends.collect();
    if backends.is_empty() {
        return Err(format!("none of the servers of {name} has an address"));
    }
    Ok(Answer { backends, ttl_s: ttl_s.min(shortest) })
}

/// Targets with their addresses, and the shortest time in seconds that one of these is good.
type Resolved = (HashMap<Name, Vec<IpAddr>>, u32);

/// The addresses of the servers that SRV records name. One without an address is left out; one of which nothing could be
/// learnt spoils the whole look: it would vanish although nobody said so.
async fn resolve(resolver: &TokioResolver, targets: Vec<Name>, ipv4: bool) -> Result<Resolved, String> {
    let (mut resolved, mut shortest) = (HashMap::new(), u32::MAX);
    for some in targets.chunks(AT_A_TIME) {
        let mut questions = JoinSet::new();
        for target in some {
            let (resolver, target) = (resolver.clone(), target.clone());
            questions.spawn(async move { (target.clone(), addresses(&resolver, target, ipv4).await) });
        }
        while let Some(answered) = questions.join_next().await {
            match answered.map_err(|error| error.to_string())? {
                (target, Ok((addresses, ttl_s))) => {
                    shortest = shortest.min(ttl_s);
                    resolved.insert(target, addresses);
                }
                (_, Err(Silence::Denied(_))) => {}
                (_, Err(Silence::Unknown(why))) => return Err(why),
            }
        }
    }
    Ok((resolved, shortest))
}

#[cfg(test)]
mod tests;
