//! What the commands share.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::FAILED;
use crate::pktgen::Error;
use crate::pktgen::generator::{Meter, Mode, Sent};
use crate::pktgen::histogram::Latency;
use crate::pktgen::sizes::ON_THE_WIRE;
use crate::sys::interface;

/// How often something is looked at.
pub const LOOK: Duration = Duration::from_millis(10);

/// A flag that SIGINT and SIGTERM raise. The second of them ends the process.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let failed = |error: std::io::Error| Error::Failed(format!("cannot wait for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
    };
    let raised = Arc::clone(&stop);
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            next().await;
            raised.store(true, Ordering::Relaxed);
            // Whoever asks twice does not want to wait for what is still open, nor for a summary. The kernel tidies up.
            next().await;
            std::process::exit(i32::from(FAILED));
        });
    });
    Ok(stop)
}

/// Says something on standard error, where somebody may listen or not.
pub fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "xswitch pktgen {text}");
}

/// Whether an interface is still the one that it was.
pub struct Presence {
    name: String,
    index: Option<u32>,
}

impl Presence {
    /// The interface as it is now.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), index: interface::index(name) }
    }

    /// An error where it is gone, or another one has its name.
    pub fn check(&self) -> Result<(), Error> {
        match interface::index(&self.name) == self.index {
            true => Ok(()),
            false => Err(Error::Failed(format!("{} is gone", self.name))),
        }
    }

    /// Says why next to nothing of what was `sent` left the interface, should it be so.
    pub fn explain(&self, sent: &Sent, mode: Mode) -> Result<bool, Error> {
        self.check()?;
        // The kernel says a word of its own now and then.
        let has_left = sent.interface_sent.saturating_mul(100) >= sent.frames;
        if !has_left && sent.lost >= sent.frames {
            say(format_args!(
                "{}: it took no frame: is what is at its other end up? `ip link` says so by NO-CARRIER",
                self.name
            ));
        } else if !has_left && mode == Mode::Live {
            say(format_args!(
                "{}: no frame left, it takes no redirected frames: of a veth pair the other end needs an XDP program or GRO \
                 (`ethtool -K PEER gro on`); --mode xsk works without",
                self.name
            ));
        }
        Ok(has_left)
    }
}

/// When a run is over: signals, or its time.
pub struct End {
    stop: Arc<AtomicBool>,
    started: Instant,
    duration: Option<Duration>,
}

impl End {
    /// From now on.
    pub fn after(duration: Option<Duration>) -> Result<Self, Error> {
        Ok(Self { stop: stop_on_signals()?, started: Instant::now(), duration })
    }

    /// Whether it is over.
    pub fn has_come(&self) -> bool {
        self.was_interrupted() || self.duration.is_some_and(|duration| self.started.elapsed() >= duration)
    }

    /// Whether a signal ended it.
    pub fn was_interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Since when.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A line on the terminal that is written anew every second. Where standard error is no terminal there is none.
pub struct Progress {
    is_shown: bool,
    started: Instant,
    last: Instant,
    before: u64,
}

impl Progress {
    /// From now on.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { is_shown: std::io::stderr().is_terminal(), started: now, last: now, before: 0 }
    }

    /// Shows how many `things` there are and how many came in the last second; `rest` says more.
    pub fn show(&mut self, things: u64, unit: &str, rest: impl FnOnce() -> String) {
        let since = self.last.elapsed();
        if !self.is_shown || since < Duration::from_secs(1) {
            return;
        }
        let rate = things.saturating_sub(self.before) as f64 / since.as_secs_f64();
        (self.before, self.last) = (things, Instant::now());
        let seconds = self.started.elapsed().as_secs();
        let _ = write!(
            std::io::stderr(),
            "\r{seconds:>5} s  {} {unit}/s  {} {unit}  {}\x1b[K",
            short(rate),
            grouped(things),
            rest()
        );
        let _ = std::io::stderr().flush();
    }

