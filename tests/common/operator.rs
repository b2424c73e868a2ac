//! What an operator asks of a running switch, and sees of it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::process::Finished;
use super::switch::{Switch, number, socket, write_configuration};
use super::traffic;
use super::wait::{wait_for, wait_until};

/// How long the switch may take to do what it is asked for before a scene gives up.
const PATIENCE: Duration = Duration::from_secs(20);

impl Switch<'_> {
    /// `xswitch WORDS…`, at this switch's control socket.
    pub fn command(&self, words: &str) -> Finished {
        let line = format!("{} {words} --socket {}", self.binary(), socket(self.lab()).display());
        self.lab().switch.run_within(PATIENCE, &line)
    }

    /// The same; it must succeed. What it printed.
    pub fn order(&self, words: &str) -> String {
        let finished = self.command(words);
        assert_eq!(finished.code, 0, "xswitch {words}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    }

    /// Writes another configuration and has it loaded, which must succeed. What was printed.
    pub fn reload(&self, text: &str) -> String {
        write_configuration(self.lab(), text);
        self.order("reload")
    }

    /// The status as the control socket gives it, without a process in between: for scenes that look all the time.
    pub fn look(&self) -> Value {
        wait_for("xswitch tells its status", PATIENCE, || self.ask("/v1/status"))
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = UnixStream::connect(socket(self.lab())).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: xswitch\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        Some(serde_json::from_slice(&answer[body..]).expect("the status is JSON"))
    }

    /// Waits until a client is served: the first packet to each neighbour has to wait for its address.
    pub fn warm_up(&self, vip: impl Into<SocketAddr>) {
        let vip = vip.into();
        wait_until("clients are served", PATIENCE, || {
            traffic::is_served(&self.lab().client, vip, Duration::from_secs(3))
        });
    }

    /// A service, as the status shows it.
    pub fn service(&self, name: &str) -> Value {
        let status = self.look();
        find(&status["services"], "name", name)
            .unwrap_or_else(|| panic!("no service {name} in the status: {status:#}"))
    }

    /// A backend of a service, as the status shows it; none: the service has no such backend.
    pub fn find_backend(&self, service: &str, address: SocketAddr) -> Option<Value> {
        find(&self.service(service)["backends"], "address", &address.to_string())
    }

    /// A backend of a service, as the status shows it.
    pub fn backend(&self, service: &str, address: SocketAddr) -> Value {
        self.find_backend(service, address)
            .unwrap_or_else(|| panic!("{service} has no backend {address}: {:#}", self.service(service)))
    }

    /// `up`, `down`, `drain`, `drained`, `disabled`, `leaving` or `starting`.
    pub fn state(&self, service: &str, address: SocketAddr) -> String {
        self.backend(service, address)["state"].as_str().unwrap_or("no state").to_owned()
    }

    /// What the last check of a backend found.
    pub fn last_check(&self, service: &str, address: SocketAddr) -> String {
        self.backend(service, address)["health"]["last"].as_str().unwrap_or("nothing").to_owned()
    }

    /// Waits until a backend is in this state. How long that took.
    pub fn wait_for_state(
        &self,
        service: &str,
        address: SocketAddr,
        state: &str,
        limit: Duration,
    ) -> Duration {
        let what = format!("{service}: {address} is {state}");
        let took = wait_until(&what, limit, || self.state(service, address) == state);
        // While tables are being made, those who decide know already what the tables do not have yet.
        std::thread::sleep(Duration::from_millis(100));
        self.settle();
        took
    }

    /// Waits until every worker works with the newest tables.
    pub fn settle(&self) {
        wait_until("every worker has the newest tables", PATIENCE, || {
            let status = self.look();
            let workers = status["workers"].as_array().expect("status has workers");
            workers.iter().all(|worker| worker["epoch"] == status["epoch"])
        });
    }

    /// Connections that a backend got so far.
    pub fn connections_new(&self, service: &str, address: SocketAddr) -> u64 {
        number(&self.backend(service, address), "connections_new")
    }

    /// Connections of a backend that neither side has closed.
    pub fn connections_open(&self, service: &str, address: SocketAddr) -> u64 {
        number(&self.backend(service, address), "connections_open")
    }

    /// Bytes of memory that the process has. Of `smaps_rollup`, which counts pages: `VmRSS` is kept by the processor, and
    /// off by some hundred KiB.
    pub fn resident_bytes(&self) -> u64 {
        let pid = number(&self.look(), "pid");
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the switch runs");
        let line = rollup.lines().find(|line| line.starts_with("Rss:")).expect("Linux names Rss");
        let kibibytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
        kibibytes.expect("Rss is a number of kB") * 1024
    }
}

fn find(list: &Value, key: &str, value: &str) -> Option<Value> {
    list.as_array()?.iter().find(|item| item[key] == value).cloned()
}
