//! Much data, many connections, no bad checksum.

use std::time::Duration;

use serde_json::Value;

use crate::common::capture::Capture;
use crate::common::lab::{BULK, Lab, NAMES, Setup, WEB};
use crate::common::switch::{Configuration, Switch, number};
use crate::common::traffic;
use crate::common::wait::wait_until;

scenes! {
    two_hundred_megabytes_arrive_unchanged_in_both_directions in every_setup;
    two_hundred_parallel_connections_are_all_served in every_setup;
    iperf3_runs_both_ways_over_tcp_and_udp in two_setups;
    no_frame_has_a_bad_checksum_on_either_side in every_setup;
}

/// Size of the file, in MiB: a little more than 200 MB.
const SIZE_MIB: u32 = 200;

fn two_hundred_megabytes_arrive_unchanged_in_both_directions(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    traffic::transfer(&lab, WEB.into(), SIZE_MIB, true);
    switch.finish();
}

fn two_hundred_parallel_connections_are_all_served(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    let answers = traffic::parallel_requests(&lab.client, WEB, 200);
    answers.assert_shared_by([2, 3, 5], usize::from(setup.queues));
    assert_every_ring_received(&lab, &switch);
    switch.finish();
}

fn iperf3_runs_both_ways_over_tcp_and_udp(setup: Setup) {
    let lab = Lab::new(setup);
    // Every run is one control connection and several of data, which must meet at one server.
    let configuration = Configuration { weights: [1, 0, 0], ..Configuration::of(&lab) };
    let switch = Switch::start_with(&lab, &configuration);
    let server = format!("iperf3 --server --forceflush --port {}", BULK.port());
    let server = lab.backends[0].host.spawn(&server, &lab.directory().join("iperf3.log"));
    wait_until("iperf3 listens", Duration::from_secs(10), || server.log().contains("listening"));

    for mode in ["--parallel 8", "--parallel 8 --reverse", "--udp --bitrate 100M --parallel 4"] {
        let line = format!("iperf3 --client {} --port {} --time 1 --json {mode}", BULK.ip(), BULK.port());
        let finished = lab.client.run_within(Duration::from_secs(20), &line);
        assert_eq!(finished.code, 0, "iperf3 {mode}: {}", finished.stdout);
        let report: Value = serde_json::from_str(&finished.stdout).expect("iperf3 prints JSON");
        let end = &report["end"];
        let received = if end["sum"].is_null() { &end["sum_received"] } else { &end["sum"] };
        assert!(received["bytes"].as_u64() > Some(1_000_000), "iperf3 {mode}: {received}");
    }
    switch.finish();
}

fn no_frame_has_a_bad_checksum_on_either_side(setup: Setup) {
    let lab = Lab::new(setup);
    let captures: Vec<_> = std::iter::once(&lab.client)
        .chain(lab.backends.iter().map(|backend| &backend.host))
        .map(|host| Capture::start(host, "eth0", lab.directory()))
        .collect();
    let switch = Switch::start(&lab);

    traffic::requests(&lab.client, WEB, 30).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    traffic::datagrams(&lab.client, NAMES, 30).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    traffic::transfer(&lab, WEB.into(), 5, true);

    for capture in captures {
        let frames = capture.stop();
        frames.assert_clean();
        // Clients and backends send with 64; the switch routes once.
        let hops = frames.count("ip.ttl < 63 && (tcp || udp)");
        assert_eq!(hops, 0, "a frame lost more than one hop");
    }
    switch.finish();
}

/// With two workers: frames came to both of them, on every interface. With more flows than queues, replies then come
/// to the other worker as often as to their own, because the two sides of a NAT hash differently.
fn assert_every_ring_received(lab: &Lab, switch: &Switch<'_>) {
    let status = switch.status();
    let workers = status["workers"].as_array().expect("status has workers");
    assert_eq!(workers.len(), usize::from(lab.setup.queues), "one worker per RX queue");
    for worker in workers {
        let ports = worker["ports"].as_array().expect("workers have ports");
        assert_eq!(ports.len(), lab.setup.interfaces().len());
        assert!(ports.iter().all(|port| number(port, "rx_frames") > 0), "an idle ring: {worker:#}");
    }
}
