//! `[acl]` and `[service.acl]`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::tables::{self, Access};

/// `[acl]`, `[service.acl]`: who may connect. The longest prefix that holds a client's address decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Acl {
    /// What becomes of clients that no prefix holds.
    pub default: Access,
    /// Those that may, the ones of files included.
    pub allow: Arc<[(IpAddr, u8)]>,
    /// Those that may not.
    pub deny: Arc<[(IpAddr, u8)]>,
    /// Files that list some of those that may.
    pub allow_files: Arc<[PathBuf]>,
    /// Files that list some of those that may not.
    pub deny_files: Arc<[PathBuf]>,
    /// The same prefixes, to be looked up. It follows from the others and is built once, as tens of thousands take a while.
    pub list: Arc<tables::Acl>,
}

impl Acl {
    /// The list of these prefixes, of which none is in both.
    pub fn new(default: Access, allow: Vec<(IpAddr, u8)>, deny: Vec<(IpAddr, u8)>) -> Self {
        let allowed = allow.iter().map(|prefix| (*prefix, Access::Allow));
        let denied = deny.iter().map(|prefix| (*prefix, Access::Deny));
        let list = tables::Acl::build(default, allowed.chain(denied)).into();
        let none: Arc<[PathBuf]> = Arc::from([]);
        Self {
            default,
            allow: allow.into(),
            deny: deny.into(),
            allow_files: none.clone(),
            deny_files: none,
            list,
        }
    }

    /// The same, of which some stood in these files.
    #[must_use]
    pub fn with_files(self, allow: Vec<PathBuf>, deny: Vec<PathBuf>) -> Self {
        Self { allow_files: allow.into(), deny_files: deny.into(), ..self }
    }
}
