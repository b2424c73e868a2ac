//! Where in the text services, backends and their values stand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml_edit::{Document, Item, TableLike};

use super::EditError;
use crate::config::values;

/// A text, and its tables.
pub(super) struct File<'t> {
    text: &'t str,
    tables: Document<&'t str>,
}

/// The places of one table's values.
pub(super) struct Entry {
    values: HashMap<String, Range<usize>>,
    /// The value that names the table: others are put behind it.
    name: Range<usize>,
    /// Whether it stands in braces: `{ address = "198.18.1.11:80" }`.
    inline: bool,
}

impl Entry {
    fn of(table: &dyn TableLike, name: &str, inline: bool) -> Option<Self> {
        let values = table.iter().filter_map(|(key, item)| Some((key.to_owned(), item.as_value()?.span()?)));
        let values: HashMap<_, _> = values.collect();
        Some(Self { name: values.get(name)?.clone(), values, inline })
    }

    /// Where the value of a key stands.
    pub fn value(&self, key: &str) -> Option<Range<usize>> {
        self.values.get(key).cloned()
    }
}

impl<'t> File<'t> {
    pub fn parse(text: &'t str) -> Result<Self, EditError> {
        let tables = Document::parse(text).map_err(|error| EditError::Syntax(error.message().to_owned()))?;
        Ok(Self { text, tables })
    }

    /// The table of a service.
    pub fn service(&self, name: &str) -> Result<Entry, EditError> {
        let (table, inline) = self.service_table(name)?;
        Entry::of(table, "name", inline).ok_or_else(|| EditError::NoService(name.to_owned()))
    }

    /// The table of a backend.
    pub fn backend(&self, service: &str, address: SocketAddr) -> Result<Entry, EditError> {
        let (table, _) = self.service_table(service)?;
        let this = |table: &dyn TableLike| {
            let written = table.get("address").and_then(Item::as_str);
            written.and_then(|written| values::endpoint(written).ok()) == Some(address)
        };
        let found = tables(table.get("backend")).into_iter().find(|(table, _)| this(*table));
        let entry = found.and_then(|(table, inline)| Entry::of(table, "address", inline));
        entry.ok_or_else(|| EditError::NoBackend {
            service: service.to_owned(),
            address,
            discovers: table.contains_key("discover"),
        })
    }

    fn service_table(&self, name: &str) -> Result<(&dyn TableLike, bool), EditError> {
        let mut services = tables(self.tables.get("service")).into_iter();
        let found = services.find(|(table, _)| table.get("name").and_then(Item::as_str) == Some(name));
        found.ok_or_else(|| EditError::NoService(name.to_owned()))
    }

    /// The line of a value with the end of the line before it, if nothing but its key stands there, too.
    pub fn own_line(&self, value: &Range<usize>) -> Option<Range<usize>> {
        let start = self.text[..value.start].rfind('\n')? + 1;
        let end = self.text[value.end..].find('\n').map_or(self.text.len(), |length| value.end + length);
        let key = self.text[start..value.start].trim().strip_suffix('=')?.trim();
        let bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let alone = bare && self.text[value.end..end].trim().is_empty();
        alone.then(|| start..(end + 1).min(self.text.len()))
    }

    /// Where a key that the table does not have goes, and how it is written there.
    pub fn after(&self, entry: &Entry, pair: &str) -> (Range<usize>, String) {
        let at = entry.name.end;
        if entry.inline {
            return (at..at, format!(", {pair}"));
        }
        let line = self.text[..entry.name.start].rfind('\n').map_or(0, |newline| newline + 1);
        let indent: String = self.text[line..].chars().take_while(|c| *c == ' ' || *c == '\t').collect();
        let end = self.text[at..].find('\n').map_or(self.text.len(), |length| at + length);
        // Its own line end or, at the end of the text, that of the line before.
        let returns = |end: usize| self.text[..end].ends_with('\r');
        let last = end == self.text.len() && line > 0 && returns(line - 1);
        let newline = if returns(end) || last { "\r\n" } else { "\n" };
        let end = if returns(end) { end - 1 } else { end };
        (end..end, format!("{newline}{indent}{pair}"))
    }
}

/// The tables of a list, however it is written, and whether they stand in braces.
fn tables(item: Option<&Item>) -> Vec<(&dyn TableLike, bool)> {
    match item {
        Some(Item::ArrayOfTables(list)) => {
            list.iter().map(|table| (table as &dyn TableLike, false)).collect()
        }
        Some(Item::Value(list)) => {
            let inline = list.as_array().into_iter().flatten().filter_map(|item| item.as_inline_table());
            inline.map(|table| (table as &dyn TableLike, true)).collect()
        }
        _ => Vec::new(),
    }
}
