//! What workers do while there is nothing to do, and how they ask for frames.

use std::time::Duration;

use crate::common::lab::{Lab, Setup, WEB};
use crate::common::switch::{Configuration, Switch, configuration_text, number, refused};
use crate::common::traffic::requests;

scenes! {
    a_quiet_switch_leaves_the_processor_alone in two_setups;
    workers_poll_the_drivers in two_setups;
}

/// How long the switch is watched.
const WATCH: Duration = Duration::from_secs(3);
/// Of one core.
const MOST: f64 = 0.03;

fn with(lab: &Lab, lines: &str) -> Configuration {
    Configuration { switch_lines: lines.into(), ..Configuration::of(lab) }
}

/// Processor time of the whole process, workers and control plane: it does not depend on what else runs.
fn share_of_a_core(switch: &Switch<'_>) -> f64 {
    let before = switch.processor_time();
    std::thread::sleep(WATCH);
    (switch.processor_time() - before).as_secs_f64() / WATCH.as_secs_f64()
}

fn a_quiet_switch_leaves_the_processor_alone(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start_with(&lab, &with(&lab, "idle = \"adaptive\"\n"));
    assert_eq!(requests(&lab.client, WEB, 20).failures, 0);
    let quiet = share_of_a_core(&switch);
    assert!(quiet < MOST, "a quiet switch used {quiet:.3} of a core");
    assert_eq!(requests(&lab.client, WEB, 20).failures, 0, "it wakes up");
    switch.finish();

    let switch = Switch::start_with(&lab, &with(&lab, "idle = \"spin\"\n"));
    let spinning = share_of_a_core(&switch);
    assert!(spinning > 10.0 * MOST, "a spinning worker used only {spinning:.3} of a core");
    switch.finish();
}

fn workers_poll_the_drivers(setup: Setup) {
    let lab = Lab::new(setup);
    let lines = "idle = \"spin\"\nbusy_poll = true\nbusy_poll_device = true\n";
    let switch = Switch::start_with(&lab, &with(&lab, lines));
    let interface = lab.setup.interfaces()[0];
    let knobs = format!("cat /sys/class/net/{interface}/napi_defer_hard_irqs");
    // A mount of sysfs shows the interfaces of the namespace that it was made in: `ip netns exec` makes one.
    assert_eq!(lab.switch.run(&knobs).trim(), "2");
    assert_eq!(requests(&lab.client, WEB, 200).failures, 0);
    switch.finish();
    assert_eq!(lab.switch.run(&knobs).trim(), "0", "the interface has its former setting back");
}

#[test]
fn huge_pages_that_were_not_reserved_are_missed_with_a_remedy() {
    let lab = Lab::new(crate::common::lab::nat(1));
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    if free.is_ok_and(|free| free.trim() == "0") {
        let said = refused(&lab, &configuration_text(&lab, &with(&lab, "huge_pages = \"on\"\n")));
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(said.stderr.contains("sysctl vm.nr_hugepages="), "{}", said.stderr);
    }
    let switch = Switch::start_with(&lab, &with(&lab, "huge_pages = \"auto\"\n"));
    assert_eq!(requests(&lab.client, WEB, 20).failures, 0);
    assert!(number(&switch.status()["connections"], "active") > 0);
    switch.finish();
}
