//! Rules between the values of a file, for `[switch]`, `[timeouts]` and each `[[service]]` by itself.
//!
//! A rule looks at what is there and right by itself; what is wrong has been noted and raises no second error.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::diagnostic::{Findings, Severity};
use super::forwarding::addresses;
use super::raw::{Raw, RawTimeouts, Service, Switch};
use super::reader::Field;
use super::valid::{Scheduler, Topology};
use crate::tables::Protocol;
use crate::tables::scheduler::is_prime;

/// More interfaces than any of the topologies needs; a worker polls every one.
const MOST_INTERFACES: usize = 8;

/// Applies all rules.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    match &raw.switch {
        Some(switch) => {
            interfaces(raw, switch, findings);
            topology(switch, findings);
            sizes(switch, findings);
            snat_pool(switch, findings);
            tunnel_sources(switch, findings);
        }
        None => findings.missing(
            Severity::Error,
            0..0,
            "[switch] is missing",
            "add [switch] and interfaces = [\"eth0\"]",
        ),
    }
    timeouts(&raw.timeouts, findings);
    if raw.services.is_empty() && raw.snat.is_empty() {
        let help = "add [[service]] with name, vip and [[service.backend]]";
        findings.missing(
            Severity::Warning,
            0..0,
            "no [[service]] and no [[snat]]: every frame is left to the kernel",
            help,
        );
    }
    distinct_services(raw, findings);
    for service in &raw.services {
        scheduling(service, findings);
        health(service, findings);
        distinct_backends(service, findings);
    }
    super::forwarding::check(raw, findings);
    super::snat::check(raw, findings);
    super::limits::check(raw, findings);
    super::statics::check(raw, findings);
}

fn interfaces(raw: &Raw, switch: &Switch, findings: &mut Findings<'_>) {
    let Some(field) = &switch.interfaces else { return };
    let names = match field.get_ref() {
        None => {
            // What [[interface]] lists is offered, not taken: where programs are attached is never guessed.
            let listed: Vec<_> = named(raw.interfaces.iter().map(|interface| &interface.name)).collect();
            let list = if listed.is_empty() { "\"eth0\", \"eth1\"".to_owned() } else { listed.join(", ") };
            let help = format!("add interfaces = [{list}]; one = one-arm, two = routed or bridge");
            return findings.missing(
                Severity::Error,
                switch.heading.clone(),
                "`interfaces` is missing in [switch]",
                help,
            );
        }
        Some(names) => names,
    };
    if names.is_empty() {
        let help = "name at least one: interfaces = [\"eth0\"]";
        findings.error(field.span(), "`interfaces`: the switch has no interface", help);
    }
    if let Some(Some(beyond)) = names.get(MOST_INTERFACES) {
        let message = format!("`interfaces`: {} are too many", names.len());
        findings.error(beyond.span(), message, format!("at most {MOST_INTERFACES}"));
    }
    let mut seen = HashMap::new();
    for name in names.iter().flatten() {
        if seen.insert(name.get_ref(), ()).is_some() {
            let message = format!("`interfaces`: {:?} is listed twice", name.get_ref());
            findings.error(name.span(), message, "list each interface once");
        }
    }
}

fn named<'a>(fields: impl Iterator<Item = &'a Field<String>>) -> impl Iterator<Item = String> {
    fields.flatten().map(|name| format!("{:?}", name.get_ref()))
}

/// A wire has two ends.
fn topology(switch: &Switch, findings: &mut Findings<'_>) {
    let Some(topology) = switch.topology.as_ref().filter(|field| *field.get_ref() == Topology::Bridge) else {
        return;
    };
    if let Some(Some(names)) = switch.interfaces.as_ref().map(|field| field.get_ref())
        && names.len() != 2
    {
        let message =
            format!("`topology`: \"bridge\" joins two interfaces, and `interfaces` has {}", names.len());
        findings.error(topology.span(), message, "two in interfaces, or topology = \"routed\"");
    }
}

fn sizes(switch: &Switch, findings: &mut Findings<'_>) {
    if let Some(size) = switch.ring_size.as_ref().filter(|size| !size.get_ref().is_power_of_two()) {
        let above = size.get_ref().next_power_of_two();
        let message = format!("`ring_size`: {} is not a power of two", size.get_ref());
        findings.error(size.span(), message, format!("{} or {above}", above / 2));
    }
}

