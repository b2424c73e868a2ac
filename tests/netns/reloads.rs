//! Two hundred reloads under load: whoever is not concerned does not notice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::actors::Actor;
use crate::common::filters::Resets;
use crate::common::lab::{Lab, Setup};
use crate::common::load::{Load, Plan};
use crate::common::services::{self, Service, at};
use crate::common::switch::{Switch, write_configuration};
use crate::common::traffic::Connection;

scenes! {
    two_hundred_reloads_are_not_noticed in two_setups;
}

/// The service that is asked all the time; two of its backends are never touched.
const STEADY: u16 = 31040;
/// Services that come and go have the ports that follow.
const COMING: u16 = 31041;
const RELOADS: u32 = 200;
/// Between two of them: a few requests.
const BETWEEN: Duration = Duration::from_millis(20);
/// After so many, everything that grows to a size once has grown to it.
const WARM_UP: u32 = 60;
/// What an allocator may keep for itself.
const MEMORY_NOISE: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

fn two_hundred_reloads_are_not_noticed(setup: Setup) {
    let lab = Lab::new(setup);
    let _actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, STEADY)).collect();
    let switch = Switch::start_text(&lab, &configuration(&lab, 0));
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
        let mut memory = Vec::new();
        for number in 1..=RELOADS {
            switch.reload(&configuration(&lab, number));
            std::thread::sleep(BETWEEN);
            if number % 20 == 0 {
                memory.push((number, switch.resident_bytes()));
            }
        }
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        memory
    });
    let report = load.stop();
    report.assert_nothing_failed();
    assert_eq!(resets.count(), 0, "clients were reset");
    eprintln!("{} requests; memory by reload: {memory:?}", report.requests.len());
    let warm = memory.iter().find(|(number, _)| *number >= WARM_UP).expect("memory was measured").1;
    let last = memory.last().expect("memory was measured").1;
    assert!(last <= warm + MEMORY_NOISE, "memory grows with every reload: {memory:?}");
    switch.finish();
}

/// The file of reload `number`: each differs from the one before it in several ways.
fn configuration(lab: &Lab, number: u32) -> String {
    let mut steady = Service::new(lab, "steady", STEADY).lines("scheduler = \"wrr\"");
    steady = steady.with(at(lab, 1, STEADY)).with(at(lab, 2, STEADY));
    // The third comes and goes; the weights of the others change.
    if !number.is_multiple_of(2) {
        steady = steady.with(at(lab, 3, STEADY));
    }
    for (place, backend) in (0..).zip(&mut steady.backends) {
        backend.weight = 1 + (number + place) % 3;
    }
    let web_port = lab.setup.backend_port(80);
    let open = (1..=3).fold(Service::new(lab, "open", 80), |open, host| open.with(at(lab, host, web_port)));
    let mut all = vec![];
    // Services come in front of the others and behind them.
    for place in 0..number % 4 {
        let port = COMING + (number + place) as u16 % 8;
        let coming = Service::new(lab, &format!("coming-{port}"), port).with(at(lab, 1, port));
        all.push(coming.with(at(lab, 1 + (number % 3) as u8, port + 100)));
    }
    all.insert((number % 3).min(number % 4) as usize, steady);
    all.push(open);
    services::text(lab, &all)
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
