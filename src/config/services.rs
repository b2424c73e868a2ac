//! Rules for each `[[service]]` by itself, and between them.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::diagnostic::{Findings, Severity};
use super::forwarding::addresses;
use super::raw::{Affinity, Backend, Raw, Service};
use super::reader::Field;
use super::valid::{AdminState, Scheduler};
use super::words::CheckKind;
use super::{discover, health};
use crate::tables::Protocol;
use crate::tables::scheduler::is_prime;

/// Applies them.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    distinct_services(raw, findings);
    for service in &raw.services {
        takers(service, findings);
        table_size(service, findings);
        reported_capacity(service, findings);
        distinct_backends(service, findings);
        health::check(service, findings);
        discover::check(service, findings);
    }
    affinity_groups(raw, findings);
}

fn distinct_services(raw: &Raw, findings: &mut Findings<'_>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut vips: HashMap<(SocketAddr, Protocol), usize> = HashMap::new();
    for service in &raw.services {
        if let Some(name) = &service.name {
            let line = findings.line(name.span().start);
            if let Some(first) = names.insert(name.get_ref(), line) {
                let message = format!("`name`: {:?} is the service on line {first}", name.get_ref());
                findings.error(name.span(), message, "give every service a name of its own");
            }
        }
        if let (Some(vip), Some(protocol)) = (&service.vip, &service.protocol) {
            let line = findings.line(vip.span().start);
            if let Some(first) = vips.insert((*vip.get_ref(), *protocol.get_ref()), line) {
                let protocol = protocol.get_ref().name();
                let message = format!("`vip`: {}/{protocol} is the service on line {first}", vip.get_ref());
                let help = "another address, port or protocol; or put the backends of both into one service";
                findings.error(vip.span(), message, help);
            }
        }
    }
}

/// Somebody should take new connections.
fn takers(service: &Service, findings: &mut Findings<'_>) {
    if service.discover.is_some() {
        return;
    }
    let backends = &service.backends;
    let all =
        |wrong: fn(&Backend) -> Option<bool>| backends.iter().all(|backend| wrong(backend) == Some(true));
    let (message, help) = if backends.is_empty() {
        let message = "the service has no backend: its clients get no answer";
        let help = "add [[service.backend]] and address = \"198.18.1.11:8080\"";
        return findings.missing(Severity::Warning, service.heading.clone(), message, help);
    } else if all(weightless) {
        let message = "every backend has weight 0: new connections get no answer";
        (message, "give one of them a weight of 1 or more")
    } else if all(|backend| Some(weightless(backend)? || withdrawn(backend)?)) {
        let message = "every backend is drained, disabled or of weight 0: new connections get no answer";
        (message, "state = \"enabled\" and a weight of 1 or more for one of them")
    } else if all(|backend| Some(*backend.backup.as_ref()?.get_ref())) {
        let message = "every backend has backup = true: there is none to stand in for";
        (message, "remove it where a backend is to serve all the time")
    } else {
        return;
    };
    findings.warning(service.heading.clone(), message, help);
}

fn weightless(backend: &Backend) -> Option<bool> {
    Some(*backend.weight.as_ref()?.get_ref() == 0)
}

fn withdrawn(backend: &Backend) -> Option<bool> {
    Some(*backend.state.as_ref()?.get_ref() != AdminState::Enabled)
}

fn table_size(service: &Service, findings: &mut Findings<'_>) {
    let serving = service.backends.iter().filter(|backend| weightless(backend) == Some(false)).count();
    let (Some(size), Some(scheduler)) = (&service.maglev_table_size, &service.scheduler) else { return };
    let number = *size.get_ref();
    let used = matches!(scheduler.get_ref(), Scheduler::Maglev | Scheduler::SourceHash);
    if !is_prime(number) {
        let prime = prime_from(number);
        let message = format!("`maglev_table_size`: {number} is not a prime");
        findings.error(size.span(), message, format!("the next prime is {prime}"));
    } else if used && (number as usize) < serving.saturating_mul(100) {
        let message = format!("`maglev_table_size`: {number} slots share unevenly among {serving} backends");
        let least = prime_from(u32::try_from(serving * 100).unwrap_or(u32::MAX));
        findings.warning(size.span(), message, format!("100 slots for each backend or more: {least}"));
    }
}

