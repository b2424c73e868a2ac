//! Counters and snapshot to a [`Status`].

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{
    BackendStatus, Connections, CookiesStatus, FailuresStatus, NextHopStatus, PortTraffic, ServiceStatus,
    ServingStatus, SnatStatus, Status, Totals, Traffic, WorkerStatus,
};
use crate::control::dataplane::{DataPlane, PortStatus, WorkerHandle};
use crate::control::rates::{self, Rates, Sample};
use crate::control::requests::View;
use crate::control::roster::{Shown, Summary};
use crate::control::standing::{BackendKey, ServiceKey};
use crate::sys::memory;
use crate::tables::counters::ServiceCounters;
use crate::tables::{
    Backend, BackendId, Counter, DropReason, Filtering, Loads, Mapping, Service, Snapshot, SnatRule,
    SynCookies, WorkerCounters,
};

/// What the answer is made from, besides the workers.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The newest snapshot.
    pub snapshot: &'a Snapshot,
    /// Time since start.
    pub uptime: Duration,
    /// Sizes of the connection tables.
    pub limits: Limits,
    /// Who serves, and why.
    pub view: &'a View,
    /// How old that is; none where nobody said anything.
    pub view_age: Option<Duration>,
    /// The counters about a second ago; none in the first second.
    pub before: Option<&'a Sample>,
}

/// Sizes of the connection tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the IPv4 table.
    pub v4: u32,
    /// Of the IPv6 table.
    pub v6: u32,
}

impl Status {
    /// Reads the counters. Workers go on meanwhile, so sums may be off by what happens during the reading.
    pub fn collect(facts: Facts<'_>, dataplane: &dyn DataPlane) -> Self {
        let (workers, ports) = (dataplane.workers(), dataplane.ports());
        let counters: Vec<&WorkerCounters> = workers.iter().map(|worker| &*worker.counters).collect();
        let sum = |pick: fn(&WorkerCounters) -> &Counter| total(&counters, pick);
        let connections = Connections {
            active: sum(|worker| &worker.connections_active),
            active_ipv6: sum(|worker| &worker.connections_active_ipv6),
            max: u64::from(facts.limits.v4),
            max_ipv6: u64::from(facts.limits.v6),
            new: sum(|worker| &worker.connections_new),
            closed: sum(|worker| &worker.connections_closed),
            reclaimed: sum(|worker| &worker.connections_reclaimed),
            displaced: sum(|worker| &worker.connections_displaced),
        };
        let dropped = |reason: &DropReason| {
            let count = counters.iter().map(|worker| worker.dropped(*reason).get()).sum();
            (reason.name().to_owned(), count)
        };
        let workers: Vec<_> = workers
            .iter()
            .enumerate()
            .map(|(number, worker)| worker_status(number, worker, facts.snapshot, &ports))
            .collect();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: facts.uptime.as_secs(),
            resident_bytes: memory::resident_bytes().unwrap_or_default(),
            epoch: facts.snapshot.epoch,
            view_age_s: facts.view_age.map(|age| age.as_secs()),
            rates: facts.before.map(|before| before.until(dataplane, Instant::now())).unwrap_or_default(),
            totals: workers.iter().map(|worker| &worker.totals).fold(Totals::default(), add_totals),
            connections,
            dropped: DropReason::ALL.iter().map(dropped).collect(),
            services: facts
                .snapshot
                .services
                .iter()
                .flatten()
                .map(|service| service_status(service, facts, (&counters, dataplane.loads())))
                .collect(),
            checks: facts.view_age.map(|_| facts.view.pace),
            reloads: facts.view_age.map(|_| facts.view.reloads),
            snat: facts.snapshot.snat_rules.iter().map(snat_status).collect(),
            workers,
            ports,
            steered: dataplane.steered(),
        }
    }
}

fn total(counters: &[&WorkerCounters], pick: fn(&WorkerCounters) -> &Counter) -> u64 {
    counters.iter().map(|worker| pick(worker).get()).sum()
}

fn add_totals(sum: Totals, worker: &Totals) -> Totals {
    Totals {
        received: sum.received + worker.received,
        forwarded: sum.forwarded + worker.forwarded,
        replied: sum.replied + worker.replied,
        created: sum.created + worker.created,
        held: sum.held + worker.held,
        to_kernel: sum.to_kernel + worker.to_kernel,
        dropped_total: sum.dropped_total + worker.dropped_total,
        icmp_errors: sum.icmp_errors + worker.icmp_errors,
        icmp_limited: sum.icmp_limited + worker.icmp_limited,
        unexplained: sum.unexplained + worker.unexplained,
    }
}

