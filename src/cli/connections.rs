//! `xswitch connections`: which there are, how many, and the end of some of them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::BAD_INPUT;
use super::table::{finish, header, json, table};
use crate::control::client::{self, ClientError};
use crate::control::connections::{Filter, Kill, Killed, Listing, Question, Row, Sort};
use crate::tables::connection::STATES;

/// What to look for, and what to do with it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only those of this service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only those of this backend: an address, with or without its port.
    #[arg(long, value_name = "ADDRESS")]
    backend: Option<String>,
    /// Only those of these clients: ADDRESS, ADDRESS:PORT or PREFIX/LENGTH.
    #[arg(long, value_name = "PREFIX")]
    client: Option<String>,
    /// Only those in this state.
    #[arg(long, value_name = "STATE", value_parser = clap::builder::PossibleValuesParser::new(&STATES[1..]))]
    state: Option<String>,
    /// Only those of this protocol.
    #[arg(long, value_name = "PROTOCOL", value_parser = ["tcp", "udp"])]
    protocol: Option<String>,
    /// In which order. Without it the first that are found are shown.
    #[arg(long, value_enum, default_value = "any")]
    sort: Order,
    /// Show so many at the most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Only count them: in all, and by service, backend and state.
    #[arg(long)]
    count: bool,
    /// End exactly those that the conditions name. Nobody is told: the next segment of each finds no connection.
    #[arg(long, conflicts_with_all = ["count", "sort", "limit"])]
    kill: bool,
    /// With --kill and no condition: all of them.
    #[arg(long, requires = "kill")]
    all: bool,
    /// Control socket of the running switch.
    #[arg(long, value_name = "PATH", default_value = "/run/xswitch/xswitch.sock")]
    socket: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// An order to show connections in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// As they are found.
    Any,
    /// By client.
    Client,
    /// By backend.
    Backend,
    /// By service.
    Service,
    /// By state.
    State,
    /// The longest idle first.
    Idle,
    /// The last active first.
    Recent,
}

impl From<Order> for Sort {
    fn from(order: Order) -> Self {
        match order {
            Order::Any => Self::Any,
            Order::Client => Self::Client,
            Order::Backend => Self::Backend,
            Order::Service => Self::Service,
            Order::State => Self::State,
            Order::Idle => Self::Idle,
            Order::Recent => Self::Recent,
        }
    }
}

/// Asks the switch.
pub fn run(arguments: &Arguments) -> ExitCode {
    let Arguments { service, backend, client, state, protocol, .. } = arguments;
    let (service, backend, client) = (service.clone(), backend.clone(), client.clone());
    let filter = Filter { service, backend, client, state: state.clone(), protocol: protocol.clone() };
    if arguments.kill && filter.is_empty() && !arguments.all {
        eprintln!(
            "xswitch connections: --kill needs a condition (--service, --client …); all of them: --all"
        );
        return ExitCode::from(BAD_INPUT);
    }
    let text = if arguments.kill { kill(filter, arguments) } else { list(filter, arguments) };
    finish("connections", text)
}

fn kill(filter: Filter, arguments: &Arguments) -> Result<String, ClientError> {
    let order = Kill { filter, all: arguments.all };
    let killed: Killed = client::post(&arguments.socket, "/v1/connections/kill", &order)?;
    if arguments.json { json(&killed) } else { Ok(ended(&killed)) }
}

fn ended(Killed { found, killed, complete }: &Killed) -> String {
    let gone = match found - killed {
        0 => String::new(),
        gone if *complete => format!("; {gone} more ended by themselves"),
        left => format!("; {left} more were found"),
    };
    let rest = if *complete { "" } else { "\nthere was no time for all: do it again\n" };
    format!("{killed} {} ended{gone}\n{rest}", plural(*killed))
}

