//! `xswitch pktgen serve`.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::common::{End, Presence, Progress, Table, ended, grouped, per_second, print, rounded};
use super::values;
use crate::pktgen::Error;
use crate::pktgen::host::{Host, HostCounts, serve};
use crate::pktgen::tcp::server::{LONGEST_REPLY, Served, Server};
use crate::pktgen::tuples::Range;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// At which interface.
    #[arg(long, value_name = "IF")]
    pub interface: String,
    /// Addresses and ports of the server. No kernel may own the addresses; ARP and neighbour solicitations for them are
    /// answered here.
    #[arg(long, value_name = "PREFIX[:PORT[-PORT]]")]
    pub address: Range,
    /// What is answered to each request, with \r, \n, \t, \0, \\ and \xHH.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = r"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
    )]
    pub reply: String,
    /// Leave it to clients to close.
    #[arg(long)]
    pub keep_open: bool,
    /// Ends after this time: 10, 500ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The summary. Its fields stay.
#[derive(Debug, Serialize)]
struct Report<'a> {
    command: &'static str,
    interface: &'a str,
    seconds: f64,
    #[serde(flatten)]
    served: Served,
    replies_per_second: f64,
    #[serde(flatten)]
    host: HostCounts,
    interrupted: bool,
}

/// Serves.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let reply =
        values::escaped(&arguments.reply).map_err(|error| Error::Input(format!("--reply: {error}")))?;
    if reply.len() > LONGEST_REPLY {
        return Err(Error::Input(format!("--reply: at most {LONGEST_REPLY} bytes fit one segment")));
    }
    let mut secret = [0; 8];
    getrandom::fill(&mut secret).map_err(|error| Error::Failed(format!("no random numbers: {error}")))?;
    let server = Server { reply, closes: !arguments.keep_open, secret: u64::from_ne_bytes(secret) };
    let end = End::after(arguments.duration)?;
    let mut host = Host::open(&arguments.interface, arguments.address)?;
    let presence = Presence::of(&arguments.interface);
    let mut progress = Progress::new();
    let served = serve(&mut host, &server, |served, _| {
        progress.show(served.replies, "replies", || format!("{} SYNs", grouped(served.syns)));
        end.has_come() || presence.check().is_err()
    });
    progress.end();
    presence.check()?;
    let took = end.elapsed();
    let report = Report {
        command: "serve",
        interface: &arguments.interface,
        seconds: rounded(took.as_secs_f64()),
        served,
        replies_per_second: rounded(per_second(served.replies, took)),
        host: host.counts(),
        interrupted: end.was_interrupted(),
    };
    let mut table = Table::default();
    let Served { syns, segments, bytes, replies, fins, resets } = served;
    table
        .row("opened", format!("{} SYNs in {:.3} s", grouped(syns), report.seconds))
        .row("requests", format!("{} segments, {} bytes", grouped(segments), grouped(bytes)))
        .row("replies", format!("{}, {:.1}/s", grouped(replies), report.replies_per_second))
        .row("closed", format!("{} FINs, {} resets", grouped(fins), grouped(resets)));
    print(&report, arguments.json, &table)?;
    Ok(ended(true))
}
