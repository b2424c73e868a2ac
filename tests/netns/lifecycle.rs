//! kill -9, SIGTERM, refusals to start.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::lab::{Lab, SWITCH, Setup, WEB, nat};
use crate::common::switch::{self, Configuration, Switch};
use crate::common::traffic;
use crate::common::wait::wait_until;

scenes! {
    kill_9_under_load_leaves_no_program_and_a_restart_serves_at_once in every_setup;
    sigterm_ends_the_switch_with_0_and_leaves_nothing in two_setups;
}

/// A killed switch has left its interfaces within this.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// A started switch serves within this.
const SERVES_WITHIN: Duration = Duration::from_secs(2);

fn kill_9_under_load_leaves_no_program_and_a_restart_serves_at_once(setup: Setup) {
    let lab = Lab::new(setup);
    let mut killed = Switch::start(&lab);
    traffic::random_file(&lab.directory().join("original"), 100);
    let load = format!("curl --silent --output /dev/null http://{WEB}/files/original?[1-100]");
    let loads = ["load-1", "load-2"].map(|name| lab.client.spawn(&load, &lab.directory().join(name)));
    let forwarded = |switch: &Switch<'_>| switch::number(&switch.status()["totals"], "forwarded");
    wait_until("the load flows", Duration::from_secs(10), || forwarded(&killed) > 10_000);

    killed.signal(Signal::KILL);
    let gone = wait_until("no XDP program is on the interfaces", GONE_WITHIN, || {
        setup.interfaces().iter().all(|interface| !lab.has_xdp_program(interface))
    });
    killed.wait_for_end();
    lab.client.run(&format!("ping -c 1 -w 1 {SWITCH}"));

    let start = Instant::now();
    let restarted = Switch::launch(&lab, &Configuration::of(&lab));
    wait_until("the restarted switch serves", SERVES_WITHIN, || {
        traffic::is_served(&lab.client, WEB, Duration::from_millis(300))
    });
    eprintln!("program gone after {gone:?}, served again {:?} after the restart", start.elapsed());
    drop(loads);
    traffic::requests(&lab.client, WEB, 20);
    restarted.finish();
}

fn sigterm_ends_the_switch_with_0_and_leaves_nothing(setup: Setup) {
    let lab = Lab::new(setup);
    let mut switch = Switch::start(&lab);
    traffic::requests(&lab.client, WEB, 10).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    assert!(setup.interfaces().iter().all(|interface| lab.has_xdp_program(interface)));
    assert!(switch::socket(&lab).exists());

    switch.signal(Signal::TERM);
    assert_eq!(switch.wait_for_end(), 0);
    assert!(setup.interfaces().iter().all(|interface| !lab.has_xdp_program(interface)), "a program was left");
    assert!(!switch::socket(&lab).exists(), "the control socket was left");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_says_where() {
    let lab = Lab::new(nat(1));
    let text = switch::configuration_text(&lab, &Configuration::of(&lab)).replacen("\"nat\"", "\"natt\"", 1);
    let refused = switch::refused(&lab, &text);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("xswitch.toml:"), "no place: {}", refused.stderr);
    assert!(refused.stderr.contains("natt"), "no mistake named: {}", refused.stderr);
    assert!(!lab.has_xdp_program("eth0"));
}

#[test]
fn a_missing_interface_ends_with_1_and_is_named() {
    let lab = Lab::new(nat(1));
    let configuration =
        Configuration { interfaces: vec!["eth0".into(), "eth9".into()], ..Configuration::of(&lab) };
    let refused = switch::refused(&lab, &switch::configuration_text(&lab, &configuration));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("eth9"), "the interface is not named: {}", refused.stderr);
    assert!(!lab.has_xdp_program("eth0"), "a program was left");
}

#[test]
fn a_second_switch_on_the_same_control_socket_is_refused() {
    let lab = Lab::new(nat(1));
    let first = Switch::start(&lab);
    let refused = switch::refused(&lab, &switch::configuration_text(&lab, &Configuration::of(&lab)));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(traffic::is_served(&lab.client, WEB, Duration::from_secs(5)), "the first one goes on");
    first.finish();
}
