//! Two hundred reloads under load: whoever is not concerned does not notice.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::actors::Actor;
use crate::common::filters::Resets;
use crate::common::lab::{Lab, Setup};
use crate::common::load::{Load, Plan};
use crate::common::services::{self, Service, at};
use crate::common::switch::{BINARY, Switch, write_configuration};
use crate::common::traffic::Connection;

scenes! {
    two_hundred_reloads_are_not_noticed in two_setups;
}

/// The service that is asked all the time; two of its backends are never touched.
const STEADY: u16 = 31040;
/// Services that come and go have the ports that follow, each its own and never again: three per reload.
const COMING: u16 = 32_000;
/// Where those backends listen that come, and live.
const ALIVE: u16 = 31041;
/// The network of all backends that come and go. One host takes all of it for its own.
const PODS: &str = "10.64.0.0/14";
/// Backends, new ones every time, that come with every reload and go with the next: of a service with affinity, and of one
/// that is checked as well.
const STICKY: u32 = 150;
const CHECKED: u32 = 20;
const RELOADS: u32 = 200;
/// From one to the next, at least: several requests. It also fixes how many backends are remembered at a time because they
/// left within the last seconds.
const PACE: Duration = Duration::from_millis(120);
/// After so many, everything that grows to a size once has grown to it: rows that are kept for those who come back, those
/// that take a second to leave, and numbers that clients may be remembered by for four.
const WARM_UP: u32 = 80;
/// The allocator gives back at once what is free, and has one heap for all threads: else it keeps some megabytes as it likes.
const FRUGAL: &str = "env MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=65536";
/// What it may keep all the same, in holes that come and go with what is sampled every second: 192 KiB were seen. Eighty bytes
/// for each of the backends that went after the warm-up would make four times the bound.
const MEMORY_NOISE: u64 = 384 << 10;
/// Measured so often, and the least of it counts: while tables are made, there are two.
const LOOKS: usize = 7;
const PATIENCE: Duration = Duration::from_secs(5);

fn two_hundred_reloads_are_not_noticed(setup: Setup) {
    let lab = Lab::new(setup);
    let _actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, STEADY)).collect();
    let pods = &lab.backends[2].host;
    pods.ip(&format!("route add local {PODS} dev lo"));
    lab.switch.ip(&format!("route add {PODS} via {}", lab.setup.backend_address(3)));
    let _pods = Actor::start(pods, "pod", ALIVE);
    let mut switch = Switch::launch_binary(&lab, &format!("{FRUGAL} {BINARY}"), &configuration(&lab, 0));
    switch.wait_until_attached();
    let server = Service::new(&lab, "steady", STEADY).vip;
    let resets = Resets::watch(&lab.client);
    // nginx keeps a connection open; the lab's own listens at 8080.
    let web = Service::new(&lab, "open", 80).vip;
    let mut open: Vec<_> =
        (0..10).map(|_| Connection::open(&lab.client, web, PATIENCE).expect("it connects")).collect();
    let names: Vec<_> = open.iter_mut().map(|connection| connection.ask().expect("it answers")).collect();

    switch.warm_up(server);
    let load = Load::start(&lab.client, Plan::steady(server));
    let done = AtomicBool::new(false);
    let memory = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (connection, name) in open.iter_mut().zip(&names) {
                    assert_eq!(&connection.ask().expect("an open connection goes on"), name, "it moved");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        // Also when a reload fails: the scope waits for who asks.
        let asks = Until(&done);
        let (mut memory, start) = (Vec::new(), Instant::now());
        for number in 1..=RELOADS {
            switch.reload(&configuration(&lab, number));
            std::thread::sleep((start + PACE * number).saturating_duration_since(Instant::now()));
            if number % 10 == 0 {
                memory.push((number, switch.resident_bytes()));
            }
        }
        drop(asks);
        asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        memory
    });
    let report = load.stop();
    eprintln!("{} requests; memory by reload: {memory:?}", report.requests.len());
    report.assert_nothing_failed();
    assert_eq!(resets.count(), 0, "clients were reset");
    let least = |looks: Vec<u64>| looks.into_iter().take(LOOKS).min().expect("memory was measured");
    let warm = memory.iter().filter(|(number, _)| *number >= WARM_UP);
    let warm = least(warm.map(|(_, bytes)| *bytes).collect());
    let last = least(memory.iter().rev().map(|(_, bytes)| *bytes).collect());
    assert!(last <= warm + MEMORY_NOISE, "memory grows with every reload: {memory:?}");
    switch.finish();
}

