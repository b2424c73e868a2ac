//! `xswitch pktgen connect`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::common::{End, Presence, Progress, Table, ended, grouped, per_second, print, rounded, say};
use super::values::{self, CLIENT_PORTS, Mac};
use crate::pktgen::Error;
use crate::pktgen::histogram::Latency;
use crate::pktgen::host::{ConnectPace, Host, HostCounts, connect};
use crate::pktgen::rate::Rate;
use crate::pktgen::tcp::client::{Client, ClientPlan, Counts};
use crate::pktgen::tcp::connection::{LONGEST_REQUEST, Script, Until};
use crate::pktgen::tuples::{Range, Tuples};

/// Where web servers listen.
const WEB: [u16; 2] = [80, 80];
/// Flows that are used in turn where their number is not given.
const FLOWS: u64 = 1 << 20;
/// And when it is asked: each takes memory.
const MOST_FLOWS: u32 = 1 << 26;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// At which interface.
    #[arg(long, value_name = "IF")]
    pub interface: String,
    /// MAC address of the device under test, or of the next hop to it.
    #[arg(long, value_name = "MAC")]
    pub to: Mac,
    /// The clients' addresses and ports. No kernel may own them; ARP and neighbour solicitations for them are answered here.
    #[arg(long, value_name = "PREFIX[:PORT-PORT]")]
    pub source: Range,
    /// The server.
    #[arg(long, value_name = "ADDRESS[:PORT[-PORT]]")]
    pub destination: Range,
    /// How many flows are used in turn; default: all, 1,048,576 at the most.
    #[arg(long, value_name = "N")]
    pub flows: Option<u32>,
    /// Connections that are open at one time, at the most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub concurrent: u32,
    /// Connections per second: max, 1000, 20k.
    #[arg(long, value_name = "RATE", default_value = "max")]
    pub rate: Rate,
    /// Ends after so many connections.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Ends after this time: 10, 500ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// What clients say, with \r, \n, \t, \0, \\ and \xHH.
    #[arg(long, value_name = "TEXT", default_value = r"GET / HTTP/1.0\r\n\r\n", conflicts_with = "segments")]
    pub request: String,
    /// Say nothing in particular: so many segments of data, which are to be acknowledged. No answer is waited for.
    #[arg(long, value_name = "N")]
    pub segments: Option<usize>,
    /// Bytes of data per segment.
    #[arg(long, value_name = "BYTES", default_value_t = 1400)]
    pub segment_size: usize,
    /// The answer is complete after so many bytes, and the client closes; default: when the server closes.
    #[arg(long, value_name = "BYTES", conflicts_with = "segments")]
    pub answer_bytes: Option<u64>,
    /// Keep connections open for this time before they are closed (needs --answer-bytes or --segments).
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub hold: Option<Duration>,
    /// How clients close.
    #[arg(long, value_enum, default_value = "fin")]
    pub close: Close,
    /// How long each step of a connection may take.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "3")]
    pub timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// How clients close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Close {
    /// In good order.
    Fin,
    /// At once.
    Reset,
}

/// The summary. Its fields stay.
#[derive(Debug, Serialize)]
struct Report<'a> {
    command: &'static str,
    interface: &'a str,
    seconds: f64,
    #[serde(flatten)]
    counts: Counts,
    failed: u64,
    failures: BTreeMap<&'static str, u64>,
    /// Open when the run was ended, and given up.
    unfinished: u64,
    connections_per_second: f64,
    handshake: Option<Latency>,
    answer: Option<Latency>,
    #[serde(flatten)]
    host: HostCounts,
    interrupted: bool,
}

/// Connects.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let plan = plan(arguments)?;
    if matches!(arguments.rate, Rate::BitsPerSecond(_)) {
        return Err(Error::Input("--rate: connections have a rate per second, not in bits".into()));
    }
    let pace = ConnectPace { rate: arguments.rate.per_second(0.0), limit: arguments.count };
    let mut host = Host::open(&arguments.interface, plan.tuples.source)?;
    let end = End::after(arguments.duration)?;
    let presence = Presence::of(&arguments.interface);
    let mut progress = Progress::new();
    let client = connect(&mut host, plan, arguments.to.0, pace, |client| {
        let counts = client.counts();
        progress.show(counts.completed, "connections", || {
            format!("{} open, {} failed", client.open_now(), client.failed())
        });
        end.has_come() || presence.check().is_err()
    });
    progress.end();
    presence.check()?;
    let report = report(arguments, &client, &host, &end);
    print(&report, arguments.json, &table(&report))?;
    let nothing_came = report.counts.opened > 0 && report.host.segments_received == 0;
    if nothing_came {
        say(format_args!(
            "connect: no segment came back: is --to the right MAC address, and does the server know a way to {}?",
            arguments.source
        ));
    }
    Ok(ended(report.failed == 0 && !nothing_came))
}

