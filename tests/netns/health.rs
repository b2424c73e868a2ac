//! Checks: every way of being ill is noticed and named, and nobody is called ill who is not.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::actors::{Actor, Manner};
use crate::common::filters::BlackHole;
use crate::common::lab::{Lab, nat};
use crate::common::load::{Load, Plan};
use crate::common::services::{self, Service, at};
use crate::common::switch::Switch;

/// Outer bound of everything that is waited for; what is expected is seconds below.
const LIMIT: Duration = Duration::from_secs(15);
/// Port of those who are well.
const WELL: u16 = 31010;
/// Ports of those who are ill, one each.
const ILL: u16 = 31011;
/// Far more than three failures in a row take, at the intervals of these scenes.
const MANY_CHECKS: Duration = Duration::from_secs(2);

const HEALTH: &str = "[service.health]\ncheck = \"http\"\npath = \"/health\"\ninterval_ms = 300\n\
                      fast_interval_ms = 100\ntimeout_ms = 250\nrise = 2\nfall = 3\npassive_failures = 0\n";

#[test]
fn liars_are_found_out_told_apart_and_taken_back() {
    let lab = Lab::new(nat(2));
    let (ill, well) = (&lab.backends[0].host, &lab.backends[1].host);
    let honest = Actor::start(well, "honest", WELL);
    // What each of them does, and words by which an operator would know.
    let lies: [(Manner, &[&str]); 5] = [
        (Manner::Status(500), &["status 500"]),
        (Manner::Late(Duration::from_millis(600)), &["no answer"]),
        (Manner::Silent, &["no answer"]),
        // Whether the question or the end comes first is chance.
        (Manner::Close, &["closed", "reset"]),
        (Manner::Refuse, &["refused"]),
    ];
    let liars: Vec<_> = (ILL..)
        .zip(&lies)
        .map(|(port, (manner, words))| {
            let actor = Actor::start(ill, "liar", port);
            actor.behave(manner.clone());
            (actor, at(&lab, 1, port), *words)
        })
        .collect();
    let swallowed = Actor::start(ill, "swallowed", ILL + 10);
    let hole = BlackHole::dig(ill, ILL + 10);

    let mut service = Service::new(&lab, "lies", 31010).tables(HEALTH).with(at(&lab, 2, WELL));
    for (_, address, _) in &liars {
        service = service.with(*address);
    }
    let in_hole = at(&lab, 1, ILL + 10);
    service = service.with(in_hole);
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));

    let is_down = |address: SocketAddr, words: &[&str]| {
        switch.wait_for_state("lies", address, "down", LIMIT);
        let why = switch.backend("lies", address)["why"].to_string();
        for said in [switch.last_check("lies", address), why] {
            assert!(words.iter().any(|word| said.contains(word)), "{address}: {words:?} are not in `{said}`");
        }
    };
    liars.iter().for_each(|(_, address, words)| is_down(*address, words));
    is_down(in_hole, &["no answer"]);
    assert_eq!(switch.state("lies", at(&lab, 2, WELL)), "up");

    // Nobody meets a liar.
    switch.warm_up(service.vip);
    let load = Load::start(&lab.client, Plan::steady(service.vip));
    std::thread::sleep(MANY_CHECKS);
    let report = load.stop();
    report.assert_nothing_failed();
    assert_eq!(report.answers_since(Duration::ZERO).keys().collect::<Vec<_>>(), [&"honest"]);

    // All of them mend their ways.
    liars.iter().for_each(|(liar, ..)| liar.behave(Manner::Answer));
    drop(hole);
    for address in liars.iter().map(|(_, address, _)| *address).chain([in_hole]) {
        switch.wait_for_state("lies", address, "up", LIMIT);
    }
    drop((honest, swallowed));
    switch.finish();
}

#[test]
fn who_fails_every_second_time_stays_what_he_was() {
    let lab = Lab::new(nat(1));
    let flapping = Actor::start(&lab.backends[0].host, "flapping", WELL);
    let address = at(&lab, 1, WELL);
    let service = Service::new(&lab, "web", 31010).tables(HEALTH).with(address);
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    switch.wait_for_state("web", address, "up", LIMIT);

    // Never three failures in a row, so it stays up.
    flapping.behave(Manner::Turns);
    stays(&switch, address, "up");
    flapping.behave(Manner::Status(500));
    switch.wait_for_state("web", address, "down", LIMIT);
    // Never two successes in a row, so it stays down.
    flapping.behave(Manner::Turns);
    stays(&switch, address, "down");
    flapping.behave(Manner::Answer);
    switch.wait_for_state("web", address, "up", LIMIT);
    switch.finish();
}

#[test]
fn a_backup_serves_while_all_others_are_down_and_no_longer() {
    let lab = Lab::new(nat(2));
    let [first, second] = [0, 1].map(|host: usize| Actor::start(&lab.backends[host].host, "primary", WELL));
    let _backup = Actor::start(&lab.backends[2].host, "backup", WELL);
    let mut service = Service::new(&lab, "web", 31010).tables(HEALTH);
    for number in 1..=3 {
        service = service.with(at(&lab, number, WELL));
    }
    service.backends[2].lines = "backup = true";
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    let who = || {
        let report = {
            let load = Load::start(&lab.client, Plan::steady(service.vip));
            std::thread::sleep(Duration::from_millis(300));
            load.stop()
        };
        report.assert_nothing_failed();
        report.answers_since(Duration::ZERO).keys().map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    switch.warm_up(service.vip);
    assert_eq!(who(), ["primary"]);
    first.behave(Manner::Refuse);
    switch.wait_for_state("web", at(&lab, 1, WELL), "down", LIMIT);
    assert_eq!(who(), ["primary"], "one of the others still serves");
    second.behave(Manner::Refuse);
    switch.wait_for_state("web", at(&lab, 2, WELL), "down", LIMIT);
    assert_eq!(who(), ["backup"]);
    first.behave(Manner::Answer);
    switch.wait_for_state("web", at(&lab, 1, WELL), "up", LIMIT);
    assert_eq!(who(), ["primary"]);
    switch.finish();
}

/// Watches a backend over many checks.
fn stays(switch: &Switch<'_>, address: SocketAddr, state: &str) {
    let checks = |switch: &Switch<'_>| switch.backend("web", address)["health"]["checks"].as_u64();
    let before = checks(switch);
    let end = std::time::Instant::now() + MANY_CHECKS;
    while std::time::Instant::now() < end {
        assert_eq!(switch.state("web", address), state);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(checks(switch) > before.map(|count| count + 5), "hardly a check: {before:?}");
}
