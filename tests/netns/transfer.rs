//! Much data, many connections, no bad checksum.

use std::time::Duration;

use crate::common::capture::Capture;
use crate::common::lab::{Lab, NAMES, Setup, WEB};
use crate::common::switch::{Switch, number};
use crate::common::traffic;

scenes! {
    two_hundred_megabytes_arrive_unchanged_in_both_directions in every_setup;
    two_hundred_parallel_connections_are_all_served in every_setup;
    no_frame_has_a_bad_checksum_on_either_side in every_setup;
}

/// Size of the file, in MiB: a little more than 200 MB.
const SIZE_MIB: u32 = 200;

fn two_hundred_megabytes_arrive_unchanged_in_both_directions(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    transfer_both_ways(&lab, SIZE_MIB);
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

fn no_frame_has_a_bad_checksum_on_either_side(setup: Setup) {
    let lab = Lab::new(setup);
    let captures: Vec<_> = std::iter::once(&lab.client)
        .chain(lab.backends.iter().map(|backend| &backend.host))
        .map(|host| Capture::start(host, "eth0", lab.directory()))
        .collect();
    let switch = Switch::start(&lab);

    traffic::requests(&lab.client, WEB, 30).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    traffic::datagrams(&lab.client, NAMES, 30).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    transfer_both_ways(&lab, 5);

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

fn transfer_both_ways(lab: &Lab, size_mib: u32) {
    let [original, downloaded] = ["original", "downloaded"].map(|name| lab.directory().join(name));
    traffic::random_file(&original, size_mib);
    let sum = traffic::sha256(&original);
    let curl = |arguments: &str| {
        let line = format!("curl --silent --show-error --fail --max-time 60 {arguments}");
        let finished = lab.client.run_within(Duration::from_secs(65), &line);
        assert_eq!(finished.code, 0, "curl {arguments}: {}", finished.stderr);
    };

    curl(&format!("--output {} http://{WEB}/files/original", downloaded.display()));
    assert_eq!(traffic::sha256(&downloaded), sum, "the download differs");

    curl(&format!("--upload-file {} http://{WEB}/upload/uploaded", original.display()));
    let uploads = lab.backends.iter().map(|backend| backend.uploaded("uploaded"));
    let uploaded: Vec<_> = uploads.filter(|path| path.exists()).collect();
    assert_eq!(uploaded.len(), 1, "one backend took the upload");
    assert_eq!(traffic::sha256(&uploaded[0]), sum, "the upload differs");
}
