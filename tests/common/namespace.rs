//! A network namespace that goes away with its guard, also when a test panics.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use super::process::{self, Background, Finished};

/// First part of the name of every namespace of the tests; the pid of the owner follows.
const PREFIX: &str = "xsw-";

/// A network namespace with its loopback interface up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates `xsw-PID-LABEL`. It routes nothing and has no IPv6, so that no kernel helps or disturbs the switch.
    pub fn new(label: &str) -> Self {
        let name = format!("{PREFIX}{}-{label}", std::process::id());
        process::run(&format!("ip netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace.sysctl("net.ipv4.ip_forward", "0");
        namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
        namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1");
        namespace
    }

    /// Switches IPv6 on, with addresses that are usable at once and nothing learnt from routers. To be called before
    /// there are interfaces.
    pub fn enable_ipv6(&self) {
        for place in ["default", "all"] {
            for (key, value) in [("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0")] {
                self.sysctl(&format!("net.ipv6.conf.{place}.{key}"), value);
            }
        }
        // It was off when the interface came up.
        self.ip("-6 address replace ::1/128 dev lo");
    }

    /// The name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command line inside that must succeed, and returns its output.
    pub fn run(&self, line: &str) -> String {
        process::run(&self.inside(line))
    }

    /// Runs a command line inside for at most `limit`; it may fail.
    pub fn run_within(&self, limit: Duration, line: &str) -> Finished {
        process::run_within(limit, &self.inside(line))
    }

    /// Starts a background process inside.
    pub fn spawn(&self, line: &str, log: &Path) -> Background {
        // `ip netns exec` replaces itself by the command: the child's pid is the command's pid.
        Background::spawn(&self.inside(line), log)
    }

    /// `ip -n NAMESPACE …`
    pub fn ip(&self, line: &str) -> String {
        process::run(&format!("ip -n {} {line}", self.name))
    }

    /// Sets a kernel parameter of this namespace.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = PathBuf::from("/proc/sys").join(key.replace('.', "/"));
        let result = self.enter(|| if path.exists() { std::fs::write(&path, value) } else { Ok(()) });
        result.unwrap_or_else(|error| panic!("cannot set {key}={value}: {error}"));
    }

    /// Runs code on a thread that lives in this namespace. Sockets opened there stay in it, wherever they go, and
    /// threads started there inherit it.
    pub fn enter<T: Send>(&self, code: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace exists");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a namespace");
                code()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn inside(&self, line: &str) -> String {
        format!("ip netns exec {} {line}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// A directory that goes away with its guard, named like the namespaces.
pub fn temporary_directory() -> TempDir {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary directory can be made")
}

/// Removes the namespaces, processes and files that a killed run left behind.
pub fn sweep() {
    let listed = process::run("ip netns list");
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| owner_is_dead(name)) {
        remove(name);
    }
    let entries = std::fs::read_dir(std::env::temp_dir()).expect("the temporary directory can be read");
    for entry in entries.flatten().filter(|entry| owner_is_dead(&entry.file_name().to_string_lossy())) {
        // What cannot be removed disturbs nobody.
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

fn owner_is_dead(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    let pid = owner.and_then(|owner| owner.parse().ok()).and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_err())
}

/// Ends what still runs inside and deletes the namespace. Failures are ignored: this also runs while panicking.
fn remove(name: &str) {
    let limit = Duration::from_secs(10);
    let inside = process::run_within(limit, &format!("ip netns pids {name}"));
    for pid in inside.stdout.lines().filter_map(|line| line.trim().parse().ok()) {
        if pid != std::process::id().cast_signed() {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
    process::run_within(limit, &format!("ip netns delete {name}"));
}
