//! `[acl]` and `[service.acl]`.

use super::{Part, Said};
use crate::config::valid::Acl;

/// What is worth saying when it comes or goes.
pub(super) fn detail(acl: &Acl) -> String {
    let (allow, deny) = (acl.allow.len(), acl.deny.len());
    format!("default {}, {allow} allowed, {deny} denied", acl.default.said())
}

/// Says what is other in `new`.
pub(super) fn compare(old: &Acl, new: &Acl, part: &mut Part<'_>) {
    // The list follows from the others.
    let Acl { default, allow, deny, allow_files, deny_files, list: _ } = old;
    part.key("default", default, &new.default);
    part.list("allow", allow, &new.allow);
    part.list("deny", deny, &new.deny);
    part.list("allow_files", allow_files, &new.allow_files);
    part.list("deny_files", deny_files, &new.deny_files);
}
