//! Half an hour in which everything goes wrong at once, and nobody loses anything but for a reason.
//!
//! ```text
//!  phase 1        phase 2        phase 3        phase 4        phase 5        phase 6 …
//!  clients, reloads, deaths, floods, operators: in each phase, all at once, by the dice
//!  links up       eth0 down      eth1 down      eth1 unplugged eth0 unplugged links up
//!  ─────── quiet ─────── quiet ─────── quiet ─────── quiet ─────── quiet ───────
//!          every sum is exact; no request failed without a reason; memory, files, threads
//! ```
//!
//! Clients go on through all phases and pause between them, with their connections open. Nothing here depends on how fast the
//! machine is: a slow one makes less trouble in the same time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::lab::setup::{V4, V6};
use crate::common::lab::{Lab, nat};
use crate::common::switch::{Switch, number, release_binary};
use crate::common::traffic;
use crate::common::wait::wait_until;

mod clients;
pub mod ledger;
mod network;
mod trouble;
mod windows;

use clients::{Crowd, Habit};
use ledger::{Holdings, Ledger, Since};
use network::{FLAPPING, LIMITED, LONE};
use trouble::{Break, Dice, Made, Servers, Stage};
use windows::Windows;

/// Minutes that it takes, in the environment.
const MINUTES: &str = "XSWITCH_SOAK_MINUTES";
/// What the dice begin with, in the environment.
const SEED: &str = "XSWITCH_SOAK_SEED";
/// New trouble is made for so long in each phase.
const PHASE: Duration = Duration::from_secs(20);
/// What happens to links, in turns.
const ROUND: [Break; 5] =
    [Break::None, Break::Down("eth0"), Break::Down("eth1"), Break::Unplug("eth1"), Break::Unplug("eth0")];
/// The allocator gives back at once what is free, and has one heap for all threads: else it keeps some megabytes as it likes.
const FRUGAL: &str = "env MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=65536";
/// What the process may hold more in the last round than in the first after a fifth of the time: holes of the heap, and what has the
/// size of the most that there ever was. Half a kilobyte that is lost with each reload would be more.
const GROWTH: u64 = 512 << 10;
/// Everything but established connections is forgotten sooner than that, and those 31 s after their minute.
const FORGETS_IN: Duration = Duration::from_secs(150);
const LIMIT: Duration = Duration::from_secs(90);
const MIB: u32 = 1;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is not a whole number"))
    })
}

#[test]
#[ignore = "takes half an hour, and measures the release binary"]
fn nothing_is_lost_without_a_reason_while_everything_happens_at_once() {
    let (minutes, seed) = (from_environment(MINUTES, 30), from_environment(SEED, 1));
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let lab = Lab::new(nat(2).with_ipv6());
    // Else the addresses of IPv6 go with the link.
    lab.switch.sysctl("net.ipv6.conf.all.keep_addr_on_down", "1");
    let mut servers = Servers::start(&lab);
    trouble::prepare(&lab);
    let binary = format!("{FRUGAL} {}", release_binary());
    let mut switch = Switch::launch_binary(&lab, &binary, &network::configuration(&lab, 0));
    switch.wait_until_attached();
    wait_until_well(&switch);
    [V4.web(), V6.web()].into_iter().for_each(|web| switch.warm_up(web));

    let (windows, made, crowd) = (Windows::default(), Made::default(), crowd(&lab));
    let mut before = quiet(&lab, &switch, &crowd, None);
    let (start, mut memory, mut displaced) = (Holdings::of(&switch), vec![], 0);
    for phase in 0.. {
        let (kind, begin) = (ROUND[phase % ROUND.len()], Instant::now());
        let stage =
            Stage { lab: &lab, switch: &switch, windows: &windows, made: &made, until: begin + PHASE };
        crowd.resume();
        let links = made.links.load(Ordering::Relaxed);
        make_trouble(&stage, &mut servers, kind, seed + 10 * phase as u64);
        assert!(servers.all_live());
        switch.reload(&network::configuration(&lab, 0));
        wait_until_well(&switch);
        let since = match kind {
            Break::Unplug("eth0") => None,
            Break::Down("eth0") => Some(made.links.load(Ordering::Relaxed) - links),
            _ => Some(0),
        };
        let since = since.map(|cuts| Since { ledger: &before, cuts });
        let after = quiet(&lab, &switch, &crowd, since);
        let excused = crowd.assert_only_excused(&windows);
        displaced += excused.displaced;
        after.assert_reasons(&before, kind != Break::None);
        start.wait_until_no_more(&switch);
        memory.push(ledger::memory(&switch));
        eprintln!(
            "phase {phase}, {kind:?}: {:?}; answered {:?}; {} failed while something was broken, {} displaced; {} KiB",
            begin.elapsed(),
            crowd.answered(),
            excused.broken,
            excused.displaced,
            memory[phase] >> 10
        );
        before = after;
        if phase + 1 >= ROUND.len() && Instant::now() >= end {
            break;
        }
    }
    eprintln!("{start:?}; {made:?}; {}", before.summary());
    assert_flat(&memory);
    let answered = crowd.answered()[0] as usize;
    // What floods may cost in the other scenes, too.
    assert!(displaced * 100 <= answered, "{displaced} of {answered} new connections were displaced");
    assert!(crowd.answered().iter().all(|&answered| answered > 0), "{:?}", crowd.answered());
    trouble::assert_floods_were_felt(&switch);
    drop(crowd);
    let left = || number(&switch.look()["connections"], "active");
    wait_until("nothing is left of the connections", FORGETS_IN, || left() == 0);
    Ledger::balance(&lab, &switch, Some(Since { ledger: &before, cuts: 0 }));
    assert!(switch.is_running());
    switch.finish();
    assert!(!lab.has_xdp_program("eth0") && !lab.has_xdp_program("eth1"), "an XDP program was left behind");
}

