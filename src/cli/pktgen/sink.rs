//! `xswitch pktgen sink`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::common::{
    End, LOOK, Presence, Progress, Table, ended, grouped, per_second, print, rounded, say, short, wire_rate,
};
use super::values::{self, Protocol};
use crate::pktgen::Error;
use crate::pktgen::filter::Filter;
use crate::pktgen::histogram::Latency;
use crate::pktgen::sink::{FlowsSeen, Received, RunSeen, Sink, SinkPlan};
use crate::pktgen::tuples::Range;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// At which interface.
    #[arg(long, value_name = "IF")]
    pub interface: String,
    /// Only what goes there: 198.18.1.11:8080, 198.18.1.0/24, [2001:db8::/112]:53. Everything else goes to the kernel.
    #[arg(long, value_name = "PREFIX[:PORT[-PORT]]")]
    pub destination: Option<Range>,
    /// Only TCP or only UDP.
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// End all other frames, too, ARP among them.
    #[arg(long)]
    pub everything: bool,
    /// Send frames back: MAC addresses, addresses and ports exchanged.
    #[arg(long)]
    pub reflect: bool,
    /// Measure the time since frames were made, by their stamps: on one machine, or where what was sent comes back.
    #[arg(long)]
    pub latency: bool,
    /// Ends after this time: 10, 500ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Ends once so many frames have come.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The summary. Its fields stay.
#[derive(Debug, Serialize)]
struct Report<'a> {
    command: &'static str,
    interface: &'a str,
    xdp: &'static str,
    seconds: f64,
    /// From the first frame to the last, to 10 ms.
    active_seconds: f64,
    #[serde(flatten)]
    received: Received,
    frames_per_second: f64,
    bits_per_second: f64,
    runs: Vec<RunSeen>,
    sampled_flows: FlowsSeen,
    latency: Option<Latency>,
    interrupted: bool,
}

/// Counts.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let name = &arguments.interface;
    let plan = SinkPlan {
        filter: Filter { destination: arguments.destination, protocol: arguments.protocol.map(Into::into) },
        ends_others: arguments.everything,
        reflects: arguments.reflect,
        reads_stamps: true,
        measures_latency: arguments.latency,
    };
    let end = End::after(arguments.duration)?;
    let presence = Presence::of(name);
    if arguments.destination.is_none() || arguments.everything {
        let what = if arguments.everything { "everything" } else { "all TCP and UDP" };
        say(format_args!(
            "sink: {what} that comes to {name} ends here, SSH included; --destination{} takes less",
            if arguments.everything { " without --everything" } else { "" }
        ));
    }
    let sink = Sink::attach(name, &plan)?;
    let activity = watch(&sink, &end, &presence, arguments.count)?;
    let received = sink.received()?;
    let took = activity.map_or(Duration::ZERO, |(first, last)| last - first);
    let latency = if arguments.latency { sink.latency()?.summary() } else { None };
    let report = Report {
        command: "sink",
        interface: name,
        xdp: if sink.is_native { "native" } else { "generic" },
        seconds: rounded(end.elapsed().as_secs_f64()),
        active_seconds: rounded(took.as_secs_f64()),
        received,
        frames_per_second: rounded(per_second(received.frames, took)),
        bits_per_second: wire_rate(received.frames, received.bytes, took).round(),
        runs: sink.runs(),
        sampled_flows: sink.flows(),
        latency,
        interrupted: end.was_interrupted(),
    };
    print(&report, arguments.json, &table(&report))?;
    Ok(ended(true))
}

/// Waits until it is over; when the first frames came, and the last.
fn watch(
    sink: &Sink,
    end: &End,
    presence: &Presence,
    count: Option<u64>,
) -> Result<Option<(Instant, Instant)>, Error> {
    let mut progress = Progress::new();
    let mut activity: Option<(Instant, Instant)> = None;
    let (mut before, mut looked) = (0, Instant::now());
    loop {
        presence.check()?;
        let is_over = end.has_come();
        let frames = sink.received()?.frames;
        let now = Instant::now();
        if frames > before {
            activity = Some((activity.map_or(looked, |(first, _)| first), now));
        }
        (before, looked) = (frames, now);
        progress.show(frames, "frames", String::new);
        if is_over || count.is_some_and(|count| frames >= count) {
            progress.end();
            return Ok(activity);
        }
        std::thread::sleep(LOOK);
    }
}

fn table(report: &Report<'_>) -> Table {
    let mut table = Table::default();
    let Received { frames, bytes, other_frames, stamped, .. } = report.received;
    table
        .row(
            "received",
            format!("{} frames, {} bytes in {:.2} s", grouped(frames), grouped(bytes), report.active_seconds),
        )
        .row(
            "rate",
            format!(
                "{} frames/s, {} bit/s on the wire",
                short(report.frames_per_second),
                short(report.bits_per_second)
            ),
        )
        .row("others", format!("{} frames", grouped(other_frames)))
        .row("stamped", format!("{} frames", grouped(stamped)));
    for RunSeen { run, frames, missing, late } in &report.runs {
        let text =
            format!("{} frames, {} missing, {} late", grouped(*frames), grouped(*missing), grouped(*late));
        table.row(&format!("run {run}"), text);
    }
    let FlowsSeen { followed, with_loss, missing, worst, .. } = report.sampled_flows;
    if followed > 0 {
        let text = format!("{followed} followed, {with_loss} miss {missing} frames, {worst} at the most");
        table.row("flows", text);
    }
    table.latency("latency", report.latency);
    table
}
