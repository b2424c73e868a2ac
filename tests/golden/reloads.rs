//! What a valid configuration alone does not bring about: tables that changed under a connection.

use xswitch::dataplane::Verdict;
use xswitch::tables::{BackendId, DropReason, InterfaceId, RoundRobin, SchedulerTable};

use crate::frames::lab::{Lab, compile};
use crate::frames::network::*;
use crate::frames::{ACK, Packet, SYN, tcp};

const VIP: &str = "198.18.0.100:80";
const CLIENT: &str = "198.18.0.7:40000";
const BACKEND: &str = "198.18.1.11:8080";

fn lab(forwarding: &str) -> Lab {
    let web = service("web", VIP, "tcp", forwarding, &[(BACKEND, 1)]);
    Lab::new(&[SWITCH, &web, NETWORK].concat(), 64)
}

fn request(flags: u8) -> Packet {
    tcp(CLIENT, VIP, flags).in_at_eth0_from(CLIENT7)
}

fn verdict(lab: &mut Lab, ingress: InterfaceId, packet: &Packet) -> Verdict {
    lab.send(ingress, &packet.build()).verdict
}

#[test]
fn without_a_snat_address_there_is_no_full_nat() {
    let mut lab = lab("full-nat");
    lab.snapshot.snat.v4 = Box::new([]);
    assert_eq!(verdict(&mut lab, ETH0, &request(SYN)), Verdict::Drop(DropReason::NoSnatAddress));
}

#[test]
fn a_connection_ends_with_its_backend() {
    let mut lab = lab("nat");
    assert_eq!(verdict(&mut lab, ETH0, &request(SYN)), Verdict::Forward(ETH1));
    lab.snapshot.backends[0] = None;
    lab.snapshot.index();
    assert_eq!(verdict(&mut lab, ETH0, &request(ACK)), Verdict::Drop(DropReason::BackendGone));
    assert_eq!(
        verdict(&mut lab, ETH0, &request(ACK)),
        Verdict::Drop(DropReason::BackendGone),
        "and stays so"
    );
    let late = tcp(BACKEND, CLIENT, SYN | ACK).in_at_eth1_from(BACKEND11);
    assert_eq!(verdict(&mut lab, ETH1, &late), Verdict::Forward(ETH0), "what it still had to say arrives");
}

#[test]
fn after_its_backend_was_removed_a_client_gets_another_from_the_same_port() {
    let both = service("web", VIP, "tcp", "nat", &[(BACKEND, 1), ("198.18.1.12:8080", 1)]);
    let mut lab = Lab::new(&[SWITCH, &both, NETWORK].concat(), 64);
    assert_eq!(verdict(&mut lab, ETH0, &request(SYN)), Verdict::Forward(ETH1));
    lab.snapshot.backends[0] = None;
    let web = lab.snapshot.services[0].as_mut().unwrap();
    web.table = std::sync::Arc::new(SchedulerTable::RoundRobin(RoundRobin::equal(&[(BackendId(1), 1)])));
    lab.snapshot.index();
    assert_eq!(verdict(&mut lab, ETH0, &request(ACK)), Verdict::Drop(DropReason::BackendGone));
    let outcome = lab.send(ETH0, &request(SYN).build());
    let leaves = tcp(CLIENT, "198.18.1.12:8080", SYN).out_of_eth1_to(BACKEND12).ttl(63);
    assert_eq!(outcome.bytes, leaves.build());
}

#[test]
fn a_backend_with_weight_0_keeps_its_connections() {
    let mut lab = lab("nat");
    assert_eq!(verdict(&mut lab, ETH0, &request(SYN)), Verdict::Forward(ETH1));
    let idle = service("web", VIP, "tcp", "nat", &[(BACKEND, 0)]);
    lab.snapshot = compile(&[SWITCH, &idle, NETWORK].concat());
    assert_eq!(verdict(&mut lab, ETH0, &request(ACK)), Verdict::Forward(ETH1));
    let new = tcp("198.18.0.7:40001", VIP, SYN).in_at_eth0_from(CLIENT7);
    assert_eq!(verdict(&mut lab, ETH0, &new), Verdict::Drop(DropReason::NoBackend));
}

#[test]
fn a_changed_mac_address_counts_for_connections_that_exist() {
    let mut lab = lab("nat");
    assert_eq!(verdict(&mut lab, ETH0, &request(SYN)), Verdict::Forward(ETH1));
    let web = service("web", VIP, "tcp", "nat", &[(BACKEND, 1)]);
    lab.snapshot = compile(&[SWITCH, &web, &NETWORK.replace("03:0b", "03:63")].concat());
    let outcome = lab.send(ETH0, &request(ACK).build());
    let leaves = tcp(CLIENT, BACKEND, ACK).out_of_eth1_to([2, 0, 0, 0, 3, 0x63]).ttl(63);
    assert_eq!(outcome.bytes, leaves.build());
}

#[test]
fn where_there_is_no_way_back_into_the_kernel_its_frames_are_dropped_and_counted() {
    let mut lab = lab("nat").without_kernel();
    let ssh = tcp(CLIENT, "198.18.0.2:22", SYN).in_at_eth0_from(CLIENT7);
    assert_eq!(verdict(&mut lab, ETH0, &ssh), Verdict::Drop(DropReason::NotSteered));
    assert_eq!(lab.counters.dropped(DropReason::NotSteered).get(), 1);
}
