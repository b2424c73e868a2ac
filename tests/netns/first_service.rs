//! A new user: the package, the configuration of README.md, and then six things go wrong, one after the other. Each time a
//! command, or the log, names the cause.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use super::package::{CONFIGURATION, first_configuration};
use crate::common::lab::{CLIENT, Lab, VIP, WEB, nat};
use crate::common::machine::{Machine, package};
use crate::common::traffic;
use crate::common::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn six_things_go_wrong_and_each_is_named() {
    let lab = Lab::new(nat(1));
    let machine = Machine::start(&lab);
    machine.does(&format!("dpkg --no-triggers --install {}", package(lab.directory()).display()));
    machine.write(CONFIGURATION, &first_configuration());
    port_clash(&lab, &machine);
    machine.does("systemctl start xswitch");
    is_served(&lab);

    backend_down(&lab, &machine);
    wrong_gateway(&lab, &machine);
    checksum_offload(&lab, &machine);
    vip_duplicated(&lab, &machine);
    acl_typo(&lab, &machine);
    is_served(&lab);
    machine.does("systemctl stop xswitch");
}

fn is_served(lab: &Lab) {
    wait_until("clients are served", PATIENCE, || {
        traffic::is_served(&lab.client, WEB, Duration::from_secs(2))
    });
}

/// What the doctor says of a check that must have found something.
fn doctor(machine: &Machine<'_>, check: &str) -> String {
    let answer = machine.run(&format!("xswitch doctor --config {CONFIGURATION} --json"));
    let found: Value = serde_json::from_str(&answer.stdout).expect("the doctor answers");
    let findings = found["findings"].as_array().expect("there are findings");
    let finding = findings.iter().find(|finding| finding["check"] == check);
    finding.unwrap_or_else(|| panic!("no {check}: {found:#}")).to_string()
}

/// Somebody else has the metrics' port: named before the start, and by the start.
fn port_clash(lab: &Lab, machine: &Machine<'_>) {
    let listener = lab.switch.enter(|| TcpListener::bind("127.0.0.1:9500").unwrap());
    let said = doctor(machine, "metrics-port");
    assert!(said.contains("127.0.0.1:9500"), "{said}");
    assert_eq!(machine.run("systemctl start xswitch").code, 1);
    let log = machine.journal("");
    assert!(log.contains("127.0.0.1:9500") && log.contains("metrics_listen"), "{log}");
    machine.does("systemctl stop xswitch");
    drop(listener);
}

fn backend_down(lab: &Lab, machine: &Machine<'_>) {
    let host = &lab.backends[0].host;
    // Whoever comes is refused, as if the server had ended.
    host.run("nft add table ip broken");
    host.run("nft add chain ip broken input { type filter hook input priority 0 ; }");
    host.run("nft add rule ip broken input tcp dport 8080 reject with tcp reset");
    wait_until("the log says that it is down", PATIENCE, || {
        let log = machine.journal("--priority warning");
        log.contains("backend is down") && log.contains("198.18.1.11:8080") && log.contains("refused")
    });
    let shown = machine.does("xswitch backends");
    let row = shown.lines().find(|line| line.contains("198.18.1.11:8080")).expect("it is listed");
    assert!(row.contains("down") && row.contains("refused"), "{shown}");
    host.run("nft delete table ip broken");
    wait_until("it is up again", PATIENCE, || machine.journal("").contains("backend is up"));
}

fn wrong_gateway(lab: &Lab, machine: &Machine<'_>) {
    let host = &lab.backends[1].host;
    host.ip("route replace default via 198.18.1.77");
    let said = doctor(machine, "wrong-gateway");
    assert!(
        said.contains("198.18.1.12") && said.contains("ip route replace default via 198.18.1.1"),
        "{said}"
    );
    host.ip("route replace default via 198.18.1.1");
}

fn checksum_offload(lab: &Lab, machine: &Machine<'_>) {
    for backend in &lab.backends {
        backend.host.run("ethtool --offload eth0 tx on");
    }
    let (far, name) = lab.beyond("eth1");
    far.run(&format!("ethtool --offload {name} tx on"));
    traffic::is_served(&lab.client, WEB, Duration::from_millis(500));
    let said = doctor(machine, "checksum-offload");
    assert!(said.contains("leaves checksums to an offload"), "{said}");
    let status = machine.does("xswitch status");
    assert!(status.contains("checksum_offload"), "{status}");
    for backend in &lab.backends {
        backend.host.run("ethtool --offload eth0 tx off");
    }
    far.run(&format!("ethtool --offload {name} tx off"));
}

fn vip_duplicated(lab: &Lab, machine: &Machine<'_>) {
    lab.client.ip(&format!("address add {VIP}/32 dev lo"));
    let said = doctor(machine, "vip-duplicate");
    assert!(said.contains(&VIP.to_string()) && said.contains(&Lab::mac(&lab.client, "eth0")), "{said}");
    lab.client.ip(&format!("address delete {VIP}/32 dev lo"));
}

/// One typo that is no prefix, and one that is, but another than was meant.
fn acl_typo(lab: &Lab, machine: &Machine<'_>) {
    let with = |prefix: &str| format!("{}\n[acl]\ndeny = [\"{prefix}\"]\n", first_configuration());
    machine.write(CONFIGURATION, &with("203.0.113.0/33"));
    assert_eq!(machine.run("systemctl reload xswitch").code, 1);
    let log = machine.journal("");
    assert!(log.contains("203.0.113.0/33") && log.contains("xswitch.toml:"), "{log}");

    machine.write(CONFIGURATION, &with("198.18.0.0/24"));
    machine.does("systemctl reload xswitch");
    wait_until("clients are denied", PATIENCE, || {
        !traffic::is_served(&lab.client, WEB, Duration::from_millis(500))
    });
    let trace = machine.does(&format!("xswitch trace {CLIENT}:40000 {WEB}/tcp"));
    assert!(trace.contains("denied") && trace.contains("[acl]"), "{trace}");
    let status = machine.does("xswitch status");
    assert!(status.contains("denied"), "{status}");

    machine.write(CONFIGURATION, &first_configuration());
    machine.does("systemctl reload xswitch");
}
