//! `xswitch pktgen replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::common::{
    End, Presence, Table, ended, grouped, per_second, print, rounded, short, watched, wire_rate,
};
use crate::cli::replay::capture::Capture;
use crate::pktgen::Error;
use crate::pktgen::generator::{Meter, Mode, Sent};
use crate::pktgen::rate::Rate;
use crate::pktgen::replay::{LONGEST, Recorded, Timing, replay};
use crate::sys::interface;

/// Frames are kept in memory while they are sent.
const MOST_BYTES: usize = 1 << 30;
/// Ethernet header and two tags.
const LINK_HEADER: usize = 22;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Out of which interface.
    #[arg(long, value_name = "IF")]
    pub interface: String,
    /// The capture (pcap or pcapng, Ethernet).
    #[arg(long = "in", value_name = "FILE")]
    pub input: PathBuf,
    /// max, frames per second (100k, 1.5M), or bits per second on the wire (500Mbps); default: max.
    #[arg(long, value_name = "RATE", conflicts_with_all = ["as_captured", "multiply"])]
    pub rate: Option<Rate>,
    /// With the distances in time that the capture has.
    #[arg(long, conflicts_with = "multiply")]
    pub as_captured: bool,
    /// The same, so many times as fast: 2, 0.5.
    #[arg(long, value_name = "FACTOR")]
    pub multiply: Option<f64>,
    /// How often; 0 = until it is interrupted.
    #[arg(long = "loop", value_name = "N", default_value_t = 1)]
    pub rounds: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Frames of the file that are not sent.
#[derive(Debug, Default, Serialize)]
struct Skipped {
    /// The capture holds their beginning only.
    cut: u64,
    /// They do not fit the interface's MTU, or a chunk of packet memory.
    large: u64,
}

/// The summary. Its fields stay.
#[derive(Debug, Serialize)]
struct Report<'a> {
    command: &'static str,
    interface: &'a str,
    frames_in_file: u64,
    skipped: Skipped,
    seconds: f64,
    #[serde(flatten)]
    sent: Sent,
    frames_per_second: f64,
    bits_per_second: f64,
    interrupted: bool,
}

/// Replays.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let (frames, skipped) = load(arguments)?;
    let mean = frames.iter().map(|frame| frame.bytes.len() as f64).sum::<f64>() / frames.len().max(1) as f64;
    let timing = match (arguments.multiply, arguments.as_captured) {
        (Some(factor), _) if (1e-6..=1e6).contains(&factor) => Timing::Captured(factor),
        (Some(_), _) => {
            let text = "--multiply: a factor between 0.000001 and 1000000, such as 2 or 0.5";
            return Err(Error::Input(text.into()));
        }
        (None, true) => Timing::Captured(1.0),
        (None, false) => Timing::Rate(arguments.rate.unwrap_or_default().per_second(mean)),
    };
    let rounds = if arguments.rounds == 0 { u64::MAX } else { arguments.rounds };
    let (meter, end) = (Meter::default(), End::after(None)?);
    let name = &arguments.interface;
    let presence = Presence::of(name);
    let sent = watched(&meter, &end, || replay(name, &frames, timing, rounds, &meter))?;
    let report = Report {
        command: "replay",
        interface: name,
        frames_in_file: frames.len() as u64 + skipped.cut + skipped.large,
        skipped,
        seconds: rounded(sent.took.as_secs_f64()),
        frames_per_second: rounded(per_second(sent.frames, sent.took)),
        bits_per_second: wire_rate(sent.frames, sent.bytes, sent.took).round(),
        sent,
        interrupted: end.was_interrupted(),
    };
    print(&report, arguments.json, &table(&report))?;
    Ok(ended(presence.explain(&report.sent, Mode::Xsk)?))
}

/// The frames that can be sent.
fn load(arguments: &Arguments) -> Result<(Vec<Recorded>, Skipped), Error> {
    let input = |error: crate::cli::replay::capture::CaptureError| Error::Input(error.to_string());
    let mut capture = Capture::open(&arguments.input).map_err(input)?;
    let mtu = interface::mtu(&arguments.interface).unwrap_or(1500) as usize;
    let longest = LONGEST.min(mtu + LINK_HEADER);
    let (mut frames, mut skipped, mut bytes) = (Vec::<Recorded>::new(), Skipped::default(), 0);
    while capture.advance().map_err(input)? {
        let frame = capture.frame();
        if !frame.whole {
            skipped.cut += 1;
        } else if frame.bytes.len() > longest || frame.bytes.len() < 14 {
            skipped.large += 1;
        } else {
            bytes += frame.bytes.len();
            frames.push(Recorded { after_ns: frame.time_ns, bytes: frame.bytes.clone() });
        }
        if bytes > MOST_BYTES {
            let path = arguments.input.display();
            return Err(Error::Input(format!(
                "{path} holds more than 1 GiB of frames: cut it (`editcap -r`)"
            )));
        }
    }
    // Captures of several interfaces are not always in order.
    frames.sort_by_key(|frame| frame.after_ns);
    let first = frames.first().map_or(0, |frame| frame.after_ns);
    for frame in &mut frames {
        frame.after_ns -= first;
    }
    Ok((frames, skipped))
}

fn table(report: &Report<'_>) -> Table {
    let mut table = Table::default();
    let Sent { frames, bytes, lost, .. } = report.sent;
    let Skipped { cut, large } = report.skipped;
    table
        .row(
            "sent",
            format!("{} frames, {} bytes in {:.3} s", grouped(frames), grouped(bytes), report.seconds),
        )
        .row(
            "rate",
            format!(
                "{} frames/s, {} bit/s on the wire",
                short(report.frames_per_second),
                short(report.bits_per_second)
            ),
        )
        .row("lost", format!("{} that {} did not take", grouped(lost), report.interface));
    if cut + large > 0 {
        table.row(
            "skipped",
            format!(
                "{cut} whose end was not captured, {large} that do not fit {} or are larger than {LONGEST} bytes",
                report.interface
            ),
        );
    }
    table
}
