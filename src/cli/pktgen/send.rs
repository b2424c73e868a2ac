//! `xswitch pktgen send`.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::common::{
    End, Presence, Table, ended, grouped, per_second, print, rounded, short, watched, wire_rate,
};
use super::values::{self, CLIENT_PORTS, Mac, Order, Protocol};
use crate::pktgen::Error;
use crate::pktgen::generator::{Generator, Meter, Mode, Pace, Sent};
use crate::pktgen::rate::Rate;
use crate::pktgen::sizes::Sizes;
use crate::pktgen::template::{Profile, Template};
use crate::pktgen::tuples::{Range, Tuples};
use crate::sys::interface;
use crate::wire::tcp;

/// The port for which nobody listens (RFC 863), where none is named.
const DISCARD: [u16; 2] = [9, 9];

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Out of which interface.
    #[arg(long, value_name = "IF")]
    pub interface: String,
    /// MAC address of the device under test, or of the next hop to it.
    #[arg(long, value_name = "MAC")]
    pub to: Mac,
    /// MAC address of the sender; default: the interface's.
    #[arg(long, value_name = "MAC")]
    pub from: Option<Mac>,
    /// Where frames come from: 198.19.0.0/24:1024-2047, [2001:db8::/112]:1024-2047.
    #[arg(long, value_name = "PREFIX[:PORT-PORT]")]
    pub source: Range,
    /// Where they go: 198.18.0.100:80, [2001:db8::1]:80-89, 198.18.1.0/24:53.
    #[arg(long, value_name = "ADDRESS[:PORT[-PORT]]")]
    pub destination: Range,
    /// What they are.
    #[arg(long, value_enum, default_value = "udp")]
    pub protocol: Protocol,
    /// TCP's control bits.
    #[arg(long, value_enum, default_value = "ack")]
    pub flags: TcpFlags,
    /// How many flows: the source's address changes first, then its port, then the destination's.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub flows: u32,
    /// Order in which they have their turn.
    #[arg(long, value_enum, default_value = "sequential")]
    pub order: Order,
    /// Bytes of a frame without its check sequence of 4; `imix`; or sizes with weights, 60:7,590:4,1514:1.
    #[arg(long, value_name = "SIZES", default_value = "60")]
    pub size: Sizes,
    /// max, frames per second (100k, 1.5M), or bits per second on the wire (500Mbps).
    #[arg(long, value_name = "RATE", default_value = "max")]
    pub rate: Rate,
    /// Ends after so many frames.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Ends after this time: 10, 500ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// How: live frames (software devices), AF_XDP (adapters), or what suits the interface.
    #[arg(long, value_enum, default_value = "auto")]
    pub mode: WantedMode,
    /// Leave the payload empty: no loss or latency at the sink, and a little faster.
    #[arg(long)]
    pub no_stamp: bool,
    /// Send from this core.
    #[arg(long, value_name = "CORE")]
    pub core: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// TCP's control bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TcpFlags {
    /// As data and acknowledgments of an open connection have.
    Ack,
    /// Opens connections that nobody goes on with.
    Syn,
}

/// How frames get out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WantedMode {
    /// Live for software devices, xsk for adapters.
    Auto,
    /// An XDP program makes and redirects them.
    Live,
    /// AF_XDP.
    Xsk,
}

/// The summary. Its fields stay.
#[derive(Debug, Serialize)]
struct Report<'a> {
    command: &'static str,
    interface: &'a str,
    mode: Mode,
    flows: u32,
    sizes: String,
    rate_wanted: Option<f64>,
    run: Option<u16>,
    seconds: f64,
    #[serde(flatten)]
    sent: Sent,
    frames_per_second: f64,
    bits_per_second: f64,
    interrupted: bool,
}

/// Sends.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let name = &arguments.interface;
    let profile = profile(arguments)?;
    let mode = match arguments.mode {
        WantedMode::Auto => Mode::of(name),
        WantedMode::Live => Mode::Live,
        WantedMode::Xsk => Mode::Xsk,
    };
    let is_stamped = Template::new(&profile).map_err(|error| Error::Input(error.to_string()))?.is_stamped();
    let mut generator = Generator::open(name, mode)?;
    let presence = Presence::of(name);
    let rate = arguments.rate.per_second(profile.sizes.mean());
    let (meter, end) = (Meter::default(), End::after(arguments.duration)?);
    let pace = Pace { rate, limit: arguments.count };
    let core = arguments.core;
    let sent = watched(&meter, &end, || {
        if let Some(core) = core
            && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
        {
            return Err(Error::Input(format!("cannot run on core {core}")));
        }
        generator.send(&profile, pace, &meter)
    })?;
    let report = Report {
        command: "send",
        interface: name,
        mode,
        flows: profile.tuples.flows,
        sizes: profile.sizes.to_string(),
        rate_wanted: rate.map(rounded),
        run: profile.stamp.filter(|_| is_stamped),
        seconds: rounded(sent.took.as_secs_f64()),
        frames_per_second: rounded(per_second(sent.frames, sent.took)),
        bits_per_second: wire_rate(sent.frames, sent.bytes, sent.took).round(),
        sent,
        interrupted: end.was_interrupted(),
    };
    print(&report, arguments.json, &table(&report))?;
    Ok(ended(presence.explain(&report.sent, mode)?))
}

fn profile(arguments: &Arguments) -> Result<Profile, Error> {
    let source = values::with_ports(arguments.source, CLIENT_PORTS);
    let destination = values::with_ports(arguments.destination, DISCARD);
    let tuples =
        Tuples::new(source, destination, arguments.flows).map_err(|error| Error::Input(error.to_string()))?;
    let mac = arguments.from.map(|mac| mac.0).or_else(|| interface::mac(&arguments.interface));
    let stamp = if arguments.no_stamp { None } else { Some(random()?) };
    Ok(Profile {
        to: arguments.to.0,
        // An interface that there is not is reported when it is opened.
        from: mac.unwrap_or_default(),
        tuples,
        protocol: arguments.protocol.into(),
        flags: match arguments.flags {
            TcpFlags::Ack => tcp::Flags::ACK,
            TcpFlags::Syn => tcp::Flags::SYN,
        },
        sizes: arguments.size.clone(),
        order: arguments.order.into(),
        stamp,
    })
}

/// Tells this run from others.
fn random() -> Result<u16, Error> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|error| Error::Failed(format!("no random numbers: {error}")))?;
    Ok(u16::from_ne_bytes(bytes))
}

fn table(report: &Report<'_>) -> Table {
    let mut table = Table::default();
    let Sent { frames, bytes, lost, .. } = report.sent;
    let wanted = report.rate_wanted.map_or("max".to_owned(), |rate| format!("{} frames/s", short(rate)));
    table
        .row(
            "sent",
            format!("{} frames, {} bytes in {:.3} s", grouped(frames), grouped(bytes), report.seconds),
        )
        .row(
            "rate",
            format!(
                "{}frames/s ({}bit/s on the wire), wanted {wanted}",
                spaced(report.frames_per_second),
                spaced(report.bits_per_second)
            ),
        )
        .row("lost", format!("{} that {} did not take", grouped(lost), report.interface))
        .row("run", report.run.map_or("not stamped".to_owned(), |run| run.to_string()))
        .row("flows", format!("{} of {} bytes", grouped(report.flows.into()), report.sizes));
    table
}

/// The unit's letter belongs to the unit.
fn spaced(number: f64) -> String {
    let text = short(number);
    if text.ends_with(|letter: char| letter.is_ascii_digit()) { text + " " } else { text }
}
