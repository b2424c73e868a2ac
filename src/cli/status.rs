//! `xswitch status`: what runs, for people or (`--json`) for programs.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::control::client;
use crate::control::status::{
    BackendStatus, ServiceStatus, Status, Traffic, WorkerStatus, drop_explanations,
};

/// Asks the switch at `socket` and prints its answer.
pub fn run(socket: &Path, json: bool) -> ExitCode {
    let text =
        if json { as_json(socket) } else { client::get(socket, "/v1/status").map(|status| summary(&status)) };
    match text {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("xswitch status: {error}");
            ExitCode::from(1)
        }
    }
}

/// The answer as it came, so that a newer switch's fields are not lost.
fn as_json(socket: &Path) -> Result<String, client::ClientError> {
    let answer: serde_json::Value = client::get(socket, "/v1/status")?;
    serde_json::to_string_pretty(&answer)
        .map(|text| text + "\n")
        .map_err(|error| client::ClientError::Garbage(error.to_string()))
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    // A reader that has seen enough (`| head`) is no failure of ours.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::from(1),
        _ => ExitCode::SUCCESS,
    }
}

/// The status, readable.
pub fn summary(status: &Status) -> String {
    let mut text = format!(
        "xswitch {}, process {}, up {}, snapshot {}\n",
        status.version,
        status.pid,
        duration(status.uptime_s),
        status.epoch
    );
    let (totals, connections) = (&status.totals, &status.connections);
    line(
        &mut text,
        format_args!(
            "frames       {} received = {} forwarded + {} replied + {} to kernel + {} dropped",
            totals.received, totals.forwarded, totals.replied, totals.to_kernel, totals.dropped_total
        ),
    );
    line(
        &mut text,
        format_args!(
            "connections  {} active of {}, {} new, {} closed",
            connections.active, connections.max, connections.new, connections.closed
        ),
    );
    text.push('\n');
    text.push_str(&table(service_rows(&status.services)));
    text.push('\n');
    text.push_str(&table(worker_rows(&status.workers)));
    text.push('\n');
    text.push_str(&table(port_rows(status)));
    text.push_str(&drops(status));
    text
}

pub(super) fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{arguments}");
}

pub(super) fn service_rows(services: &[ServiceStatus]) -> Vec<Vec<String>> {
    let mut rows = vec![header(&[
        "SERVICE",
        "ADDRESS",
        "MODE",
        "WEIGHT",
        "ACTIVE",
        "NEW",
        "PACKETS IN",
        "OUT",
        "BYTES IN",
        "OUT",
        "NEXT HOP",
    ])];
    for service in services {
        let mode = format!("{} {} {}", service.protocol, service.forwarding, service.scheduler);
        let refused = match service.refused {
            0 => String::new(),
            refused => format!("{refused} refused"),
        };
        rows.push(row(
            &service.name,
            service.vip.to_string(),
            mode,
            String::new(),
            &service.traffic,
            refused,
        ));
        for backend in &service.backends {
            let weight = backend.weight.to_string();
            let address = format!("→ {}", backend.address);
            rows.push(row("", address, String::new(), weight, &backend.traffic, next_hop(backend)));
        }
    }
    rows
}

fn row(
    name: &str,
    address: String,
    mode: String,
    weight: String,
    traffic: &Traffic,
    last: String,
) -> Vec<String> {
    let numbers = [
        traffic.connections_active,
        traffic.connections_new,
        traffic.packets_in,
        traffic.packets_out,
        traffic.bytes_in,
        traffic.bytes_out,
    ];
    let mut row = vec![name.to_owned(), address, mode, weight];
    row.extend(numbers.map(|number| number.to_string()));
    row.push(last);
    row
}

fn next_hop(backend: &BackendStatus) -> String {
    match &backend.next_hop {
        None => "no route".to_owned(),
        Some(next_hop) => {
            let mac = next_hop.mac.as_deref().unwrap_or("not resolved");
            format!("{} {} {mac}", next_hop.interface, next_hop.address)
        }
    }
}

fn worker_rows(workers: &[WorkerStatus]) -> Vec<Vec<String>> {
    let mut rows = vec![header(&[
        "WORKER",
        "CORE",
        "RECEIVED",
        "FORWARDED",
        "DROPPED",
        "ACTIVE",
        "BUSY",
        "FREE FRAMES",
    ])];
    for worker in workers {
        let busy = 100 * worker.busy_turns / worker.turns.max(1);
        rows.push(vec![
            worker.worker.to_string(),
            worker.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
            worker.totals.received.to_string(),
            worker.totals.forwarded.to_string(),
            worker.totals.dropped_total.to_string(),
            worker.connections_active.to_string(),
            format!("{busy} %"),
            format!("{} of {}", worker.pool_level, worker.pool_size),
        ]);
    }
    rows
}

fn port_rows(status: &Status) -> Vec<Vec<String>> {
    let mut rows =
        vec![header(&["INTERFACE", "QUEUE", "WORKER", "LINK", "XDP", "COPY", "RX FRAMES", "TX FRAMES"])];
    for port in &status.ports {
        let traffic = status
            .workers
            .get(port.worker)
            .and_then(|worker| worker.ports.iter().find(|traffic| traffic.interface == port.interface));
        let number = |value: Option<u64>| value.unwrap_or(0).to_string();
        rows.push(vec![
            port.interface.clone(),
            port.queue.to_string(),
            port.worker.to_string(),
            port.link.clone(),
            port.xdp_mode.clone(),
            port.copy_mode.clone(),
            number(traffic.map(|traffic| traffic.rx_frames)),
            number(traffic.map(|traffic| traffic.tx_frames)),
        ]);
    }
    rows
}

/// Only reasons that occurred, most frequent first, each with what it means.
pub(super) fn drops(status: &Status) -> String {
    let mut drops: Vec<_> = status.dropped.iter().filter(|(_, count)| **count > 0).collect();
    drops.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let explanations = drop_explanations();
    let mut text = String::new();
    for (reason, count) in drops {
        let explanation = explanations.get(reason.as_str()).copied().unwrap_or_default();
        line(&mut text, format_args!("\ndropped {count} as {reason}: {explanation}"));
    }
    text
}

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

fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
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
    fn durations_are_as_precise_as_one_wants_to_read() {
        assert_eq!([59, 61, 7300, 180_000].map(duration), ["59 s", "1 min 1 s", "2 h 1 min", "2 d 2 h"]);
    }
}
