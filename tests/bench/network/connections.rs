//! New connections: how many a second the switch alone could open and close, and how many clients and a server get through it
//! and through a proxy.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use xswitch::tables::Protocol;
use xswitch::wire::tcp::Flags;

use super::ends::{Ends, Plan, median};
use super::kernel::Kernel;
use super::lay::{BACKEND, Mode, Traffic, VIP};
use super::subject::{Subject, on_its_core};
use super::throughput::{Stage, pass};
use super::{END_DEVICES, Error, Measure};

/// Connections per round of [`phases`].
const TRAFFIC: Traffic = Traffic { mode: Mode::Nat, protocol: Protocol::Tcp, flows: 1_000_000 };
/// Frames per second that are offered: more than goes through, but not so much that a step is over at once.
const OFFERED: f64 = 2_500_000.0;
/// Frames of one connection, in their order: flags, and whether the backend sends it.
const CONVERSATION: [(&str, Flags, bool); 8] = [
    ("SYN", Flags::SYN, false),
    ("SYN-ACK", Flags::SYN.with(Flags::ACK), true),
    ("ACK", Flags::ACK, false),
    ("request", Flags::ACK, false),
    ("reply", Flags::ACK, true),
    ("FIN", Flags::FIN.with(Flags::ACK), false),
    ("FIN of the server", Flags::FIN.with(Flags::ACK), true),
    ("last ACK", Flags::ACK, false),
];
/// How long clients connect, in seconds.
const SECONDS: u32 = 4;
/// Connections at a time.
const CONCURRENT: u32 = 256;

/// What the switch does for one step of every connection, per second.
pub struct Phases {
    /// By step and round.
    rates: [Vec<f64>; CONVERSATION.len()],
    /// Connections per second that these rates make, by round.
    connections: Vec<f64>,
    /// Frames of those, to those that the established connections of the same round make.
    ratios: Vec<f64>,
}

/// Opens, uses and closes connections, one step of all of them after the other, each as fast as the switch can. Whatever a
/// step lost is made up for slowly before the next.
pub fn phases(arguments: &Measure, ends: &mut Ends) -> Result<Phases, Error> {
    let mut phases = Phases { rates: Default::default(), connections: Vec::new(), ratios: Vec::new() };
    for round in 0..arguments.rounds.min(3) {
        eprintln!("new connections: round {}", round + 1);
        let mut stage = Stage::default();
        stage.set(Subject::Switch, arguments)?;
        let mut took = 0.0;
        let mut established = 0.0;
        for ((name, flags, replies), rates) in CONVERSATION.into_iter().zip(&mut phases.rates) {
            let plan = if replies { TRAFFIC.reply(flags)? } else { TRAFFIC.request(flags)? };
            let plan = Plan { rate: Some(OFFERED), ..plan };
            let rate = ends.run(&plan, TRAFFIC.flows)?.rate;
            if rate <= 0.0 {
                return Err(format!("{name}: nothing arrived").into());
            }
            pass(ends, &plan, Subject::Switch.pace()).map_err(|error| format!("{name}: {error}"))?;
            rates.push(rate);
            took += 1.0 / rate;
            if name == "request" {
                established = ends.run(&plan, TRAFFIC.flows)?.rate;
            }
        }
        phases.connections.push(1.0 / took);
        phases.ratios.push(CONVERSATION.len() as f64 / took / established);
    }
    Ok(phases)
}

impl Phases {
    /// Prints the table.
    pub fn table(&self) {
        println!("\n{:<56} {:>6}", "New connections, step by step", "Mpps");
        for ((name, ..), rates) in CONVERSATION.into_iter().zip(&self.rates) {
            println!("{name:<56} {:>6.2}", median(&mut rates.clone()) / 1e6);
        }
        let [connections, ratio] = self.medians();
        println!(
            "{:<56} {:>6.0} k/s, {ratio:.2} of the frames of established ones",
            "connections",
            connections / 1e3
        );
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let steps: Vec<Value> = CONVERSATION
            .into_iter()
            .zip(&self.rates)
            .map(|((name, ..), rates)| json!({ "step": name, "frames_per_second": median(&mut rates.clone()) }))
            .collect();
        let [connections, ratio] = self.medians();
        json!({ "steps": steps, "connections_per_second": connections, "ratio_to_established": ratio })
    }

