//! `xswitch trace`, as a command: of a file alone, and of a switch.

use std::process::{Command, Output};

use serde_json::Value;

use super::endpoints::Lab;

const FILE: &str = r#"
[switch]
interfaces = ["eth0", "eth1"]
snat_addresses = ["198.18.1.2"]
[[service]]
name = "web"
vip = "198.18.0.100:80"
forwarding = "nat"
scheduler = "rr"
[[service.backend]]
address = "198.18.1.11:8080"
[[service.backend]]
address = "198.18.1.12:8080"
[[service]]
name = "far"
vip = "[2001:db8::100]:443"
forwarding = "gue"
scheduler = "maglev"
[[service.backend]]
address = "198.18.1.11:443"
"#;

const NETWORK: &str = r#"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["198.18.0.2/24", "2001:db8::2/64"]
[[interface]]
name = "eth1"
mac = "02:00:00:00:00:02"
addresses = ["198.18.1.1/24"]
[[neighbor]]
interface = "eth1"
address = "198.18.1.11"
mac = "02:00:00:00:03:0b"
"#;

fn xswitch(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xswitch")).arg("trace").args(words).output().unwrap()
}

/// Asks a file with this text.
fn of_file(text: &str, words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xswitch.toml");
    std::fs::write(&file, text).unwrap();
    let output = xswitch(&[words, &["--config", file.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The text of a step.
fn step<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no {name}:\n{text}")).trim_start_matches(name).trim_start()
}

#[test]
fn a_file_alone_says_who_gets_a_packet_and_how_it_leaves() {
    let text = of_file(&(FILE.to_owned() + NETWORK), &["198.18.0.7:40000", "198.18.0.100:80/tcp"]);
    assert_eq!(
        step(&text, "packet"),
        "TCP SYN of 40 bytes, 198.18.0.7:40000 → 198.18.0.100:80, in through eth0 (as the routes say)"
    );
    assert_eq!(step(&text, "service"), "web at 198.18.0.100:80: nat, scheduler rr");
    assert!(
        step(&text, "choice").starts_with("198.18.1.11:8080 by scheduler: turn 1 of a round of 2"),
        "{text}"
    );
    assert!(step(&text, "rewrite").contains("198.18.0.7:40000 → 198.18.0.100:80, TTL 64"), "{text}");
    assert!(
        text.contains(
            "after   198.18.0.7:40000 → 198.18.1.11:8080, TTL 63, MAC 02:00:00:00:00:02 → 02:00:00:00:03:0b"
        ),
        "{text}"
    );
    assert_eq!(step(&text, "next hop"), "198.18.1.11 (02:00:00:00:03:0b) through eth1, MTU 1500");
    assert_eq!(step(&text, "verdict"), "forward: it leaves through eth1");
}

#[test]
fn access_lists_are_asked_before_a_backend_is_picked() {
    let file = format!("{FILE}{NETWORK}[acl]\ndeny = [\"198.18.0.8/32\"]\n");
    let text = of_file(&file, &["198.18.0.7:40000", "198.18.0.100:80/tcp"]);
    assert_eq!(step(&text, "access"), "client 198.18.0.7 is allowed by the access lists");
    assert!(text.contains("\nchoice "), "{text}");
    let text = of_file(&file, &["198.18.0.8:40000", "198.18.0.100:80/tcp"]);
    let denied = "client 198.18.0.8 is denied by [acl], or by [service.acl] of the service";
    assert_eq!(step(&text, "access"), denied);
    assert!(step(&text, "verdict").starts_with("drop (denied)"), "{text}");
    assert!(!text.contains("\nchoice ") && !text.contains("\nnext hop "), "nobody was asked: {text}");
}

#[test]
fn a_syn_cookie_is_the_switchs_own_answer() {
    let with = |choice: &str| {
        let file = format!("{FILE}{NETWORK}").replacen(
            "[[service]]",
            &format!("[[service]]\nsyn_cookies = \"{choice}\""),
            1,
        );
        of_file(&file, &["198.18.0.7:40000", "198.18.0.100:80/tcp"])
    };
    let text = with("always");
    assert!(step(&text, "verdict").contains("the switch answers with a SYN cookie"), "{text}");
    let text = with("auto");
    assert_eq!(step(&text, "verdict"), "forward: it leaves through eth1", "there is no pressure");
}

#[test]
fn a_tunnel_shows_both_packets() {
    let words = ["[2001:db8::7]:40000", "[2001:db8::100]:443/tcp"];
    let text = of_file(&(FILE.to_owned() + NETWORK), &words);
    assert!(text.contains("after   [2001:db8::7]:40000 → [2001:db8::100]:443, TTL 63"), "{text}");
    assert!(text.contains("inside  gue 198.18.1.1 → 198.18.1.11, UDP port 6080"), "{text}");
    let text = of_file(&(FILE.to_owned() + NETWORK), &[&words[..], &["--length", "1500"]].concat());
    assert_eq!(
        step(&text, "verdict"),
        "reply (too_big): the switch answers with an ICMP error: the packet is too big for its way"
    );
}

#[test]
fn what_is_missing_is_named() {
    let text = of_file(FILE, &["198.18.0.7:40000", "198.18.0.100:80/tcp"]);
    assert!(
        step(&text, "verdict").starts_with("reply (no_route): the switch answers with an ICMP error"),
        "{text}"
    );
    assert!(step(&text, "note").contains("[[route]]"), "{text}");
    assert!(step(&text, "choice").starts_with("198.18.1.11:8080"), "whom it was meant for: {text}");
    assert!(text.contains("the MAC address of eth0, eth1 is made up"), "{text}");

    let text = of_file(&(FILE.to_owned() + NETWORK), &["198.18.0.7:40000", "198.18.0.100:81/tcp"]);
    let service = step(&text, "service");
    assert!(
        service.contains("198.18.0.100 is a VIP, but no service takes 81/tcp there; there are 80/tcp (web)"),
        "{text}"
    );
    assert_eq!(
        step(&text, "verdict"),
        "reply (not_served): the switch answers with a reset: nobody takes this connection"
    );

    let text = of_file(&(FILE.to_owned() + NETWORK), &["198.18.0.7:40000", "192.0.2.1:80/udp"]);
    assert!(step(&text, "service").contains("no service has the address 192.0.2.1"), "{text}");
    assert!(step(&text, "verdict").starts_with("to kernel: it belongs to no service"), "{text}");
}

#[test]
fn the_json_has_the_documented_shape() {
    let text = of_file(&(FILE.to_owned() + NETWORK), &["198.18.0.7:40000", "198.18.0.100:80/tcp", "--json"]);
    let trace: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = trace.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "live",
        "epoch",
        "packet",
        "service",
        "no_service",
        "snat",
        "connection",
        "access",
        "affinity",
        "backends",
        "backends_left_out",
        "choice",
        "rewrite",
        "egress",
        "verdict",
        "notes",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(
        (trace["live"].as_bool(), trace["verdict"]["verdict"].as_str()),
        (Some(false), Some("forward"))
    );
    assert_eq!(trace["rewrite"]["after"]["destination"], "198.18.1.11:8080");
}

#[test]
fn questions_that_cannot_be_meant_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xswitch.toml");
    std::fs::write(&file, FILE).unwrap();
    let file = file.to_str().unwrap();
    for (words, said) in [
        (["198.18.0.7:1", "198.18.0.100:80"], "ADDRESS:PORT/tcp"),
        (["198.18.0.7:1", "198.18.0.100:80/icmp"], "ADDRESS:PORT/tcp"),
        (["198.18.0.7", "198.18.0.100:80/tcp"], "invalid"),
        (["[2001:db8::7]:1", "198.18.0.100:80/tcp"], "not of one IP version"),
    ] {
        let output = xswitch(&[&words[..], &["--config", file]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(said), "{words:?}: {error}");
    }
    let output = xswitch(&["198.18.0.7:1", "198.18.0.100:80/tcp", "--config", file, "--interface", "eth7"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("no interface \"eth7\"; it has eth0, eth1"), "{error}");
}

#[test]
fn a_switch_is_asked_over_its_socket() {
    let lab = Lab::new();
    lab.serve();
    let socket = lab.socket.to_str().unwrap();
    let output = xswitch(&["198.18.0.7:40000", "198.18.0.100:80/tcp", "--socket", socket]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(step(&text, "connection"), "none yet");
    assert!(
        text.contains("source  31744 of 31744 addresses and ports of the pool are free for this"),
        "{text}"
    );
    assert_eq!(lab.dataplane.flows.lock().unwrap().tables().references(), 0, "nothing was created");
}
