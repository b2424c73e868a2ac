//! Every syntax error of a text at once.
//!
//! The parser loses its way after an error. So the statement that holds the first one is blanked, which moves no other
//! byte, and the rest is parsed again, until nothing is left to complain of.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::{DeTable, Error};

use super::diagnostic::Findings;
use super::source::Source;

/// Whoever has more broken lines than this has not written TOML.
const MOST_ERRORS: usize = 100;

/// Notes the errors; what is left is TOML (or hopeless), with every byte where it was.
pub(super) fn mend<'a>(source: Source<'a>, findings: &mut Findings<'_>) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(source.text);
    for _ in 0..MOST_ERRORS {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let first = errors.iter().min_by_key(|error| error.span().map(|span| span.start));
        let Some(first) = first else { break };
        let rest = Source { text: &text, ..source };
        let broken = culprit(rest, first);
        note(rest, first, &broken, findings);
        text = Cow::Owned(blank(&text, broken));
    }
    text
}

fn note(source: Source<'_>, error: &Error, broken: &Range<usize>, findings: &mut Findings<'_>) {
    let span = error.span().unwrap_or(0..0);
    if let Some((value, help)) = unquoted(source, &span) {
        findings.syntax(value, "this is not a TOML value", help);
    } else if span.start >= broken.end
        && let Some(bracket) = source.slice(broken.clone()).find('[')
    {
        let bracket = broken.start + bracket;
        findings.syntax(bracket..bracket + 1, "the list is not closed", LIST);
    } else {
        findings.syntax(span.clone(), sentence(error), help(source, span, error.message()));
    }
}

/// The lines of the statement that is wrong.
fn culprit(source: Source<'_>, error: &Error) -> Range<usize> {
    let at = error.span().map_or(0, |span| span.start);
    let mut first = source.line_range(at);
    let header = source.slice(first.clone()).trim_start().starts_with('[');
    let (line, message) = (source.slice(first.clone()), error.message());
    let in_list = message.contains("array") && !source.slice(first.start..at).contains('[');
    let about_key =
        ["key with no value", "invalid key", "duplicate key"].iter().any(|m| message.starts_with(m));
    if !about_key && (in_list || !begins_statement(line)) {
        // A list that goes over lines; if the next statement is what disturbs it, it was not closed.
        while let Some(before) = first.start.checked_sub(1) {
            first = source.line_range(before);
            if begins_statement(source.slice(first.clone())) {
                break;
            }
        }
    }
    let mut last = first.clone();
    while let Some(next) = next_line(source, &last) {
        let line = source.slice(next.clone());
        // What follows a broken heading belongs to no other table: the whole section goes.
        let ends = if header { line.trim_start().starts_with('[') } else { begins_statement(line) };
        if ends {
            break;
        }
        last = next;
    }
    first.start..last.end
}

fn next_line(source: Source<'_>, line: &Range<usize>) -> Option<Range<usize>> {
    let newline = source.text.get(line.end..)?.find('\n')?;
    let start = line.end + newline + 1;
    (start < source.text.len()).then(|| source.line_range(start))
}

/// `[table]` or `key = ...`.
fn begins_statement(line: &str) -> bool {
    let line = line.trim_start();
    let key = |c: char| c.is_alphanumeric() || "_-.\"' \t".contains(c);
    line.starts_with(['[', '#']) || line.split_once('=').is_some_and(|(name, _)| name.chars().all(key))
}

fn blank(text: &str, broken: Range<usize>) -> String {
    let bytes = text.bytes().enumerate();
    let blanked = bytes.map(|(at, byte)| if broken.contains(&at) && byte != b'\n' { b' ' } else { byte });
    // Whole lines are blanked, so no character is cut.
    String::from_utf8(blanked.collect()).unwrap_or_default()
}

const LIST: &str = "a list is written in brackets, with commas: interfaces = [\"eth0\", \"eth1\"]";

/// The most common mistake: `vip = 198.18.0.100:80`. Its place is the whole value.
fn unquoted(source: Source<'_>, span: &Range<usize>) -> Option<(Range<usize>, String)> {
    let line = source.line_range(span.start);
    let text = source.slice(line.clone());
    let (key, value) = text.split_once('=')?;
    let value = value.split('#').next()?;
    let start = line.start + key.len() + 1 + (value.len() - value.trim_start().len());
    let (key, value) = (key.trim(), value.trim());
    let plain = |c: char| c.is_alphanumeric() || ".:/_-".contains(c);
    let place = start..start + value.len();
    let elsewhere = span.start < place.start || span.start > place.end;
    if key.is_empty() || value.is_empty() || elsewhere || !value.chars().all(plain) {
        return None;
    }
    let help = match value.to_ascii_lowercase().as_str() {
        word @ ("true" | "false") => format!("write {key} = {word}"),
        _ if value.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("write the number without leading zeros: {key} = {}", value.trim_start_matches('0'))
        }
        _ => format!("text goes in double quotes: {key} = \"{value}\""),
    };
    Some((place, help))
}

/// The parser's message, where it would not puzzle.
fn sentence(error: &Error) -> String {
    let message = error.message();
    if message.starts_with("invalid basic string, expected `\"`") {
        return "the string does not end".to_owned();
    }
    if message.contains("must be quoted") {
        return "text without quotes".to_owned();
    }
    message.strip_suffix(", expected nothing").unwrap_or(message).replace('`', "'")
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
    if message.contains("must be quoted") {
        let word = source.slice(span).split(['\n', ',']).next().unwrap_or_default().trim();
        return format!("text goes in double quotes: \"{}\"", word.escape_debug());
    }
    if message.contains("string") {
        return "a string ends on its line, with the quote it began with: name = \"web\"".to_owned();
    }
    if message.contains("array table") || message.contains("table") {
        return "a table is written [switch], a list of tables [[service]]".to_owned();
    }
    if message.contains("array") {
        return LIST.to_owned();
    }
    "one key = value on each line; text in double quotes; comments after #".to_owned()
}
