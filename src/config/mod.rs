//! The configuration: TOML text → raw → valid, with every mistake named at once.
//!
//! | step | file | what can be wrong |
//! |---|---|---|
//! | text → tree | `syntax` | a line is not TOML |
//! | tree → raw | `reader`, `schema`, `raw`, `values`, `texts`, `words`, `variants` | unknown keys, missing keys, a value wrong by itself |
//! | raw, files that it names → raw | `lists` | a line of such a file |
//! | raw → raw | `checks`, `services`, `health`, `discover`, `forwarding`, `snat`, `limits`, `statics` | values that do not go together |
//! | raw → valid | `convert`, [`valid`] | nothing any more |
//!
//! No step stops at a mistake: it notes it with its place (`diagnostic`) and goes on with the rest.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

mod acl;
mod checks;
mod convert;
mod diagnostic;
pub mod diff;
mod discover;
pub mod edit;
pub(crate) mod file;
mod forwarding;
mod health;
mod leaf;
mod limits;
mod lists;
mod protection;
mod raw;
mod reader;
mod schema;
mod services;
mod snat;
mod source;
mod statics;
mod syntax;
mod texts;
pub mod valid;
mod values;
mod variants;
mod words;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use schema::known_keys;

pub(crate) use words::nearest;

use diagnostic::Findings;
use reader::Reader;
use schema::Context;
use source::Source;

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What the file says.
    pub config: valid::Config,
    /// What is probably not meant like that.
    pub warnings: Diagnostics,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: error: cannot be read: {source}\n  = help: --config names the file to read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// At least one of these is an error. Displayed, it is the whole list, then how many they are.
    #[error("{0}")]
    Invalid(Diagnostics),
}

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Loaded, Error> {
    let name = path.display().to_string();
    let bytes = file::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, &name),
        Err(error) => Err(not_utf8(&bytes, error.valid_up_to(), &name)),
    }
}

/// Checks the text of a configuration, and the files that it names; `name` is what diagnostics call it.
pub fn parse(text: &str, name: &str) -> Result<Loaded, Error> {
    let source = Source { name, text };
    let mut findings = Findings::new(source);
    let mended = syntax::mend(source, &mut findings);
    let (tree, _) = DeTable::parse_recoverable(&mended);
    let mut context = Context::new(findings);
    let mut raw = Reader::root(tree.get_ref(), &mut context, raw::Raw::read);
    schema::report(&mut context);
    let mut findings = context.findings;
    lists::read(&mut raw, &mut findings);
    checks::check(&raw, &mut findings);
    let valid = !findings.has_errors();
    match convert::convert(raw) {
        Some(config) if valid => Ok(Loaded { config, warnings: findings.into_diagnostics() }),
        _ => Err(Error::Invalid(findings.into_diagnostics())),
    }
}

fn not_utf8(bytes: &[u8], at: usize, name: &str) -> Error {
    let text = String::from_utf8_lossy(bytes);
    let mut findings = Findings::new(Source { name, text: &text });
    let help = "save the file as UTF-8";
    findings.error(at..at + 1, format!("byte 0x{:02x} is not UTF-8 text", bytes[at]), help);
    Error::Invalid(findings.into_diagnostics())
}
