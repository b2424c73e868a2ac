//! `xswitch backend …`, `xswitch service …` and `xswitch reload`: changes while the switch runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::table::{finish, json};
use crate::control::client::{self, ClientError};
use crate::control::orders::{Change, Order, Outcome, Reload};

/// Options of every order.
#[derive(Debug, Args)]
pub struct Options {
    /// Write the change into the configuration file as well; comments stay.
    #[arg(long)]
    save: bool,
    /// Control socket of the running switch.
    #[arg(long, value_name = "PATH", default_value = "/run/xswitch/xswitch.sock")]
    socket: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A backend of a service.
#[derive(Debug, Args)]
pub struct Backend {
    /// Name of the service.
    service: String,
    /// Address and port of the backend.
    backend: SocketAddr,
    #[command(flatten)]
    options: Options,
}

/// A service.
#[derive(Debug, Args)]
pub struct Service {
    /// Name of the service.
    service: String,
    #[command(flatten)]
    options: Options,
}

/// What can be changed of a backend.
#[derive(Debug, Subcommand)]
pub enum BackendOrder {
    /// Give it no new connections; those that it has go on to their end or to `drain_timeout_s`.
    Drain(Backend),
    /// Let it serve (again), if its checks say that it can.
    Enable(Backend),
    /// Take it out: as if it were down.
    Disable(Backend),
    /// Give it another share of new connections; 0 gives it none.
    Weight {
        /// Name of the service.
        service: String,
        /// Address and port of the backend.
        backend: SocketAddr,
        /// The weight: 0 to 65535.
        #[arg(value_parser = clap::value_parser!(u32).range(0..=65_535))]
        weight: u32,
        /// What every order has.
        #[command(flatten)]
        options: Options,
    },
}

/// What can be changed of a service.
#[derive(Debug, Subcommand)]
pub enum ServiceOrder {
    /// Drain all of its backends.
    Drain(Service),
    /// Let it serve (again).
    Enable(Service),
    /// Take all of its backends out.
    Disable(Service),
}

/// Changes a backend.
pub fn backend(order: BackendOrder) -> ExitCode {
    let (target, change) = match order {
        BackendOrder::Drain(target) => (target, Change::Drain),
        BackendOrder::Enable(target) => (target, Change::Enable),
        BackendOrder::Disable(target) => (target, Change::Disable),
        BackendOrder::Weight { service, backend, weight, options } => {
            (Backend { service, backend, options }, Change::Weight(weight))
        }
    };
    let Backend { service, backend, options } = target;
    give("backend", service, Some(backend), change, &options)
}

/// Changes a service.
pub fn service(order: ServiceOrder) -> ExitCode {
    let (target, change) = match order {
        ServiceOrder::Drain(target) => (target, Change::Drain),
        ServiceOrder::Enable(target) => (target, Change::Enable),
        ServiceOrder::Disable(target) => (target, Change::Disable),
    };
    give("service", target.service, None, change, &target.options)
}

fn give(
    command: &str,
    service: String,
    backend: Option<SocketAddr>,
    change: Change,
    options: &Options,
) -> ExitCode {
    let order = Order { service, backend, change, save: options.save };
    let outcome = client::post(&options.socket, "/v1/orders", &order);
    finish(command, outcome.and_then(|outcome| text(&outcome, options.json, "nothing changed")))
}

/// Has the configuration file read again.
pub fn reload(socket: &Path, dry_run: bool, as_json: bool) -> ExitCode {
    let outcome = client::post(socket, "/v1/reload", &Reload { dry_run });
    let nothing = if dry_run { "nothing would change" } else { "nothing changed" };
    finish("reload", outcome.and_then(|outcome| text(&outcome, as_json, nothing)))
}

fn text(outcome: &Outcome, as_json: bool, nothing: &str) -> Result<String, ClientError> {
    if as_json {
        return json(outcome);
    }
    let warnings = outcome.warnings.iter().map(|warning| format!("warning: {}\n", warning.trim_end()));
    let changes = outcome.changes.iter().map(|change| format!("{change}\n"));
    let nothing = outcome.changes.is_empty().then(|| format!("{nothing}\n"));
    let orders = outcome.overruled.iter().chain(&outcome.kept).map(|order| format!("{order}\n"));
    Ok(warnings.chain(changes).chain(nothing).chain(orders).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_its_warnings_and_changes_line_by_line() {
        let warnings = vec!["too short\n".into()];
        let mut outcome = Outcome { warnings, epoch: 7, ..Outcome::default() };
        assert_eq!(
            text(&outcome, false, "nothing changed").unwrap(),
            "warning: too short\nnothing changed\n"
        );
        outcome.changes = vec!["weight 1 → 5".into()];
        assert_eq!(text(&outcome, false, "").unwrap(), "warning: too short\nweight 1 → 5\n");
        outcome = Outcome { overruled: vec!["one ends".into()], kept: vec!["one stays".into()], ..outcome };
        let said = "warning: too short\nweight 1 → 5\none ends\none stays\n";
        assert_eq!(text(&outcome, false, "").unwrap(), said);
        assert!(text(&outcome, true, "").unwrap().contains("\"epoch\": 7"));
    }
}
