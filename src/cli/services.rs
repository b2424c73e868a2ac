//! `xswitch services`: what is served, and by how many.

use std::path::Path;
use std::process::ExitCode;

use super::table::{age_of_states, finish, header_with_rates, json, rates, services_of, table};
use crate::control::client;
use crate::control::status::{ServiceStatus, ServingStatus, Status};

/// Asks the switch at `socket`; only the service called `only`, if one is named.
pub fn run(socket: &Path, only: Option<&str>, as_json: bool) -> ExitCode {
    let text = client::get(socket, "/v1/status").and_then(|status: Status| {
        let services = services_of(&status, only)?;
        if as_json { json(&services) } else { Ok(table(rows(&status, &services)) + &age_of_states(&status)) }
    });
    finish("services", text)
}

/// How many there are of each kind, and how many of them serve: `2 of 3 serve, 1 of 1 backups ready, 1 leaving`.
fn strength(counts: &ServingStatus) -> String {
    let ServingStatus { backends, serving, backups, backups_able, backups_serving, leaving } = counts;
    let mut text = format!("{serving} of {backends} serve");
    if *backups_serving > 0 {
        text.push_str(&format!(", {backups_serving} of {backups} backups serve"));
    } else if *backups > 0 {
        text.push_str(&format!(", {backups_able} of {backups} backups ready"));
    }
    if *leaving > 0 {
        text.push_str(&format!(", {leaving} leaving"));
    }
    text
}

/// Why it is in this state, and what an operator may not expect of it.
fn why(service: &ServiceStatus) -> String {
    let ServingStatus { backends, serving, backups, backups_serving, .. } = service.serving;
    let by = match (service.state.as_str(), service.ordered) {
        (_, true) => Some("an operator's order".to_owned()),
        ("drain" | "disabled", false) => Some("the configuration says so".to_owned()),
        _ => None,
    };
    let end = service.drain_left_s.map(|seconds| format!("connections end in {seconds} s"));
    let taken_by = match service.state.as_str() {
        "enabled" if backups_serving > 0 && backends > 0 => Some("no other than backups can serve"),
        "enabled" if serving + backups_serving == 0 && backends + backups > 0 => {
            Some("no backend takes new connections")
        }
        _ => None,
    };
    by.into_iter().chain(end).chain(taken_by.map(str::to_owned)).collect::<Vec<_>>().join(", ")
}

fn rows(status: &Status, services: &[ServiceStatus]) -> Vec<Vec<String>> {
    let mut rows = vec![header_with_rates(
        status,
        &["SERVICE", "ADDRESS", "PROTOCOL", "FORWARDING", "SCHEDULER", "STATE", "BACKENDS", "OPEN", "NEW"],
        &["REFUSED", "LIMITED", "WHY", "DISCOVERED FROM"],
    )];
    for service in services {
        let open: u64 = service.backends.iter().map(|backend| backend.connections_open).sum();
        let source = service.discover.as_ref().map_or_else(String::new, |watched| match &watched.problem {
            None => watched.source.clone(),
            Some(problem) => format!("{}: {problem}", watched.source),
        });
        let mut row = vec![
            service.name.clone(),
            service.vip.to_string(),
            service.protocol.clone(),
            service.forwarding.clone(),
            service.scheduler.clone(),
            service.state.clone(),
            strength(&service.serving),
            open.to_string(),
            service.traffic.connections_new.to_string(),
        ];
        row.extend(rates(status, &service.rates));
        row.extend([service.refused.to_string(), service.limited.to_string(), why(service), source]);
        rows.push(row);
    }
    rows
}
