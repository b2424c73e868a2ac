//! `xswitch backends`: who serves, who does not, and why.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::table::{age_of_states, finish, header_with_rates, json, rates, services_of, table};
use crate::control::client;
use crate::control::status::{BackendStatus, ServiceStatus, Status};

/// One backend with the name of its service.
#[derive(Debug, Serialize)]
struct Row<'a> {
    service: &'a str,
    #[serde(flatten)]
    backend: &'a BackendStatus,
}

/// Asks the switch at `socket`; only the service called `only`, if one is named.
pub fn run(socket: &Path, only: Option<&str>, as_json: bool) -> ExitCode {
    let text = client::get(socket, "/v1/status").and_then(|status: Status| {
        let services = services_of(&status, only)?;
        let rows: Vec<_> = rows_of(&services).collect();
        if as_json { json(&rows) } else { Ok(table(lines(&status, &rows)) + &age_of_states(&status)) }
    });
    finish("backends", text)
}

fn rows_of(services: &[ServiceStatus]) -> impl Iterator<Item = Row<'_>> {
    services
        .iter()
        .flat_map(|service| service.backends.iter().map(|backend| Row { service: &service.name, backend }))
}

fn lines(status: &Status, rows: &[Row<'_>]) -> Vec<Vec<String>> {
    let mut lines = vec![header_with_rates(
        status,
        &["SERVICE", "BACKEND", "STATE", "WEIGHT", "SHARE", "OPEN", "NEW"],
        &["RESPONSE", "LAST CHECK", "WHY"],
    )];
    lines.extend(rows.iter().map(|Row { service, backend }| {
        let response = match backend.response_us {
            0 => "-".to_owned(),
            microseconds => format!("{:.1} ms", f64::from(microseconds) / 1000.0),
        };
        let check = backend.health.as_ref().map_or_else(|| "-".to_owned(), |health| health.last.clone());
        let mut why = backend.why.clone();
        if let Some(seconds) = backend.drain_left_s {
            why = format!("{why}{}connections end in {seconds} s", if why.is_empty() { "" } else { ", " });
        }
        let mut line = vec![
            (*service).to_owned(),
            backend.address.to_string(),
            backend.state.clone(),
            backend.weight.to_string(),
            format!("{} %", backend.share),
            backend.connections_open.to_string(),
            backend.traffic.connections_new.to_string(),
        ];
        line.extend(rates(status, &backend.rates));
        line.extend([response, check, why]);
        line
    }));
    lines
}
