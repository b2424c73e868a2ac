//! `xswitch pktgen`: what is sent arrives, is counted, comes back; connections to real servers succeed.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::common::capture::{Capture, Frames};
use crate::common::exclusive::Exclusive;
use crate::common::lab::{Lab, nat};
use crate::common::namespace::{self, Namespace};
use crate::common::process::{self, Background, Finished};
use crate::common::switch::{BINARY, Switch};
use crate::common::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(60);
const MACS: [&str; 2] = ["02:00:00:00:00:0a", "02:00:00:00:00:0b"];

/// Two hosts and a cable, `v0` to `v1`; both ends take redirected frames.
struct Pair {
    left: Namespace,
    right: Namespace,
    directory: tempfile::TempDir,
    _exclusive: Exclusive,
}

impl Pair {
    fn new() -> Self {
        let exclusive = Exclusive::acquire();
        let (left, right) = (Namespace::new("left"), Namespace::new("right"));
        for host in [&left, &right] {
            host.enable_ipv6();
        }
        process::run(&format!(
            "ip link add name v0 netns {} type veth peer name v1 netns {}",
            left.name(),
            right.name()
        ));
        for ((host, interface), mac) in [(&left, "v0"), (&right, "v1")].into_iter().zip(MACS) {
            host.ip(&format!("link set {interface} address {mac} addrgenmode none"));
            host.ip(&format!("link set {interface} up"));
            host.run(&format!("ethtool --offload {interface} tx off gro on"));
        }
        Self { left, right, directory: namespace::temporary_directory(), _exclusive: exclusive }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a command at the right host that runs until it is told to stop, and waits until its program is attached.
    fn start(&self, line: &str, log: &str) -> Running {
        start(&self.right, "v1", line, &self.path().join(log))
    }

    fn send(&self, line: &str) -> Value {
        let line = format!("send --interface v0 --to {} {line}", MACS[1]);
        object(&run(&self.left, &line))
    }
}

/// A command that runs beside the scene.
struct Running(Background);

fn start(host: &Namespace, interface: &str, line: &str, log: &Path) -> Running {
    let running = Running(host.spawn(&format!("{BINARY} pktgen {line} --interface {interface} --json"), log));
    wait_until("the program is attached", Duration::from_secs(10), || {
        host.ip(&format!("link show {interface}")).contains("xdp")
    });
    running
}

impl Running {
    /// Interrupts it; its summary.
    fn stop(mut self) -> Value {
        self.0.signal(rustix::process::Signal::INT);
        let code = self.0.wait_for_end(Duration::from_secs(10));
        assert_eq!(code, 0, "{}", self.0.log());
        let summary = parse(&self.0.log());
        assert_eq!(summary["interrupted"], true);
        summary
    }
}

/// Runs a command of `xswitch pktgen`, whatever becomes of it.
fn run(host: &Namespace, line: &str) -> Finished {
    host.run_within(LIMIT, &format!("{BINARY} pktgen {line} --json"))
}

fn object(finished: &Finished) -> Value {
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    parse(&finished.stdout)
}

fn parse(text: &str) -> Value {
    let line = text.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no JSON in: {text}"))).expect("JSON")
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

/// The names of all fields, those of inner objects with a dot, in order.
fn fields(value: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for (name, inner) in value.as_object().expect("an object") {
        match inner {
            Value::Object(_) => names.extend(fields(inner).iter().map(|inner| format!("{name}.{inner}"))),
            _ => names.push(name.clone()),
        }
    }
    names.sort();
    names
}

#[test]
fn what_is_sent_arrives_whole_in_either_mode_and_family() {
    let pair = Pair::new();
    let v4 = "--source 198.19.0.0/24 --destination 198.18.0.100:80";
    let v6 = "--source [2001:db8::/112]:1024-2047 --destination [2001:db8:1::1]:80";
    for (mode, ends, size, protocol) in [
        ("live", v4, "60", "udp"),
        ("live", v6, "100:7,590:4,1514:1", "tcp"),
        ("xsk", v4, "60:7,590:4,1514:1", "tcp"),
        ("xsk", v6, "100", "udp"),
    ] {
        let sink = pair.start(&format!("sink --protocol {protocol}"), "sink.json");
        // At a pace at which no ring overflows.
        let sent = pair.send(&format!(
            "{ends} --mode {mode} --size {size} --protocol {protocol} --flows 1000 --order random --rate 50k --count 20000"
        ));
        let seen = sink.stop();
        assert_eq!((number(&sent, "frames"), number(&sent, "lost")), (20_000, 0), "{sent}");
        assert_eq!(number(&seen, "frames"), 20_000, "{seen}");
        assert_eq!(number(&seen, "bytes"), number(&sent, "bytes"));
        let Some(run) = sent["run"].as_u64() else {
            // Frames of 60 bytes have no room for a stamp in TCP: so no frame has one.
            assert_eq!((protocol, size, number(&seen, "stamped")), ("tcp", "60:7,590:4,1514:1", 0));
            continue;
        };
        let seen_run = &seen["runs"][0];
        assert_eq!([number(seen_run, "run"), number(seen_run, "frames")], [run, 20_000]);
        assert_eq!([number(seen_run, "missing"), number(&seen["sampled_flows"], "missing")], [0, 0]);
        assert!(number(&seen["sampled_flows"], "followed") > 10, "one of 16, of 1,000: {seen}");
    }
}

#[test]
fn every_frame_is_right_as_tshark_sees_it() {
    let pair = Pair::new();
    for ends in [
        "--source 198.19.0.0/24 --destination 198.18.0.100:31001",
        "--source [2001:db8::/112] --destination [2001:db8:1::1]:31001",
    ] {
        for protocol in ["udp", "tcp"] {
            let capture = Capture::start(&pair.right, "v1", pair.path());
            pair.send(&format!(
                "{ends} --protocol {protocol} --size 80,300 --flows 256 --rate 20k --count 1000"
            ));
            let frames = finish(capture, 1000);
            frames.assert_clean();
            assert_eq!(frames.count(&format!("{protocol}.dstport == 31001")), 1000);
            let mut sources = frames.list(&format!("{protocol}.dstport == 31001"), "_ws.col.Source");
            sources.sort();
            sources.dedup();
            assert_eq!(sources.len(), 256);
        }
    }
}

/// Waits until the capture holds `frames` of what was sent, and ends it.
fn finish(capture: Capture, frames: usize) -> Frames {
    let is_there = |frame: &[u8]| frame.windows(2).any(|bytes| bytes == 31_001u16.to_be_bytes());
    let seen = std::cell::Cell::new(0);
    wait_until("all frames have come", Duration::from_secs(10), || {
        seen.set(0);
        capture.has(|frame| {
            seen.set(seen.get() + usize::from(is_there(frame)));
            seen.get() >= frames
        })
    });
    capture.stop()
}

#[test]
fn what_is_lost_is_seen_by_its_stamps() {
    let pair = Pair::new();
    let capture = Capture::start(&pair.right, "v1", pair.path());
    pair.send("--source 198.19.0.0/27:5 --destination 198.18.0.100:31001 --flows 32 --rate 10k --count 3200");
    assert_eq!(finish(capture, 3200).count("udp.dstport == 31001"), 3200);
    let file = pair.path().join(format!("{}-v1.pcap", pair.right.name()));
    // 100 frames in the middle are taken out: three of each flow, and a fourth of four of them.
    let lossy = pair.path().join("lossy.pcap");
    let only = pair.path().join("only.pcap");
    process::run(&format!(
        "tshark -r {} -Y udp.dstport==31001 -F pcap -w {}",
        file.display(),
        only.display()
    ));
    process::run(&format!("editcap -F pcap {} {} 1001-1100", only.display(), lossy.display()));
    let sink = pair.start("sink", "sink.json");
    object(&run(&pair.left, &format!("replay --interface v0 --in {} --rate 20k", lossy.display())));
    let seen = sink.stop();
    let run = &seen["runs"][0];
    assert_eq!(
        (number(run, "frames"), number(run, "missing"), number(run, "late")),
        (3100, 100, 0),
        "{seen}"
    );
    let flows = &seen["sampled_flows"];
    let (followed, missing) = (number(flows, "followed"), number(flows, "missing"));
    assert!(followed > 0 && (3 * followed..=4 * followed).contains(&missing), "{flows}");
    assert_eq!(number(flows, "with_loss"), followed);

    // What comes late, and then on another processor, is not missed from the beginning.
    let sink = pair.start("sink", "late.json");
    for (core, cut) in [(0, "1-1600 2401-3200"), (1, "1-2400")] {
        let part = pair.path().join(format!("part{core}.pcap"));
        process::run(&format!("editcap -F pcap {} {} {cut}", only.display(), part.display()));
        let line = format!("pktgen replay --interface v0 --in {} --rate 20k", part.display());
        pair.left.run(&format!("taskset --cpu-list {core} {BINARY} {line}"));
    }
    let seen = sink.stop();
    let run = &seen["runs"][0];
    assert_eq!((number(run, "frames"), number(run, "missing"), number(run, "late")), (1600, 0, 0), "{seen}");
}

#[test]
fn what_the_interface_does_not_take_is_counted_once() {
    let pair = Pair::new();
    pair.right.ip("link set v1 down");
    let line = format!("send --interface v0 --to {} --source 198.19.0.1 --destination 198.18.0.1:9", MACS[1]);
    let sent = run(&pair.left, &format!("{line} --mode xsk --rate 1k --count 500"));
    assert_eq!(sent.code, 1, "{}", sent.stderr);
    assert!(sent.stderr.contains("is what is at its other end up?"), "{}", sent.stderr);
    assert_eq!(number(&parse(&sent.stdout), "lost"), 500, "{}", sent.stdout);
}

#[test]
fn an_interface_that_goes_away_is_told_of() {
    let pair = Pair::new();
    let log = pair.path().join("gone.json");
    let mut sink = start(&pair.right, "v1", "sink --duration 30", &log);
    pair.left.ip("link delete v0");
    assert_eq!(sink.0.wait_for_end(Duration::from_secs(5)), 1, "{}", sink.0.log());
    assert!(sink.0.log().contains("v1 is gone"), "{}", sink.0.log());
}

#[test]
fn frames_that_come_back_tell_how_long_the_way_is() {
    let pair = Pair::new();
    let mirror = pair.start("sink --reflect --destination 198.18.0.100:80", "mirror.json");
    let sink = start(&pair.left, "v0", "sink --latency", &pair.path().join("sink.json"));
    let sent =
        pair.send("--source 198.19.0.0/24 --destination 198.18.0.100:80 --flows 100 --rate 10k --count 5000");
    let (mirror, seen) = (mirror.stop(), sink.stop());
    assert_eq!(number(&sent, "frames"), 5000);
    assert_eq!(
        (number(&mirror, "frames"), number(&seen, "frames"), number(&seen, "stamped")),
        (5000, 5000, 5000)
    );
    assert_eq!(number(&seen["runs"][0], "missing"), 0);
    let latency = &seen["latency"];
    let figures = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"].map(|name| number(latency, name));
    assert!(figures.is_sorted() && figures[0] > 0 && figures[0] < 1_000_000_000, "{latency}");
    assert_eq!(number(latency, "count"), 5000);
}

#[test]
fn the_rate_is_kept() {
    let pair = Pair::new();
    let line = "--source 198.19.0.0/24 --destination 198.18.0.100:80 --flows 1000";
    for mode in ["live", "xsk"] {
        let sink = pair.start("sink", "sink.json");
        // Others may take the processor away for longer than is made up for: the best of three counts.
        let rates = (0..3).map(|_| {
            let sent = pair.send(&format!("{line} --mode {mode} --rate 100k --duration 2"));
            sent["frames_per_second"].as_f64().unwrap()
        });
        let best = rates.map(|rate| (rate - 100_000.0).abs()).fold(f64::MAX, f64::min);
        assert!(best < 2_000.0, "{mode}: off by {best}");
        sink.stop();
    }
}

#[test]
fn a_sink_takes_what_is_meant_and_leaves_the_rest_to_the_kernel() {
    let pair = Pair::new();
    pair.left.ip("address add 198.18.5.1/24 dev v0");
    pair.right.ip("address add 198.18.5.2/24 dev v1");
    let sink = pair.start("sink --destination 198.18.0.0/24:80-81 --protocol udp", "sink.json");
    let line = "--source 198.19.0.0/24 --rate 20k --count 100";
    for destination in ["198.18.0.255:80", "198.18.0.1:81", "198.18.0.1:82", "198.18.1.0:80"] {
        pair.send(&format!("{line} --destination {destination}"));
    }
    pair.send(&format!("{line} --destination 198.18.0.1:80 --protocol tcp"));
    pair.left.run("ping -c 1 -W 2 198.18.5.2");
    let seen = sink.stop();
    assert_eq!(number(&seen, "frames"), 200);
    assert!(number(&seen, "other_frames") >= 302, "ARP and ping, too: {seen}");
}

#[test]
fn connections_to_the_simulated_server() {
    let pair = Pair::new();
    for (address, source, destination) in [
        ("198.18.0.100:80", "198.19.0.0/28", "198.18.0.100:80"),
        ("[2001:db8:1::1]:80", "[2001:db8::/124]", "[2001:db8:1::1]:80"),
    ] {
        for (serve, connect) in [
            ("", ""),
            ("--keep-open --reply 0123456789", "--answer-bytes 10 --hold 50ms"),
            ("--keep-open", "--segments 5 --segment-size 100 --close reset"),
        ] {
            let server = pair.start(&format!("serve --address {address} {serve}"), "serve.json");
            let line = format!(
                "connect --interface v0 --to {} --source {source} --destination {destination} --count 2000 --concurrent 64 {connect}",
                MACS[1]
            );
            let client = object(&run(&pair.left, &line));
            let served = server.stop();
            for name in ["opened", "established", "answered", "completed"] {
                assert_eq!(number(&client, name), 2000, "{name} of {client}");
            }
            assert_eq!((number(&client, "failed"), number(&client, "damaged")), (0, 0));
            assert!(number(&client, "peak") <= 64);
            assert_eq!(number(&client["handshake"], "count"), 2000);
            assert!(number(&served, "syns") >= 2000, "{served}");
        }
    }
}

#[test]
fn a_real_client_is_served() {
    let pair = Pair::new();
    pair.left.ip("address add 198.18.0.1/24 dev v0");
    pair.left.run("ethtool --offload v0 tx off");
    let server = pair.start("serve --address 198.18.0.100:80", "serve.json");
    for _ in 0..20 {
        assert_eq!(pair.left.run("curl --silent --show-error --max-time 5 http://198.18.0.100/"), "ok\n");
    }
    let served = server.stop();
    assert_eq!(number(&served, "replies"), 20);
    assert!(number(&served, "neighbors_answered") >= 1, "nobody else could answer for the address");
}

#[test]
fn nobody_listens() {
    let pair = Pair::new();
    pair.right.ip("address add 198.18.0.100/24 dev v1");
    let line = format!("connect --interface v0 --to {} --source 198.18.0.0/28:5000-5999", MACS[1]);
    // The kernel refuses what nobody serves.
    let refused = run(&pair.left, &format!("{line} --destination 198.18.0.100:80 --count 50 --concurrent 5"));
    let summary = parse(&refused.stdout);
    assert_eq!((refused.code, number(&summary["failures"], "refused")), (1, 50), "{summary}");
    // Nobody answers for this address.
    let silent = run(&pair.left, &format!("{line} --destination 198.18.9.9:80 --count 5 --timeout 500ms"));
    let summary = parse(&silent.stdout);
    assert_eq!((silent.code, number(&summary["failures"], "handshake_timeout")), (1, 5), "{summary}");
    assert!(silent.stderr.contains("no segment came back"), "{}", silent.stderr);
}

#[test]
fn connections_through_the_switch_to_real_servers() {
    let lab = Lab::new(nat(2));
    let switch = Switch::start(&lab);
    let to = lab.switch.run("cat /sys/class/net/eth0/address");
    // Clients behind the client's interface, of whom its kernel knows nothing; the switch asks for them by ARP.
    let line = format!(
        "connect --interface eth0 --to {} --source 198.18.0.192/28 --destination 198.18.0.100:80 --count 2000 --concurrent 32",
        to.trim()
    );
    let client = object(&run(&lab.client, &line));
    assert_eq!((number(&client, "completed"), number(&client, "failed")), (2000, 0), "{client}");
    assert!(number(&client, "neighbors_answered") >= 1, "{client}");
    switch.finish();
}

#[test]
fn a_capture_is_sent_again() {
    let pair = Pair::new();
    let capture = Capture::start(&pair.right, "v1", pair.path());
    pair.send("--source 198.19.0.0/24 --destination 198.18.0.100:31001 --flows 50 --size imix --rate 1k --count 500");
    let frames = finish(capture, 500);
    assert_eq!(frames.count("udp.dstport == 31001"), 500);
    let file = pair.path().join(format!("{}-v1.pcap", pair.right.name()));
    for (options, frames, seconds) in [
        ("--rate max --loop 3", 1500, 0.0..5.0),
        ("--rate 5k", 500, 0.09..2.0),
        ("--as-captured", 500, 0.45..5.0),
        ("--multiply 4", 500, 0.1..3.0),
    ] {
        let sink = pair.start("sink", "sink.json");
        let sent =
            object(&run(&pair.left, &format!("replay --interface v0 --in {} {options}", file.display())));
        let seen = sink.stop();
        let counts = (number(&sent, "frames"), number(&seen, "frames"));
        assert!(counts.0 >= frames && counts.1 + number(&sent, "lost") >= frames, "{options}: {sent} {seen}");
        let took = sent["seconds"].as_f64().unwrap();
        assert!(seconds.contains(&took), "{options}: {took} s");
    }
}

#[test]
fn the_fields_of_json_stay() {
    let pair = Pair::new();
    let expected = |names: &str| {
        let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    };
    let sink = pair.start("sink --latency", "sink.json");
    let sent = pair.send("--source 198.19.0.0/24 --destination 198.18.0.100:80 --rate 10k --count 100");
    let sent_fields = "bits_per_second bytes command flows frames frames_per_second interface interface_sent interrupted lost \
                       mode rate_wanted run seconds sizes";
    assert_eq!(fields(&sent), expected(sent_fields));
    let latency = "count max_ns mean_ns p50_ns p90_ns p999_ns p99_ns".replace(' ', " latency.");
    let sink_fields = "active_seconds bits_per_second bytes command frames frames_per_second interface interrupted \
                       other_bytes other_frames runs sampled_flows.followed sampled_flows.frames sampled_flows.missing \
                       sampled_flows.with_loss sampled_flows.worst seconds stamped xdp";
    assert_eq!(fields(&sink.stop()), expected(&format!("{sink_fields} latency.{latency}")));
    let server = pair.start("serve --address 198.18.0.100:80", "serve.json");
    let line = format!(
        "connect --interface v0 --to {} --source 198.19.0.1 --destination 198.18.0.100 --count 10",
        MACS[1]
    );
    let host = "segments_received segments_sent damaged neighbors_answered lost overrun";
    let times = ["answer", "handshake"].map(|name| {
        ["count", "max_ns", "mean_ns", "p50_ns", "p90_ns", "p999_ns", "p99_ns"]
            .map(|figure| format!("{name}.{figure}"))
            .join(" ")
    });
    let failures =
        ["answer_timeout", "close_timeout", "closed_early", "handshake_timeout", "refused", "reset"]
            .map(|name| format!("failures.{name}"))
            .join(" ");
    let connect_fields = "answered command completed connections_per_second established failed interface interrupted opened peak \
                          repeated seconds strange unfinished";
    assert_eq!(
        fields(&object(&run(&pair.left, &line))),
        expected(&format!("{connect_fields} {host} {} {failures}", times.join(" ")))
    );
    let serve_fields =
        "bytes command fins interface interrupted replies replies_per_second resets seconds segments syns";
    assert_eq!(fields(&server.stop()), expected(&format!("{serve_fields} {host}")));
}

#[test]
fn mistakes_are_named_with_their_remedy() {
    let pair = Pair::new();
    let send = "send --interface v0 --to 02:00:00:00:00:0b --source 198.19.0.0/24";
    for (line, said) in [
        (
            "send --interface none0 --to 02:00:00:00:00:0b --source 198.19.0.1 --destination 198.18.0.1",
            "no interface none0",
        ),
        (&format!("{send} --destination [2001:db8::1]:80") as &str, "two families"),
        (&format!("{send} --destination 198.18.0.1:80 --flows 100000000"), "widen the source"),
        (&format!("{send} --destination 198.18.0.1:80 --size 1515"), "need an MTU of 1501"),
        (&format!("{send} --destination 198.18.0.1:80 --size 59"), "60 to 3000"),
        (&format!("{send} --destination 198.18.0.1:80 --rate fast"), "is no rate"),
        ("sink --interface none0", "no interface none0"),
        ("replay --interface v0 --in /no/such/file.pcap", "No such file"),
        (
            "connect --interface v0 --to 02:00:00:00:00:0b --source 198.19.0.1 --destination 198.18.0.1 --hold 1",
            "--hold needs",
        ),
    ] {
        let finished = run(&pair.left, line);
        assert_eq!(finished.code, 2, "{line}: {}", finished.stderr);
        assert!(finished.stderr.contains(said), "{line}: {}", finished.stderr);
    }
    pair.left.ip("link set v0 down");
    let down = run(&pair.left, &format!("{send} --destination 198.18.0.1:80"));
    assert!(down.code == 2 && down.stderr.contains("v0 is down"), "{}", down.stderr);
}

#[test]
fn an_end_that_takes_no_redirected_frames_is_told_of() {
    let pair = Pair::new();
    pair.right.run("ethtool --offload v1 gro off");
    let line = "send --interface v0 --to 02:00:00:00:00:0b --source 198.19.0.0/24 --destination 198.18.0.1:80 --count 1000";
    let nothing = run(&pair.left, &format!("{line} --mode live"));
    assert_eq!(nothing.code, 1, "{}", nothing.stdout);
    assert!(nothing.stderr.contains("--mode xsk works without"), "{}", nothing.stderr);
    let sent = object(&run(&pair.left, &format!("{line} --mode xsk --rate 50k")));
    assert_eq!(number(&sent, "frames"), 1000);
    assert!(
        pair.left.run("cat /sys/class/net/v0/statistics/tx_packets").trim().parse::<u64>().unwrap() >= 1000
    );
}
