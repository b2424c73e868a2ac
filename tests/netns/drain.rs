//! Taking backends and services out: whoever is connected stays so, to the end or as long as was said.

use std::time::Duration;

use crate::common::actors::{Actor, Manner};
use crate::common::filters::Resets;
use crate::common::lab::{Lab, nat};
use crate::common::load::{Download, Load, Plan};
use crate::common::process;
use crate::common::services::{self, Service, at};
use crate::common::switch::{BINARY, Switch};
use crate::common::wait::wait_until;

const PORT: u16 = 31030;
const LIMIT: Duration = Duration::from_secs(20);
/// Long downloads at a time.
const DOWNLOADS: usize = 50;
/// Bytes of each.
const BYTES: usize = 400_000;
/// How long each takes.
const OVER: Duration = Duration::from_secs(5);

/// Three actors, one per host, named b1, b2, b3.
fn actors(lab: &Lab) -> Vec<Actor> {
    lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, PORT)).collect()
}

fn service(lab: &Lab, lines: &str) -> Service {
    (1..=3).fold(
        Service::new(lab, "web", PORT).lines(&format!("scheduler = \"rr\"\n{lines}")),
        |service, number| service.with(at(lab, number, PORT)),
    )
}

#[test]
fn fifty_long_downloads_outlive_the_drain_of_their_backend() {
    let lab = Lab::new(nat(2));
    let actors = actors(&lab);
    let service = service(&lab, "");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    let resets = Resets::watch(&lab.client);
    switch.warm_up(service.vip);
    actors.iter().for_each(|actor| actor.behave(Manner::Drip(BYTES, OVER)));
    let downloads: Vec<_> = (0..DOWNLOADS).map(|_| Download::start(&lab.client, service.vip)).collect();
    wait_until("all downloads have begun", LIMIT, || downloads.iter().all(Download::has_begun));
    let drained = at(&lab, 1, PORT);
    assert!(switch.connections_open("web", drained) >= 10, "{:#}", switch.backend("web", drained));

    switch.order(&format!("backend drain web {drained}"));
    switch.settle();
    assert_eq!(switch.state("web", drained), "drain");
    let before = switch.connections_new("web", drained);
    actors.iter().for_each(|actor| actor.behave(Manner::Answer));
    let load = Load::start(&lab.client, Plan::steady(service.vip));
    assert!(downloads.iter().any(|download| !download.is_over()), "the downloads were over before the drain");
    for download in downloads {
        download.finish(BYTES).expect("a download lives to its end");
    }
    wait_until("the drained backend has no connection", LIMIT, || {
        switch.connections_open("web", drained) == 0
    });
    let report = load.stop();
    report.assert_nothing_failed();
    assert_eq!(report.answers_since(Duration::ZERO).keys().collect::<Vec<_>>(), [&"b2", &"b3"]);
    assert_eq!(switch.connections_new("web", drained), before, "a drained backend got a connection");
    assert_eq!(resets.count(), 0, "clients were reset");

    switch.order(&format!("backend enable web {drained}"));
    switch.wait_for_state("web", drained, "up", LIMIT);
    let report = load_for(&lab, &service, Duration::from_secs(1));
    assert_eq!(report.answers_since(Duration::ZERO).len(), 3, "it is back");
    switch.finish();
}

