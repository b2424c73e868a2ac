//! TOML text → tree, with every syntax error that the parser can get past.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, Error};

use super::diagnostic::{Findings, Source};

/// Parses; what could not be parsed is noted, and absent from the tree.
pub(super) fn parse<'a>(source: Source<'a>, findings: &mut Findings<'_>) -> Spanned<DeTable<'a>> {
    let (tree, mut errors) = DeTable::parse_recoverable(source.text);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        match unquoted(source, &span) {
            Some((value, help)) => findings.syntax(value, "this is not a TOML value", help),
            None => findings.syntax(span.clone(), sentence(&error), help(source, span, error.message())),
        }
    }
    tree
}

/// The most common mistake: `vip = 198.18.0.100:80`. Its place is the whole value.
fn unquoted(source: Source<'_>, span: &Range<usize>) -> Option<(Range<usize>, String)> {
    let line = source.line_range(span.start);
    let text = source.slice(line.clone());
    let (key, value) = text.split_once('=')?;
    let value = value.split('#').next()?;
    let start = line.start + key.len() + 1 + (value.len() - value.trim_start().len());
    let (key, value) = (key.trim(), value.trim());
    let plain = |c: char| c.is_alphanumeric() || ".:/_-".contains(c);
    if key.is_empty() || value.is_empty() || !value.chars().all(plain) {
        return None;
    }
    let help = match value.to_ascii_lowercase().as_str() {
        word @ ("true" | "false") => format!("write {key} = {word}"),
        _ if value.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("write the number without leading zeros: {key} = {}", value.trim_start_matches('0'))
        }
        _ => format!("text goes in double quotes: {key} = \"{value}\""),
    };
    Some((start..start + value.len(), help))
}

/// The parser's message, whose "expected nothing" would puzzle.
fn sentence(error: &Error) -> String {
    let message = error.message();
    message.strip_suffix(", expected nothing").unwrap_or(message).replace("`", "\"")
}

fn help(source: Source<'_>, span: Range<usize>, message: &str) -> String {
    let line = source.slice(source.line_range(span.start)).trim();
    if message.starts_with("duplicate key") {
        let name = source.slice(span);
        return if line.starts_with('[') {
            format!("this table is already there: merge the two, or write [[{name}]] if it is a list")
        } else {
            format!("{name:?} is already set above: keep one of the two")
        };
    }
    if message.starts_with("key with no value") {
        return match line.split_once([' ', ':']) {
            Some((key, value)) if !line.contains('=') => {
                format!("a key and its value are joined by \"=\": {key} = {}", value.trim())
            }
            _ => "write the key, \"=\" and its value on one line: name = \"web\"".to_owned(),
        };
    }
    if message.contains("string") {
        return "a string ends on its line, with the quote it began with: name = \"web\"".to_owned();
    }
    if message.contains("array table") || message.contains("table") {
        return "a table is written [switch], a list of tables [[service]]".to_owned();
    }
    if message.contains("array") {
        return "a list is written in brackets, with commas: interfaces = [\"eth0\", \"eth1\"]".to_owned();
    }
    "one key = value on each line; text in double quotes; comments after #".to_owned()
}
