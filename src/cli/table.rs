//! What the commands have in common: aligned tables, JSON as it came, and the exit code.

use std::path::Path;
use std::process::ExitCode;

use super::{BAD_INPUT, FAILED};
use crate::control::client::{self, ClientError};
use crate::control::orders::no_service;
use crate::control::status::{ServiceStatus, Status};

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

/// Columns two spaces apart; numbers to the right, words to the left.
pub(super) fn table(rows: Vec<Vec<String>>) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let numeric = |column: usize| {
        let digits = |row: &Vec<String>| row[column].chars().all(|letter| letter.is_ascii_digit());
        rows.len() > 1 && rows.iter().skip(1).all(digits)
    };
    let numeric: Vec<bool> = (0..columns).map(numeric).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let (left, right) = if numeric[column] { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(&format!("{left}{cell}{right}  "));
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
}
