//! Rules for `[acl]` and `[service.acl]`.

use std::collections::HashMap;
use std::net::IpAddr;

use super::diagnostic::Findings;
use super::raw::{Acl, Raw};
use crate::tables::Access;

/// Applies them.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    let of_services = raw.services.iter().filter_map(|service| service.acl.as_ref());
    for acl in raw.acl.iter().chain(of_services) {
        distinct(acl, findings);
        somebody(acl, findings);
    }
}

/// A prefix has one answer.
fn distinct(acl: &Acl, findings: &mut Findings<'_>) {
    let mut seen: HashMap<(IpAddr, u8), (&str, usize)> = HashMap::new();
    for (key, list) in [("allow", &acl.allow), ("deny", &acl.deny)] {
        for prefix in list.iter().flat_map(|list| list.get_ref()).flatten() {
            let (address, length) = *prefix.get_ref();
            let line = findings.line(prefix.span().start);
            if let Some((other, first)) = seen.insert((address, length), (key, line)) {
                let message = format!("`{key}`: {address}/{length} is in `{other}` on line {first}");
                findings.error(
                    prefix.span(),
                    message,
                    "list every prefix once; of several the longest decides",
                );
            }
        }
    }
}

/// Somebody may connect.
fn somebody(acl: &Acl, findings: &mut Findings<'_>) {
    let denies = acl.default.as_ref().filter(|default| *default.get_ref() == Access::Deny);
    let is_empty = acl.allow.as_ref().is_some_and(|allow| allow.get_ref().is_empty());
    if let Some(default) = denies
        && is_empty
    {
        let message = "`default`: \"deny\" without anybody in `allow`: nobody may connect";
        findings.warning(default.span(), message, "add who may: allow = [\"198.51.100.0/24\"]");
    }
}
