//! `xswitch services`: what is served, and by how many.

use std::path::Path;
use std::process::ExitCode;

use super::table::{finish, header, json, table};
use crate::control::client;
use crate::control::status::{BackendStatus, ServiceStatus, Status};

/// Asks the switch at `socket`; only the service called `only`, if one is named.
pub fn run(socket: &Path, only: Option<&str>, as_json: bool) -> ExitCode {
    let text = client::get(socket, "/v1/status").and_then(|status: Status| {
        let services: Vec<_> = status
            .services
            .into_iter()
            .filter(|service| only.is_none_or(|only| service.name == only))
            .collect();
        if as_json { json(&services) } else { Ok(table(rows(&services))) }
    });
    finish("services", text)
}

/// Whether it may take new connections now.
pub(super) fn serves(backend: &BackendStatus) -> bool {
    backend.weight > 0 && backend.share > 0 && matches!(backend.state.as_str(), "up" | "starting")
}

fn rows(services: &[ServiceStatus]) -> Vec<Vec<String>> {
    let mut rows = vec![header(&[
        "SERVICE",
        "ADDRESS",
        "PROTOCOL",
        "FORWARDING",
        "SCHEDULER",
        "BACKENDS",
        "OPEN",
        "NEW",
        "REFUSED",
        "DISCOVERED FROM",
    ])];
    for service in services {
        let able = service.backends.iter().filter(|backend| serves(backend)).count();
        let open: u64 = service.backends.iter().map(|backend| backend.connections_open).sum();
        let source = service.discover.as_ref().map_or_else(String::new, |watched| match &watched.problem {
            None => watched.source.clone(),
            Some(problem) => format!("{}: {problem}", watched.source),
        });
        rows.push(vec![
            service.name.clone(),
            service.vip.to_string(),
            service.protocol.clone(),
            service.forwarding.clone(),
            service.scheduler.clone(),
            format!("{able} of {} able", service.backends.len()),
            open.to_string(),
            service.traffic.connections_new.to_string(),
            service.refused.to_string(),
            source,
        ]);
    }
    rows
}
