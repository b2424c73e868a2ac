//! What is measured: a process, or the kernel, in the namespace between the two ends.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use xswitch::control::client;
use xswitch::control::status::Status;

use super::kernel::Kernel;
use super::lay::configuration;
use super::ledger::{self, Losses};
use super::{Error, Measure};

/// How long a subject may take to start.
const START: Duration = Duration::from_secs(10);
/// The subjects read the kernel's statistics four times a second.
const STATISTICS: Duration = Duration::from_millis(400);

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Receive and send, nothing else.
    Bare,
    /// `xswitch run`, never asleep.
    Switch,
    /// The same, with receiving on its core, too: workers poll the driver.
    Polling,
    /// The same, asleep while there is nothing to do.
    Adaptive,
    /// The kernel's IP forwarding.
    Forwarding,
    /// The kernel's forwarding with destination NAT.
    Nftables,
}

/// A subject that runs. Dropping it ends it.
pub struct Running {
    process: Option<Child>,
    talk: Talk,
}

enum Talk {
    Forwarder(ChildStdin, BufReader<ChildStdout>),
    /// The directory holds the configuration and the socket.
    Switch(TempDir),
    Kernel(Kernel),
}

impl Subject {
    /// Whether it keeps connections.
    pub const fn has_connections(self) -> bool {
        !matches!(self, Self::Bare | Self::Forwarding)
    }

    /// Frames per second at which it makes connections without loss. Where the
    /// kernel takes frames on the same core, there is room for 256 of them.
    pub const fn pace(self) -> f64 {
        match self {
            Self::Polling | Self::Forwarding | Self::Nftables => 50_000.0,
            _ => 150_000.0,
        }
    }

    /// Starts it on its core.
    pub fn start(self, arguments: &Measure) -> Result<Running, Error> {
        match self {
            Self::Bare => {
                start_forwarder(on_its_core(arguments).arg(std::env::current_exe()?).arg("forward"))
            }
            Self::Switch => start_switch(arguments, "idle = \"spin\"\n"),
            Self::Polling => {
                start_switch(arguments, "idle = \"spin\"\nbusy_poll = true\nbusy_poll_device = true\n")
            }
            Self::Adaptive => start_switch(arguments, "idle = \"adaptive\"\n"),
            Self::Forwarding | Self::Nftables => {
                let kernel = Kernel::start(arguments, self == Self::Nftables)?;
                Ok(Running { process: None, talk: Talk::Kernel(kernel) })
            }
        }
    }
}

/// The beginning of a command in the namespace of the device under test.
pub fn on_its_core(arguments: &Measure) -> Command {
    let mut command = Command::new("ip");
    let core = arguments.switch_core.to_string();
    command.args(["netns", "exec", &arguments.namespace, "taskset", "--cpu-list", &core]);
    command
}

fn start_forwarder(command: &mut Command) -> Result<Running, Error> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
    let mut running = Running { process: Some(child), talk: Talk::Forwarder(stdin, BufReader::new(stdout)) };
    // It answers once its program is attached.
    running.losses()?;
    Ok(running)
}

fn start_switch(arguments: &Measure, lines: &str) -> Result<Running, Error> {
    let directory = TempDir::new()?;
    let (config, socket) = (directory.path().join("bench.toml"), directory.path().join("socket"));
    std::fs::write(&config, configuration(&socket.display().to_string(), lines))?;
    let log = std::fs::File::create(directory.path().join("log"))?;
    let child = on_its_core(arguments)
        .arg(&arguments.xswitch)
        .args(["run", "--config"])
        .arg(&config)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let mut running = Running { process: Some(child), talk: Talk::Switch(directory) };
    let deadline = Instant::now() + START;
    loop {
        match running.status() {
            Ok(status) if status.ports.iter().all(|port| !port.xdp_mode.is_empty()) => return Ok(running),
            _ if Instant::now() > deadline || running.has_ended()? => {
                return Err(format!("xswitch did not start:\n{}", running.log()).into());
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

impl Running {
    /// What it counted as lost so far.
    pub fn losses(&mut self) -> Result<Losses, Error> {
        match &mut self.talk {
            Talk::Forwarder(stdin, stdout) => {
                writeln!(stdin)?;
                let mut line = String::new();
                stdout.read_line(&mut line)?;
                Ok(serde_json::from_str(&line)?)
            }
            Talk::Switch(_) => Ok(ledger::of_status(&self.status()?)),
            Talk::Kernel(kernel) => ledger::of_kernel(kernel.namespace()),
        }
    }

    /// As [`Running::losses`], after the kernel's statistics were read once more.
    pub fn losses_at_rest(&mut self) -> Result<Losses, Error> {
        std::thread::sleep(STATISTICS);
        self.losses()
    }

    /// What the switch says of itself.
    pub fn status(&self) -> Result<Status, Error> {
        match &self.talk {
            Talk::Switch(directory) => Ok(client::get(&directory.path().join("socket"), "/v1/status")?),
            _ => Err("only the switch has a status".into()),
        }
    }

    fn has_ended(&mut self) -> Result<bool, Error> {
        Ok(match &mut self.process {
            Some(process) => process.try_wait()?.is_some(),
            None => false,
        })
    }

    fn log(&self) -> String {
        match &self.talk {
            Talk::Switch(directory) => {
                std::fs::read_to_string(directory.path().join("log")).unwrap_or_default()
            }
            _ => String::new(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The kernel takes program and sockets away with the process, whichever way it ends. The switch is asked, because
        // it may have settings of the interfaces to give back.
        let Some(process) = &mut self.process else { return };
        if matches!(self.talk, Talk::Switch(_)) {
            let asked = Pid::from_raw(process.id() as i32).map(|id| kill_process(id, Signal::TERM));
            let deadline = Instant::now() + START;
            while asked.is_some() && Instant::now() < deadline && matches!(process.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = process.kill();
        let _ = process.wait();
    }
}