/// Who goes by what agents say must ask them.
fn reported_capacity(service: &Service, findings: &mut Findings<'_>) {
    let Some(scheduler) = &service.scheduler else { return };
    let asked = service.health.as_ref().is_some_and(|health| {
        let port = health.agent_port.as_ref().is_none_or(|port| port.get_ref().is_some());
        port || health.kind(&service.protocol).is_none_or(|kind| kind == CheckKind::Agent)
    });
    if *scheduler.get_ref() == Scheduler::Resource && !asked {
        let message = "`scheduler`: \"resource\" without an agent that reports capacity is \"wrr\"";
        let help = "agent_port = PORT in [service.health], or check = \"agent\" there";
        findings.warning(scheduler.span(), message, help);
    }
}

/// Services that share what they remember of clients must remember it alike.
fn affinity_groups(raw: &Raw, findings: &mut Findings<'_>) {
    let mut groups: HashMap<&str, (&Service, &Affinity)> = HashMap::new();
    for service in &raw.services {
        let Some(affinity) = &service.affinity else { continue };
        let Some(Some(group)) = affinity.group.as_ref().map(|group| group.get_ref()) else { continue };
        one_port_each(service, group, findings);
        let (first, other) = *groups.entry(group).or_insert((service, affinity));
        let (Some(name), Some(first)) = (&service.name, &first.name) else { continue };
        let widen = |field: &Field<u8>| {
            field.as_ref().map(|field| toml::Spanned::new(field.span(), u32::from(*field.get_ref())))
        };
        let keys = [
            ("timeout_s", affinity.timeout_s.clone(), other.timeout_s.clone()),
            ("prefix_ipv4", widen(&affinity.prefix_ipv4), widen(&other.prefix_ipv4)),
            ("prefix_ipv6", widen(&affinity.prefix_ipv6), widen(&other.prefix_ipv6)),
        ];
        for (key, here, there) in keys {
            let (Some(here), Some(there)) = (here, there) else { continue };
            if here.get_ref() != there.get_ref() {
                let message = format!(
                    "`{key}`: {:?} has {} and {:?} on line {} has {}, but both are of the group {group:?}",
                    name.get_ref(),
                    here.get_ref(),
                    first.get_ref(),
                    findings.line(first.span().start),
                    there.get_ref(),
                );
                let help = format!("{key} = {} here, or another group", there.get_ref());
                findings.error(here.span(), message, help);
            }
        }
    }
}

/// What services of a group have in common is a server's address.
fn one_port_each(service: &Service, group: &str, findings: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for address in service.backends.iter().filter_map(|backend| backend.address.as_ref()) {
        let (ip, port) = (address.get_ref().ip(), address.get_ref().port());
        if let Some(first) = seen.insert(ip, port) {
            let message = format!("`address`: {ip} is a backend at port {first} already");
            let help = format!(
                "the group {group:?} knows servers by their address: a client may be sent to either port"
            );
            findings.warning(address.span(), message, help);
        }
    }
}

/// The first prime at or above `number`.
fn prime_from(number: u32) -> u32 {
    (number..).find(|number| is_prime(*number)).unwrap_or(number)
}

fn distinct_backends(service: &Service, findings: &mut Findings<'_>) {
    let mut seen: HashMap<SocketAddr, usize> = HashMap::new();
    for address in addresses(service) {
        let line = findings.line(address.span().start);
        if let Some(first) = seen.insert(*address.get_ref(), line) {
            let message = format!("`address`: {} is the backend on line {first}", address.get_ref());
            findings.error(
                address.span(),
                message,
                "list each backend once; its weight makes its share larger",
            );
        }
    }
}