fn snat_pool(switch: &Switch, findings: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for address in switch.snat_addresses.iter().flat_map(|list| list.get_ref()).flatten() {
        if seen.insert(address.get_ref(), ()).is_some() {
            let message = format!("`snat_addresses`: {} is listed twice", address.get_ref());
            findings.error(address.span(), message, "list each address once");
        }
    }
    if let Some(ports) = switch.snat_ports.as_ref().filter(|ports| ports.get_ref().0 < 1024) {
        let help = "ports from 1024 up: \"1024-32767\"";
        findings.warning(ports.span(), "`snat_ports`: ports below 1024 belong to well-known services", help);
    }
}

fn tunnel_sources(switch: &Switch, findings: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for source in switch.tunnel_sources.iter().flat_map(|list| list.get_ref()).flatten() {
        if let Some(first) = seen.insert(source.get_ref().is_ipv4(), source.get_ref()) {
            let message = format!("`tunnel_sources`: {} is of the same family as {first}", source.get_ref());
            findings.error(source.span(), message, "at most one IPv4 and one IPv6 address");
        }
    }
}

fn timeouts(timeouts: &RawTimeouts, findings: &mut Findings<'_>) {
    const TRANSITORY_S: (u32, &str) = (240, "RFC 5382 §5 asks for 4 minutes");
    const ESTABLISHED_S: (u32, &str) = (7440, "RFC 5382 §5 asks for 2 hours 4 minutes");
    const UDP_S: (u32, &str) = (120, "RFC 4787 §4.3 asks for 2 minutes");
    const ICMP_S: (u32, &str) = (60, "RFC 5508 §3.2 asks for 60 seconds");
    let minima = [
        ("tcp_syn_s", &timeouts.tcp_syn_s, TRANSITORY_S),
        ("tcp_established_s", &timeouts.tcp_established_s, ESTABLISHED_S),
        ("tcp_half_closed_s", &timeouts.tcp_half_closed_s, TRANSITORY_S),
        ("tcp_closed_s", &timeouts.tcp_closed_s, TRANSITORY_S),
        ("tcp_reset_s", &timeouts.tcp_reset_s, TRANSITORY_S),
        ("udp_s", &timeouts.udp_s, UDP_S),
        ("icmp_s", &timeouts.icmp_s, ICMP_S),
    ];
    for (key, field, (least, demand)) in minima {
        if let Some(seconds) = field.as_ref().filter(|seconds| *seconds.get_ref() < least) {
            let message = format!("`{key}`: {} s may cut connections that idle", seconds.get_ref());
            findings.warning(seconds.span(), message, format!("{demand}: {key} = {least} or more"));
        }
    }
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

fn scheduling(service: &Service, findings: &mut Findings<'_>) {
    let known = service.backends.iter().all(|backend| backend.weight.is_some());
    let serving = service.backends.iter().filter_map(|backend| backend.weight.as_ref());
    let serving = serving.filter(|weight| *weight.get_ref() > 0).count();
    if service.backends.is_empty() {
        let help = "add [[service.backend]] and address = \"198.18.1.11:8080\"";
        findings.missing(
            Severity::Warning,
            service.heading.clone(),
            "the service has no backend: its clients get no answer",
            help,
        );
    } else if known && serving == 0 {
        let help = "give one of them a weight of 1 or more";
        findings.warning(
            service.heading.clone(),
            "every backend has weight 0: new connections get no answer",
            help,
        );
    }
    let (Some(size), Some(scheduler)) = (&service.maglev_table_size, &service.scheduler) else { return };
    let number = *size.get_ref();
    if !is_prime(number) {
        let prime = prime_from(number);
        let message = format!("`maglev_table_size`: {number} is not a prime");
        findings.error(size.span(), message, format!("the next prime is {prime}"));
    } else if *scheduler.get_ref() == Scheduler::Maglev && (number as usize) < serving.saturating_mul(100) {
        let message = format!("`maglev_table_size`: {number} slots share unevenly among {serving} backends");
        let least = prime_from(u32::try_from(serving * 100).unwrap_or(u32::MAX));
        findings.warning(size.span(), message, format!("100 slots for each backend or more: {least}"));
    }
}

/// The first prime at or above `number`.
fn prime_from(number: u32) -> u32 {
    (number..).find(|number| is_prime(*number)).unwrap_or(number)
}

fn health(service: &Service, findings: &mut Findings<'_>) {
    let Some(health) = &service.health else { return };
    findings.warning(
        health.heading.clone(),
        "no checks run in this version: every backend counts as up",
        "keep the table for later; until then, weight = 0 takes a backend out of service",
    );
    let (Some(check), Some(path)) = (&health.check, &health.path) else { return };
    if path.get_ref().is_some() && !check.get_ref().starts_with("http") {
        let message = format!("`path` means nothing to check = {:?}", check.get_ref());
        findings.warning(path.span(), message, "remove it, or write check = \"http\"");
    }
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
