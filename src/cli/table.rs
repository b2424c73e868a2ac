//! What the commands have in common: aligned tables, JSON as it came, and the exit code.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use super::{BAD_INPUT, FAILED};
use crate::control::client::{self, ClientError};
use crate::control::orders::no_service;
use crate::control::status::{Rates, ServiceStatus, Status};

/// Headings of the rates of a row.
const RATES: [&str; 5] = ["NEW/S", "PPS IN", "OUT", "BIT/S IN", "OUT"];
/// The heading of the column whose words have colours.
const STATE: &str = "STATE";

/// Prints what a command has to say, or why it has nothing.
pub(super) fn finish(command: &str, text: Result<String, ClientError>) -> ExitCode {
    match text {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("xswitch {command}: {error}");
            ExitCode::from(match error {
                ClientError::Invalid(_) => BAD_INPUT,
                _ => FAILED,
            })
        }
    }
}

/// All services, or the one called `only`.
pub(super) fn services_of(status: &Status, only: Option<&str>) -> Result<Vec<ServiceStatus>, ClientError> {
    let Some(name) = only else { return Ok(status.services.clone()) };
    match status.services.iter().find(|service| service.name == name) {
        Some(service) => Ok(vec![service.clone()]),
        None => {
            let names = status.services.iter().map(|service| service.name.as_str());
            Err(ClientError::NoService(no_service(name, names)))
        }
    }
}

/// A line to be put below states that are not of this moment; empty if they are.
pub(super) fn age_of_states(status: &Status) -> String {
    let unknown = || status.services.iter().any(|service| service.state.is_empty());
    match status.view_age_s {
        Some(0) => String::new(),
        Some(seconds) => format!("\nstates and checks as of {seconds} s ago: the control loop is busy\n"),
        None if unknown() => "\nstates and checks are not known yet: the control loop is busy\n".to_owned(),
        None => String::new(),
    }
}

/// The answer as it came, so that a newer switch's fields are not lost.
pub(super) fn as_json(socket: &Path, path: &str) -> Result<String, ClientError> {
    let answer: serde_json::Value = client::get(socket, path)?;
    json(&answer)
}

/// Anything as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, ClientError> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| ClientError::Garbage(error.to_string()))
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    // A reader that has seen enough (`| head`) is no failure of ours.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::from(FAILED),
        _ => ExitCode::SUCCESS,
    }
}

/// The heading of a table.
pub(super) fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The heading of a table with rates before its `last` columns; without them where there are none, which is so in the first
/// second.
pub(super) fn header_with_rates(status: &Status, first: &[&str], last: &[&str]) -> Vec<String> {
    let rates: &[&str] = if status.rates.over_ms == 0 { &[] } else { &RATES };
    header(&[first, rates, last].concat())
}

/// Rates as cells below that heading.
pub(super) fn rates(status: &Status, rates: &Rates) -> Vec<String> {
    let Rates { packets_in_per_s, packets_out_per_s, bits_in_per_s, bits_out_per_s, connections_new_per_s } =
        *rates;
    let rates = [connections_new_per_s, packets_in_per_s, packets_out_per_s, bits_in_per_s, bits_out_per_s];
    if status.rates.over_ms == 0 { vec![] } else { rates.map(short).into() }
}

/// A number in four characters and a prefix: `0`, `12.3`, `1.25k`, `417M`.
pub(super) fn short(mut number: f64) -> String {
    let mut prefixes = ["", "k", "M", "G", "T", "P"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    while number >= 999.5 {
        let Some(next) = prefixes.next() else { break };
        (number, prefix) = (number / 1000.0, next);
    }
    let is_whole = prefix.is_empty() && number.fract() == 0.0;
    let digits = match number {
        _ if is_whole => 0,
        99.95.. => 0,
        9.995.. => 1,
        _ if prefix.is_empty() => 1,
        _ => 2,
    };
    format!("{number:.digits$}{prefix}")
}

/// Whether somebody looks who can see colours, and has not declined them (no-color.org).
fn is_colourful() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// How a word of the state column is shown: green, yellow or red.
fn colour(word: &str) -> Option<&'static str> {
    match word {
        "up" | "enabled" => Some("32"),
        "starting" | "drain" | "drained" | "leaving" | "disabled" => Some("33"),
        "down" => Some("31"),
        _ => None,
    }
}

/// Columns two spaces apart; numbers to the right, words to the left. In colours on a terminal.
pub(super) fn table(rows: Vec<Vec<String>>) -> String {
    laid_out(&rows, is_colourful())
}

/// Digits with a point and a prefix.
fn is_number(cell: &str) -> bool {
    let digits = cell.trim_end_matches(['k', 'M', 'G', 'T', 'P']);
    digits.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
}

fn laid_out(rows: &[Vec<String>], colourful: bool) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let numeric = |column: usize| rows.len() > 1 && rows.iter().skip(1).all(|row| is_number(&row[column]));
    let numeric: Vec<bool> = (0..columns).map(numeric).collect();
    let paint = |line: usize, column: usize, cell: &str| {
        let code = match line {
            _ if !colourful || cell.is_empty() => None,
            0 => Some("1"),
            _ if rows[0][column] == STATE => colour(cell),
            _ => None,
        };
        code.map_or_else(|| cell.to_owned(), |code| format!("\u{1b}[{code}m{cell}\u{1b}[0m"))
    };
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let (left, right) = if numeric[column] { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(&format!("{left}{}{right}  ", paint(number, column, cell)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right_and_words_to_the_left() {
        let cells = |cells: [&str; 2]| header(&cells);
        let text = table(vec![cells(["NAME", "N"]), cells(["a", "5"]), cells(["longer", "123"])]);
        assert_eq!(text, "NAME      N\na         5\nlonger  123\n");
    }

    #[test]
    fn rates_have_three_digits_and_are_numbers() {
        let cases = [
            (0.0, "0"),
            (0.3, "0.3"),
            (7.0, "7"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (417e6, "417M"),
            (9.999e9, "10.0G"),
            (2e18, "2000P"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
            assert!(is_number(text));
        }
        assert!(!is_number("198.18.1.11:8080") && !is_number("up"));
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let cells = |cells: [&str; 3]| header(&cells);
        let rows = [cells(["NAME", "STATE", "N"]), cells(["down", "down", "5"]), cells(["b", "up", "1.25k"])];
        let (plain, painted) = (laid_out(&rows, false), laid_out(&rows, true));
        assert!(!plain.contains('\u{1b}'), "{plain}");
        assert!(
            painted.contains("down  \u{1b}[31mdown\u{1b}[0m") && painted.contains("\u{1b}[32mup\u{1b}[0m")
        );
        let mut stripped = painted;
        for code in ["0", "1", "31", "32"] {
            stripped = stripped.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(stripped, plain);
    }
}
