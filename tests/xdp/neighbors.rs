//! ARP and neighbour discovery.

use xswitch::wire::ethernet::Tags;

use crate::bench::Goes::{ToKernel, ToPeer, ToSocket};
use crate::bench::{Bench, OTHER, OWN, PEER, V4, V6, ip, steering};
use crate::frames::{ICMPV6, ethernet, packet};

const BROADCAST: [u8; 6] = [0xFF; 6];
const SOLICITED: [u8; 6] = [0x33, 0x33, 0xFF, 0, 1, 0];

fn octets(address: &str) -> Vec<u8> {
    match ip(address) {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn arp(operation: u8, sender: &str, target: &str) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &OTHER, &octets(sender), &[0; 6], &octets(target)].concat()
}

pub fn arp_to(destination: [u8; 6], operation: u8, target: &str) -> Vec<u8> {
    ethernet(destination, &[], 0x0806, &arp(operation, V4.client, target))
}

/// A neighbour solicitation (135) or advertisement (136).
pub fn ndp_to(mac: [u8; 6], kind: u8, destination: &str, target: &str) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &octets(target), &[1, 1], &OTHER].concat();
    packet(ICMPV6, V6.client, destination, message).frame_to(mac)
}

#[test]
fn questions_for_our_addresses_are_ours() {
    let mut bench = Bench::new(&steering());
    for target in [V4.vip, V4.snat] {
        bench.expect("broadcast request", &arp_to(BROADCAST, 1, target), ToSocket);
        bench.expect("unicast request", &arp_to(OWN, 1, target), ToSocket);
        bench.expect("request to another station", &arp_to(OTHER, 1, target), ToKernel);
    }
    for target in [V6.vip, V6.snat] {
        bench.expect("multicast solicitation", &ndp_to(SOLICITED, 135, "ff02::1:ff00:100", target), ToSocket);
        bench.expect("unicast solicitation", &ndp_to(OWN, 135, target, target), ToSocket);
        bench.expect("solicitation to another", &ndp_to(OTHER, 135, target, target), ToKernel);
    }
}

#[test]
fn questions_for_other_addresses_and_all_answers_are_the_kernels() {
    let mut bench = Bench::new(&steering());
    for target in [V4.local, V4.owned, V4.client, V4.backend] {
        bench.expect("request", &arp_to(BROADCAST, 1, target), ToKernel);
    }
    for target in [V6.local, V6.owned, V6.client] {
        bench.expect("solicitation", &ndp_to(SOLICITED, 135, "ff02::1:ff00:100", target), ToKernel);
    }
    bench.expect("ARP reply", &arp_to(OWN, 2, V4.vip), ToKernel);
    bench.expect("advertisement", &ndp_to(OWN, 136, V6.vip, V6.client), ToKernel);
    bench.expect("router advertisement", &ndp_to(OWN, 134, V6.vip, V6.client), ToKernel);
    bench.expect("an unannounced VIP is asked for", &ndp_to(OWN, 135, V6.vip, V6.owned), ToKernel);
}

#[test]
fn questions_bear_the_tags_of_the_interface() {
    let mut steering = steering();
    steering.tags[0] = Tags::single(7);
    let mut bench = Bench::new(&steering);
    let request = arp(1, V4.client, V4.vip);
    bench.expect("tagged", &ethernet(BROADCAST, &[(0x8100, 7)], 0x0806, &request), ToSocket);
    bench.expect("untagged", &ethernet(BROADCAST, &[], 0x0806, &request), ToKernel);
}

#[test]
fn requests_that_are_cut_short_or_not_about_ipv4_are_the_kernels() {
    let mut bench = Bench::new(&steering());
    let whole = arp_to(BROADCAST, 1, V4.vip);
    bench.expect("cut short", &whole[..whole.len() - 1], ToKernel);
    for (offset, what) in
        [(16, "protocol"), (18, "hardware length"), (19, "protocol length"), (21, "operation")]
    {
        let mut wrong = whole.clone();
        wrong[offset] ^= 0x40;
        bench.expect(what, &wrong, ToKernel);
    }
}

#[test]
fn on_a_bridge_the_switch_hears_the_answers_that_the_kernel_did_not_ask_for() {
    let mut steering = steering();
    steering.bridge = true;
    let mut bench = Bench::new(&steering);
    bench.expect("request for a VIP", &arp_to(BROADCAST, 1, V4.vip), ToSocket);
    bench.expect("request for the switch", &arp_to(BROADCAST, 1, V4.local), ToKernel);
    bench.expect("request for another", &arp_to(BROADCAST, 1, V4.client), ToPeer);
    bench.expect("reply to us", &arp_to(OWN, 2, V4.vip), ToSocket);
    bench.expect("reply to the kernel", &arp_to(OWN, 2, V4.local), ToKernel);
    bench.expect("reply to another", &arp_to(OTHER, 2, V4.client), ToPeer);
    bench.expect("gratuitous reply", &arp_to(BROADCAST, 2, V4.client), ToPeer);
    let group = "ff02::1:ff00:100";
    bench.expect("solicitation for a VIP", &ndp_to(SOLICITED, 135, group, V6.vip), ToSocket);
    bench.expect("solicitation for the switch", &ndp_to(SOLICITED, 135, group, V6.local), ToKernel);
    bench.expect("solicitation for another", &ndp_to(SOLICITED, 135, group, V6.client), ToPeer);
    bench.expect("advertisement to us", &ndp_to(OWN, 136, V6.vip, V6.client), ToSocket);
    bench.expect("advertisement to the kernel", &ndp_to(OWN, 136, V6.local, V6.client), ToKernel);
    bench.expect("advertisement to another", &ndp_to(OTHER, 136, V6.client, V6.backend), ToPeer);
    bench.expect("advertisement to the other interface", &ndp_to(PEER, 136, V6.vip, V6.client), ToKernel);
}
