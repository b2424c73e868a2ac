//! Rules between the values of a file: those for `[switch]` and `[timeouts]`, and where the others are.
//!
//! A rule looks at what is there and right by itself; what is wrong has been noted and raises no second error.

use std::collections::HashMap;

use super::diagnostic::{Findings, Severity};
use super::raw::{Raw, RawTimeouts, Switch};
use super::reader::Field;
use super::valid::Topology;

/// More interfaces than any of the topologies needs; a worker polls every one.
const MOST_INTERFACES: usize = 8;

/// Applies all rules.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    match &raw.switch {
        Some(switch) => {
            interfaces(raw, switch, findings);
            topology(switch, findings);
            busy_poll(switch, findings);
            sizes(switch, findings);
            snat_pool(switch, findings);
            tunnel_sources(switch, findings);
            resolvers(switch, findings);
            status_page(switch, findings);
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
    super::services::check(raw, findings);
    super::forwarding::check(raw, findings);
    super::acl::check(raw, findings);
    super::protection::check(raw, findings);
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

/// Interrupts that wait for a program to poll would wait in vain.
fn busy_poll(switch: &Switch, findings: &mut Findings<'_>) {
    let (Some(polled), Some(device)) = (&switch.busy_poll, &switch.busy_poll_device) else { return };
    if *device.get_ref() && !*polled.get_ref() {
        let message = "`busy_poll_device`: interrupts would wait for workers that do not poll";
        findings.error(device.span(), message, "busy_poll = true, or leave out busy_poll_device");
    }
}

/// The page has a port of its own; a token is for nothing else.
fn status_page(switch: &Switch, findings: &mut Findings<'_>) {
    let Some(page) = &switch.status_listen else { return };
    let Some(address) = page.get_ref() else {
        if let Some(token) = switch.status_token_file.as_ref().filter(|token| token.get_ref().is_some()) {
            let message = "`status_token_file` means nothing without a page";
            findings.warning(token.span(), message, "remove it, or write status_listen = \"127.0.0.1:9501\"");
        }
        return;
    };
    let Some(metrics) = switch.metrics_listen.as_ref().and_then(|field| *field.get_ref()) else { return };
    let (own, other) = (address.ip(), metrics.ip());
    let is_shared = own == other || own.is_unspecified() || other.is_unspecified();
    if is_shared && address.port() == metrics.port() && address.port() != 0 {
        let message = format!("`status_listen`: {address} is where the metrics are, at {metrics}");
        findings.error(
            page.span(),
            message,
            "another port, 127.0.0.1:9501; or metrics_listen = \"\" for off",
        );
    }
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

fn resolvers(switch: &Switch, findings: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for resolver in switch.resolvers.iter().flat_map(|list| list.get_ref()).flatten() {
        if seen.insert(resolver.get_ref(), ()).is_some() {
            let message = format!("`resolvers`: {} is listed twice", resolver.get_ref());
            findings.error(resolver.span(), message, "list each server once");
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
