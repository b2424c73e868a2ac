//! A thousand services with a hundred backends each: loaded, checked, reloaded.
//!
//! All backends are addresses of one host, which takes every address of their network for its own.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::common::lab::setup::V4;
use crate::common::lab::{Lab, nat};
use crate::common::process;
use crate::common::services::{self, Service};
use crate::common::switch::{BINARY, Switch, number, release_binary, write_configuration};
use crate::common::traffic;
use crate::common::wait::wait_until;

const PORT: u16 = 31080;
/// The network of all backends.
const NETWORK: &str = "10.64.0.0/14";
/// VIPs are ports of one address.
const FIRST_VIP: u16 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

/// The default: what every backend is checked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// Promised, whatever the size: a configuration loads, a reload applies.
const LOADS_IN: Duration = Duration::from_secs(2);
const RELOADS_IN: Duration = Duration::from_secs(1);
/// Promised: checks begin no later than this part of the interval.
const LATE_PART: u32 = 20;

/// How much of everything.
struct Scale {
    /// What runs.
    binary: String,
    services: u16,
    backends: u16,
    /// Bytes of memory that the switch has at the most.
    resident: u64,
}

#[test]
fn fifty_services_of_a_hundred_backends() {
    serve(&Scale { binary: BINARY.to_owned(), services: 50, backends: 100, resident: 256 << 20 });
}

#[test]
#[ignore = "takes minutes, and measures the release binary"]
fn a_thousand_services_of_a_hundred_backends() {
    serve(&Scale { binary: release_binary(), services: 1000, backends: 100, resident: 1 << 30 });
}

fn serve(scale: &Scale) {
    let lab = Lab::new(nat(2));
    let host = &lab.backends[0].host;
    host.ip(&format!("route add local {NETWORK} dev lo"));
    host.sysctl("net.core.somaxconn", "4096");
    lab.switch.ip(&format!("route add {NETWORK} via {}", lab.setup.backend_address(1)));
    let web = crate::common::servers::Web::start(host, "all", &[listens()], lab.directory());
    wait_until("nginx listens", LIMIT, || {
        host.run("ss --no-header --listening --tcp --numeric").contains(&format!(":{PORT}"))
    });

    let path = write_configuration(&lab, &configuration(&lab, scale, 1));
    let start = Instant::now();
    process::run(&format!("{} check --config {}", scale.binary, path.display()));
    let checked = start.elapsed();
    let mut switch = Switch::launch_binary(&lab, &scale.binary, &configuration(&lab, scale, 1));
    let started = wait_until("it switches", LIMIT, || switch.log().contains("switching"));
    switch.wait_until_attached();

    // Every backend is checked once per interval; three of them in all.
    std::thread::sleep(INTERVAL * 3);
    let status = switch.look();
    let targets = u64::from(scale.services) * u64::from(scale.backends);
    assert_eq!(status["checks"]["targets"], targets);
    assert!(status["checks"]["checks"].as_u64() >= Some(targets * 2), "too few checks: {}", status["checks"]);
    let states = status["services"].as_array().expect("status has services").iter();
    let backends = states.flat_map(|service| service["backends"].as_array().cloned().unwrap_or_default());
    let not_up = backends.filter(|backend| backend["state"] != "up").count();
    assert_eq!(not_up, 0, "backends that are not up");

    for service in [0, scale.services / 2, scale.services - 1] {
        let vip = SocketAddr::new(crate::common::lab::setup::vip(V4.vip), FIRST_VIP + service);
        assert_eq!(traffic::requests(&lab.client, vip, 10).failures, 0);
    }

    let last = backend(scale.services - 1, scale.backends - 1);
    let last_service = format!("s{}", scale.services - 1);
    write_configuration(&lab, &configuration(&lab, scale, 7));
    let start = Instant::now();
    let said = switch.order("reload");
    let reloaded = start.elapsed();
    switch.settle();
    assert_eq!(switch.backend(&last_service, last)["weight"], 7, "{said}");
    // The checks that fell due meanwhile were begun.
    std::thread::sleep(INTERVAL);

    let status = switch.look();
    let (pace, resident) = (&status["checks"], switch.resident_bytes());
    eprintln!(
        "{} × {}: check {checked:?}, start {started:?}, reload {reloaded:?}, {} MiB, {} MiB as it says itself, pace {pace}",
        scale.services,
        scale.backends,
        resident >> 20,
        number(&status, "resident_bytes") >> 20,
    );
    let late = pace["late_max_ms"].as_f64().unwrap_or_else(|| panic!("the status names no lateness: {pace}"));
    assert!(late < INTERVAL.as_secs_f64() * 1e3 / f64::from(LATE_PART), "checks are late: {pace}");
    assert!(checked <= LOADS_IN, "the configuration took {checked:?} to load");
    assert!(started <= LOADS_IN, "it took {started:?} to start");
    assert!(reloaded <= RELOADS_IN, "the reload took {reloaded:?}");
    assert!(resident <= scale.resident, "{resident} bytes of memory");
    let said = number(&status, "resident_bytes");
    assert!(said.abs_diff(resident) < resident / 10, "it has {resident} bytes and says {said}");
    drop(web);
    switch.finish();
}

fn listens() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT)
}

/// Backend `number` of service `service`: each has an address of its own.
fn backend(service: u16, number: u16) -> SocketAddr {
    let [high, low] = service.to_be_bytes();
    SocketAddr::from(([10, 64 + high, low, number as u8 + 1], PORT))
}

/// The file; the very last backend has this weight.
fn configuration(lab: &Lab, scale: &Scale, weight: u32) -> String {
    let mut text = services::text(lab, []);
    for number in 0..scale.services {
        let mut service = Service::new(lab, &format!("s{number}"), FIRST_VIP + number)
            .tables(&format!("[service.health]\ncheck = \"tcp\"\ninterval_ms = {}", INTERVAL.as_millis()));
        for backend_number in 0..scale.backends {
            service = service.with(backend(number, backend_number));
        }
        if let Some(last) = service.backends.last_mut().filter(|_| number + 1 == scale.services) {
            last.weight = weight;
        }
        write!(text, "{service}").expect("a String takes every write");
    }
    text
}
