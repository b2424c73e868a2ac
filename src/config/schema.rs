//! Which keys there are, and what was probably meant by one that there is not.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use toml::de::DeTable;

use super::diagnostic::Findings;
use super::raw::Raw;
use super::reader::Reader;
use super::source::Source;
use super::words::nearest;

/// What all readers of one file share.
#[derive(Debug)]
pub(super) struct Context<'s> {
    /// The mistakes.
    pub findings: Findings<'s>,
    /// Every key asked for, after the heading it stands under.
    pub known: BTreeSet<(Heading, &'static str)>,
    /// Keys that nobody asked for.
    pub unknown: Vec<Unknown>,
    /// Whether absent tables are walked as if they were there, to learn all keys.
    pub describe: bool,
}

impl<'s> Context<'s> {
    /// Nothing read yet.
    pub fn new(findings: Findings<'s>) -> Self {
        Self { findings, known: BTreeSet::new(), unknown: Vec::new(), describe: false }
    }
}

/// A key that nobody asked for.
#[derive(Debug)]
pub(super) struct Unknown {
    /// Where it stands.
    pub heading: Heading,
    /// What it is called.
    pub key: String,
    /// Its place.
    pub span: Range<usize>,
}

/// Names a table in messages: `[switch]`, `[[service.backend]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Heading {
    /// `service.backend`; empty for the top level.
    pub path: String,
    list: bool,
}

impl Heading {
    /// The table under one of its keys.
    pub fn below(&self, key: &str, list: bool) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), list }
    }
}

impl fmt::Display for Heading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), self.list) {
            ("", _) => f.write_str("the top level"),
            (path, true) => write!(f, "[[{path}]]"),
            (path, false) => write!(f, "[{path}]"),
        }
    }
}

/// Every key there is: `switch.workers`, `service.backend.weight`.
pub fn known_keys() -> Vec<String> {
    describe()
        .into_iter()
        .map(
            |(heading, key)| {
                if heading.path.is_empty() { key.into() } else { format!("{}.{key}", heading.path) }
            },
        )
        .collect()
}

/// Walks an empty file as if it had every table.
fn describe() -> BTreeSet<(Heading, &'static str)> {
    let mut context = Context::new(Findings::new(Source { name: "", text: "" }));
    context.describe = true;
    Reader::root(&DeTable::new(), &mut context, Raw::read);
    context.known
}

/// Notes an error for each of them.
pub(super) fn report(context: &mut Context<'_>) {
    if context.unknown.is_empty() {
        return;
    }
    let known = describe();
    for unknown in std::mem::take(&mut context.unknown) {
        let here: Vec<_> =
            known.iter().filter(|(heading, _)| *heading == unknown.heading).map(|(_, key)| *key).collect();
        let elsewhere: Vec<_> = known
            .iter()
            .filter(|(_, key)| *key == unknown.key)
            .map(|(heading, _)| heading.to_string())
            .collect();
        let help = match (nearest(&unknown.key, here.iter().copied()), elsewhere.as_slice()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => format!("known here: {}", here.join(", ")),
            (None, headings) => format!("`{}` belongs in {}", unknown.key, headings.join(" or ")),
        };
        let message = format!("unknown key `{}` in {}", unknown.key.escape_debug(), unknown.heading);
        context.findings.error(unknown.span, message, help);
    }
}
