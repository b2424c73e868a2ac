//! What is measured: a process in the namespace between the two ends.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xswitch::control::client;
use xswitch::control::status::Status;

use super::ledger::{self, Losses};
use super::scenes::CONFIG;
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
    /// `xswitch run`.
    Switch,
}

/// A subject that runs. Dropping it ends it.
pub struct Running {
    child: Child,
    talk: Talk,
}

enum Talk {
    Forwarder(ChildStdin, BufReader<ChildStdout>),
    /// The directory holds the configuration and the socket.
    Switch(TempDir),
}

impl Subject {
    /// Starts it on its core.
    pub fn start(self, arguments: &Measure) -> Result<Running, Error> {
        let mut command = Command::new("ip");
        let core = arguments.switch_core.to_string();
        command.args(["netns", "exec", &arguments.namespace, "taskset", "--cpu-list", &core]);
        match self {
            Self::Switch => start_switch(command, arguments),
            Self::Bare => start_forwarder(command.arg(std::env::current_exe()?).arg("forward")),
        }
    }
}

fn start_forwarder(command: &mut Command) -> Result<Running, Error> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
    let mut running = Running { child, talk: Talk::Forwarder(stdin, BufReader::new(stdout)) };
    // It answers once its program is attached.
    running.losses()?;
    Ok(running)
}

fn start_switch(mut command: Command, arguments: &Measure) -> Result<Running, Error> {
    let directory = TempDir::new()?;
    let (config, socket) = (directory.path().join("bench.toml"), directory.path().join("socket"));
    std::fs::write(&config, CONFIG.replace("SOCKET", &socket.display().to_string()))?;
    let log = std::fs::File::create(directory.path().join("log"))?;
    let child = command
        .arg(&arguments.xswitch)
        .args(["run", "--config"])
        .arg(&config)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let mut running = Running { child, talk: Talk::Switch(directory) };
    let deadline = Instant::now() + START;
    loop {
        match running.status() {
            Ok(status) if status.ports.iter().all(|port| !port.xdp_mode.is_empty()) => return Ok(running),
            _ if Instant::now() > deadline || running.child.try_wait()?.is_some() => {
                return Err(format!("xswitch did not start:\n{}", running.log()).into());
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

impl Running {
    /// What it counted as lost so far.
    pub fn losses(&mut self) -> Result<Losses, Error> {
        if let Talk::Forwarder(stdin, stdout) = &mut self.talk {
            writeln!(stdin)?;
            let mut line = String::new();
            stdout.read_line(&mut line)?;
            return Ok(serde_json::from_str(&line)?);
        }
        Ok(ledger::of_status(&self.status()?))
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
            Talk::Forwarder(..) => Err("the bare forwarder has no status".into()),
        }
    }

    fn log(&self) -> String {
        match &self.talk {
            Talk::Switch(directory) => {
                std::fs::read_to_string(directory.path().join("log")).unwrap_or_default()
            }
            Talk::Forwarder(..) => String::new(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The kernel takes program and sockets away with the process, whichever way it ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