fn worker_status(
    number: usize,
    worker: &WorkerHandle,
    snapshot: &Snapshot,
    ports: &[PortStatus],
) -> WorkerStatus {
    let counters = &worker.counters;
    let queue = |interface: &str| {
        ports.iter().find(|port| port.worker == number && port.interface == interface).map(|port| port.queue)
    };
    WorkerStatus {
        worker: number,
        core: worker.core,
        epoch: counters.epoch.get(),
        totals: Totals {
            received: counters.received.get(),
            forwarded: counters.forwarded.get(),
            replied: counters.replied.get(),
            created: counters.created.get(),
            held: counters.held.get(),
            to_kernel: counters.to_kernel.get(),
            dropped_total: counters.dropped_total(),
            icmp_errors: counters.icmp_errors.get(),
            icmp_limited: counters.icmp_limited.get(),
            unexplained: counters.unexplained(),
        },
        connections_new: counters.connections_new.get(),
        connections_closed: counters.connections_closed.get(),
        connections_active: counters.connections_active.get(),
        connections_reclaimed: counters.connections_reclaimed.get(),
        connections_displaced: counters.connections_displaced.get(),
        turns: counters.turns.get(),
        busy_turns: counters.busy_turns.get(),
        sleeps: counters.sleeps.get(),
        pool_level: counters.pool_level.get(),
        pool_size: counters.pool_size.get(),
        ports: snapshot
            .interfaces
            .iter()
            .filter_map(|interface| {
                let port = counters.port(interface.id)?;
                Some(PortTraffic::new(interface.name.clone(), queue(&interface.name), port))
            })
            .collect(),
    }
}

fn snat_status(rule: &SnatRule) -> SnatStatus {
    let pool = &rule.pool;
    let v4 = pool.v4.iter().map(|address| (*address).into());
    SnatStatus {
        name: rule.name.clone(),
        inside: rule.inside.iter().map(|(address, length)| format!("{address}/{length}")).collect(),
        addresses: v4.chain(pool.v6.iter().map(|address| (*address).into())).collect(),
        ports: format!("{}-{}", pool.first_port, pool.last_port),
        mapping: match rule.mapping {
            Mapping::EndpointIndependent => "endpoint-independent",
            Mapping::AddressAndPortDependent => "address-and-port-dependent",
        }
        .to_owned(),
        filtering: match rule.filtering {
            Filtering::EndpointIndependent => "endpoint-independent",
            Filtering::AddressDependent => "address-dependent",
            Filtering::AddressAndPortDependent => "address-and-port-dependent",
        }
        .to_owned(),
        hairpinning: rule.hairpinning,
    }
}

/// What the workers count: their counters, and what schedulers weigh.
type Counted<'a> = (&'a [&'a WorkerCounters], &'a Loads);

fn service_status(service: &Service, facts: Facts<'_>, counted: Counted<'_>) -> ServiceStatus {
    let key = (service.vip, service.protocol);
    let takers: HashSet<BackendId> = service.takers.iter().copied().collect();
    let backends: Vec<_> = service
        .backends
        .iter()
        .filter_map(|id| facts.snapshot.backend(*id))
        .map(|backend| backend_status(backend, takers.contains(&backend.id), key, facts, counted))
        .collect();
    let Summary { state, ordered, drain_left_s, misfits } =
        facts.view.services.get(&key).cloned().unwrap_or_default();
    let sum = |pick: fn(&ServiceCounters) -> &Counter| -> u64 {
        counted.0.iter().filter_map(|worker| worker.service(service.id)).map(|row| pick(row).get()).sum()
    };
    ServiceStatus {
        state,
        ordered,
        drain_left_s,
        misfits,
        serving: serving(&backends),
        name: service.name.clone(),
        vip: service.vip,
        protocol: service.protocol.name().to_owned(),
        forwarding: service.forwarding.name().to_owned(),
        scheduler: service.scheduler.to_owned(),
        traffic: backends.iter().map(|backend| &backend.traffic).fold(Traffic::default(), add_traffic),
        rates: backends.iter().fold(Rates::default(), |mut sum, backend| {
            sum += backend.rates;
            sum
        }),
        check_durations: facts.view.durations.get(&key).cloned(),
        discover: facts.view.watched.get(&key).cloned(),
        refused: sum(|counters| &counters.refused),
        limited: sum(|counters| &counters.limited),
        stateless: sum(|counters| &counters.stateless),
        syn_cookies: CookiesStatus {
            sent: sum(|counters| &counters.cookies_sent),
            valid: sum(|counters| &counters.cookies_valid),
            invalid: sum(|counters| &counters.cookies_invalid),
            // What workers said last may be of a former configuration.
            workers: match service.syn_cookies {
                SynCookies::Auto { .. } => sum(|counters| &counters.cookies_on),
                SynCookies::Off | SynCookies::Always => 0,
            },
        },
        backends,
    }
}

