//! Rules for `[[snat]]`.

use std::collections::HashMap;
use std::net::IpAddr;

use toml::Spanned;

use super::diagnostic::Findings;
use super::forwarding::family;
use super::limits::MOST_INSIDE_PREFIXES;
use super::raw::{Raw, Snat};
use super::reader::Field;
use super::valid::Topology;
use super::values::masked;

/// First and last port.
type Ports = (u16, u16);

/// Applies them.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    let mut names = HashMap::new();
    for rule in &raw.snat {
        in_bridge(raw, rule, findings);
        families(rule, findings);
        well_known(rule, findings);
        if let Some(name) = &rule.name {
            let line = findings.line(name.span().start);
            if let Some(first) = names.insert(name.get_ref(), line) {
                let message = format!("`name`: {:?} is the rule on line {first}", name.get_ref());
                findings.error(name.span(), message, "give every rule a name of its own");
            }
        }
    }
    disjoint_insides(raw, findings);
    disjoint_pools(raw, findings);
    no_vips(raw, findings);
}

fn in_bridge(raw: &Raw, rule: &Snat, findings: &mut Findings<'_>) {
    let topology = raw.switch.as_ref().and_then(|switch| switch.topology.as_ref());
    if topology.is_some_and(|topology| *topology.get_ref() == Topology::Bridge)
        && let Some(name) = &rule.name
    {
        let message = format!("[[snat]] {:?} does not work in a bridge", name.get_ref());
        findings.error(name.span(), message, "remove it, or write topology = \"routed\" in [switch]");
    }
}

/// The values of a list that are right.
fn right<T>(list: &Field<Vec<Field<T>>>) -> impl Iterator<Item = &Spanned<T>> {
    list.iter().flat_map(|list| list.get_ref()).flatten()
}

/// Whether no item of the list is wrong: only then something can be called missing.
fn complete<T>(list: &Field<Vec<Field<T>>>) -> bool {
    list.as_ref().is_some_and(|list| list.get_ref().iter().all(Option::is_some))
}

/// An address is translated to one of its own family.
fn families(rule: &Snat, findings: &mut Findings<'_>) {
    if !complete(&rule.inside) || !complete(&rule.addresses) {
        return;
    }
    for (list, key, example) in [
        (rule.inside.as_ref().map(|list| (list.span(), list.get_ref().len())), "inside", "10.0.0.0/24"),
        (rule.addresses.as_ref().map(|list| (list.span(), list.get_ref().len())), "addresses", "198.18.0.3"),
    ] {
        if let Some((span, 0)) = list {
            findings.error(
                span,
                format!("`{key}` is empty"),
                format!("name at least one: {key} = [{example:?}]"),
            );
            return;
        }
    }
    for prefix in right(&rule.inside) {
        let ((address, length), needed) = (*prefix.get_ref(), family(prefix.get_ref().0));
        if !right(&rule.addresses).any(|address| family(*address.get_ref()) == needed) {
            let message = format!("`inside`: {address}/{length} has no {needed} address to be translated to");
            findings.error(prefix.span(), message, format!("add an {needed} address to `addresses`"));
        }
    }
    for address in right(&rule.addresses) {
        let needed = family(*address.get_ref());
        if !right(&rule.inside).any(|prefix| family(prefix.get_ref().0) == needed) {
            let message = format!("`addresses`: nothing is translated to {}", address.get_ref());
            let help = format!("remove it, or add an {needed} prefix to `inside`");
            findings.error(address.span(), message, help);
        }
    }
}

fn well_known(rule: &Snat, findings: &mut Findings<'_>) {
    if let Some(ports) = &rule.ports
        && ports.get_ref().is_some_and(|(first, _)| first < 1024)
    {
        let help = "ports from 1024 up: \"1024-32767\"";
        findings.warning(ports.span(), "`ports`: ports below 1024 belong to well-known services", help);
    }
}

/// Of two prefixes one holds the other, or they have nothing in common.
fn disjoint_insides(raw: &Raw, findings: &mut Findings<'_>) {
    let mut seen: Vec<((IpAddr, u8), usize)> = Vec::new();
    let prefixes = raw.snat.iter().flat_map(|rule| right(&rule.inside));
    for prefix in prefixes.take(MOST_INSIDE_PREFIXES) {
        let (address, length) = *prefix.get_ref();
        let overlaps = |other: &&((IpAddr, u8), usize)| {
            let ((other, other_length), _) = **other;
            let common = length.min(other_length);
            other.is_ipv4() == address.is_ipv4() && masked(other, common) == masked(address, common)
        };
        let line = findings.line(prefix.span().start);
        match seen.iter().find(overlaps) {
            Some(((other, other_length), first)) => {
                let message =
                    format!("`inside`: {address}/{length} overlaps {other}/{other_length} on line {first}");
                findings.error(prefix.span(), message, "every address belongs to one rule, once");
            }
            None => seen.push(((address, length), line)),
        }
    }
}

/// What arrives at a public address and port must belong to one mapping only.
fn disjoint_pools(raw: &Raw, findings: &mut Findings<'_>) {
    let Some(switch) = &raw.switch else { return };
    let Some(default) = switch.snat_ports.as_ref().map(|ports| *ports.get_ref()) else { return };
    let mut taken: HashMap<IpAddr, Vec<(Ports, usize)>> = HashMap::new();
    for address in right(&switch.snat_addresses) {
        let line = findings.line(address.span().start);
        taken.entry(*address.get_ref()).or_default().push((default, line));
    }
    for rule in &raw.snat {
        let Some(ports) = rule.ports.as_ref().map(|ports| ports.get_ref().unwrap_or(default)) else {
            continue;
        };
        for address in right(&rule.addresses) {
            let others = taken.entry(*address.get_ref()).or_default();
            let overlap = others.iter().find(|((first, last), _)| ports.0 <= *last && *first <= ports.1);
            if let Some(((first, last), line)) = overlap {
                let message = format!(
                    "`addresses`: {} with ports {}-{} overlaps its ports {first}-{last} on line {line}",
                    address.get_ref(),
                    ports.0,
                    ports.1
                );
                findings.error(address.span(), message, "another address, or other `ports`");
            }
            let line = findings.line(address.span().start);
            others.push((ports, line));
        }
    }
}

/// A VIP answers for itself: pings and errors that arrive there could be anybody's.
fn no_vips(raw: &Raw, findings: &mut Findings<'_>) {
    let vips = raw.services.iter().filter_map(|service| service.vip.as_ref());
    let vips: HashMap<IpAddr, usize> =
        vips.map(|vip| (vip.get_ref().ip(), findings.line(vip.span().start))).collect();
    for address in raw.snat.iter().flat_map(|rule| right(&rule.addresses)) {
        if let Some(line) = vips.get(address.get_ref()) {
            let message = format!("`addresses`: {} is the VIP on line {line}", address.get_ref());
            findings.error(address.span(), message, "an address that no service has");
        }
    }
}
