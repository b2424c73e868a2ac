//! Commands with a time limit, and background processes that end with their guard.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::wait_for;

/// The end of a command that ran.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; 124 when the time limit ended it, 128 + signal when a signal did.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command line (split at white space, no quoting) for at most `limit`.
pub fn run_within(limit: Duration, line: &str) -> Finished {
    let seconds = format!("{}", limit.as_secs_f64());
    let output = Command::new("timeout")
        .args(["--kill-after=1", &seconds])
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start `timeout {line}`: {error}"));
    Finished {
        code: exit_code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command line that must succeed within 20 seconds and returns its output.
pub fn run(line: &str) -> String {
    let finished = run_within(Duration::from_secs(20), line);
    assert!(finished.code == 0, "`{line}` ended with {}: {}", finished.code, finished.stderr);
    finished.stdout
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A process that runs beside the test and is killed, by its own pid, when this goes out of scope.
#[derive(Debug)]
pub struct Background {
    child: Child,
    log: PathBuf,
    ended: Option<i32>,
}

impl Background {
    /// Starts a command line; both outputs go to the file `log`.
    pub fn spawn(line: &str, log: &Path) -> Self {
        let file = File::create(log).expect("the log file can be created");
        let mut words = line.split_whitespace();
        let child = Command::new(words.next().expect("a command line is not empty"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file handle can be cloned"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{line}`: {error}"));
        Self { child, log: log.to_owned(), ended: None }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Sends a signal to it, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.expect("a pid is positive"), signal).expect("a child can be signalled");
        }
    }

    /// Waits until it has ended by itself and returns its exit code.
    pub fn wait_for_end(&mut self, limit: Duration) -> i32 {
        wait_for("the process has ended", limit, || self.poll())
    }

    fn poll(&mut self) -> Option<i32> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for").map(exit_code);
        }
        self.ended
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Killing or reaping fails only for a child that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
