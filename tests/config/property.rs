//! Whatever the text: no panic, and every mistake has a place and a help.

use proptest::prelude::*;
use xswitch::config::{self, Error};

const FULL: &str = include_str!("../../config/full.toml");

/// Lets `parse` judge the text and checks what it says.
fn judge(text: &str) {
    let diagnostics = match config::parse(text, "x.toml") {
        Ok(loaded) => {
            assert!(loaded.warnings.to_string().lines().all(|line| !line.contains(": error: ")));
            loaded.warnings
        }
        Err(Error::Invalid(diagnostics)) => {
            assert!(diagnostics.count(config::Severity::Error) > 0, "refused without a reason: {text:?}");
            diagnostics
        }
        Err(error) => panic!("{error}"),
    };
    let lines = text.split('\n').count();
    for diagnostic in &diagnostics {
        assert!((1..=lines).contains(&diagnostic.line), "{diagnostic}");
        assert!(diagnostic.column >= 1, "{diagnostic}");
        assert!(!diagnostic.help.is_empty() && !diagnostic.message.is_empty(), "{diagnostic}");
        let _ = diagnostic.to_string();
    }
}

/// The example with pieces cut out, doubled or put elsewhere.
fn mutated(edits: &[(usize, usize, usize, u8)]) -> String {
    let mut text: Vec<char> = FULL
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.chars().chain(['\n']))
        .collect();
    for (at, length, to, kind) in edits {
        let start = at % (text.len() + 1);
        let end = (start + length).min(text.len());
        let piece: Vec<char> = match kind % 3 {
            0 => text.drain(start..end).collect(),
            _ => text[start..end].to_vec(),
        };
        let to = to % (text.len() + 1);
        if kind % 3 != 0 || kind % 2 == 0 {
            text.splice(to..to, piece);
        }
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        judge(&text);
    }

    #[test]
    fn text_of_what_toml_is_made_of(text in "([\\[\\]{}=\",.'#\n \t\r-]|a|1|switch|service|backend|vip|name){0,60}") {
        judge(&text);
    }

    #[test]
    fn any_value_under_every_key(at in any::<prop::sample::Index>(), value in "[ -~é]{0,20}|\"[ -~é]{0,20}\"|-?[0-9]{1,25}") {
        let lines: Vec<&str> = FULL.lines().collect();
        let keys: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].contains(" = ")).collect();
        let chosen = *at.get(&keys);
        let text: Vec<String> = lines.iter().enumerate().map(|(number, line)| {
            match line.split_once(" = ") {
                Some((key, _)) if number == chosen => format!("{key} = {value}"),
                _ => (*line).to_owned(),
            }
        }).collect();
        judge(&text.join("\n"));
    }

    #[test]
    fn mutated_examples(edits in prop::collection::vec((any::<usize>(), 0usize..60, any::<usize>(), any::<u8>()), 1..6)) {
        judge(&mutated(&edits));
    }
}
