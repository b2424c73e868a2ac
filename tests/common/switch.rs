//! The xswitch process: its configuration, its status, its end.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::lab::{Lab, Path, Topology, V4};
use super::process::{Background, Finished};
use super::wait::{wait_for, wait_until};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_xswitch");

/// Names, in the environment, the binary that users get: `tools/test --long` builds it.
const RELEASE: &str = "XSWITCH_RELEASE_BINARY";

/// The binary that users get, for scenes that measure it: the one under test checks itself at every turn.
pub fn release_binary() -> String {
    let path = std::env::var(RELEASE).unwrap_or_else(|_| {
        panic!(
            "this scene measures the release binary, and {RELEASE} does not say where it is: run `tools/test --long`, or \
             `cargo build --release --locked --bin xswitch` and set {RELEASE} to the path of target/release/xswitch"
        )
    });
    assert!(
        std::path::Path::new(&path).is_absolute() && std::path::Path::new(&path).is_file(),
        "{RELEASE} is {path:?}, which is not the absolute path of a file"
    );
    path
}

/// Where the switch serves its metrics, inside its namespace.
pub const METRICS: &str = "127.0.0.1:9500";

/// How long the switch may take to start or stop before a scene gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The parts of a configuration that scenes vary.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Interfaces by name.
    pub interfaces: Vec<String>,
    /// Of both services.
    pub scheduler: &'static str,
    /// Of b1, b2, b3.
    pub weights: [usize; 3],
    /// Bound of the connection table.
    pub max_connections: u32,
    /// More lines for `[switch]`.
    pub switch_lines: String,
    /// More lines for every TCP service.
    pub tcp_service_lines: String,
    /// More tables.
    pub tables: String,
}

impl Configuration {
    /// Every interface of the lab, `wrr` with weights 2, 3, 5.
    pub fn of(lab: &Lab) -> Self {
        Self {
            interfaces: lab.setup.interfaces().iter().map(|&name| name.to_owned()).collect(),
            scheduler: "wrr",
            weights: [2, 3, 5],
            max_connections: 65_536,
            switch_lines: String::new(),
            tcp_service_lines: String::new(),
            tables: String::new(),
        }
    }

    /// The table `[switch]`.
    pub fn switch_table(&self, lab: &Lab) -> String {
        format!(
            "[switch]\ninterfaces = {:?}\nmax_connections = {}\ncontrol_socket = \"{}\"\n\
             metrics_listen = \"{METRICS}\"\n{}{}\n",
            self.interfaces,
            self.max_connections,
            socket(lab).display(),
            topology_lines(lab),
            self.switch_lines,
        )
    }

    fn to_toml(&self, lab: &Lab) -> String {
        let mut text = self.switch_table(lab);
        for &path in lab.setup.paths.iter().filter(|_| !lab.setup.forwarding.is_empty()) {
            for (name, protocol, vip) in [
                ("web", "tcp", path.web()),
                ("names", "udp", path.names()),
                ("bulk-tcp", "tcp", path.bulk()),
                ("bulk-udp", "udp", path.bulk()),
            ] {
                let name = if path == V4 { name.to_owned() } else { format!("{name}-{}", path.label()) };
                self.write_service(&mut text, lab, path, (&name, protocol, vip));
            }
        }
        text + &self.tables
    }

    fn write_service(
        &self,
        text: &mut String,
        lab: &Lab,
        path: Path,
        (name, protocol, vip): (&str, &str, SocketAddr),
    ) {
        let (forwarding, scheduler) = (lab.setup.forwarding, self.scheduler);
        let service = format!(
            "\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\n\
             forwarding = \"{forwarding}\"\nscheduler = \"{scheduler}\"\n{}",
            if protocol == "tcp" { self.tcp_service_lines.as_str() } else { "" }
        );
        text.push_str(&service);
        for (backend, weight) in (1..).zip(self.weights) {
            let address = lab.setup.backend_address_of(backend, path.backend);
            let address = SocketAddr::new(address, lab.setup.backend_port(vip.port()));
            write!(text, "[[service.backend]]\naddress = \"{address}\"\nweight = {weight}\n")
                .expect("a String takes every write");
        }
    }
}

