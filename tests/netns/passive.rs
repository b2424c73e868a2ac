//! A backend's nginx goes away under load, and comes back: how soon that is noticed, by checks and in the traffic.

use std::time::{Duration, Instant};

use crate::common::actors::{Actor, Manner};
use crate::common::filters::BlackHole;
use crate::common::lab::{CLIENT, Lab, nat};
use crate::common::load::{Load, Plan};
use crate::common::packets::{self, ethernet};
use crate::common::servers::Web;
use crate::common::services::{self, Service, at};
use crate::common::switch::Switch;

/// Where the servers of these scenes listen.
const PORT: u16 = 31020;
/// Where checks ask that are to fail now and then.
const CHECK: u16 = 31021;
/// Outer bound of everything that is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// nginx at a port of its own, so that it can be stopped.
fn web(lab: &Lab, number: u8) -> Web {
    let host = &lab.backends[usize::from(number) - 1].host;
    let web = Web::start(host, &format!("n{number}"), &[at(lab, number, PORT)], lab.directory());
    crate::common::wait::wait_until("nginx listens", LIMIT, || {
        host.run("ss --no-header --listening --tcp --numeric").contains(&format!(":{PORT}"))
    });
    web
}

fn service(lab: &Lab, health: &str) -> Service {
    let mut service = Service::new(lab, "web", PORT)
        .lines("scheduler = \"rr\"\nslow_start_s = 5")
        .tables(&format!("[service.health]\ncheck = \"http\"\n{health}"));
    for number in 1..=3 {
        service = service.with(at(lab, number, PORT));
    }
    service
}

#[test]
fn a_stopped_nginx_is_found_by_checks_and_comes_back_slowly() {
    let lab = Lab::new(nat(2));
    let [first, _second, _third] = [1, 2, 3].map(|number| web(&lab, number));
    let health = "interval_ms = 1000\nfast_interval_ms = 300\ntimeout_ms = 300\nrise = 2\nfall = 3\npassive_failures = 0";
    let within = Duration::from_millis(1000 * 3 + 300);
    let service = service(&lab, health);
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    let stopped = at(&lab, 1, PORT);
    switch.wait_for_state("web", stopped, "up", LIMIT);
    switch.warm_up(service.vip);

    let load = Load::start(&lab.client, Plan::steady(service.vip));
    std::thread::sleep(Duration::from_secs(1));
    drop(first);
    let found = switch.wait_for_state("web", stopped, "down", LIMIT);
    assert!(found <= within, "found after {found:?}, promised within {within:?}");
    let (found_at, before) = (load.now(), switch.connections_new("web", stopped));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switch.connections_new("web", stopped), before, "a connection went to a backend that is down");

    let _first = web(&lab, 1);
    crate::common::wait::wait_until("it serves again", LIMIT, || {
        ["up", "starting"].contains(&switch.state("web", stopped).as_str())
    });
    let returned_at = load.now();
    std::thread::sleep(Duration::from_secs(8));
    let report = load.stop();

    report.assert_all_answered();
    // Requests that were under way when the last worker heard of it.
    assert_eq!(report.failures_since(found_at), 0, "a client met a backend that is down");
    let seconds = report.by_second("n1", returned_at);
    eprintln!("found after {found:?}; answers per second from its return on: {seconds:?}");
    // A third of a hundred is its whole share.
    assert!(seconds[0] <= 15, "it did not start slowly: {seconds:?}");
    assert!(seconds[0] < seconds[2] && seconds[2] < seconds[6], "it did not grow: {seconds:?}");
    assert!(seconds[6] >= 28, "it did not get its whole share: {seconds:?}");
    switch.finish();
}

#[test]
fn a_stopped_nginx_is_found_in_the_traffic_within_a_second() {
    let lab = Lab::new(nat(2));
    let [first, _second, _third] = [1, 2, 3].map(|number| web(&lab, number));
    // Everything as it is by default: by checks alone it would take up to eighteen seconds.
    let service = service(&lab, "");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    let stopped = at(&lab, 1, PORT);
    switch.wait_for_state("web", stopped, "up", LIMIT);
    switch.warm_up(service.vip);

    let load = Load::start(&lab.client, Plan::steady(service.vip));
    std::thread::sleep(Duration::from_secs(1));
    drop(first);
    let found = switch.wait_for_state("web", stopped, "down", LIMIT);
    let (found_at, before) = (load.now(), switch.connections_new("web", stopped));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switch.connections_new("web", stopped), before, "a connection went to a backend that is down");
    let report = load.stop();

    eprintln!("found after {found:?}; {} attempts failed", report.failures_since(Duration::ZERO));
    assert!(found <= Duration::from_secs(1), "found after {found:?}");
    report.assert_all_answered();
    assert_eq!(report.failures_since(found_at), 0, "a client met a backend that is down");
    switch.finish();
}

#[test]
fn handshakes_that_are_never_completed_make_nobody_suspect() {
    let lab = Lab::new(nat(2));
    let _webs = [1, 2, 3].map(|number| web(&lab, number));
    let service = service(&lab, "interval_ms = 1000\ntimeout_ms = 900");
    // What is answered to the attackers goes to the client, which is none of them.
    lab.switch.ip(&format!("route add 10.0.0.0/8 via {CLIENT}"));
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    for number in 1..=3 {
        switch.wait_for_state("web", at(&lab, number, PORT), "up", LIMIT);
    }
    switch.warm_up(service.vip);

    let load = Load::start(&lab.client, Plan::steady(service.vip));
    std::thread::sleep(Duration::from_millis(200));
    let sent = attack(&lab, service.vip, Duration::from_secs(4));
    let report = load.stop();
    eprintln!("{sent} clients: {}", switch.look()["connections"]);
    report.assert_all_answered();
    for number in 1..=3 {
        let backend = switch.backend("web", at(&lab, number, PORT));
        assert_eq!(backend["state"], "up", "{backend:#}");
        assert_eq!(backend["health"]["suspect"], false, "{backend:#}");
        assert_eq!(backend["health"]["failed"], 0, "{backend:#}");
        // A SYN that a full queue dropped is repeated; the attackers' were all answered.
        let unanswered = backend["failures"]["unanswered"].as_u64().unwrap_or(u64::MAX);
        assert!(unanswered < sent as u64 / 20, "{backend:#}");
    }
    switch.finish();
}

