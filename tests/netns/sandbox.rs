//! What a running switch may still do. Every other scene runs it with `--sandbox strict`, where one system call too many ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::lab::{Lab, WEB, nat};
use crate::common::switch::{BINARY, Configuration, Switch, configuration_text, number};
use crate::common::traffic;

/// CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_BPF (`include/uapi/linux/capability.h`).
const KEPT: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 39;

/// `/proc/PID/task/TID/status` of every thread, by the thread's name.
fn threads(switch: &Switch<'_>) -> Vec<(String, BTreeMap<String, String>)> {
    let tasks = format!("/proc/{}/task", number(&switch.status(), "pid"));
    let mut threads = Vec::new();
    for task in std::fs::read_dir(tasks).unwrap() {
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        let status: BTreeMap<_, _> =
            pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
        threads.push((status["Name"].clone(), status));
    }
    threads
}

/// What this test has itself of `KEPT`: a container may have less than root has elsewhere.
fn own() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

fn capabilities(status: &BTreeMap<String, String>, set: &str) -> u64 {
    u64::from_str_radix(&status[set], 16).unwrap()
}

#[test]
fn every_thread_is_bound_and_workers_have_no_capability_at_all() {
    let lab = Lab::new(nat(2));
    let text = configuration_text(&lab, &Configuration::of(&lab));
    // As users start it.
    let switch = Switch::launch_line(&lab, &format!("{BINARY} run"), &text);
    switch.warm_up(WEB);
    let threads = threads(&switch);
    let workers = threads.iter().filter(|(name, _)| name.starts_with("worker-")).count();
    assert_eq!(workers, 2, "{threads:?}");
    let can_keep = KEPT & capabilities(&own(), "CapEff");
    for (name, status) in &threads {
        assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "{name}");
        let kept = if name.starts_with("worker-") { 0 } else { can_keep };
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(capabilities(status, set), kept, "{name}: {set}");
        }
        assert_eq!(capabilities(status, "CapBnd") & !KEPT, 0, "{name}: nothing that it starts gets more");
        assert_eq!(capabilities(status, "CapInh") | capabilities(status, "CapAmb"), 0, "{name}");
    }
    assert!(
        switch.log().contains("privileges given up capabilities=\"NET_ADMIN NET_RAW"),
        "{}",
        switch.log()
    );

    // What operators do goes on: reading and writing the file, the table, a trace.
    switch.reload(&text.replacen("\"wrr\"", "\"rr\"", 1));
    switch.order("backend weight web 198.18.1.11:8080 7 --save");
    switch.order("connections --count");
    switch.order(&format!("trace 198.18.0.1:40000 {WEB}/tcp"));
    assert_eq!(traffic::requests(&lab.client, WEB, 30).failures, 0);
    switch.finish();
}

#[test]
fn whoever_debugs_may_keep_everything_and_is_told() {
    let lab = Lab::new(nat(1));
    let text = configuration_text(&lab, &Configuration::of(&lab));
    let switch = Switch::launch_line(&lab, &format!("{BINARY} run --sandbox off"), &text);
    assert!(traffic::is_served(&lab.client, WEB, Duration::from_secs(10)));
    assert!(threads(&switch).iter().all(|(_, status)| status["NoNewPrivs"] == own()["NoNewPrivs"]));
    assert!(switch.log().contains("keeps all privileges"), "{}", switch.log());
    switch.finish();
}

#[test]
fn a_file_that_cannot_be_read_again_is_told_at_start() {
    let lab = Lab::new(nat(1));
    let list = lab.directory().join("deny.txt");
    std::fs::write(&list, "203.0.113.0/24\n").unwrap();
    let text = configuration_text(&lab, &Configuration::of(&lab));
    let text = format!("{text}\n[acl]\ndeny_files = [\"{}\"]\n", list.display());
    let path = crate::common::switch::write_configuration(&lab, &text);
    // Root reads them by a capability that the switch gives up.
    for path in [&path, &list] {
        lab.switch.run(&format!("chown nobody {0}", path.display()));
        lab.switch.run(&format!("chmod 600 {0}", path.display()));
    }
    let switch = Switch::launch_line(&lab, &format!("{BINARY} run"), &text);
    switch.warm_up(WEB);
    for path in [&path, &list] {
        assert!(
            switch.log().contains(&format!("{} cannot be read again", path.display())),
            "{}",
            switch.log()
        );
    }
    let reload = switch.command("reload");
    assert!(reload.code == 2 && reload.stderr.contains("denied"), "{}: {}", reload.code, reload.stderr);
    switch.finish();
}