fn serving(backends: &[BackendStatus]) -> ServingStatus {
    let (leaving, staying): (Vec<_>, Vec<_>) =
        backends.iter().partition(|backend| backend.state == "leaving");
    let count = |backup: bool, which: fn(&BackendStatus) -> bool| {
        staying.iter().filter(|backend| backend.backup == backup && which(backend)).count()
    };
    ServingStatus {
        backends: count(false, |_| true),
        serving: count(false, |backend| backend.takes_new),
        backups: count(true, |_| true),
        backups_able: count(true, BackendStatus::able),
        backups_serving: count(true, |backend| backend.takes_new),
        leaving: leaving.len(),
    }
}

fn add_traffic(sum: Traffic, backend: &Traffic) -> Traffic {
    Traffic {
        packets_in: sum.packets_in + backend.packets_in,
        packets_out: sum.packets_out + backend.packets_out,
        bytes_in: sum.bytes_in + backend.bytes_in,
        bytes_out: sum.bytes_out + backend.bytes_out,
        connections_new: sum.connections_new + backend.connections_new,
        connections_active: sum.connections_active + backend.connections_active,
    }
}

fn backend_status(
    backend: &Backend,
    takes_new: bool,
    service: ServiceKey,
    Facts { snapshot, view, before, .. }: Facts<'_>,
    (counters, loads): Counted<'_>,
) -> BackendStatus {
    let next_hop = snapshot.next_hop(backend.next_hop).map(|next_hop| NextHopStatus {
        address: next_hop.address,
        interface: snapshot
            .interfaces
            .get(next_hop.interface.index())
            .map_or_else(String::new, |interface| interface.name.clone()),
        mac: next_hop.resolved.then(|| mac_text(&next_hop.macs[..6])),
        resolved: next_hop.resolved,
    });
    let traffic = rates::traffic(counters.iter().copied(), backend.id);
    let key = BackendKey { service, address: backend.address };
    let shown = view.shown.get(&key).cloned().unwrap_or_default();
    let [refused, unanswered, unreachable] = loads.failures(backend.id).seen;
    BackendStatus {
        address: backend.address,
        weight: backend.weight,
        why: why(&shown, backend, next_hop.as_ref(), takes_new),
        state: shown.state,
        takes_new,
        backup: shown.backup,
        share: shown.share,
        discovered: shown.discovered,
        drain_left_s: shown.drain_left_s,
        connections_open: u64::from(loads.open(backend.id)),
        response_us: loads.response_us(backend.id),
        failures: FailuresStatus { refused, unanswered, unreachable },
        health: view.checked.get(&key).cloned(),
        rates: before.map_or_else(Rates::default, |before| before.of(backend.id, &traffic, Instant::now())),
        traffic,
        next_hop,
    }
}

/// What its state says; of one that is up also why new connections do not go to it, or do not reach it.
fn why(shown: &Shown, backend: &Backend, next_hop: Option<&NextHopStatus>, takes_new: bool) -> String {
    let is_up = matches!(shown.state.as_str(), "up" | "starting");
    let idle = match (backend.weight, shown.backup) {
        _ if takes_new => None,
        (0, _) => Some("weight 0".to_owned()),
        (_, true) => Some("a backup, others serve".to_owned()),
        (_, false) => None,
    };
    let cut_off = match next_hop {
        None => Some("no route leads to it".to_owned()),
        Some(hop) if !hop.resolved => {
            Some(format!("the MAC address of its next hop {} is not known", hop.address))
        }
        Some(_) => None,
    };
    let reasons: Vec<String> = idle.into_iter().chain(cut_off).filter(|_| is_up).collect();
    let reasons = reasons.join(", ");
    let reasons = match takes_new || reasons.is_empty() {
        true => reasons,
        false => format!("no new connections: {reasons}"),
    };
    let said = [shown.why.as_str(), &reasons].into_iter().filter(|said| !said.is_empty());
    said.collect::<Vec<_>>().join(", ")
}

fn mac_text(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests;
