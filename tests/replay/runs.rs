//! The tests.

use crate::captures::{Frame, SECOND, START, pcap, pcapng, read};
use crate::frames::network::*;
use crate::frames::{ACK, Arp, SYN, check, tcp, udp};
use crate::traffic::*;
use crate::{Place, text};

const BOTH_WAYS: &str =
    "--in eth0=client.pcap eth1=backend.pcap --out eth0=to-client.pcap eth1=to-backend.pcap";
const WHOLE: usize = 65_535;

fn place(clients: &[Frame], backends: &[Frame]) -> Place {
    let place = Place::new();
    place.write("switch.toml", config());
    place.write("client.pcap", pcap(clients, WHOLE));
    place.write("backend.pcap", pcap(backends, WHOLE));
    place
}

fn syn(client: &str) -> Vec<u8> {
    tcp(client, VIP, SYN).in_at_eth0_from(CLIENT7).build()
}

#[test]
fn a_thousand_connections_give_the_same_bytes_for_the_same_seed_and_without_privileges() {
    let (clients, backends) = thousand();
    let place = place(&clients, &backends);
    let run = |seed: u64| {
        let output = place.replay(&format!("{BOTH_WAYS} --seed {seed} --json"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (output.stdout, place.read("to-client.pcap"), place.read("to-backend.pcap"))
    };
    let first = run(7);
    assert_eq!(first, run(7), "the same seed");
    let other = run(8);
    assert_eq!((&first.0, &first.1), (&other.0, &other.1), "replies do not depend on the seed");
    assert_ne!(first.2, other.2, "source ports do");

    let summary: serde_json::Value = serde_json::from_slice(&first.0).unwrap();
    let frames = (clients.len() + backends.len()) as u64;
    assert_eq!((&summary["received"], &summary["forwarded"]), (&frames.into(), &frames.into()));
    assert_eq!(summary["connections"]["new"], u64::from(CONNECTIONS));
    assert_eq!(summary["services"][1]["connections_new"], 300);
    assert_eq!(summary["services"][1]["backends"][0]["connections_new"], 150, "`rr` knows no weights");
    for (name, sent) in [("to-client.pcap", backends), ("to-backend.pcap", clients)] {
        let received = read(&place.read(name));
        let times = |frames: &[Frame]| frames.iter().map(|(time, _)| *time).collect::<Vec<_>>();
        assert_eq!(times(&received), times(&sent), "{name} bears the input's time stamps");
        for (_, frame) in received {
            assert!(check::ip_checksum_is_right(&frame) && check::transport_checksum_is_right(&frame));
        }
    }
}

#[test]
fn every_format_of_a_capture_gives_the_same() {
    let (clients, backends) = thousand();
    let place = place(&clients, &backends);
    let expected = place.replay(&format!("{BOTH_WAYS} --json"));
    let outputs = || (place.read("to-client.pcap"), place.read("to-backend.pcap"));
    let written = outputs();
    for (exponent, big) in [(6, false), (6, true), (9, false), (9, true)] {
        place.write("client.pcap", pcapng(&clients, exponent, big));
        place.write("backend.pcap", pcapng(&backends, exponent, big));
        let output = place.replay(&format!("{BOTH_WAYS} --json"));
        assert_eq!(text(&output.stdout), text(&expected.stdout), "10^{exponent}, big-endian {big}");
        assert_eq!(outputs(), written, "10^{exponent}, big-endian {big}");
    }
}

#[test]
fn captures_that_other_programs_wrote_give_the_same() {
    let (clients, backends) = thousand();
    let place = place(&clients, &backends);
    let expected = place.replay(&format!("{BOTH_WAYS} --json"));
    let written = place.read("to-backend.pcap");
    let ours = [("client.pcap", pcap(&clients, WHOLE)), ("backend.pcap", pcap(&backends, WHOLE))];
    for format in ["pcap", "nsecpcap", "pcapng"] {
        for (name, content) in &ours {
            place.write("ours.pcap", content);
            let mut editcap = std::process::Command::new("editcap");
            editcap.args(["-F", format]).args([place.path("ours.pcap"), place.path(name)]);
            let status = editcap.status().expect("editcap is needed: apt-get install tshark");
            assert!(status.success(), "editcap -F {format}: {status}");
        }
        let output = place.replay(&format!("{BOTH_WAYS} --json"));
        assert_eq!(text(&output.stdout), text(&expected.stdout), "{format}: {}", text(&output.stderr));
        assert_eq!(place.read("to-backend.pcap"), written, "{format}");
    }
}

#[test]
fn nanoseconds_survive() {
    let place = place(&[], &[]);
    let times = [START + 1, START + 2, START + 999_999_999];
    let frames: Vec<Frame> = times.iter().map(|time| (*time, syn("198.18.0.7:1000"))).collect();
    place.write("client.pcapng", pcapng(&frames, 9, false));
    place.summary("--in eth0=client.pcapng --out eth1=out.pcap");
    let written: Vec<u64> = read(&place.read("out.pcap")).iter().map(|(time, _)| *time).collect();
    assert_eq!(written, times);
}

#[test]
fn connections_expire_by_the_clock_of_the_captures() {
    let query = udp("198.18.0.7:1000", DNS).in_at_eth0_from(CLIENT7).build();
    let answer = udp(DNS_BACKEND, "198.18.0.7:1000").in_at_eth1_from(BACKEND12).build();
    for (seconds, forwarded) in [(299, 2), (302, 1)] {
        let place = place(&[(START, query.clone())], &[(START + seconds * SECOND, answer.clone())]);
        let summary = place.summary(BOTH_WAYS);
        assert_eq!(summary["forwarded"], forwarded, "after {seconds} s");
        assert_eq!(summary["dropped"]["no_connection"], 2 - forwarded, "after {seconds} s");
        assert_eq!(summary["connections"]["closed"], 2 - forwarded, "after {seconds} s");
    }
}

#[test]
fn a_request_and_its_reply_may_lie_in_one_millisecond() {
    let reply = tcp(BACKEND, "198.18.0.7:1000", SYN | ACK).in_at_eth1_from(BACKEND11).build();
    // The same time stamp, even: the input named first goes first.
    for gap in [20_000, 0] {
        let place = place(&[(START, syn("198.18.0.7:1000"))], &[(START + gap, reply.clone())]);
        assert_eq!(place.summary(BOTH_WAYS)["forwarded"], 2, "{gap} ns between them");
    }
}

#[test]
fn the_inputs_are_merged_by_time_and_of_equal_times_the_first_named_goes_first() {
    let at = |offset: u64, port: u16| (START + offset * 1000, syn(&format!("198.18.0.7:{port}")));
    let place = place(&[at(1, 1), at(3, 2), at(4, 3)], &[]);
    place.write("more.pcap", pcap(&[at(0, 4), at(3, 5), at(9, 6)], WHOLE));
    place.summary("--in eth0=client.pcap --in eth0=more.pcap --out eth1=out.pcap");
    let source_port = |frame: &[u8]| u16::from_be_bytes([frame[34], frame[35]]);
    let ports: Vec<u16> = read(&place.read("out.pcap")).iter().map(|(_, frame)| source_port(frame)).collect();
    assert_eq!(ports, [4, 1, 2, 5, 3, 6]);
}

#[test]
fn every_fate_is_counted_and_frames_without_an_output_are_not_lost() {
    let arp = Arp::request((CLIENT7, [198, 18, 0, 7]), [198, 18, 0, 100]).build();
    let ssh = tcp("198.18.0.7:1000", "198.18.0.2:22", SYN).in_at_eth0_from(CLIENT7).build();
    let late = tcp("198.18.0.7:1001", VIP, ACK).in_at_eth0_from(CLIENT7).build();
    let frames = [syn("198.18.0.7:1000"), arp, ssh, late, vec![1, 2, 3]].map(|frame| (START, frame));
    let place = place(&frames, &[]);
    let summary = place.summary("--in eth0=client.pcap --out eth0=answers.pcap");
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(
        ["received", "forwarded", "replied", "to_kernel", "dropped_total"].map(count),
        [5, 1, 1, 1, 2]
    );
    assert_eq!(summary["dropped"]["no_connection"], 1);
    assert_eq!(summary["dropped"]["malformed"], 1);
    assert_eq!(
        summary["interfaces"][1],
        serde_json::json!(
            {"interface": "eth1", "received": 0, "sent": 1, "written": 0}
        )
    );
    assert_eq!(read(&place.read("answers.pcap")).len(), 1);
    let readable = text(&place.replay("--in eth0=client.pcap").stdout);
    let line = "5 received + 0 created = 1 forwarded + 1 replied + 1 to kernel + 2 dropped + 0 held";
    assert!(readable.contains(line), "{readable}");
    assert!(readable.contains("dropped 1 as no_connection: "), "{readable}");
}

#[test]
fn frames_that_no_ring_could_have_held_whole_are_skipped_and_said_to_be() {
    let large = tcp("198.18.0.7:1", VIP, SYN).in_at_eth0_from(CLIENT7).payload(&[0; 5000]).build();
    let place = place(&[(START, large), (START, syn("198.18.0.7:2"))], &[]);
    place.write("cut.pcap", pcap(&[(START, syn("198.18.0.7:3"))], 40));
    let arguments = "--in eth0=client.pcap eth0=cut.pcap";
    let summary = place.summary(arguments);
    assert_eq!(summary["skipped"], serde_json::json!({"cut": 1, "large": 1}));
    assert_eq!(summary["received"], 1);
    let readable = text(&place.replay(arguments).stdout);
    assert!(readable.contains("skipped 1: the capture holds only their beginning"), "{readable}");
    assert!(readable.contains("skipped 1: larger than 4,096 bytes"), "{readable}");
}

#[test]
fn a_missing_neighbor_is_named() {
    let stranger = tcp("198.18.0.9:1", VIP, SYN).in_at_eth0_from(CLIENT9).build();
    let place = place(&[(START, stranger)], &[]);
    let readable = text(&place.replay("--in eth0=client.pcap").stdout);
    assert!(readable.contains("no MAC address of 198.18.0.9 on eth0: add a [[neighbor]]"), "{readable}");
}

#[test]
fn bad_arguments_and_configurations_are_2_and_touch_no_file() {
    let place = place(&[(START, syn("198.18.0.7:1"))], &[]);
    let input = place.read("client.pcap");
    for (arguments, says) in [
        ("--in eth7=client.pcap --out eth1=out.pcap", "no interface eth7; it has eth0, eth1"),
        ("--in eth0=client.pcap --out eth7=out.pcap", "no interface eth7; it has eth0, eth1"),
        ("--in eth0=client.pcap --out eth1=out.pcap eth1=b.pcap", "eth1 is named twice"),
        ("--in eth0=client.pcap --out eth1=./client.pcap", "in use already"),
        ("--in eth0=client.pcap --out eth0=out.pcap eth1=out.pcap", "in use already"),
        ("--in client.pcap", "such as eth0=client.pcap"),
        ("--out eth0=out.pcap", "--in"),
        ("--in eth0=client.pcap --config none.toml", ""),
    ] {
        let output = place.replay(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(says), "{arguments}: {said}");
        assert!(!place.exists("out.pcap"), "{arguments}");
    }
    assert_eq!(place.read("client.pcap"), input);
    place.write("switch.toml", config().replace("mac = \"02:00:00:00:00:01\"\n", ""));
    let output = place.replay("--in eth0=client.pcap");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("interface eth0 has no MAC address"));
}

#[test]
fn unreadable_captures_are_1_and_named() {
    let place = place(&[(START, syn("198.18.0.7:1")), (START, syn("198.18.0.7:2"))], &[]);
    let whole = place.read("client.pcap");
    place.write("half.pcap", &whole[..whole.len() - 1]);
    place.write("text.pcap", "this is a text, not a capture");
    place.write("empty.pcap", "");
    let mut raw_ip = whole.clone();
    raw_ip[20] = 101;
    place.write("raw.pcap", raw_ip);
    let ng = pcapng(&[(START, syn("198.18.0.7:1"))], 6, false);
    place.write("half.pcapng", &ng[..ng.len() - 5]);
    for (name, says) in [
        ("none.pcap", "No such file"),
        ("half.pcap", "frame 2: the file ends in the middle of it"),
        ("half.pcapng", "frame 1: the file ends in the middle of it"),
        ("text.pcap", "neither a pcap nor a pcapng file"),
        ("empty.pcap", "neither a pcap nor a pcapng file"),
        ("raw.pcap", "link type 101; only Ethernet (1) can be replayed"),
    ] {
        let output = place.replay(&format!("--in eth0={name} --out eth1=out-{name}"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(says) && said.contains(name), "{name}: {said}");
    }
    assert_eq!(read(&place.read("out-half.pcap")).len(), 1, "what came before is replayed");
}
