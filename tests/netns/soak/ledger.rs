//! Where every frame went, by what the client's kernel, the XDP program, the rings and the workers counted.
//!
//! ```text
//!  client's cable ──▶ XDP program ──┬──▶ kernel, or no socket
//!      tx                           └──▶ socket ──┬──▶ lost at a ring (the kernel's own counts)
//!                                                 └──▶ rx ring ──▶ received + created = forwarded + replied
//!                                                                     + to_kernel + Σ dropped + held
//!                                                        tx ring ◀── forwarded + replied
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::lab::Lab;
use crate::common::switch::{Switch, number};
use crate::common::wait::wait_until;

/// Outer bound until the last frames have arrived and every worker has counted what its kernel lost.
const LIMIT: Duration = Duration::from_secs(60);
/// Reasons for which nothing here may be dropped: nobody sends such frames, there is room, and nobody is denied or limited so.
const NEVER: &[&str] = &[
    "malformed",
    "ip_checksum",
    "l4_checksum",
    "checksum_offload",
    "icmp_checksum",
    "ttl_expired",
    "snat_filtered",
    "no_tunnel_source",
    "no_headroom",
    "backend_gone",
    "backend_down",
    "tcp_flags",
    "bad_source",
    "client_full",
    "policed",
    "backend_full",
    "bucket_full",
    "tuple_conflict",
    "snat_ports_exhausted",
    "no_snat_address",
    "too_big",
    "neighbor_heard",
];
/// Reasons that need a broken link.
const BROKEN: &[&str] = &["no_egress", "no_route"];

/// The counters at a quiet moment.
#[derive(Debug, Clone)]
pub struct Ledger {
    status: Value,
    /// What the client's kernel put into the cable.
    sent: u64,
    /// What it did not, as the switch's end was full or down.
    refused: u64,
}

/// The last quiet moment, with the same cable at the client.
#[derive(Debug, Clone, Copy)]
pub struct Since<'a> {
    /// The counters of then.
    pub ledger: &'a Ledger,
    /// How often the switch's end of the cable was set down since. The kernel throws away what lies in the cable then, and counts that nowhere
    /// (`veth_napi_del_range` in drivers/net/veth.c).
    pub cuts: u32,
}

impl Since<'_> {
    /// What may lie in the cable: `VETH_RING_SIZE` frames for each of two queues.
    const IN_CABLE: u64 = 2 * 256;

    /// How many frames may have been lost like that.
    fn may_be_lost(&self) -> u64 {
        u64::from(self.cuts) * Self::IN_CABLE
    }
}

impl Ledger {
    /// Reads all of them.
    pub fn read(lab: &Lab, switch: &Switch<'_>) -> Self {
        let links = lab.client.ip("-json -statistics link show dev eth0");
        let links: Value = serde_json::from_str(&links).expect("ip prints JSON");
        let transmitted = &links[0]["stats64"]["tx"];
        let (sent, refused) = (number(transmitted, "packets"), number(transmitted, "dropped"));
        Self { status: switch.look(), sent, refused }
    }

