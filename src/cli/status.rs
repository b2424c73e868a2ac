//! `xswitch status`: what runs, for people or (`--json`) for programs.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use super::table::{age_of_states, as_json, finish, header, header_with_rates, rates, short, table};
use crate::control::client;
use crate::control::status::{
    BackendStatus, Connections, SnatStatus, Status, SwitchRates, Totals, Traffic, WorkerStatus,
    drop_explanations,
};

/// Asks the switch at `socket` and prints its answer.
pub fn run(socket: &Path, json: bool) -> ExitCode {
    let text = if json {
        as_json(socket, "/v1/status")
    } else {
        client::get(socket, "/v1/status").map(|status| summary(&status))
    };
    finish("status", text)
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
    text.push_str(&equation(&status.totals));
    text.push_str(&speed(&status.rates));
    let (sent, limited) = (status.totals.icmp_errors, status.totals.icmp_limited);
    line(
        &mut text,
        format_args!("icmp         {sent} errors sent, {limited} messages withheld by icmp_rate"),
    );
    text.push_str(&connections(&status.connections));
    line(&mut text, format_args!("memory       {} MiB resident", status.resident_bytes >> 20));
    text.push('\n');
    text.push_str(&table(service_rows(status)));
    text.push_str(&age_of_states(status));
    text.push('\n');
    if !status.snat.is_empty() {
        text.push_str(&table(snat_rows(&status.snat)));
        text.push('\n');
    }
    text.push_str(&table(worker_rows(&status.workers)));
    text.push('\n');
    text.push_str(&table(port_rows(status)));
    text.push('\n');
    text.push_str(&table(steered_rows(status)));
    text.push_str(&drops(status));
    text
}

/// The equation of the counters.
pub(super) fn equation(totals: &Totals) -> String {
    let Totals { received, created, forwarded, replied, to_kernel, dropped_total, held, .. } = totals;
    // Workers go on while their counters are read.
    let unexplained = match totals.unexplained {
        0 => String::new(),
        frames => format!(" + {frames} unexplained"),
    };
    format!(
        "frames       {received} received + {created} created = {forwarded} forwarded + {replied} replied \
         + {to_kernel} to kernel + {dropped_total} dropped + {held} held{unexplained}\n"
    )
}

/// How fast they grow; nothing in the first second.
fn speed(rates: &SwitchRates) -> String {
    let SwitchRates { over_ms, received_per_s, forwarded_per_s, dropped_per_s, .. } = rates;
    if *over_ms == 0 {
        return String::new();
    }
    let [received, forwarded, dropped] = [*received_per_s, *forwarded_per_s, *dropped_per_s].map(short);
    let [bits_in, bits_out] = [rates.received_bits_per_s, rates.sent_bits_per_s].map(short);
    let (new, over) = (short(rates.connections_new_per_s), *over_ms as f64 / 1000.0);
    format!(
        "per second   {received} frames received ({bits_in} bit), {forwarded} forwarded ({bits_out} bit sent), {dropped} dropped, \
         {new} new connections; over {over:.1} s\n"
    )
}

/// How many connections there are, and can be.
pub(super) fn connections(connections: &Connections) -> String {
    let Connections { active, max, max_ipv6, new, closed, .. } = connections;
    format!("connections  {active} active of {max} IPv4 and {max_ipv6} IPv6, {new} new, {closed} closed\n")
}

pub(super) fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{arguments}");
}

pub(super) fn service_rows(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![header_with_rates(
        status,
        &[
            "SERVICE",
            "ADDRESS",
            "MODE",
            "WEIGHT",
            "STATE",
            "OPEN",
            "ACTIVE",
            "NEW",
            "PACKETS IN",
            "OUT",
            "BYTES IN",
            "OUT",
        ],
        &["NEXT HOP"],
    )];
    for service in &status.services {
        let mode = format!("{} {} {}", service.protocol, service.forwarding, service.scheduler);
        let mut remarks = Vec::new();
        if service.refused > 0 {
            remarks.push(format!("{} refused", service.refused));
        }
        if service.limited > 0 {
            remarks.push(format!("{} beyond limits", service.limited));
        }
        if service.stateless > 0 {
            remarks.push(format!("{} without a connection", service.stateless));
        }
        if service.syn_cookies.sent > 0 {
            remarks.push(format!("{} SYN cookies", service.syn_cookies.sent));
        }
        if service.syn_cookies.workers > 0 {
            remarks.push("under pressure".into());
        }
        let (name, vip) = (service.name.clone(), service.vip.to_string());
        let words = [name, vip, mode, String::new(), service.state.clone()];
        let open = service.backends.iter().map(|backend| backend.connections_open).sum();
        let grown = (&service.traffic, rates(status, &service.rates));
        rows.push(row(words, open, grown, remarks.join(", ")));
        for backend in &service.backends {
            let (address, weight) = (format!("→ {}", backend.address), backend.weight.to_string());
            let words = [String::new(), address, String::new(), weight, backend.state.clone()];
            let grown = (&backend.traffic, rates(status, &backend.rates));
            rows.push(row(words, backend.connections_open, grown, next_hop(backend)));
        }
    }
    rows
}