    /// Leaves the line.
    pub fn end(&self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Runs `send` on a thread of its own, shows how far it is, and stops it when the end has come.
pub fn watched(
    meter: &Meter,
    end: &End,
    send: impl FnOnce() -> Result<Sent, Error> + Send,
) -> Result<Sent, Error> {
    std::thread::scope(|scope| {
        let sender = scope.spawn(send);
        let mut progress = Progress::new();
        while !sender.is_finished() {
            if end.has_come() {
                meter.stop();
            }
            progress.show(meter.sent(), "frames", String::new);
            std::thread::sleep(LOOK);
        }
        progress.end();
        sender.join().unwrap_or_else(|_| Err(Error::Failed("the sender failed".into())))
    })
}

/// 1.50 M, 250.0 k, 12.0.
pub fn short(number: f64) -> String {
    match number {
        number if number >= 1e9 => format!("{:.2} G", number / 1e9),
        number if number >= 1e6 => format!("{:.2} M", number / 1e6),
        number if number >= 1e3 => format!("{:.1} k", number / 1e3),
        number => format!("{number:.1}"),
    }
}

/// 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in a unit that suits it.
pub fn time(ns: u64) -> String {
    match ns {
        ns if ns >= 10_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        ns if ns >= 10_000 => format!("{:.1} µs", ns as f64 / 1e3),
        ns => format!("{ns} ns"),
    }
}

/// Bits per second on the wire.
pub fn wire_rate(frames: u64, bytes: u64, took: Duration) -> f64 {
    per_second(bytes + frames * ON_THE_WIRE, took) * 8.0
}

/// Per second; 0 where no time went by.
pub fn per_second(count: u64, took: Duration) -> f64 {
    if took.is_zero() { 0.0 } else { count as f64 / took.as_secs_f64() }
}

/// Rows of a name and a value.
#[derive(Default)]
pub struct Table(Vec<(String, String)>);

impl Table {
    /// Adds a row.
    pub fn row(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a row for times.
    pub fn latency(&mut self, name: &str, latency: Option<Latency>) -> &mut Self {
        let Some(Latency { p50_ns, p90_ns, p99_ns, p999_ns, max_ns, mean_ns, .. }) = latency else {
            return self;
        };
        let [p50, p90, p99, p999, max, mean] = [p50_ns, p90_ns, p99_ns, p999_ns, max_ns, mean_ns].map(time);
        self.row(name, format!("p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}  mean {mean}"))
    }

    /// As text.
    fn text(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        self.0.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
    }
}

/// Prints the summary, as JSON or as a table.
pub fn print(report: &impl Serialize, as_json: bool, table: &Table) -> Result<(), Error> {
    let text = if as_json {
        serde_json::to_string(report).map_err(|error| Error::Failed(error.to_string()))? + "\n"
    } else {
        table.text()
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no failure of ours.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Failed(error.to_string())),
        _ => Ok(()),
    }
}

/// Exit code of a run whose summary was printed.
pub fn ended(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Rounded to thousandths, for JSON.
pub fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([short(12.0), short(250_000.0), short(1_500_000.0)], ["12.0", "250.0 k", "1.50 M"]);
        assert_eq!(
            [grouped(0), grouped(999), grouped(1000), grouped(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([time(900), time(25_000), time(12_345_678)], ["900 ns", "25.0 µs", "12.3 ms"]);
    }

    #[test]
    fn a_table_has_two_columns() {
        let mut table = Table::default();
        table.row("a", "1").row("longer", "2").latency("none", None);
        assert_eq!(table.text(), "a       1\nlonger  2\n");
    }

    #[test]
    fn line_rate_counts_what_is_around_frames() {
        assert!((wire_rate(14_880_952, 14_880_952 * 60, Duration::from_secs(1)) - 1e10).abs() < 1e3);
        assert_eq!(per_second(5, Duration::ZERO), 0.0);
    }
}
