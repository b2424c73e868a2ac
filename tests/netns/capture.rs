//! Frames captured inside the switch, as tshark reads them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::lab::{Lab, WEB, nat};
use crate::common::process::Background;
use crate::common::switch::{Switch, socket};
use crate::common::traffic;
use crate::common::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(20);

/// `xswitch capture WORDS…` beside a switch; returns once it has begun.
fn begin(switch: &Switch<'_>, name: &str, words: &str) -> (Background, PathBuf) {
    let lab = switch.lab();
    let file = lab.directory().join(name);
    let line = format!(
        "{} capture {words} --out {} --socket {}",
        switch.binary(),
        file.display(),
        socket(lab).display()
    );
    let capture = lab.switch.spawn(&line, &file.with_extension("log"));
    // The file's head is written once all workers capture.
    wait_until("the capture has begun", LIMIT, || std::fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    (capture, file)
}

/// Fields of every packet that matches, and what tshark had to complain of.
fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let output = Command::new("timeout")
        .args(["120", "tshark", "-n", "-r"])
        .arg(file)
        .args(["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"])
        .args(["-Y", filter, "-T", "fields", "-E", "separator=|"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .expect("tshark can be started");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaint.contains("cut short"), "{filter}: {complaint}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

fn count(file: &Path, filter: &str) -> usize {
    tshark(file, filter, &["frame.number"]).len()
}

#[test]
fn both_pictures_of_a_frame_open_in_tshark_with_what_became_of_it() {
    let lab = Lab::new(nat(2));
    let switch = Switch::start(&lab);
    switch.warm_up(WEB);
    let (mut capture, file) = begin(&switch, "web.pcapng", "--service web --count 60 --seconds 60");
    let before = switch.look()["totals"]["forwarded"].as_u64().expect("a number");
    let answers = traffic::requests(&lab.client, WEB, 30);
    assert_eq!(answers.failures, 0, "{answers:?}");
    assert_eq!(capture.wait_for_end(LIMIT), 0, "{}", capture.log());
    assert!(capture.log().contains("120 packets of 60 frames, "), "{}", capture.log());
    assert!(capture.log().contains("ended by --count"), "{}", capture.log());
    let after = switch.look()["totals"]["forwarded"].as_u64().expect("a number");
    assert!(after - before >= 60, "what is captured is forwarded all the same");

    assert_eq!(count(&file, "frame"), 120);
    assert_eq!(count(&file, "frame.packet_flags_direction == 1"), 60);
    assert_eq!(
        count(&file, "frame.comment contains \"verdict=forward service=web backend=198.18.1.1\""),
        120
    );
    assert_eq!(count(&file, "tcp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed"), 0);
    // A request comes in at eth0 to the VIP and leaves at eth1 to the backend that the comment names.
    let requests = "frame.packet_flags_direction == 2 && ip.src == 198.18.0.1";
    let left = tshark(&file, requests, &["frame.interface_name", "ip.dst", "tcp.dstport", "frame.comment"]);
    assert!(left.len() > 10, "{left:?}");
    for packet in &left {
        let [interface, address, port, comment] = &packet[..] else { panic!("{packet:?}") };
        assert_eq!(interface, "eth1");
        assert!(comment.contains(&format!("backend={address}:{port}")), "{packet:?}");
    }
    assert_eq!(
        count(
            &file,
            "frame.interface_name == \"eth0\" && frame.packet_flags_direction == 1 && ip.dst == 198.18.0.100"
        ),
        left.len()
    );
    assert_eq!(
        count(&file, "frame.packet_flags_direction == 2 && ip.ttl == 64"),
        0,
        "what left was rewritten"
    );
    let infos = Command::new("capinfos").arg("-M").arg(&file).output().expect("capinfos can be started");
    assert!(infos.status.success(), "{}", String::from_utf8_lossy(&infos.stderr));
    let infos = String::from_utf8_lossy(&infos.stdout);
    assert!(infos.contains("pcapng") && infos.contains("nanosecond"), "{infos}");
    switch.finish();
}

#[test]
fn what_is_dropped_says_why() {
    let lab = Lab::new(nat(1));
    let switch = Switch::start(&lab);
    switch.warm_up(WEB);
    switch.order("service drain web");
    switch.settle();
    let (mut capture, file) = begin(&switch, "drops.pcapng", "--verdict drop --host 198.18.0.1 --seconds 3");
    assert!(!traffic::is_served(&lab.client, WEB, Duration::from_secs(1)));
    assert_eq!(capture.wait_for_end(LIMIT), 0, "{}", capture.log());
    assert!(capture.log().contains("ended by --seconds"), "{}", capture.log());
    let dropped = tshark(&file, "frame", &["frame.interface_name", "tcp.flags.syn", "frame.comment"]);
    assert!(!dropped.is_empty() && dropped.len() as u64 <= switch.dropped("no_backend"), "{dropped:?}");
    for packet in &dropped {
        assert_eq!(packet[0], "eth0", "{packet:?}");
        assert!(packet[2].contains("verdict=drop reason=no_backend service=web worker=0"), "{packet:?}");
        assert!(packet[2].contains("of which no backend may take any"), "{packet:?}");
    }
    switch.finish();
}

#[test]
fn who_captures_and_is_killed_leaves_nothing_behind() {
    let lab = Lab::new(nat(1));
    let switch = Switch::start(&lab);
    switch.warm_up(WEB);
    for round in 0..3 {
        let (capture, _) = begin(&switch, &format!("{round}.pcapng"), "--seconds 3600");
        drop(capture);
        wait_until("the switch notices", LIMIT, || {
            switch.log().matches("the capture is over").count() == round + 1
        });
    }
    assert_eq!(traffic::requests(&lab.client, WEB, 10).failures, 0);
    switch.finish();
}
