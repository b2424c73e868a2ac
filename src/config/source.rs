//! The text of a configuration: its lines, and what is shown of them.

use std::fmt;
use std::ops::Range;

/// The text of a configuration, to find lines and columns in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// What to call it.
    pub name: &'a str,
    /// What it says.
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// The bytes of the line, without its end, that holds a byte.
    pub fn line_range(&self, at: usize) -> Range<usize> {
        let at = self.boundary(at);
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |length| at + length);
        let end = if self.text[start..end].ends_with('\r') { end - 1 } else { end };
        start..end.max(start)
    }

    /// The text of a range that may reach too far or cut a character.
    pub fn slice(&self, range: Range<usize>) -> &'a str {
        let start = self.boundary(range.start);
        &self.text[start..self.boundary(range.end).max(start)]
    }

    /// The nearest character boundary at or before `at`.
    fn boundary(&self, at: usize) -> usize {
        (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// Where the lines of a text end, found once: every item of a large file is asked for its line.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// The lines of `text`.
    pub fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The number of the line, from 1, that holds a byte.
    pub fn number(&self, at: usize) -> usize {
        self.0.partition_point(|newline| *newline < at) + 1
    }
}

/// A line, or where it is long the part around a place, and the place marked below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    text: String,
    /// How many characters of it stand before the place.
    before: usize,
    /// How many characters are marked.
    width: usize,
}

impl Excerpt {
    /// Most characters shown of a line.
    const LONGEST: usize = 160;
    /// How many of them stand before the place, where the line is cut there.
    const LEAD: usize = 60;

    /// Cuts `line` around the `width` characters that follow the first `before`.
    pub fn of(line: &str, before: usize, width: usize) -> Self {
        let whole = line.chars().nth(Self::LONGEST).is_none();
        let first = if whole { 0 } else { before.saturating_sub(Self::LEAD) };
        let mut rest = line.chars().skip(first);
        let shown = rest.by_ref().take(Self::LONGEST);
        // What a terminal would obey is not printed.
        let mut text: String =
            shown.map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        if rest.next().is_some() {
            text.push('…');
        }
        if first > 0 {
            text.insert(0, '…');
        }
        let before = before - first + usize::from(first > 0);
        let width = width.min(text.chars().count().saturating_sub(before)).max(1);
        Self { text, before, width }
    }

    /// White space as wide as what stands before the place: tabs stay tabs, so that the caret lines up.
    fn indent(&self) -> String {
        let before = self.text.chars().take(self.before);
        let mut indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
        // A place after the end of the line, where something is missing.
        indent.extend(std::iter::repeat_n(' ', self.before - indent.chars().count()));
        indent
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            return Ok(());
        }
        writeln!(f, "  | {}", self.text)?;
        writeln!(f, "  | {}{}", self.indent(), "^".repeat(self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one_and_a_newline_ends_its_own() {
        let lines = Lines::of("a\n\nb");
        assert_eq!([0, 1, 2, 3, 99].map(|at| lines.number(at)), [1, 1, 2, 3, 3]);
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        let line = format!("{}!!{}", "a".repeat(1000), "b".repeat(1000));
        let shown = Excerpt::of(&line, 1000, 2).to_string();
        let wanted = format!("  | …{}!!{}…\n  | {}^^\n", "a".repeat(60), "b".repeat(98), " ".repeat(61));
        assert_eq!(shown, wanted);
        assert!(Excerpt::of(&line, 3, 1500).to_string().lines().all(|line| line.chars().count() <= 166));
    }
}
