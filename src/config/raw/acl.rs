//! `[acl]` and `[service.acl]`.

use std::net::IpAddr;

use crate::config::reader::{Field, Reader};
use crate::config::{values, words};
use crate::tables::Access;

/// `[acl]`, `[service.acl]`.
#[derive(Debug)]
pub(in crate::config) struct Acl {
    pub default: Field<Access>,
    pub allow: Field<Vec<Field<(IpAddr, u8)>>>,
    pub deny: Field<Vec<Field<(IpAddr, u8)>>>,
}

impl Acl {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        Self {
            default: table.word("default", &words::ACCESS).or(Access::default()),
            allow: table.texts("allow", values::network).or(Vec::new()),
            deny: table.texts("deny", values::network).or(Vec::new()),
        }
    }
}