/// Says that it is done when it goes out of scope.
struct Until<'flag>(&'flag AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The file of reload `number`: each differs from the one before it in several ways.
fn configuration(lab: &Lab, number: u32) -> String {
    let health = "[service.health]\ncheck = \"tcp\"\ninterval_ms = 1000";
    let mut steady = Service::new(lab, "steady", STEADY).lines("scheduler = \"wrr\"").tables(health);
    steady = steady.with(at(lab, 1, STEADY)).with(at(lab, 2, STEADY));
    // The third comes and goes; the weights of the others change.
    if !number.is_multiple_of(2) {
        steady = steady.with(at(lab, 3, STEADY));
    }
    for (place, backend) in (0..).zip(&mut steady.backends) {
        backend.weight = 1 + (number + place) % 3;
    }
    let web_port = lab.setup.backend_port(80);
    let open = Service::new(lab, "open", 80).tables("[service.affinity]");
    let open = (1..=3).fold(open, |open, host| open.with(at(lab, host, web_port)));
    // Always there, but never the same behind it; clients are remembered for a second.
    let sticky = Service::new(lab, "sticky", COMING - 1).tables("[service.affinity]\ntimeout_s = 1");
    let sticky = (0..STICKY).fold(sticky, |sticky, pod| sticky.with(self::pod(number * STICKY + pod, ALIVE)));
    let mut all = vec![sticky];
    // Services come in front of the others and behind them.
    for place in 0..number % 4 {
        let port = COMING + (3 * number + place) as u16;
        let group = format!("[service.affinity]\ntimeout_s = 1\ngroup = \"group-{port}\"\n{health}");
        let mut coming = Service::new(lab, &format!("coming-{port}"), port).tables(&group);
        for pod in 0..CHECKED / 4 {
            // Every second one is dead.
            let listens = if pod % 2 == 0 { ALIVE } else { port };
            coming = coming.with(self::pod((3 * number + place) * CHECKED + pod, listens));
        }
        all.push(coming);
    }
    all.insert((number % 3).min(number % 4) as usize, steady);
    all.push(open);
    services::text(lab, &all)
}

/// One of a quarter of a million backends.
fn pod(number: u32, port: u16) -> SocketAddr {
    SocketAddr::from(((0x0A40_0000 + 256 + number).to_be_bytes(), port))
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_a_dry_run_says_what_would() {
    let lab = Lab::new(crate::common::lab::nat(1));
    let _actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, STEADY)).collect();
    let [first, second] = [1, 2].map(|number| at(&lab, number, STEADY));
    let service = Service::new(&lab, "steady", STEADY).with(first).with(second);
    let text = services::text(&lab, [&service]);
    let switch = Switch::start_text(&lab, &text);
    switch.warm_up(service.vip);
    let in_force = || {
        let weights = [first, second].map(|address| switch.backend("steady", address)["weight"].clone());
        (switch.service("steady")["scheduler"].clone(), weights)
    };
    let before = in_force();
    write_configuration(&lab, &text.replace("\"rr\"", "\"rrr\""));
    let refused = switch.command("reload");
    assert_eq!(refused.code, 2);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("rrr") && said.contains("xswitch.toml:"), "no mistake and no place: {said}");
    assert_eq!(in_force(), before, "a file with a mistake changed something");

    let mut heavier = service.clone();
    heavier.backends[1].weight = 7;
    write_configuration(&lab, &services::text(&lab, [&heavier]));
    let said = switch.order("reload --dry-run");
    assert!(said.contains(&second.to_string()) && said.contains('7'), "the difference is not named: {said}");
    assert_eq!(switch.backend("steady", second)["weight"], 1, "a dry run changed something");
    let said = switch.order("reload");
    assert!(said.contains(&second.to_string()) && said.contains('7'), "the difference is not named: {said}");
    switch.settle();
    assert_eq!(switch.backend("steady", second)["weight"], 7);
    switch.finish();
}
