//! Tagged frames: a service on a VLAN takes the frames of that VLAN and no others, and answers with the same tags.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::PacketBuilder;

use crate::common::capture::Capture;
use crate::common::lab::{CLIENT, Lab, VIP, WEB, nat};
use crate::common::packets::{self, Mac};
use crate::common::switch::{Configuration, Switch};
use crate::common::wait::wait_until;

#[test]
fn a_tagged_service_answers_with_its_tag() {
    a_service_on_a_vlan_is_served_there_and_nowhere_else("100", &[100]);
}

#[test]
fn a_doubly_tagged_service_answers_with_both_tags() {
    a_service_on_a_vlan_is_served_there_and_nowhere_else("[200, 100]", &[200, 100]);
}

fn a_service_on_a_vlan_is_served_there_and_nowhere_else(vlan: &str, tags: &[u16]) {
    let lab = Lab::new(nat(1));
    let client = packets::mac(&Lab::mac(&lab.client, "eth0"));
    let switch_mac = packets::mac(&Lab::mac(&lab.switch, "eth0"));
    // This kernel knows nothing of the VLAN, so it cannot find the client there.
    let tables = format!(
        "\n[[interface]]\nname = \"eth0\"\nvlan = {vlan}\n\
         \n[[neighbor]]\ninterface = \"eth0\"\naddress = \"{CLIENT}\"\nmac = \"{}\"\n",
        Lab::mac(&lab.client, "eth0")
    );
    let switch = Switch::start_with(&lab, &Configuration { tables, ..Configuration::of(&lab) });
    let at_client = Capture::start(&lab.client, "eth0", lab.directory());
    let at_backends = Capture::start(lab.host("lan"), "switch-eth1", lab.directory());
    let wire = packets::packet_socket(&lab.client, "eth0");

    // Other tags and no tags first: whatever they cause is there before the right answer.
    for (port, tags) in [(50_001, &[][..]), (50_002, &[101]), (50_003, &[101, 100]), (50_004, &[7, 8, 9])] {
        wire.send(&syn(switch_mac, client, tags, port)).expect("a frame can be sent");
    }
    let question = arp_request(client, tags);
    wait_until("ARP for the VIP and a SYN are answered on the VLAN", Duration::from_secs(10), || {
        wire.send(&question).expect("a frame can be sent");
        wire.send(&syn(switch_mac, client, tags, 50_000)).expect("a frame can be sent");
        at_client.has(|frame| frame.starts_with(&arp_reply(switch_mac, client, tags)))
            && at_client.has(|frame| is_answer(frame, switch_mac, client, tags))
    });

    let frames = at_client.stop();
    frames.assert_clean();
    // That there was one with exactly these tags has been seen above.
    assert_eq!(frames.count("tcp.dstport == 50000 && !vlan && !ieee8021ad"), 0, "an answer without tags");
    let beyond = at_backends.stop();
    assert_eq!(beyond.count("vlan"), 0, "tags on an interface without");
    assert!(beyond.count("tcp.srcport == 50000 && tcp.dstport == 8080") > 0, "the SYN was not rewritten");
    assert_eq!(beyond.count("tcp.srcport > 50000 && tcp.dstport == 8080"), 0, "frames of others were served");
    switch.finish();
}

fn syn(switch: Mac, client: Mac, tags: &[u16], port: u16) -> Vec<u8> {
    let builder =
        PacketBuilder::ipv4(CLIENT.octets(), VIP.octets(), 64).tcp(port, WEB.port(), 1, 64_000).syn();
    let mut packet = Vec::new();
    builder.write(&mut packet, &[]).expect("a Vec takes every write");
    let ether_type = packets::ether_type(IpAddr::V4(VIP));
    packets::ethernet(switch, client, tags, ether_type, &packet)
}

/// Whether this is TCP to the client's port 50000, with these tags.
fn is_answer(frame: &[u8], switch: Mac, client: Mac, tags: &[u16]) -> bool {
    let start = packets::ethernet(client, switch, tags, packets::ether_type(IpAddr::V4(VIP)), &[0x45]);
    let port = start.len() - 1 + 20 + 2;
    frame.starts_with(&start) && frame.get(port..port + 2) == Some(&50_000_u16.to_be_bytes())
}

fn arp_request(client: Mac, tags: &[u16]) -> Vec<u8> {
    arp([0xff; 6], client, tags, &[&[0, 1], &client[..], &CLIENT.octets(), &[0; 6], &VIP.octets()])
}

fn arp_reply(switch: Mac, client: Mac, tags: &[u16]) -> Vec<u8> {
    arp(client, switch, tags, &[&[0, 2], &switch[..], &VIP.octets(), &client, &CLIENT.octets()])
}

/// An ARP message for Ethernet and IPv4: operation, sender's MAC and IP address, target's.
fn arp(destination: Mac, source: Mac, tags: &[u16], fields: &[&[u8]]) -> Vec<u8> {
    let message = [&[0, 1, 0x08, 0x00, 6, 4][..], &fields.concat()].concat();
    packets::ethernet(destination, source, tags, 0x0806, &message)
}