fn list(filter: Filter, arguments: &Arguments) -> Result<String, ClientError> {
    let limit = if arguments.count { 0 } else { arguments.limit as usize };
    let question = Question { filter, sort: arguments.sort.into(), limit };
    if arguments.json {
        // As it came, so that a newer switch's fields are not lost.
        let answer: serde_json::Value = client::post(&arguments.socket, "/v1/connections", &question)?;
        return json(&answer);
    }
    let listing: Listing = client::post(&arguments.socket, "/v1/connections", &question)?;
    let body = match (arguments.count, listing.connections.is_empty()) {
        (true, _) => table(counts(&listing)),
        (false, true) => String::new(),
        (false, false) => table(rows(&listing.connections)),
    };
    Ok(body + &footer(&listing, arguments.count))
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "connection" } else { "connections" }
}

/// How many there are, and whether that is all.
fn footer(listing: &Listing, only_counted: bool) -> String {
    let Listing { total, connections, looked_at, entries, .. } = listing;
    let shown = connections.len() as u64;
    let mut text = match total.saturating_sub(shown) {
        more if more > 0 && !only_counted => {
            format!("\n{shown} of {total} connections; {more} more: --limit, --count, or say which\n")
        }
        _ => format!("\n{total} {}\n", plural(*total)),
    };
    if looked_at < entries {
        let part = looked_at * 100 / entries;
        text.push_str(&format!("only {part} % of the table were looked at in time: there may be more\n"));
    }
    text
}

fn rows(connections: &[Row]) -> Vec<Vec<String>> {
    let mut rows = vec![header(&[
        "PROTOCOL",
        "CLIENT",
        "DESTINATION",
        "SERVICE",
        "WAY",
        "BACKEND",
        "SOURCE",
        "STATE",
        "IDLE",
        "EXPIRES",
    ])];
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    rows.extend(connections.iter().map(|row| {
        vec![
            row.protocol.clone(),
            row.client.to_string(),
            row.destination.to_string(),
            or_none(row.service.clone()),
            row.forwarding.clone(),
            or_none(row.backend.map(|backend| backend.to_string())),
            or_none((row.source != row.client).then(|| row.source.to_string())),
            row.state.clone(),
            format!("{} s", row.idle_s),
            format!("{} s", row.expires_in_s),
        ]
    }));
    rows
}

/// A line for each backend and service, a column for each state that occurs.
fn counts(listing: &Listing) -> Vec<Vec<String>> {
    let states: Vec<&String> = listing.by_state.keys().collect();
    let mut first = header(&["SERVICE", "BACKEND", "TOTAL"]);
    first.extend(states.iter().map(|state| state.to_uppercase()));
    let line = |names: [String; 2], total: u64, by_state: &std::collections::BTreeMap<String, u64>| {
        let counts = states.iter().map(|state| by_state.get(*state).copied().unwrap_or_default().to_string());
        names.into_iter().chain([total.to_string()]).chain(counts).collect::<Vec<_>>()
    };
    let mut lines = vec![first];
    for service in &listing.by_service {
        for backend in &service.backends {
            let names = [service.service.clone(), backend.backend.to_string()];
            lines.push(line(names, backend.total, &backend.by_state));
        }
        if service.backends.len() > 1 {
            lines.push(line([service.service.clone(), "all".into()], service.total, &service.by_state));
        }
    }
    lines.push(line(["all".into(), "all".into()], listing.total, &listing.by_state));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_many_are_not_shown_and_what_was_not_looked_at() {
        let listing = |total, looked_at| Listing { total, looked_at, entries: 200, ..Listing::default() };
        assert_eq!(footer(&listing(0, 200), false), "\n0 connections\n");
        assert_eq!(footer(&listing(1, 200), true), "\n1 connection\n");
        assert!(footer(&listing(7, 200), false).starts_with("\n0 of 7 connections; 7 more"));
        assert!(
            footer(&listing(7, 50), true)
                .ends_with("only 25 % of the table were looked at in time: there may be more\n")
        );
    }

    #[test]
    fn it_says_how_many_ended() {
        let text = |found, killed, complete| ended(&Killed { found, killed, complete });
        assert_eq!(text(1, 1, true), "1 connection ended\n");
        assert_eq!(text(5, 3, true), "3 connections ended; 2 more ended by themselves\n");
        assert!(text(5, 3, false).ends_with("do it again\n"));
    }
}
