//! How much there can be: the sizes of the tables that the switch works with.

use super::diagnostic::Findings;
use super::raw::Raw;
use crate::tables::counters::{MAX_BACKENDS, MAX_SERVICES};

/// Threads, one per RX queue: the steering program knows this many queues.
pub(super) const MOST_WORKERS: i64 = 64;
/// SNAT addresses that the steering program can hold.
const MOST_SNAT_ADDRESSES: usize = 4096;
/// Inside prefixes of all rules of `[[snat]]`.
pub(super) const MOST_INSIDE_PREFIXES: usize = 1024;

/// Notes what is more than the tables hold, where it begins.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    let pool = raw.switch.as_ref().and_then(|switch| switch.snat_addresses.as_ref());
    if let Some(pool) = pool
        && let Some(beyond) = pool.get_ref().get(MOST_SNAT_ADDRESSES)
    {
        let span = beyond.as_ref().map_or(pool.span(), |address| address.span());
        let message =
            format!("`snat_addresses`: {} are more than {MOST_SNAT_ADDRESSES}", pool.get_ref().len());
        findings.error(span, message, format!("at most {MOST_SNAT_ADDRESSES} addresses"));
    }
    rules(raw, findings);
    if let Some(beyond) = raw.services.get(MAX_SERVICES) {
        let message = format!("{} services are more than {MAX_SERVICES}", raw.services.len());
        findings.error(beyond.heading.clone(), message, format!("at most {MAX_SERVICES} services"));
    }
    backends(raw, findings);
}

fn rules(raw: &Raw, findings: &mut Findings<'_>) {
    let pool = raw.switch.as_ref().and_then(|switch| switch.snat_addresses.as_ref());
    let mut addresses = pool.map_or(0, |pool| pool.get_ref().len()).min(MOST_SNAT_ADDRESSES);
    let mut prefixes = 0;
    for rule in &raw.snat {
        let lists = [
            (
                rule.addresses.as_ref().map(|list| (list.span(), list.get_ref().len())),
                &mut addresses,
                MOST_SNAT_ADDRESSES,
                "addresses",
            ),
            (
                rule.inside.as_ref().map(|list| (list.span(), list.get_ref().len())),
                &mut prefixes,
                MOST_INSIDE_PREFIXES,
                "inside",
            ),
        ];
        for (list, total, most, key) in lists {
            let Some((span, count)) = list else { continue };
            let before = *total;
            *total += count;
            if before <= most && *total > most {
                let message = format!("`{key}`: with those above {total} are more than {most}");
                findings.error(span, message, format!("at most {most} in all"));
            }
        }
    }
}

fn backends(raw: &Raw, findings: &mut Findings<'_>) {
    let mut total = 0;
    let mut first_beyond = None;
    for service in &raw.services {
        total += service.backends.len();
        if total > MAX_BACKENDS {
            first_beyond.get_or_insert(service);
        }
    }
    if let Some(service) = first_beyond {
        let message =
            format!("{total} backends are more than {MAX_BACKENDS}: those of this service no longer fit");
        findings.error(
            service.heading.clone(),
            message,
            format!("at most {MAX_BACKENDS} backends of all services"),
        );
    }
}