fn plan(arguments: &Arguments) -> Result<ClientPlan, Error> {
    let source = values::with_ports(arguments.source, CLIENT_PORTS);
    let destination = values::with_ports(arguments.destination, WEB);
    let available = source.len().saturating_mul(destination.len()).min(FLOWS);
    let flows = arguments.flows.unwrap_or(available as u32);
    let tuples = Tuples::new(source, destination, flows).map_err(|error| Error::Input(error.to_string()))?;
    let input = |text: String| Err(Error::Input(text));
    if !(1..=1400).contains(&arguments.segment_size) {
        return input("--segment-size: 1 to 1400 bytes fit one segment".into());
    }
    if flows.max(arguments.concurrent) > MOST_FLOWS {
        return input(format!("--flows, --concurrent: at most {MOST_FLOWS}"));
    }
    if arguments.concurrent == 0 || arguments.timeout < Duration::from_millis(250) {
        return input("--concurrent is at least 1, --timeout at least 250ms".into());
    }
    let until = match (arguments.segments, arguments.answer_bytes) {
        (Some(_), _) => Until::Acknowledged,
        (None, Some(bytes)) => Until::Bytes(bytes),
        (None, None) => Until::Closed,
    };
    if arguments.hold.is_some() && until == Until::Closed {
        return input(
            "--hold needs --answer-bytes or --segments: else the server says when a connection closes".into(),
        );
    }
    let request = match arguments.segments {
        Some(segments) => {
            vec![b'x'; segments.saturating_mul(arguments.segment_size).min(LONGEST_REQUEST + 1)]
        }
        None => values::escaped(&arguments.request)
            .map_err(|error| Error::Input(format!("--request: {error}")))?,
    };
    if request.len() > LONGEST_REQUEST {
        return input(format!("a connection says at most {LONGEST_REQUEST} bytes"));
    }
    let script = Script {
        request,
        segment: arguments.segment_size,
        until,
        hold_ns: arguments.hold.unwrap_or_default().as_nanos() as u64,
        resets: arguments.close == Close::Reset,
    };
    Ok(ClientPlan {
        tuples,
        script,
        concurrent: arguments.concurrent,
        timeout_ns: arguments.timeout.as_nanos() as u64,
    })
}

fn report<'a>(arguments: &'a Arguments, client: &Client, host: &Host, end: &End) -> Report<'a> {
    let (counts, took) = (client.counts(), end.elapsed());
    Report {
        command: "connect",
        interface: &arguments.interface,
        seconds: rounded(took.as_secs_f64()),
        counts,
        failed: client.failed(),
        failures: client.failures().map(|(failure, count)| (failure.name(), count)).collect(),
        unfinished: client.open_now().into(),
        connections_per_second: rounded(per_second(counts.completed, took)),
        handshake: client.handshakes.summary(),
        answer: client.answers.summary(),
        host: host.counts(),
        interrupted: end.was_interrupted(),
    }
}

fn table(report: &Report<'_>) -> Table {
    let mut table = Table::default();
    let Counts { opened, established, answered, completed, peak, repeated, .. } = report.counts;
    let connections = format!(
        "{} opened, {} established, {} answered, {} completed in {:.3} s",
        grouped(opened),
        grouped(established),
        grouped(answered),
        grouped(completed),
        report.seconds
    );
    let failures: Vec<String> = report
        .failures
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{} {}", grouped(*count), name.replace('_', " ")))
        .collect();
    let failures = if failures.is_empty() { "none".to_owned() } else { failures.join(", ") };
    table
        .row("connections", connections)
        .row("rate", format!("{:.1} connections/s", report.connections_per_second))
        .row("concurrent", format!("{} at the most", grouped(peak)))
        .row("failures", failures)
        .row("repeated", format!("{} segments", grouped(repeated)))
        .latency("handshake", report.handshake)
        .latency("answer", report.answer);
    table
}
