//! Rules for `[[interface]]`, `[[neighbor]]` and `[[route]]`.

use std::collections::HashMap;
use std::hash::Hash;

use toml::Spanned;

use super::diagnostic::Findings;
use super::raw::{Raw, Route};
use super::reader::Field;
use super::words::nearest;

/// Applies them.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    let listed = raw.switch.as_ref().and_then(|switch| switch.interfaces.as_ref());
    let interfaces = raw.interfaces.iter().map(|interface| &interface.name);
    let neighbors = raw.neighbors.iter().map(|neighbor| &neighbor.interface);
    let routes = raw.routes.iter().map(|route| &route.interface);
    if let Some(Some(listed)) = listed.map(|field| field.get_ref()) {
        for name in interfaces.chain(neighbors).chain(routes).flatten() {
            known(name, listed, findings);
        }
    }
    let names = raw.interfaces.iter().filter_map(|interface| interface.name.as_ref());
    once(names.map(|name| (name.get_ref(), name)), findings);
    let neighbors = raw.neighbors.iter().filter_map(|neighbor| {
        let (interface, address) = (neighbor.interface.as_ref()?, neighbor.address.as_ref()?);
        Some(((interface.get_ref(), address.get_ref()), address))
    });
    once(neighbors, findings);
    let prefixes = raw.routes.iter().filter_map(|route| route.prefix.as_ref());
    once(prefixes.map(|prefix| (prefix.get_ref(), prefix)), findings);
    for route in &raw.routes {
        next_hop(route, findings);
    }
}

/// An interface must be one of `[switch] interfaces`.
fn known(name: &Spanned<String>, listed: &[Field<String>], findings: &mut Findings<'_>) {
    // A wrong name in the list may have been meant to be this one.
    let right = || listed.iter().flatten().map(|name| name.get_ref().as_str());
    if right().count() < listed.len() || right().any(|right| right == name.get_ref()) {
        return;
    }
    let list = format!("listed there: {}", right().collect::<Vec<_>>().join(", "));
    let help = match nearest(name.get_ref(), right()) {
        Some(near) => format!("did you mean {near:?}? {list}"),
        None => list,
    };
    findings.error(name.span(), format!("{:?} is not in `interfaces` of [switch]", name.get_ref()), help);
}

/// Keys must differ; the place of a second one is that of its value.
fn once<'a, K: Eq + Hash, V: 'a>(
    entries: impl Iterator<Item = (K, &'a Spanned<V>)>,
    findings: &mut Findings<'_>,
) {
    let mut seen = HashMap::new();
    for (key, place) in entries {
        let line = findings.line(place.span().start);
        if let Some(first) = seen.insert(key, line) {
            let message = format!("this is the same as on line {first}");
            findings.error(place.span(), message, "keep one of the two");
        }
    }
}

fn next_hop(route: &Route, findings: &mut Findings<'_>) {
    let (Some(prefix), Some(via)) = (&route.prefix, &route.via) else { return };
    if via.get_ref().is_some_and(|via| via.is_ipv4() != prefix.get_ref().0.is_ipv4()) {
        let message = "`via` and `prefix` are of two families";
        findings.error(via.span(), message, "both IPv4, or both IPv6");
    }
}
