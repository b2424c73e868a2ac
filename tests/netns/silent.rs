//! A backend dies without a word: nobody refuses, nobody says that it is unreachable. The traffic shows it, and checks
//! confirm it.
//!
//! ```text
//!  0 s            it dies
//!  1.0 s          clients repeat the SYNs that were lost first (RFC 6298 §2): unanswered; three in a row, and it is suspect
//!  1.0 … 1.5 s    the check at once, not sooner after the one before than the fast interval
//!  3 × 0.5 s      that check and the next two fail, each when its timeout is over: silence alone, which clients can bring
//!                 about, takes nothing off the three failures
//! ```
//!
//! That makes 3.0 s at the worst. The bound leaves one timeout more, for who waits for a processor. By checks alone it would
//! take up to a minute.

use std::time::Duration;

use crate::common::actors::Actor;
use crate::common::filters::BlackHole;
use crate::common::lab::{Lab, nat};
use crate::common::load::{Load, Plan};
use crate::common::services::{self, Service, at};
use crate::common::switch::Switch;

const PORT: u16 = 31060;
/// Outer bound of what is not measured.
const LIMIT: Duration = Duration::from_secs(30);
const HEALTH: &str = "[service.health]\ncheck = \"tcp\"\ninterval_ms = 60000\nfast_interval_ms = 500\n\
                      timeout_ms = 500\nfall = 3\npassive_failures = 3\n";
/// From death to `down`.
const FOUND_WITHIN: Duration = Duration::from_millis(1000 + 500 + 3 * 500 + 500);

#[test]
fn a_backend_that_swallows_everything_is_found_by_unanswered_syns() {
    dies_silently(|lab| Some(BlackHole::dig(&lab.backends[0].host, PORT)));
}

#[test]
fn a_backend_whose_cable_is_pulled_is_found_by_unanswered_syns() {
    dies_silently(|lab| {
        lab.host("lan").ip("link set b1 down");
        None
    });
}

/// `dies` takes the first backend off, for as long as what it returns lives.
fn dies_silently(dies: impl FnOnce(&Lab) -> Option<BlackHole<'_>>) {
    let lab = Lab::new(nat(2));
    let _actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, PORT)).collect();
    let service = (1..=3).fold(Service::new(&lab, "web", PORT).tables(HEALTH), |service, number| {
        service.with(at(&lab, number, PORT))
    });
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    for backend in &service.backends {
        switch.wait_for_state("web", backend.address, "up", LIMIT);
    }
    switch.warm_up(service.vip);

    // Clients that wait long enough to repeat their SYN.
    let plan = Plan { patience: Duration::from_secs(3), ..Plan::steady(service.vip) };
    let load = Load::start(&lab.client, plan);
    std::thread::sleep(Duration::from_secs(1));
    let dead = service.backends[0].address;
    let _dead = dies(&lab);
    let found = switch.wait_for_state("web", dead, "down", LIMIT);
    let found_at = load.now();
    let backend = switch.backend("web", dead);
    std::thread::sleep(Duration::from_secs(2));
    let report = load.stop();

    eprintln!("found after {found:?}: {}, {}", backend["failures"], backend["health"]);
    assert!(backend["failures"]["unanswered"].as_u64() >= Some(3), "the traffic showed nothing: {backend:#}");
    assert!(backend["why"].to_string().contains("no answer"), "{backend:#}");
    assert!(found <= FOUND_WITHIN, "found after {found:?}");
    report.assert_all_answered();
    assert_eq!(report.failures_since(found_at), 0, "a client met a backend that is down");
    switch.finish();
}