    fn medians(&self) -> [f64; 2] {
        [&self.connections, &self.ratios].map(|values| median(&mut values.clone()))
    }
}

/// Who stands between clients and server.
#[derive(Debug, Clone, Copy)]
enum Between {
    Switch,
    Haproxy,
}

/// Connections per second through one of them.
pub struct Connected {
    name: &'static str,
    rates: Vec<f64>,
    failed: u64,
}

/// Clients connect through the switch, and through HAProxy in TCP mode, in turns. The ends must have no programs attached.
pub fn through(arguments: &Measure) -> Result<Vec<Connected>, Error> {
    let mut connected = [("nat", Between::Switch), ("HAProxy, mode tcp", Between::Haproxy)]
        .map(|(name, between)| (between, Connected { name, rates: Vec::new(), failed: 0 }));
    for round in 0..arguments.rounds {
        eprintln!("connections: round {} of {}", round + 1, arguments.rounds);
        for (between, connected) in &mut connected {
            let [rate, failed] = connect(*between, arguments)?;
            connected.rates.push(rate);
            connected.failed += failed as u64;
        }
    }
    Ok(connected.into_iter().map(|(_, connected)| connected).collect())
}

/// A process that ends with us.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connections per second, and how many failed.
fn connect(between: Between, arguments: &Measure) -> Result<[f64; 2], Error> {
    let mut stage = Stage::default();
    let _proxy;
    match between {
        Between::Switch => {
            stage.set(Subject::Switch, arguments)?;
        }
        Between::Haproxy => _proxy = Haproxy::start(arguments)?,
    }
    let pktgen = |words: &str| {
        let mut command = Command::new(&arguments.xswitch);
        command.arg("pktgen").args(words.split(' ')).arg("--json").stderr(Stdio::null());
        command
    };
    let [clients, server] = END_DEVICES;
    let serve = pktgen(&format!("serve --interface {server} --address {BACKEND}:8080"))
        .stdout(Stdio::null())
        .spawn()?;
    let _serve = Beside(serve);
    // Until its program is attached, SYNs would be lost.
    std::thread::sleep(Duration::from_millis(500));
    let line = format!(
        "connect --interface {clients} --to 02:00:00:00:00:01 --source 198.19.0.0/24 --destination {VIP}:80 \
         --concurrent {CONCURRENT} --duration {SECONDS}"
    );
    let output = pktgen(&line).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("pktgen connect: {error}: {}", String::from_utf8_lossy(&output.stdout)))?;
    let number = |key: &str| report[key].as_f64().ok_or_else(|| format!("pktgen connect says no `{key}`"));
    Ok([number("connections_per_second")?, number("failed")?])
}

/// HAProxy, one thread, on the core of the device under test.
struct Haproxy {
    _process: Beside,
    _directory: TempDir,
    _kernel: Kernel,
}

impl Haproxy {
    fn start(arguments: &Measure) -> Result<Self, Error> {
        let kernel = Kernel::host(arguments)?;
        let directory = TempDir::new()?;
        let path = directory.path().join("haproxy.cfg");
        std::fs::write(
            &path,
            format!(
                "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  \
                 timeout server 30s\nlisten bench\n  bind {VIP}:80\n  server one {BACKEND}:8080\n"
            ),
        )?;
        kernel.own_vip()?;
        let process = on_its_core(arguments)
            .args(["haproxy", "-db", "-f"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut process = Beside(process);
        std::thread::sleep(Duration::from_millis(500));
        if process.0.try_wait()?.is_some() {
            return Err(
                "HAProxy does not start: `haproxy -db -f` with the file in connections.rs says why".into()
            );
        }
        Ok(Self { _process: process, _directory: directory, _kernel: kernel })
    }
}

/// Prints the table.
pub fn table(connected: &[Connected]) {
    println!("\n{:<56} {:>9} {:>7}", "Clients and server", "conn/s", "failed");
    for one in connected {
        println!("{:<56} {:>9.0} {:>7}", one.name, median(&mut one.rates.clone()), one.failed);
    }
}

/// The same as JSON.
pub fn json(connected: &[Connected]) -> Value {
    let value = |one: &Connected| {
        let rate = median(&mut one.rates.clone());
        json!({ "scene": one.name, "connections_per_second": rate, "failed": one.failed })
    };
    connected.iter().map(value).collect()
}