/// Memory by phase does not grow once everything has happened that takes some and keeps it: all tables have been full, all floods
/// have come.
fn assert_flat(memory: &[u64]) {
    let warm = memory.iter().skip(memory.len() / 5).take(ROUND.len()).max();
    let last = memory.iter().rev().take(ROUND.len()).min();
    let (warm, last) = warm.zip(last).expect("there were phases");
    assert!(*last <= warm + GROWTH, "memory grows: {memory:?}");
}

/// Everybody who means well.
fn crowd(lab: &Lab) -> Crowd {
    let original = lab.directory().join("original");
    traffic::random_file(&original, MIB);
    let file = Arc::new(std::fs::read(&original).expect("the file is there"));
    let at_port = |port| network::vip(lab, port);
    let web = [("web", V4.web()), ("web-ipv6", V6.web())];
    let others = [("limited", at_port(LIMITED)), ("flapping", at_port(FLAPPING)), ("lone", at_port(LONE))];
    let mut crowd = Crowd::default();
    for (service, server) in web {
        for pause in [Duration::ZERO, Duration::from_millis(40)] {
            crowd.join(&lab.client, Habit::Download(Arc::clone(&file), pause), service, server);
        }
    }
    for (service, server) in web.into_iter().chain(others) {
        let (new, kept) = if service.starts_with("web") { (2, 4) } else { (1, 2) };
        (0..new).for_each(|_| crowd.join(&lab.client, Habit::New, service, server));
        (0..kept).for_each(|_| crowd.join(&lab.client, Habit::Kept, service, server));
    }
    for (service, server) in [("names", V4.names()), ("names-ipv6", V6.names())] {
        crowd.join(&lab.client, Habit::Questions, service, server);
    }
    crowd
}

/// All kinds at once, until the phase is over and what was broken is whole.
fn make_trouble(stage: &Stage<'_>, servers: &mut Servers, kind: Break, seed: u64) {
    let dice = |number| Dice::new(seed + number);
    std::thread::scope(|scope| {
        scope.spawn(|| stage.reload(dice(1)));
        scope.spawn(|| stage.flap(dice(2), servers));
        scope.spawn(|| stage.flood(dice(3)));
        scope.spawn(|| stage.operate(dice(4)));
        stage.break_link(dice(5), kind);
    });
}

/// Waits until every backend of every service serves, with the newest tables.
fn wait_until_well(switch: &Switch<'_>) {
    switch.settle();
    wait_until("every backend serves", LIMIT, || {
        let status = switch.look();
        let services = status["services"].as_array().expect("status has services").iter();
        services
            .flat_map(|service| service["backends"].as_array())
            .flatten()
            .all(|backend| backend["state"] == "up" && backend["takes_new"] == true)
    });
}

/// Has the clients pause, and waits until every sum holds. `before`: the last such moment, if the client's cable is still the same.
fn quiet(lab: &Lab, switch: &Switch<'_>, crowd: &Crowd, before: Option<Since<'_>>) -> Ledger {
    crowd.pause();
    Ledger::balance(lab, switch, before)
}
