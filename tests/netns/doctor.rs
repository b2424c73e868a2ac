//! One thing after the other is broken, and `xswitch doctor` names it; in a lab that is well it has nothing to complain about.

use std::time::Duration;

use serde_json::Value;

use crate::common::lab::{Family, Lab, Setup, VIP, WEB, address, bridge, dsr, full_nat, ipip, nat};
use crate::common::process::Finished;
use crate::common::switch::{self, BINARY, Configuration, Switch};
use crate::common::traffic;

/// The doctor asks on the wire for a second and a half.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs the doctor with the configuration of the lab.
fn doctor(lab: &Lab, words: &str) -> Finished {
    let text = switch::configuration_text(lab, &Configuration::of(lab));
    let path = switch::write_configuration(lab, &text);
    lab.switch.run_within(PATIENCE, &format!("{BINARY} doctor --config {} {words}", path.display()))
}

/// What it prints as JSON, and its exit code.
fn findings(lab: &Lab, words: &str) -> (Value, i32) {
    let finished = doctor(lab, &format!("--json {words}"));
    let answer = serde_json::from_str(&finished.stdout);
    (answer.unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr)), finished.code)
}

/// `check subject` of every finding that is more than a note.
fn complaints(answer: &Value) -> Vec<String> {
    let list = answer["findings"].as_array().expect("there are findings");
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    list.iter()
        .filter(|finding| finding["severity"] != "note")
        // What the machine of the test lacks is not the lab's fault.
        .filter(|finding| {
            !["memory", "transparent-huge-pages", "cores", "conntrack"]
                .contains(&finding["check"].as_str().unwrap())
        })
        .map(|finding| format!("{} {}", text(finding, "check"), text(finding, "subject")))
        .collect()
}

/// The finding of this check.
fn finding(answer: &Value, check: &str) -> Value {
    let list = answer["findings"].as_array().expect("there are findings");
    let found = list.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("{check} was not found: {answer:#}")).clone()
}

/// The doctor finds exactly this, and says it in words, too.
fn assert_found(lab: &Lab, check: &str, subject: &str) -> Value {
    let (answer, code) = findings(lab, "");
    assert_eq!(complaints(&answer), [format!("{check} {subject}")], "{answer:#}");
    let finding = finding(&answer, check);
    assert_eq!(code, i32::from(finding["severity"] == "error"), "{answer:#}");
    finding
}

fn assert_well(lab: &Lab) {
    let (answer, code) = findings(lab, "");
    assert_eq!((complaints(&answer), code), (vec![], 0), "{answer:#}");
}

#[test]
fn labs_that_are_well_are_called_well() {
    for setup in [nat(2).with_ipv6(), full_nat(1), dsr(1), ipip(1), bridge(1)] {
        assert_well(&Lab::new(setup));
    }
}

#[test]
fn a_running_switch_is_called_well() {
    for setup in [nat(1), bridge(1)] {
        let lab = Lab::new(setup);
        let switch = Switch::start(&lab);
        switch.warm_up(WEB);
        traffic::requests(&lab.client, WEB, 20);
        assert_well(&lab);
        // Without the configuration, from what the switch says.
        let alone = switch.command("doctor");
        assert_eq!(alone.code, 0, "{}{}", alone.stdout, alone.stderr);
        assert!(alone.stdout.contains("0 errors"), "{}", alone.stdout);
        switch.finish();
    }
}

/// One lab for everything that can be taken back.
#[test]
fn each_thing_that_is_broken_is_named_and_nothing_else() {
    let lab = Lab::new(nat(1));
    wrong_gateway(&lab);
    checksum_offload(&lab);
    vip_in_the_kernel(&lab);
    vip_on_the_link(&lab);
    ports(&lab);
    mtu(&lab);
    interface_down(&lab);
    backend_gone(&lab);
    occupied(&lab);
    assert_well(&lab);
}

fn wrong_gateway(lab: &Lab) {
    let host = &lab.backends[0].host;
    host.ip("route replace default via 198.18.1.77");
    let found = assert_found(lab, "wrong-gateway", "backend 198.18.1.11");
    assert_eq!(found["fix"], "ip route replace default via 198.18.1.1    # at 198.18.1.11");
    host.ip("route replace default via 198.18.1.1");
}

fn checksum_offload(lab: &Lab) {
    let (far, name) = lab.beyond("eth1");
    far.run(&format!("ethtool --offload {name} tx on"));
    let found = assert_found(lab, "checksum-offload", "eth1");
    assert_eq!(found["fix"], format!("ip netns exec {} ethtool -K {name} tx off", far.name()));
    // Safe: the doctor mends it, in the other namespace.
    let (answer, code) = findings(lab, "--fix --yes");
    assert_eq!((&answer["fixed"][0]["outcome"], code), (&Value::from("done"), 0), "{answer:#}");
    assert_well(lab);
}

