//! Rules for `[acl]` and `[service.acl]`.

use std::collections::HashMap;
use std::net::IpAddr;

use super::diagnostic::Findings;
use super::lists::MOST_TOLD;
use super::raw::{Acl, Raw};
use crate::tables::Access;

const ONCE: &str = "list every prefix once; of several the longest decides";
const EITHER: &str = "take it out of one of them: a prefix is allowed or denied";

/// In which list, and on which line, a prefix stands.
type Written<'a> = HashMap<(IpAddr, u8), (&'a str, usize)>;

/// Applies them.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    let of_services = raw.services.iter().filter_map(|service| service.acl.as_ref());
    for acl in raw.acl.iter().chain(of_services) {
        distinct(acl, findings);
        somebody(acl, findings);
    }
}

/// A prefix has one answer, and the configuration itself says it once.
fn distinct(acl: &Acl, findings: &mut Findings<'_>) {
    let mut seen = Written::new();
    for (key, list) in [("allow", &acl.allow), ("deny", &acl.deny)] {
        for prefix in list.iter().flat_map(|list| list.get_ref()).flatten() {
            let (address, length) = *prefix.get_ref();
            let line = findings.line(prefix.span().start);
            if let Some((other, first)) = seen.insert((address, length), (key, line)) {
                let message = format!("`{key}`: {address}/{length} is in `{other}` on line {first}");
                findings.error(prefix.span(), message, ONCE);
            }
        }
    }
    contradictions(acl, &seen, findings);
}

/// Files may repeat what is said, but not contradict it.
fn contradictions(acl: &Acl, written: &Written<'_>, findings: &mut Findings<'_>) {
    let allowed: HashMap<_, _> = acl.allow_listed.iter().map(|listed| (listed.prefix, listed)).collect();
    let allow = acl.allow_listed.iter().map(|listed| ("allow_files", "deny", listed));
    let deny = acl.deny_listed.iter().map(|listed| ("deny_files", "allow", listed));
    let found = allow.chain(deny).filter_map(|(key, opposite, listed)| {
        let written = written.get(&listed.prefix).filter(|(list, _)| *list == opposite);
        let written = written.map(|(list, line)| format!("in `{list}` on line {line}"));
        let other = || allowed.get(&listed.prefix).filter(|_| opposite == "allow");
        Some((key, listed, written.or_else(|| Some(format!("in {}", other()?)))?))
    });
    let found: Vec<_> = found.collect();
    for (key, listed, other) in found.iter().take(MOST_TOLD) {
        let (address, length) = listed.prefix;
        let message = format!("`{key}`: {listed}: {address}/{length} is {other}, too");
        findings.error(listed.file.span(), message, EITHER);
    }
    if let Some((key, listed, _)) = found.get(MOST_TOLD) {
        let message = format!("`{key}`: and {} more", found.len() - MOST_TOLD);
        findings.error(listed.file.span(), message, EITHER);
    }
}

/// Somebody may connect, as far as everything could be read.
fn somebody(acl: &Acl, findings: &mut Findings<'_>) {
    let denies = acl.default.as_ref().filter(|default| *default.get_ref() == Access::Deny);
    let is_empty = acl.allow.as_ref().is_some_and(|allow| allow.get_ref().is_empty());
    let no_files = acl.allow_files.as_ref().is_some_and(|files| files.get_ref().is_empty());
    let is_certain = no_files || !findings.has_errors();
    if let Some(default) = denies
        && is_empty
        && is_certain
        && acl.allow_listed.is_empty()
    {
        let message = "`default`: \"deny\" without anybody in `allow` or `allow_files`: nobody may connect";
        findings.warning(default.span(), message, "add who may: allow = [\"198.51.100.0/24\"]");
    }
}