/// The lines of `[switch]` that a topology demands.
fn topology_lines(lab: &Lab) -> String {
    let setup = &lab.setup;
    match setup.topology {
        Topology::Bridge => "topology = \"bridge\"\n".to_owned(),
        Topology::Home => String::new(),
        _ if setup.is_direct() => String::new(),
        _ => {
            let addresses: Vec<_> =
                setup.families().iter().map(|&family| setup.snat_address_of(family).to_string()).collect();
            format!("snat_addresses = {addresses:?}\n")
        }
    }
}

/// Where the switch of a lab is asked for its status.
pub fn socket(lab: &Lab) -> PathBuf {
    lab.directory().join("xswitch.sock")
}

/// Writes the configuration file of a lab's switch.
pub fn write_configuration(lab: &Lab, text: &str) -> PathBuf {
    let path = lab.directory().join("xswitch.toml");
    std::fs::write(&path, text).expect("a file can be written");
    path
}

/// Runs `xswitch run` with a configuration that it should refuse.
pub fn refused(lab: &Lab, text: &str) -> Finished {
    let path = write_configuration(lab, text);
    lab.switch.run_within(PATIENCE, &format!("{BINARY} run --config {}", path.display()))
}

/// The text of a configuration, for scenes that spoil it.
pub fn configuration_text(lab: &Lab, configuration: &Configuration) -> String {
    configuration.to_toml(lab)
}

/// A running switch. Its log is printed when a scene fails.
#[derive(Debug)]
pub struct Switch<'lab> {
    lab: &'lab Lab,
    binary: String,
    process: Background,
}