/// One row per rule: what is written in place of what, and who may answer.
fn snat_rows(rules: &[SnatStatus]) -> Vec<Vec<String>> {
    let mut rows =
        vec![header(&["SNAT", "INSIDE", "PUBLIC", "PORTS", "MAPPING", "FILTERING", "HAIRPINNING"])];
    for rule in rules {
        let addresses: Vec<_> = rule.addresses.iter().map(ToString::to_string).collect();
        rows.push(vec![
            rule.name.clone(),
            first_of(&rule.inside),
            first_of(&addresses),
            rule.ports.clone(),
            rule.mapping.clone(),
            rule.filtering.clone(),
            if rule.hairpinning { "yes" } else { "no" }.to_owned(),
        ]);
    }
    rows
}

/// A list in the width of a column: `--json` has all of it.
fn first_of(words: &[String]) -> String {
    match words {
        [] => "-".to_owned(),
        [one] => one.clone(),
        [one, two] => format!("{one}, {two}"),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
    }
}

fn row(
    words: [String; 5],
    open: u64,
    (traffic, rates): (&Traffic, Vec<String>),
    last: String,
) -> Vec<String> {
    let numbers = [
        open,
        traffic.connections_active,
        traffic.connections_new,
        traffic.packets_in,
        traffic.packets_out,
        traffic.bytes_in,
        traffic.bytes_out,
    ];
    let mut row = Vec::from(words);
    row.extend(numbers.map(|number| number.to_string()));
    row.extend(rates);
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

fn steered_rows(status: &Status) -> Vec<Vec<String>> {
    let mut rows = vec![header(&["STEERED", "TO KERNEL", "TO SWITCH", "TO PEER", "NO SOCKET"])];
    rows.extend(status.steered.iter().map(|row| {
        let ways =
            [row.to_kernel, row.to_socket, row.to_peer, row.no_socket].map(|frames| frames.to_string());
        [vec![row.interface.clone()], ways.to_vec()].concat()
    }));
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

pub(super) fn duration(seconds: u64) -> String {
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

    fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "pid": 7, "uptime_s": 61, "resident_bytes": 50 << 20, "epoch": 3,
            "totals": {
                "received": 100, "created": 5, "forwarded": 70, "replied": 20, "to_kernel": 0,
                "dropped_total": 13, "held": 2, "icmp_errors": 4, "icmp_limited": 1, "unexplained": 0
            },
            "connections": {"active": 1, "max": 64, "new": 2, "closed": 1, "reclaimed": 0},
            "dropped": {}, "services": [], "workers": [], "ports": []
        }))
        .unwrap()
    }

    fn rule(name: &str, inside: &[&str], hairpinning: bool) -> SnatStatus {
        SnatStatus {
            name: name.to_owned(),
            inside: inside.iter().map(|prefix| (*prefix).to_owned()).collect(),
            addresses: vec!["198.18.0.3".parse().unwrap()],
            ports: "1024-65535".to_owned(),
            mapping: "endpoint-independent".to_owned(),
            filtering: "address-dependent".to_owned(),
            hairpinning,
        }
    }

    #[test]
    fn the_equation_of_the_counters_is_shown_whole() {
        let mut status = status();
        let text = summary(&status);
        let equation = "frames       100 received + 5 created = 70 forwarded + 20 replied + 0 to kernel \
                        + 13 dropped + 2 held\n";
        assert!(text.contains(equation), "{text}");
        assert!(text.contains("icmp         4 errors sent, 1 messages withheld by icmp_rate\n"), "{text}");
        assert!(text.contains("memory       50 MiB resident\n"), "{text}");
        assert!(!text.contains("SNAT"), "no rules, no table:\n{text}");
        status.totals.received = 101;
        status.totals.unexplained = 1;
        assert!(summary(&status).contains("+ 2 held + 1 unexplained\n"));
    }

    #[test]
    fn an_answer_of_a_switch_that_knows_less_is_shown_with_zeros() {
        let mut answer = serde_json::to_value(status()).unwrap();
        for field in ["created", "held", "icmp_errors", "icmp_limited"] {
            answer["totals"].as_object_mut().unwrap().remove(field);
        }
        answer.as_object_mut().unwrap().remove("snat");
        let status: Status = serde_json::from_value(answer).unwrap();
        assert!(summary(&status).contains("100 received + 0 created = 70 forwarded"));
    }

    #[test]
    fn every_rule_of_outbound_nat_has_a_row() {
        let prefixes = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"];
        let rules = vec![
            rule("home", &prefixes[..1], true),
            rule("lab", &prefixes, false),
            rule("two", &prefixes[..2], false),
        ];
        let text = summary(&Status { snat: rules, ..status() });
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(row("SNAT"), "SNAT|INSIDE|PUBLIC|PORTS|MAPPING|FILTERING|HAIRPINNING");
        let rest = "198.18.0.3|1024-65535|endpoint-independent|address-dependent";
        assert_eq!(row("home"), format!("home|10.0.0.0/24|{rest}|yes"));
        assert_eq!(row("lab"), format!("lab|10.0.0.0/24 and 2 more|{rest}|no"));
        assert_eq!(row("two"), format!("two|10.0.0.0/24, 10.0.1.0/24|{rest}|no"));
    }

    #[test]
    fn durations_are_as_precise_as_one_wants_to_read() {
        assert_eq!([59, 61, 7300, 180_000].map(duration), ["59 s", "1 min 1 s", "2 h 1 min", "2 d 2 h"]);
    }
}
