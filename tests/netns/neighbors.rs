//! ARP, gratuitous ARP, next hops that are unknown or move.

use std::time::Duration;

use crate::common::capture::Capture;
use crate::common::lab::{Lab, Setup, VIP, WEB, bridge, nat};
use crate::common::switch::Switch;
use crate::common::traffic::{self, Connection};
use crate::common::wait::wait_until;

scenes! {
    the_vip_is_at_the_mac_address_of_the_switch in two_setups;
    a_starting_switch_announces_its_vip in two_setups;
    a_next_hop_that_nobody_knows_yet_is_resolved in every_setup;
    a_backend_with_a_new_mac_address_keeps_its_connections in two_setups;
}

/// The MAC address that a backend moves to.
const MOVED: &str = "02:00:00:00:77:01";

fn the_vip_is_at_the_mac_address_of_the_switch(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    let answer = lab.client.run(&format!("arping -c 3 -w 5 -I eth0 {VIP}")).to_lowercase();
    assert!(answer.contains(&Lab::mac(&lab.switch, "eth0")), "arping got: {answer}");
    assert!(traffic::is_served(&lab.client, WEB, Duration::from_secs(5)));
    let neighbor = lab.client.ip(&format!("neighbor show {VIP} dev eth0"));
    assert!(neighbor.contains(&Lab::mac(&lab.switch, "eth0")), "the client believes: {neighbor}");
    switch.finish();
}

fn a_starting_switch_announces_its_vip(setup: Setup) {
    let lab = Lab::new(setup);
    let capture = Capture::start(&lab.client, "eth0", lab.directory());
    let switch = Switch::start(&lab);
    // The announcement has been sent once a request is through.
    assert!(traffic::is_served(&lab.client, WEB, Duration::from_secs(5)));
    let announced = format!("arp.isgratuitous && arp.src.proto_ipv4 == {VIP}");
    let senders = capture.stop().list(&announced, "arp.src.hw_mac");
    let mac = Lab::mac(&lab.switch, "eth0");
    assert!(!senders.is_empty(), "no gratuitous ARP for the VIP");
    assert!(senders.iter().all(|sender| *sender == mac), "the VIP was announced at {senders:?}, not {mac}");
    switch.finish();
}

fn a_next_hop_that_nobody_knows_yet_is_resolved(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    for interface in setup.interfaces() {
        lab.switch.ip(&format!("neighbor flush dev {interface}"));
    }
    // Frames are dropped until the kernel knows a next hop; TCP sends its SYN again. Then those serve who can be reached.
    assert_eq!(traffic::requests(&lab.client, WEB, 10).failures, 0);
    wait_until("every backend can be reached", Duration::from_secs(10), || {
        let status = switch.status();
        let backends = status["services"][0]["backends"].as_array().expect("status has backends");
        backends.iter().all(|backend| backend["next_hop"]["resolved"] == true)
    });
    switch.settle();
    traffic::requests(&lab.client, WEB, 10).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    switch.finish();
}

fn a_backend_with_a_new_mac_address_keeps_its_connections(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    let patience = Duration::from_secs(10);
    let mut connection = Connection::open(&lab.client, WEB, patience).expect("the service answers");
    let name = connection.ask().expect("the service answers");
    let backend = lab.backends.iter().find(|backend| backend.name == name).expect("a backend answered");

    // Like a failover within the backend: the address speaks up from its new place until it is heard.
    backend.host.ip(&format!("link set dev eth0 address {MOVED}"));
    let announce = format!("arping -U -c 1 -w 2 -I eth0 {}", backend.address);
    wait_until("the switch's kernel has heard of the new address", patience, || {
        backend.host.run_within(patience, &announce);
        lab.switch.ip("neighbor show").contains(MOVED)
    });
    assert_eq!(connection.ask().expect("the connection goes on"), name);
    switch.finish();
}

/// Adapters let in only groups that the kernel has joined; a veth lets in everything, so what is asked of it is looked at.
#[test]
fn interfaces_are_told_to_let_neighbour_solicitations_in() {
    for (setup, flag) in [(nat(1).with_ipv6(), "allmulti"), (bridge(1), "promiscuity")] {
        let lab = Lab::new(setup);
        let asked = || {
            let answer = lab.switch.ip("-details -json link show dev eth1");
            let links: serde_json::Value = serde_json::from_str(&answer).expect("ip prints JSON");
            links[0][flag].as_u64().unwrap_or_default()
        };
        let before = asked();
        let switch = Switch::start(&lab);
        wait_until("the interface lets more in", Duration::from_secs(5), || asked() > before);
        switch.finish();
        assert_eq!(asked(), before, "and no more afterwards");
    }
}