fn vip_in_the_kernel(lab: &Lab) {
    lab.switch.ip(&format!("address add {VIP}/24 dev eth0"));
    let found = assert_found(lab, "vip-in-kernel", &format!("VIP {VIP}"));
    assert_eq!(
        (&found["fix"], &found["safe"]),
        (&format!("ip address delete {VIP}/24 dev eth0").into(), &false.into())
    );
    lab.switch.ip(&format!("address delete {VIP}/24 dev eth0"));
}

fn vip_on_the_link(lab: &Lab) {
    lab.client.ip(&format!("address add {VIP}/32 dev lo"));
    let found = assert_found(lab, "vip-duplicate", &format!("VIP {VIP}"));
    let mac = Lab::mac(&lab.client, "eth0");
    assert!(found["what"].as_str().unwrap().contains(&mac), "{found:#}");
    lab.client.ip(&format!("address delete {VIP}/32 dev lo"));
}

fn ports(lab: &Lab) {
    lab.switch.sysctl("net.ipv4.ip_local_port_range", "20000 60999");
    let found = assert_found(lab, "snat-ports", "snat");
    let what = found["what"].as_str().unwrap().to_owned();
    let text = switch::configuration_text(lab, &Configuration::of(lab));
    let refused = switch::refused(lab, &text);
    assert!(refused.stderr.contains(&what), "the start says something else: {}", refused.stderr);
    let (answer, code) = findings(lab, "--fix --yes");
    assert_eq!((&answer["fixed"][0]["outcome"], code), (&Value::from("done"), 0), "{answer:#}");
    let range = lab.switch.run("sysctl --values net.ipv4.ip_local_port_range");
    assert_eq!(range.split_whitespace().collect::<Vec<_>>(), ["32768", "65535"]);
    lab.switch.sysctl("net.ipv4.ip_local_port_range", "32768 60999");
}

fn mtu(lab: &Lab) {
    lab.switch.ip("link set eth1 mtu 1300");
    let (answer, code) = findings(lab, "");
    assert_eq!((complaints(&answer), code), (vec!["mtu-far-end eth1".into(), "mtu-differs eth1".into()], 1));
    assert_eq!(finding(&answer, "mtu-far-end")["fix"], "ip link set dev eth1 mtu 1500");
    lab.switch.ip("link set eth1 mtu 1500");
}

fn interface_down(lab: &Lab) {
    lab.switch.ip("link set eth1 down");
    let (answer, code) = findings(lab, "");
    assert_eq!(code, 1);
    // Its routes are gone with it.
    let complaints = complaints(&answer);
    assert_eq!(complaints[0], "interface-down eth1");
    assert!(complaints[1..].iter().all(|complaint| complaint.starts_with("no-route")), "{complaints:?}");
    let person = doctor(lab, "");
    assert!(person.stdout.contains("eth1 is down") && person.stdout.contains("ip link set dev eth1 up"));
    let unasked = doctor(lab, "--fix");
    assert_eq!(unasked.code, 2, "there is nobody to ask: {}", unasked.stderr);
    let (answer, code) = findings(lab, "--fix --yes");
    assert_eq!(
        (&answer["fixed"][0]["command"], code),
        (&Value::from("ip link set dev eth1 up"), 0),
        "{answer:#}"
    );
    // What the far end is to be up for, too.
    let (far, name) = lab.beyond("eth0");
    far.ip(&format!("link set {name} down"));
    let (answer, _) = findings(lab, "");
    let fix = finding(&answer, "no-carrier")["fix"].clone();
    assert_eq!(fix, format!("ip netns exec {} ip link set dev {name} up", far.name()));
    far.ip(&format!("link set {name} up"));
}

fn backend_gone(lab: &Lab) {
    lab.backends[2].host.ip("link set eth0 down");
    let found = assert_found(lab, "next-hop-silent", "backend 198.18.1.13");
    assert!(found["what"].as_str().unwrap().contains("does not answer on eth1"), "{found:#}");
    let host = &lab.backends[2].host;
    host.ip("link set eth0 up");
    host.ip("route replace default via 198.18.1.1");
}

