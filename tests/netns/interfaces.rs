//! Links that go down, go away and come back.

use std::time::Duration;

use crate::common::lab::{CLIENT, Lab, NAMES, SWITCH, Setup, WEB, full_nat, full_nat_one_arm, nat};
use crate::common::switch::{BINARY, Switch};
use crate::common::traffic;
use crate::common::wait::wait_until;
use crate::limits::{NOBODY, flood_at};
use crate::soak::ledger::{Ledger, Since};

scenes! {
    a_link_that_was_down_serves_again in every_setup;
    an_interface_with_a_new_mac_address_serves_again in two_setups;
}

/// Outer bound of everything that netlink must notice first.
const PATIENCE: Duration = Duration::from_secs(10);

fn a_link_that_was_down_serves_again(setup: Setup) {
    let lab = Lab::new(setup);
    let mut switch = Switch::start(&lab);
    for interface in setup.interfaces() {
        assert!(traffic::is_served(&lab.client, WEB, PATIENCE));
        lab.switch.ip(&format!("link set {interface} down"));
        wait_until("the switch reports the link down", PATIENCE, || switch.link(interface) == "down");
        assert!(!traffic::is_served(&lab.client, WEB, Duration::from_millis(300)), "served over a dead link");
        lab.switch.ip(&format!("link set {interface} up"));
        wait_until("the switch reports the link up", PATIENCE, || switch.link(interface) == "up");
        wait_until_served(&lab);
    }
    assert!(switch.is_running());
    switch.finish();
}

fn an_interface_with_a_new_mac_address_serves_again(setup: Setup) {
    let lab = Lab::new(setup);
    let mut switch = Switch::start(&lab);
    assert!(traffic::is_served(&lab.client, WEB, PATIENCE));
    lab.switch.ip("link set eth0 address 02:00:00:00:77:01");
    wait_until_served(&lab);
    assert!(switch.is_running());
    switch.finish();
}

#[test]
fn nat_goes_on_after_the_backend_side_was_deleted_and_recreated() {
    an_interface_comes_back(nat(1), "eth1");
}

#[test]
fn nat_goes_on_after_the_client_side_was_deleted_and_recreated() {
    an_interface_comes_back(nat(2), "eth0");
}

#[test]
fn full_nat_goes_on_after_the_backend_side_was_deleted_and_recreated() {
    an_interface_comes_back(full_nat(2), "eth1");
}

#[test]
fn full_nat_on_one_arm_goes_on_after_its_only_interface_was_deleted_and_recreated() {
    an_interface_comes_back(full_nat_one_arm(1), "eth0");
}

fn an_interface_comes_back(setup: Setup, interface: &str) {
    let lab = Lab::new(setup);
    let mut switch = Switch::start(&lab);
    assert!(traffic::is_served(&lab.client, WEB, PATIENCE));

    lab.switch.ip(&format!("link delete {interface}"));
    wait_until("the switch reports the interface gone", PATIENCE, || switch.link(interface) == "gone");
    assert!(switch.is_running(), "xswitch ended with its interface");
    for other in setup.interfaces().iter().filter(|&&other| other != interface) {
        assert_eq!(switch.link(other), "up", "the rest goes on");
        assert!(lab.has_xdp_program(other), "the rest goes on");
    }
    if interface != "eth0" {
        lab.client.run(&format!("ping -c 3 -i 0.1 {SWITCH}"));
    }

    lab.plug_in_again(interface);
    wait_until("the switch reports the interface up", PATIENCE, || switch.link(interface) == "up");
    wait_until_served(&lab);
    traffic::requests(&lab.client, WEB, 30).assert_shared_by([2, 3, 5], 1 + usize::from(setup.queues));
    switch.finish();
}

/// Rings share packet memory: when one interface comes back those of the others are opened anew, too, while frames come.
#[test]
fn no_frame_is_lost_uncounted_while_another_interface_comes_back() {
    let lab = Lab::new(nat(2));
    lab.switch.ip(&format!("route add {NOBODY} via {CLIENT}"));
    let switch = Switch::start(&lab);
    assert!(traffic::is_served(&lab.client, WEB, PATIENCE));
    let before = Ledger::balance(&lab, &switch, None);
    let flood = flood_at(&lab, BINARY, (NAMES, "udp"), "5k");
    for _ in 0..3 {
        lab.switch.ip("link delete eth1");
        wait_until("the switch reports the interface gone", Duration::from_secs(60), || {
            switch.link("eth1") == "gone"
        });
        lab.plug_in_again("eth1");
        wait_until("the switch reports the interface up", Duration::from_secs(60), || {
            switch.link("eth1") == "up"
        });
    }
    drop(flood);
    let after = Ledger::balance(&lab, &switch, Some(Since { ledger: &before, cuts: 0 }));
    assert!(after.seen("eth0") > before.seen("eth0") + 1000, "there was no flood");
    switch.finish();
}

fn wait_until_served(lab: &Lab) {
    wait_until("the service is back", PATIENCE, || {
        traffic::is_served(&lab.client, WEB, Duration::from_millis(1500))
    });
}