    /// Waits until every sum holds, all of them at one moment, and returns the counters of then. `before` is the last such moment, if
    /// the client's cable is the same.
    pub fn balance(lab: &Lab, switch: &Switch<'_>, before: Option<Since<'_>>) -> Self {
        let patience = Instant::now() + LIMIT;
        let mut last = Self::read(lab, switch);
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = Self::read(lab, switch);
            let mut wrong = now.differences(before);
            if now.cable() != last.cable() {
                // Whoever reads one end of a cable after the other while a frame passes would miss it, or count it in the next sum.
                wrong.push("frames still pass through the client's cable".to_owned());
            }
            if wrong.is_empty() {
                return now;
            }
            assert!(Instant::now() < patience, "the sums do not hold: {wrong:#?}\n{before:#?}\n{now:#?}");
            last = now;
        }
    }

    /// What passed through the client's cable, by what each of its ends counts.
    fn cable(&self) -> [u64; 2] {
        [self.sent, self.seen("eth0")]
    }

    /// Every sum that does not hold, with both sides.
    fn differences(&self, before: Option<Since<'_>>) -> Vec<String> {
        let mut sums: Vec<_> = workers(&self.status).iter().flat_map(sums_of_worker).collect();
        let mut wrong = vec![];
        for interface in ["eth0", "eth1"] {
            let lost = self.ring(interface, &["rx_ring_full", "rx_dropped", "rx_jumbo_lost"]);
            let come = self.ring(interface, &["rx_frames"]) + lost;
            sums.push(("steered to sockets and come to rings", self.steered(interface, "to_socket"), come));
            let ended = self.ring(interface, &["tx_completed", "tx_in_flight"]);
            let unsent = self.ring(interface, &["tx_frames"]).saturating_sub(ended);
            if unsent > self.ring(interface, &["tx_lost"]) {
                wrong.push(format!("{interface}: {unsent} frames were not sent, and not counted as lost"));
            }
        }
        if let Some(before) = before {
            let (sent, seen) =
                (self.sent - before.ledger.sent, self.seen("eth0") - before.ledger.seen("eth0"));
            if seen > sent || sent - seen > before.may_be_lost() {
                wrong.push(format!("sent by the client and seen by the switch: {sent} and {seen}"));
            }
        }
        let unequal = sums.into_iter().filter(|(_, one, other)| one != other);
        wrong.extend(unequal.map(|(what, one, other)| format!("{what}: {one} and {other}")));
        wrong
    }

    /// Frames that the XDP program saw.
    pub fn seen(&self, interface: &str) -> u64 {
        ["to_kernel", "to_socket", "to_peer", "no_socket"]
            .iter()
            .map(|way| self.steered(interface, way))
            .sum()
    }

    fn steered(&self, interface: &str, way: &str) -> u64 {
        let rows = self.status["steered"].as_array().expect("status says where frames were steered");
        rows.iter().find(|row| row["interface"] == interface).map_or(0, |row| number(row, way))
    }

    /// A sum over all workers' rings of an interface.
    fn ring(&self, interface: &str, keys: &[&str]) -> u64 {
        let ports = workers(&self.status).iter().flat_map(|worker| worker["ports"].as_array());
        let ports = ports.flatten().filter(|port| port["interface"] == interface);
        ports.flat_map(|port| keys.iter().map(|key| number(port, key))).sum()
    }

    /// Frames dropped for a reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        number(&self.status["dropped"], reason)
    }

    /// Panics if a frame was dropped for a reason that there was not. `broken`: whether a link was down since `before`.
    pub fn assert_reasons(&self, before: &Self, broken: bool) {
        for reason in NEVER {
            assert_eq!(self.dropped(reason), 0, "{reason}: {:#}", self.status["dropped"]);
        }
        for reason in BROKEN.iter().filter(|_| !broken) {
            assert_eq!(self.dropped(reason), before.dropped(reason), "{reason}, though all links were up");
        }
    }

    /// What went where in all, for a person.
    pub fn summary(&self) -> String {
        let dropped = self.status["dropped"].as_object().expect("status has drops by reason");
        let dropped: BTreeMap<_, _> = dropped.iter().filter(|(_, count)| **count != 0).collect();
        let lost: BTreeMap<_, _> = ["rx_ring_full", "rx_fill_empty", "rx_dropped", "tx_lost"]
            .iter()
            .map(|key| (*key, ["eth0", "eth1"].map(|interface| self.ring(interface, &[key]))))
            .collect();
        let no_socket = ["eth0", "eth1"].map(|interface| self.steered(interface, "no_socket"));
        let totals = &self.status["totals"];
        format!(
            "totals {totals}; dropped {dropped:?}; lost at rings {lost:?}; without a socket {no_socket:?}; refused by the \
             client's cable {}",
            self.refused
        )
    }
}

/// What must be equal within a worker.
fn sums_of_worker(worker: &Value) -> [(&'static str, u64, u64); 3] {
    let sum = |keys: &[&str]| keys.iter().map(|key| number(worker, key)).sum::<u64>();
    let ports = worker["ports"].as_array().expect("a worker has ports");
    let rings = |key: &str| ports.iter().map(|port| number(port, key)).sum::<u64>();
    let ends = sum(&["forwarded", "replied", "to_kernel", "dropped_total", "held"]);
    [
        ("received + created and what became of that", sum(&["received", "created"]), ends),
        ("received and taken from rings", sum(&["received"]), rings("rx_frames")),
        ("forwarded + replied and put into rings", sum(&["forwarded", "replied"]), rings("tx_frames")),
    ]
}

fn workers(status: &Value) -> &Vec<Value> {
    status["workers"].as_array().expect("status has workers")
}

/// What the process holds open.
#[derive(Debug, Clone, Copy)]
pub struct Holdings {
    files: usize,
    threads: usize,
}

impl Holdings {
    /// Looks.
    pub fn of(switch: &Switch<'_>) -> Self {
        let pid = number(&switch.look(), "pid");
        let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).expect("it runs").count();
        Self { files: count("fd"), threads: count("task") }
    }

    /// Waits until it holds no more: what is being checked or answered ends, threads that have nothing to do end after a while.
    pub fn wait_until_no_more(&self, switch: &Switch<'_>) {
        let mut now = *self;
        let mut no_more = || {
            now = Self::of(switch);
            now.files <= self.files && now.threads <= self.threads
        };
        wait_until(&format!("there are no more than {self:?}"), LIMIT, &mut no_more);
    }
}

/// Bytes of memory, at the least of some looks: while somebody asks or tables are made, there are more.
pub fn memory(switch: &Switch<'_>) -> u64 {
    const LOOKS: usize = 10;
    let look = |_| {
        std::thread::sleep(Duration::from_millis(100));
        switch.resident_bytes()
    };
    (0..LOOKS).map(look).min().expect("it was looked at")
}
