//! Rules for `[service.limits]`.

use super::diagnostic::Findings;
use super::raw::{Limits, Raw};
use super::reader::Field;

/// Applies them.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    for limits in raw.services.iter().filter_map(|service| service.limits.as_ref()) {
        something(limits, findings);
        let Limits {
            new_connections_per_s,
            packets_per_s,
            client_new_connections_per_s,
            client_packets_per_s,
            ..
        } = limits;
        reachable(
            "client_new_connections_per_s",
            client_new_connections_per_s,
            new_connections_per_s,
            findings,
        );
        reachable("client_packets_per_s", client_packets_per_s, packets_per_s, findings);
    }
}

/// Something is limited.
fn something(limits: &Limits, findings: &mut Findings<'_>) {
    let rates = [
        &limits.new_connections_per_s,
        &limits.packets_per_s,
        &limits.client_new_connections_per_s,
        &limits.client_packets_per_s,
        &limits.client_connections,
    ];
    let is_none = |field: &Field<u32>| field.as_ref().is_some_and(|value| *value.get_ref() == 0);
    let no_bits = limits.bits_per_s.as_ref().is_some_and(|bits| *bits.get_ref() == 0);
    if rates.into_iter().all(is_none) && no_bits {
        let help = "add what may come, for example client_new_connections_per_s = 100";
        findings.warning(limits.heading.clone(), "[service.limits] limits nothing", help);
    }
}

/// What one client may do is less than what all may.
fn reachable(key: &str, own: &Field<u32>, all: &Field<u32>, findings: &mut Findings<'_>) {
    if let (Some(own), Some(all)) = (own, all)
        && *all.get_ref() > 0
        && own.get_ref() >= all.get_ref()
    {
        let message = format!("`{key}`: {} is not less than what all clients together may", own.get_ref());
        findings.warning(own.span(), message, format!("a number below {}, or 0", all.get_ref()));
    }
}