#[test]
fn a_backend_that_falls_silent_is_found_in_the_traffic() {
    let lab = Lab::new(nat(2));
    let _webs = [1, 2, 3].map(|number| web(&lab, number));
    // By checks alone it would take an hour.
    let service = service(&lab, "interval_ms = 3600000\nfast_interval_ms = 200\ntimeout_ms = 300");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    let silent = at(&lab, 1, PORT);
    switch.wait_for_state("web", silent, "up", LIMIT);
    switch.warm_up(service.vip);

    // Clients that wait until they have asked again.
    let plan = Plan { patience: Duration::from_millis(2500), ..Plan::steady(service.vip) };
    let load = Load::start(&lab.client, plan);
    std::thread::sleep(Duration::from_millis(500));
    let hole = BlackHole::dig(&lab.backends[0].host, PORT);
    let found = switch.wait_for_state("web", silent, "down", LIMIT);
    let backend = switch.backend("web", silent);
    eprintln!("found after {found:?}: {backend}");
    assert!(backend["health"]["failed"].as_u64() >= Some(3), "clients alone took it down: {backend:#}");
    load.stop().assert_all_answered();
    drop(hole);
    switch.finish();
}

#[test]
fn clients_that_ask_in_vain_take_no_backend_down_that_fails_a_check_now_and_then() {
    let lab = Lab::new(nat(1));
    let backend = at(&lab, 1, PORT);
    let _web = web(&lab, 1);
    let checked = Actor::start(&lab.backends[0].host, "checked", CHECK);
    let health = format!(
        "[service.health]\ncheck = \"http\"\nport = {CHECK}\ninterval_ms = 300\nfast_interval_ms = 100\n\
         timeout_ms = 200\nrise = 1000\nfall = 2"
    );
    let service = Service::new(&lab, "web", PORT).tables(&health).with(backend);
    // As if the TTL of what the attackers send ended behind the switch.
    lab.switch.ip(&format!("route add 10.0.0.0/8 via {CLIENT}"));
    let host = &lab.backends[0].host;
    host.run("nft add table ip lost");
    host.run("nft add chain ip lost input { type filter hook input priority 0 ; }");
    host.run("nft add rule ip lost input ip saddr 10.0.0.0/8 drop");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    switch.wait_for_state("web", backend, "up", LIMIT);
    switch.warm_up(service.vip);
    checked.behave(Manner::Turns);

    // Once down, it would stay so.
    let failed = |shown: &serde_json::Value| shown["health"]["failed"].as_u64();
    let mut failed_while_suspect = 0;
    let end = Instant::now() + LIMIT;
    while failed_while_suspect < 8 {
        assert!(Instant::now() < end, "too few checks under suspicion: {:#}", switch.backend("web", backend));
        ask_in_vain(&lab, service.vip);
        let before = switch.backend("web", backend);
        std::thread::sleep(Duration::from_millis(600));
        let after = switch.backend("web", backend);
        assert_eq!(after["state"], "up", "{after:#}");
        failed_while_suspect +=
            u32::from(before["health"]["suspect"] == true && failed(&after) > failed(&before));
    }
    switch.finish();
}

/// Sends a SYN from each of ten clients: the same ones every time.
fn ask_in_vain(lab: &Lab, vip: std::net::SocketAddr) {
    let socket = packets::packet_socket(&lab.client, "eth0");
    let to = packets::neighbor(&lab.client, vip.ip());
    let from = packets::mac(&Lab::mac(&lab.client, "eth0"));
    for number in 1..=10 {
        let source = std::net::SocketAddr::from(([10, 0, 0, number], 1024));
        // A full queue drops a SYN: there are others.
        let _ = socket.send(&ethernet(to, from, &[], 0x0800, &packets::syn(source, vip)));
    }
}

/// Sends SYNs from ever new clients, each twice, as if the first had been lost; answers are not answered. How many
/// clients there were.
fn attack(lab: &Lab, vip: std::net::SocketAddr, duration: Duration) -> usize {
    let socket = packets::packet_socket(&lab.client, "eth0");
    let to = packets::neighbor(&lab.client, vip.ip());
    let from = packets::mac(&Lab::mac(&lab.client, "eth0"));
    let end = Instant::now() + duration;
    let mut clients = 0u32;
    while Instant::now() < end {
        let burst: Vec<_> = (clients..clients + 10)
            .map(|number| {
                let [_, a, b, c] = number.to_be_bytes();
                let source =
                    std::net::SocketAddr::from(([10, a, b, c.max(1)], 1024 + (number % 50_000) as u16));
                ethernet(to, from, &[], 0x0800, &packets::syn(source, vip))
            })
            .collect();
        for frame in burst.iter().chain(&burst) {
            // A full queue drops a SYN: there are others.
            let _ = socket.send(frame);
        }
        clients += 10;
        std::thread::sleep(Duration::from_millis(5));
    }
    clients as usize
}