impl<'lab> Switch<'lab> {
    /// Processor time of all its threads so far.
    pub fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.process.id());
        let text = std::fs::read_to_string(&path).expect("the switch runs");
        // proc_pid_stat(5): what follows the name in parentheses begins with the third field; times are in ticks,
        // of which a second has 100 for user space.
        let rest = text.rsplit_once(')').expect("the name is in parentheses").1;
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Memory that it has in use, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(&path).expect("the switch runs");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Starts the switch with `wrr` 2, 3, 5 and waits until it serves.
    pub fn start(lab: &'lab Lab) -> Self {
        Self::start_with(lab, &Configuration::of(lab))
    }

    /// Starts the switch and waits until every queue of every interface is attached.
    pub fn start_with(lab: &'lab Lab, configuration: &Configuration) -> Self {
        Self::start_text(lab, &configuration.to_toml(lab))
    }

    /// The same with the text of a configuration.
    pub fn start_text(lab: &'lab Lab, text: &str) -> Self {
        let mut switch = Self::launch_text(lab, text);
        switch.wait_until_attached();
        switch
    }

    /// Waits until every queue of every interface is attached.
    pub fn wait_until_attached(&mut self) {
        wait_until("every queue of the switch is attached", PATIENCE, || self.is_attached());
    }

    /// Starts the switch and does not wait.
    pub fn launch(lab: &'lab Lab, configuration: &Configuration) -> Self {
        Self::launch_text(lab, &configuration.to_toml(lab))
    }

    /// The same with the text of a configuration.
    pub fn launch_text(lab: &'lab Lab, text: &str) -> Self {
        Self::launch_binary(lab, BINARY, text)
    }

    /// The same of another binary, which also gives the orders.
    pub fn launch_binary(lab: &'lab Lab, binary: &str, text: &str) -> Self {
        // Strict: where the switch needs a system call that its sandbox does not have, the scene fails.
        let mut switch = Self::launch_line(lab, &format!("{binary} run --sandbox strict"), text);
        binary.clone_into(&mut switch.binary);
        switch
    }

    /// The same by a command line of one's own, to which `--config FILE` is added, with a configuration file that is written
    /// unless it says the same already.
    pub fn launch_line(lab: &'lab Lab, line: &str, text: &str) -> Self {
        let path = lab.directory().join("xswitch.toml");
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
            write_configuration(lab, text);
        }
        let line = format!("{line} --config {}", path.display());
        let process = lab.switch.spawn(&line, &lab.directory().join("xswitch.log"));
        Self { lab, binary: BINARY.to_owned(), process }
    }

    fn is_attached(&mut self) -> bool {
        assert!(self.process.is_running(), "xswitch ended at start: {}", self.process.log());
        let Some(status) = self.try_status() else { return false };
        let ports = status["ports"].as_array().cloned().unwrap_or_default();
        let expected = self.lab.setup.interfaces().len() * usize::from(self.lab.setup.queues);
        ports.len() == expected && ports.iter().all(|port| port["link"] == "up" && port["xdp_mode"] != "")
    }

    /// `xswitch status --json`, if the switch answers.
    pub fn try_status(&self) -> Option<Value> {
        let line = format!("{} status --json --socket {}", self.binary, socket(self.lab).display());
        let finished = self.lab.switch.run_within(PATIENCE, &line);
        (finished.code == 0).then(|| serde_json::from_str(&finished.stdout).expect("status prints JSON"))
    }

    /// `xswitch status --json`.
    pub fn status(&self) -> Value {
        wait_for("xswitch tells its status", PATIENCE, || self.try_status())
    }

    /// The program that runs.
    pub fn binary(&self) -> &str {
        &self.binary
    }

    /// The network that it serves.
    pub fn lab(&self) -> &'lab Lab {
        self.lab
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The state of an interface's link as the switch sees it: `up`, `down` or `gone`.
    pub fn link(&self, interface: &str) -> String {
        let status = self.status();
        let ports = status["ports"].as_array().expect("status has ports");
        let port =
            ports.iter().find(|port| port["interface"] == interface).expect("status names the interface");
        port["link"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the equation holds exactly at every worker:
    /// `received + created = forwarded + replied + to_kernel + Σ dropped + held`.
    pub fn assert_counters_add_up(&self) {
        let holds = patiently(|| counters_add_up(&self.status()));
        assert!(holds, "the counters do not add up: {:#}", self.status());
    }

    /// Drops of one reason so far.
    pub fn dropped(&self, reason: &str) -> u64 {
        number(&self.status()["dropped"], reason)
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for the end and returns the exit code.
    pub fn wait_for_end(&mut self) -> i32 {
        self.process.wait_for_end(PATIENCE)
    }

    /// Whether the process lives.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Ends a scene: the counters add up and SIGTERM ends the switch with 0.
    pub fn finish(mut self) {
        self.assert_counters_add_up();
        self.signal(Signal::TERM);
        assert_eq!(self.wait_for_end(), 0, "xswitch did not stop cleanly: {}", self.process.log());
    }
}

impl Drop for Switch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = format!("{:#}", self.try_status().unwrap_or_default());
            eprintln!(
                "status of xswitch: {}\nlog of xswitch:\n{}",
                begin(&status),
                begin(&self.process.log())
            );
        }
    }
}

/// As much of a text as somebody may want to read.
fn begin(text: &str) -> String {
    const MOST: usize = 50_000;
    let begin: String = text.chars().take(MOST).collect();
    if begin.len() < text.len() { begin + "\n… and more" } else { begin }
}

/// A whole number of a JSON object; absent keys are a defect of the status.
pub fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("status lacks the number `{key}`: {object:#}"))
}

fn patiently(mut condition: impl FnMut() -> bool) -> bool {
    (0..20).any(|_| {
        let holds = condition();
        if !holds {
            // Frames in flight: a worker in the middle of a turn has counted only one side.
            std::thread::sleep(Duration::from_millis(100));
        }
        holds
    })
}

fn counters_add_up(status: &Value) -> bool {
    let workers = status["workers"].as_array().expect("status has workers");
    let holds = workers.iter().all(|worker| {
        let sum = |keys: &[&str]| keys.iter().map(|key| number(worker, key)).sum::<u64>();
        sum(&["received", "created"]) == sum(&["forwarded", "replied", "to_kernel", "dropped_total", "held"])
    });
    let by_reason = status["dropped"].as_object().expect("status has drops by reason");
    let by_reason: u64 = by_reason.values().filter_map(Value::as_u64).sum();
    holds && by_reason == workers.iter().map(|worker| number(worker, "dropped_total")).sum::<u64>()
}
