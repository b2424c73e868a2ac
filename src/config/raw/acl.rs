//! `[acl]` and `[service.acl]`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;

use toml::Spanned;

use crate::config::reader::{Field, Reader};
use crate::config::{texts, values, words};
use crate::tables::Access;

/// Names of files with prefixes.
pub(in crate::config) type Files = Field<Vec<Field<PathBuf>>>;

/// A prefix that a file lists.
#[derive(Debug)]
pub(in crate::config) struct Listed {
    pub prefix: (IpAddr, u8),
    pub file: Rc<Spanned<PathBuf>>,
    pub line: usize,
}

/// Where it stands.
impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.get_ref().display(), self.line)
    }
}

/// `[acl]`, `[service.acl]`.
#[derive(Debug)]
pub(in crate::config) struct Acl {
    pub default: Field<Access>,
    pub allow: Field<Vec<Field<(IpAddr, u8)>>>,
    pub deny: Field<Vec<Field<(IpAddr, u8)>>>,
    pub allow_files: Files,
    pub deny_files: Files,
    /// What those say, once they are read; each prefix once.
    pub allow_listed: Vec<Listed>,
    pub deny_listed: Vec<Listed>,
}

impl Acl {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        Self {
            default: table.word("default", &words::ACCESS).or(Access::default()),
            allow: table.texts("allow", values::network).or(Vec::new()),
            deny: table.texts("deny", values::network).or(Vec::new()),
            allow_files: table.texts("allow_files", texts::absolute_path).or(Vec::new()),
            deny_files: table.texts("deny_files", texts::absolute_path).or(Vec::new()),
            allow_listed: Vec::new(),
            deny_listed: Vec::new(),
        }
    }
}