/// Another switch, at a socket that nobody looks at, has its program on both interfaces and the metrics' port.
fn occupied(lab: &Lab) {
    let text = switch::configuration_text(lab, &Configuration::of(lab));
    let elsewhere = lab.directory().join("elsewhere.sock");
    let other = lab.directory().join("other.toml");
    let socket = switch::socket(lab);
    std::fs::write(&other, text.replace(&*socket.to_string_lossy(), &elsewhere.to_string_lossy())).unwrap();
    let log = lab.directory().join("other.log");
    let process = lab.switch.spawn(&format!("{BINARY} run --config {}", other.display()), &log);
    crate::common::wait::wait_until("the other switch is there", PATIENCE, || {
        lab.has_xdp_program("eth0") && lab.has_xdp_program("eth1")
    });
    let (answer, code) = findings(lab, "");
    let wanted = ["foreign-xdp eth0", "foreign-xdp eth1", "metrics-port metrics_listen"];
    assert_eq!((complaints(&answer), code), (wanted.map(str::to_owned).to_vec(), 1), "{answer:#}");
    assert!(
        finding(&answer, "foreign-xdp")["what"].as_str().unwrap().contains("another xswitch"),
        "{answer:#}"
    );
    // Where that socket is named, it is a switch that runs, and its programs are its own.
    let (answer, code) = findings(lab, &format!("--socket {}", elsewhere.display()));
    assert_eq!((complaints(&answer), code), (vec![], 0), "{answer:#}");
    drop(process);
    crate::common::wait::wait_until("its programs are gone", PATIENCE, || {
        !lab.has_xdp_program("eth0") && !lab.has_xdp_program("eth1")
    });
}

#[test]
fn a_wrong_gateway_is_named_while_the_switch_runs() {
    let lab = Lab::new(nat(1));
    let switch = Switch::start(&lab);
    switch.warm_up(WEB);
    lab.backends[1].host.ip("route replace default via 198.18.1.77");
    assert_found(&lab, "wrong-gateway", "backend 198.18.1.12");
    switch.finish();
}

#[test]
fn ipv6_is_looked_at_likewise() {
    let lab = Lab::new(nat(1).with_ipv6());
    let vip = address(Family::V6, 0, 100);
    let backend = lab.setup.backend_address_of(1, Family::V6);
    lab.client.ip(&format!("address add {vip}/128 dev eth0 nodad"));
    assert_found(&lab, "vip-duplicate", &format!("VIP {vip}"));
    lab.client.ip(&format!("address delete {vip}/128 dev eth0"));
    lab.backends[0].host.ip("-6 route replace default via 2001:db8:1::77");
    assert_found(&lab, "wrong-gateway", &format!("backend {backend}"));
    lab.backends[0].host.ip("link set eth0 down");
    let (answer, _) = findings(&lab, "");
    assert!(complaints(&answer).contains(&format!("next-hop-silent backend {backend}")), "{answer:#}");
}

#[test]
fn a_backend_of_dsr_that_is_not_silent_is_named() {
    let lab = Lab::new(Setup { paths: &[crate::common::lab::V4], ..dsr(1) });
    assert_well(&lab);
    lab.backends[1].host.sysctl("net.ipv4.conf.all.arp_ignore", "0");
    let found = assert_found(&lab, "vip-duplicate", &format!("VIP {VIP}"));
    assert!(found["what"].as_str().unwrap().starts_with("backend 198.18.0.12"), "{found:#}");
    assert!(found["fix"].as_str().unwrap().contains("arp_ignore=1"), "{found:#}");
}

#[test]
fn what_a_running_switch_counts_is_told() {
    let lab = Lab::new(nat(1));
    let switch = Switch::start(&lab);
    switch.warm_up(WEB);
    let (far, name) = lab.beyond("eth1");
    far.run(&format!("ethtool --offload {name} tx on"));
    for backend in &lab.backends {
        backend.host.run("ethtool --offload eth0 tx on");
    }
    traffic::is_served(&lab.client, WEB, Duration::from_millis(500));
    let (answer, code) = findings(&lab, "");
    let complaints = complaints(&answer);
    assert_eq!(code, 1);
    assert!(complaints.contains(&"drops checksum_offload".to_owned()), "{answer:#}");
    assert!(complaints.contains(&"checksum-offload eth1".to_owned()), "{answer:#}");
    let alone = switch.command("doctor");
    assert!(alone.code == 1 && alone.stdout.contains("checksum_offload"), "{}", alone.stdout);
    switch.finish();
}

#[test]
fn a_configuration_with_mistakes_is_code_2() {
    let lab = Lab::new(nat(1));
    let path = switch::write_configuration(&lab, "[switch]\ninterfaces = 7\n");
    let refused = lab.switch.run_within(PATIENCE, &format!("{BINARY} doctor --config {}", path.display()));
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("xswitch.toml:2:"), "{}", refused.stderr);
    let alone = lab.switch.run_within(PATIENCE, &format!("{BINARY} doctor --yes"));
    assert_eq!(alone.code, 2, "--yes without --fix: {}", alone.stderr);
}
