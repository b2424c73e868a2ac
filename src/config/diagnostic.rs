//! What is wrong with a configuration, where, and what would be right.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::source::{Excerpt, Lines, Source};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but is probably not what was meant.
    Warning,
}

/// One finding, with its place. Shown as
///
/// ```text
/// FILE:LINE:COLUMN: error: what is wrong
///   | the line it is on
///   |     ^^^^
///   = help: what would be right
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file, as its reader called it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// What is shown of the line.
    #[serde(skip)]
    excerpt: Excerpt,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{}:{}:{}: {severity}: {}", self.file, self.line, self.column, self.message)?;
        write!(f, "{}", self.excerpt)?;
        writeln!(f, "  = help: {}", self.help)
    }
}

/// Findings in the order of their places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// How many there are, in words: `5 errors, 1 warning`.
    pub fn totals(&self) -> String {
        let counted = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            _ => Some(format!("{count} {what}s")),
        };
        let errors = counted(self.count(Severity::Error), "error");
        let warnings = counted(self.count(Severity::Warning), "warning");
        errors.into_iter().chain(warnings).collect::<Vec<_>>().join(", ")
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// All of them, then their number.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self {
            writeln!(f, "{diagnostic}")?;
        }
        f.write_str(&self.totals())
    }
}

/// One finding before its line and column are known.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    span: Range<usize>,
    message: String,
    help: String,
}

impl Finding {
    fn locate(self, source: Source<'_>, lines: &Lines) -> Diagnostic {
        let line = source.line_range(self.span.start);
        let text = source.slice(line.clone());
        let before = source.slice(line.start..self.span.start).chars().count();
        let width = source.slice(self.span.start..self.span.end.min(line.end)).chars().count();
        Diagnostic {
            severity: self.severity,
            file: source.name.to_owned(),
            line: lines.number(line.start),
            column: before + 1,
            message: self.message,
            help: self.help,
            excerpt: Excerpt::of(text, before, width),
        }
    }
}

/// Where findings are collected.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    source: Source<'a>,
    lines: Lines,
    list: Vec<Finding>,
    /// The lines that are not TOML, by where they start.
    broken: Vec<usize>,
}

impl<'a> Findings<'a> {
    pub fn new(source: Source<'a>) -> Self {
        Self { source, lines: Lines::of(source.text), list: Vec::new(), broken: Vec::new() }
    }

    /// The number of the line, from 1, of a byte.
    pub fn line(&self, at: usize) -> usize {
        self.lines.number(at)
    }

    /// The text that is being judged.
    pub fn source(&self) -> Source<'a> {
        self.source
    }

    /// Notes an error in the syntax. The first one of a line speaks for it: what follows there is confusion.
    pub fn syntax(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let line = self.source.line_range(span.start).start;
        if !self.broken.contains(&line) {
            self.error(span, message, help);
            self.broken.push(line);
        }
    }

    /// Notes an error.
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Error, span, message.into(), help.into());
    }

    /// Notes a warning.
    pub fn warning(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, span, message.into(), help.into());
    }

    /// Notes that something is missing. Where the syntax is broken it may well be there, unread.
    pub fn missing(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.broken.is_empty() {
            self.note(severity, span, message.into(), help.into());
        }
    }

    fn note(&mut self, severity: Severity, span: Range<usize>, message: String, help: String) {
        if self.broken.is_empty() || !self.broken.contains(&self.source.line_range(span.start).start) {
            self.list.push(Finding { severity, span, message, help });
        }
    }

    /// Whether there are errors.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Everything found, located and sorted.
    pub fn into_diagnostics(self) -> Diagnostics {
        let mut list: Vec<_> =
            self.list.into_iter().map(|finding| finding.locate(self.source, &self.lines)).collect();
        list.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column, diagnostic.severity));
        Diagnostics(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, span: Range<usize>) -> Diagnostic {
        let mut findings = Findings::new(Source { name: "f", text });
        findings.error(span, "wrong", "right");
        findings.into_diagnostics().0.remove(0)
    }

    #[test]
    fn columns_count_characters() {
        let text = "a\nnäme = \"ß\" # x\r\n";
        let at = text.find("\"ß\"").unwrap();
        let diagnostic = found(text, at..at + 4);
        assert_eq!((diagnostic.line, diagnostic.column), (2, 8));
        assert_eq!(
            diagnostic.to_string(),
            "f:2:8: error: wrong\n  | näme = \"ß\" # x\n  |        ^^^\n  = help: right\n"
        );
    }

    #[test]
    fn the_caret_lines_up_after_tabs_and_at_the_end_of_the_file() {
        assert!(found("\ta =", 4..4).to_string().contains("  | \ta =\n  | \t   ^\n"));
        let past = found("a = \n", 99..100);
        assert_eq!((past.line, past.column), (2, 1));
    }

    #[test]
    fn totals_are_words() {
        let mut findings = Findings::new(Source { name: "f", text: "a\nb\n" });
        findings.warning(2..3, "later", "h");
        findings.error(0..1, "first", "h");
        let diagnostics = findings.into_diagnostics();
        assert_eq!(diagnostics.totals(), "1 error, 1 warning");
        assert_eq!(diagnostics.iter().map(|d| d.line).collect::<Vec<_>>(), [1, 2]);
    }
}