#[test]
fn a_drain_that_takes_too_long_ends_with_a_reset() {
    let lab = Lab::new(nat(2));
    let actors = actors(&lab);
    let service = service(&lab, "drain_timeout_s = 2");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    actors.iter().for_each(|actor| actor.behave(Manner::Drip(BYTES, Duration::from_secs(60))));
    let downloads: Vec<_> = (0..9).map(|_| Download::start(&lab.client, service.vip)).collect();
    wait_until("all downloads have begun", LIMIT, || downloads.iter().all(Download::has_begun));
    let drained = at(&lab, 1, PORT);
    let open = switch.connections_open("web", drained);
    assert!(open > 0, "nobody downloads from the first backend");

    switch.order(&format!("backend drain web {drained}"));
    let took = switch.wait_for_state("web", drained, "drained", LIMIT);
    assert!(took >= Duration::from_millis(1500), "it ended after {took:?}, two seconds were said");
    wait_until("its clients know", LIMIT, || {
        downloads.iter().filter(|download| download.is_over()).count() as u64 == open
    });
    wait_until("it has no connection", LIMIT, || switch.connections_open("web", drained) == 0);
    std::thread::sleep(Duration::from_millis(500));
    let (over, others): (Vec<_>, Vec<_>) = downloads.into_iter().partition(Download::is_over);
    assert_eq!(over.len() as u64, open, "downloads from other backends ended");
    for download in over {
        let error = download.finish(BYTES).expect_err("it was cut off");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    drop(actors);
    drop(others);
    switch.finish();
}

#[test]
fn saved_orders_keep_the_files_comments_and_load_to_the_same_state() {
    let lab = Lab::new(nat(1));
    let _actors = actors(&lab);
    let service = service(&lab, "");
    let [first, second, third] = [1, 2, 3].map(|number| at(&lab, number, PORT));
    let text = services::text(&lab, [&service]).replace(
        &format!("address = \"{second}\"\n"),
        &format!("# The old one, in the cellar.\naddress = \"{second}\" # do not touch\n"),
    );
    let switch = Switch::start_text(&lab, &text);
    // Not saved: gone with the process.
    switch.order(&format!("backend weight web {first} 7"));
    assert_eq!(switch.backend("web", first)["weight"], 7);
    assert_eq!(
        std::fs::read_to_string(file(&lab)).unwrap(),
        text,
        "an order that is not saved changed the file"
    );

    switch.order(&format!("backend drain web {second} --save"));
    switch.order(&format!("backend weight web {third} 5 --save"));
    let saved = std::fs::read_to_string(file(&lab)).unwrap();
    for comment in ["# The old one, in the cellar.", "# do not touch"] {
        assert!(saved.contains(comment), "{comment} is gone:\n{saved}");
    }
    let removed: Vec<_> = text.lines().filter(|line| !saved.contains(line)).collect();
    assert!(removed.is_empty(), "lines that need not change: {removed:?}\n{saved}");
    process::run(&format!("{BINARY} check --config {}", file(&lab)));

    // Loading what was saved changes nothing, and a new process comes up as this one is.
    let as_it_is = |switch: &Switch<'_>| {
        [second, third]
            .map(|address| (switch.state("web", address), switch.backend("web", address)["weight"].clone()))
    };
    let before = as_it_is(&switch);
    assert_eq!(before[0].0, "drain");
    assert_eq!(before[1].1, 5);
    switch.order("reload");
    assert_eq!(as_it_is(&switch), before);
    assert_eq!(
        switch.backend("web", first)["weight"],
        7,
        "an order outlives a reload that says nothing of it"
    );
    switch.finish();
    let switch = Switch::start_text(&lab, &saved);
    assert_eq!(as_it_is(&switch), before);
    assert_eq!(switch.backend("web", first)["weight"], 1);
    switch.finish();
}

#[test]
fn a_service_is_drained_disabled_and_enabled_as_a_whole() {
    let lab = Lab::new(nat(1));
    let actors = actors(&lab);
    let service = service(&lab, "on_no_backend = \"reject\"\non_down = \"reset\"");
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    actors.iter().for_each(|actor| actor.behave(Manner::Drip(BYTES, Duration::from_secs(30))));
    let download = Download::start(&lab.client, service.vip);
    wait_until("the download has begun", LIMIT, || download.has_begun());

    switch.order("service drain web");
    switch.settle();
    let drained = switch.service("web");
    assert_eq!(
        (&drained["state"], &drained["serving"]["serving"]),
        (&"drain".into(), &0.into()),
        "{drained:#}"
    );
    actors.iter().for_each(|actor| actor.behave(Manner::Answer));
    let report = load_for(&lab, &service, Duration::from_millis(500));
    assert!(
        report.answers_since(Duration::ZERO).is_empty(),
        "a service that is drained takes new connections"
    );
    assert!(!download.is_over(), "a drained service's connection ended");

    switch.order("service disable web");
    wait_until("the download was reset", LIMIT, || download.is_over());
    download.finish(BYTES).expect_err("it was cut off");

    switch.order("service enable web");
    switch.settle();
    load_for(&lab, &service, Duration::from_millis(500)).assert_nothing_failed();
    let log = switch.log();
    let at = |line: &str| log.find(line).unwrap_or_else(|| panic!("no {line:?} in the log: {log}"));
    let lost = at("no backend may take new connections service=\"web\"");
    assert!(lost < at("backends take new connections again service=\"web\""), "{log}");

    for (words, missing) in [
        ("service drain wep", "web"),
        ("services wep", "web"),
        ("backends wep", "web"),
        ("backend drain web 198.18.1.77:1", "198.18.1.11"),
    ] {
        let refused = switch.command(words);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(missing), "it does not name what there is: {}", refused.stderr);
    }
    switch.finish();
}

fn load_for(lab: &Lab, service: &Service, duration: Duration) -> crate::common::load::Report {
    let load = Load::start(&lab.client, Plan { attempts: 1, ..Plan::steady(service.vip) });
    std::thread::sleep(duration);
    load.stop()
}

fn file(lab: &Lab) -> String {
    lab.directory().join("xswitch.toml").display().to_string()
}
