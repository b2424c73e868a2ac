//! `xswitch capture`, as a command, over workers that hand over what a test puts before them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use xswitch::tables::capture::{Outcome, Record};
use xswitch::tables::{BackendId, DropReason, InterfaceId, ServiceId};

use super::endpoints::Lab;

const PATIENCE: Duration = Duration::from_secs(20);

/// `xswitch capture WORDS…`, at the switch of a lab.
fn start(lab: &Lab, words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_xswitch"))
        .arg("capture")
        .args(words)
        .args(["--socket", lab.socket.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A frame that went from eth0 to eth1.
fn forwarded(record: &mut Record, byte: u8) {
    record.ingress = InterfaceId(0);
    record.outcome = Outcome::Forward(InterfaceId(1));
    (record.service, record.backend) = (Some(ServiceId(0)), BackendId(0));
    record.before.set(&[byte; 60]);
    record.after.set(&[byte; 80]);
}

/// One that was dropped.
fn dropped(record: &mut Record, byte: u8) {
    record.ingress = InterfaceId(1);
    record.outcome = Outcome::Drop(DropReason::NoRoute);
    record.before.set(&[byte; 60]);
    record.after.clear();
}

/// Waits until the workers hand over what they see.
fn see_first(lab: &Lab, fill: impl Fn(&mut Record)) {
    wait_until("somebody captures", || lab.dataplane.see(0, &fill));
}

fn text(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Interface, length and comments of every packet.
fn packets(mut bytes: &[u8]) -> Vec<(u32, usize, Vec<String>)> {
    let mut reader = PcapNgReader::new(&mut bytes).unwrap();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.unwrap() else { continue };
        let comments = packet.options.iter().filter_map(|option| match option {
            EnhancedPacketOption::Comment(text) => Some(text.to_string()),
            _ => None,
        });
        packets.push((packet.interface_id, packet.data.len(), comments.collect()));
    }
    packets
}

fn read(path: &Path) -> Vec<(u32, usize, Vec<String>)> {
    packets(&std::fs::read(path).unwrap())
}

/// Waits until nobody captures any more.
fn wait_for_end(lab: &Lab) {
    wait_until("the capture is over", || !lab.dataplane.see(0, |_| {}));
}

#[test]
fn frames_of_all_workers_are_written_with_what_became_of_them() {
    let lab = Lab::new();
    lab.serve();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pcapng");
    let capture = start(&lab, &["--out", file.to_str().unwrap(), "--count", "2"]);
    see_first(&lab, |record| forwarded(record, 1));
    assert!(lab.dataplane.see(1, |record| dropped(record, 2)));
    let (code, said) = text(&capture.wait_with_output().unwrap());
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("3 packets of 2 frames, 2 matched, in "), "{said}");
    assert!(said.contains("ended by --count"), "{said}");
    let written = read(&file);
    let whose = "service=web backend=198.18.1.11:8080";
    assert_eq!(written[0], (0, 60, vec![format!("#1 in: verdict=forward {whose} worker=0")]));
    assert_eq!(written[1], (1, 80, vec![format!("#1 out: verdict=forward {whose} worker=0")]));
    assert_eq!((written[2].0, written[2].2[0].as_str()), (1, "#2 in: verdict=drop reason=no_route worker=1"));
    assert!(written[2].2[1].contains("no route"), "{written:?}");
    wait_for_end(&lab);
}

#[test]
fn time_and_size_end_it_and_what_is_there_is_whole() {
    let lab = Lab::new();
    lab.serve();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pcapng");
    let name = file.to_str().unwrap();
    let capture = start(&lab, &["--out", name, "--seconds", "1"]);
    see_first(&lab, |record| forwarded(record, 1));
    let (code, said) = text(&capture.wait_with_output().unwrap());
    assert_eq!(
        (code, said.contains("2 packets of 1 frame, 1 matched"), read(&file).len()),
        (0, true, 2),
        "{said}"
    );
    assert!(said.contains("ended by --seconds"), "{said}");

    let capture = start(&lab, &["--out", name, "--size", "8K"]);
    see_first(&lab, |record| forwarded(record, 1));
    while lab.dataplane.see(0, |record| forwarded(record, 1)) {
        std::thread::sleep(Duration::from_micros(100));
    }
    let (code, said) = text(&capture.wait_with_output().unwrap());
    assert_eq!((code, said.contains("ended by --size")), (0, true), "{said}");
    let length = std::fs::metadata(&file).unwrap().len();
    assert!(length <= 8192 && length > 4096, "{length}");
    assert_eq!(read(&file).len() % 2, 0, "both pictures of a frame, or none");
}

#[test]
fn a_pipe_gets_frames_as_they_come_and_an_interrupt_leaves_whole_blocks() {
    let lab = Lab::new();
    lab.serve();
    let mut capture = start(&lab, &["--out", "-"]);
    see_first(&lab, |record| forwarded(record, 7));
    let mut pipe = capture.stdout.take().unwrap();
    let mut got = Vec::new();
    while got.windows(60).all(|bytes| bytes != [7; 60]) {
        let mut piece = [0; 4096];
        let length = pipe.read(&mut piece).unwrap();
        assert!(length > 0, "it ended: {got:?}");
        got.extend_from_slice(&piece[..length]);
    }
    let pid = rustix::process::Pid::from_child(&capture);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    pipe.read_to_end(&mut got).unwrap();
    let (code, said) = text(&capture.wait_with_output().unwrap());
    assert!(code == 0 && said.contains("interrupted"), "{said}");
    assert_eq!(packets(&got).len(), 2);
    wait_for_end(&lab);
}

#[test]
fn what_the_workers_could_not_keep_is_told() {
    let lab = Lab::new();
    lab.serve();
    let capture = start(&lab, &["--out", "-", "--seconds", "2"]);
    see_first(&lab, |record| forwarded(record, 1));
    // Nobody reads the pipe yet: more than fits between a worker and its end.
    let burst = 50_000;
    assert_eq!((0..burst).filter(|_| lab.dataplane.see(0, |record| forwarded(record, 1))).count(), burst);
    let output = capture.wait_with_output().unwrap();
    let (code, said) = text(&output);
    assert!(code == 0 && said.contains("matched and could not be kept"), "{said}");
    let number = |before: &str| -> usize {
        let word = said.split(before).next().unwrap().split_whitespace().next_back().unwrap();
        word.parse().unwrap()
    };
    let written = packets(&output.stdout).len() / 2;
    assert_eq!((number(" frames,"), number(" matched,")), (written, burst + 1), "{said}");
    let lost: usize = said.lines().nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(written + lost, burst + 1, "{said}");
}

/// Asks for a capture by hand.
fn ask(lab: &Lab, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(&lab.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v1/capture HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

fn begins(stream: &mut UnixStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8_lossy(&head).into_owned()
}

#[test]
fn one_captures_at_a_time_until_it_is_gone() {
    let lab = Lab::new();
    lab.serve();
    let mut first = ask(&lab, r#"{"seconds": 3600}"#);
    assert_eq!(begins(&mut first), "HTTP/1.1 200");
    let second = start(&lab, &["--out", "-"]).wait_with_output().unwrap();
    let (code, said) = text(&second);
    assert!(code == 1 && said.contains("one capture at a time"), "{said}");
    assert!(second.stdout.is_empty());
    see_first(&lab, |record| forwarded(record, 1));
    // It reads nothing more, but is there: the capture goes on. It is gone: the capture ends.
    drop(first);
    wait_for_end(&lab);
    let third = start(&lab, &["--out", "-", "--count", "1"]);
    see_first(&lab, |record| forwarded(record, 1));
    assert_eq!(text(&third.wait_with_output().unwrap()).0, 0);
}

#[test]
fn what_cannot_be_meant_is_refused_before_a_worker_hears_of_it() {
    let lab = Lab::new();
    lab.serve();
    for (words, code, what) in [
        (&["--service", "wep"][..], 1, "did you mean \"web\""),
        (&["--host", "198.18.0"], 2, "an address, or a prefix"),
        (&["--interface", "eth7"], 1, "eth0"),
        (&["--reason", "no_root"], 2, "no_route"),
        (&["--sample", "0"], 2, "1/N"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pcapng");
        let output =
            start(&lab, &[&["--out", file.to_str().unwrap()], words].concat()).wait_with_output().unwrap();
        let (ended, said) = text(&output);
        assert!(ended == code && said.contains(what), "{words:?}: {ended} {said}");
        assert!(!file.exists(), "{words:?}");
    }
    for body in
        [r#"{"snaplen": 1}"#, r#"{"seconds": 100000}"#, r#"{"filter": {"hots": "10.0.0.1"}}"#, "[", "{}}"]
    {
        assert!(begins(&mut ask(&lab, body)).starts_with("HTTP/1.1 4"), "{body}");
    }
    assert!(!lab.dataplane.see(0, |_| {}));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let lab = Lab::new();
    lab.serve();
    let (code, said) = text(&start(&lab, &["--out", "/nowhere/a.pcapng"]).wait_with_output().unwrap());
    assert!(code == 1 && said.contains("/nowhere/a.pcapng: No such file"), "{said}");
    wait_for_end(&lab);
    let (code, said) = text(&start(&lab, &["--out", "/dev/full"]).wait_with_output().unwrap());
    assert!(code == 1 && said.contains("No space left"), "{said}");
    wait_for_end(&lab);
}
