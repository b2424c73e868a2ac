//! The switch answers ARP for its VIPs and SNAT addresses, and for nobody else's.

use std::net::{IpAddr, Ipv4Addr};

use xswitch::tables::Event;

use crate::frames::Arp;
use crate::frames::network::*;
use crate::support::{Case, case, play};

const CLIENT: [u8; 4] = [198, 18, 0, 7];
const VIP: [u8; 4] = [198, 18, 0, 100];

fn switch() -> String {
    let web = service("web", "198.18.0.100:80", "tcp", "full-nat", &[("198.18.1.11:8080", 1)]);
    let quiet = service("quiet", "198.18.0.101:80", "tcp", "nat", &[("198.18.1.12:8080", 1)])
        .replace("scheduler", "announce = false\nscheduler");
    [SWITCH, &web, &quiet, NETWORK].concat()
}

fn ask(target: [u8; 4]) -> Arp {
    Arp::request((CLIENT7, CLIENT), target)
}

fn answer(mac: crate::frames::Mac, address: [u8; 4], request: &Arp) -> Arp {
    let to = request.sender.0;
    Arp { from: mac, to, operation: 2, sender: (mac, address), target: request.sender }
}

pub fn cases() -> Vec<Case> {
    let switch = &switch();
    let learned = |address: [u8; 4], mac| Event::Learned {
        interface: ETH0,
        address: IpAddr::V4(Ipv4Addr::from(address)),
        mac,
    };
    let probe = Arp::request((CLIENT7, [0; 4]), VIP);
    let from_snat_side = Arp::request((BACKEND11, [198, 18, 1, 11]), [198, 18, 1, 2]);
    let unicast = Arp { to: SWITCH0, ..ask(VIP) };
    let mut not_ethernet = ask(VIP).build();
    not_ethernet[15] = 6;
    let cut = ask(VIP).build()[..41].to_vec();
    vec![
        case(
            "who asks for a VIP gets the MAC address of the interface it asked at, and is remembered",
            switch,
        )
        .arrives_raw(ETH0, ask(VIP).build())
        .gets_an_answer(ETH0, answer(SWITCH0, VIP, &ask(VIP)))
        .raising(learned(CLIENT, CLIENT7)),
        case("who asks again, of the switch alone, gets the same answer", switch)
            .arrives_raw(ETH0, unicast.build())
            .gets_an_answer(ETH0, answer(SWITCH0, VIP, &unicast)),
        case("a backend that asks for the SNAT address gets an answer", switch)
            .arrives_raw(ETH1, from_snat_side.build())
            .gets_an_answer(ETH1, answer(SWITCH1, [198, 18, 1, 2], &from_snat_side)),
        case("a probe for a VIP is answered, for the address is taken", switch)
            .arrives_raw(ETH0, probe.build())
            .gets_an_answer(ETH0, answer(SWITCH0, VIP, &probe)),
        case("a request for another address is not ours", switch)
            .arrives_raw(ETH0, ask([198, 18, 0, 9]).build())
            .stays_with_the_kernel(),
        case("a request for the switch's own address is the kernel's", switch)
            .arrives_raw(ETH0, ask([198, 18, 0, 2]).build())
            .stays_with_the_kernel(),
        case("a VIP with announce = false is left to the kernel", switch)
            .arrives_raw(ETH0, ask([198, 18, 0, 101]).build())
            .stays_with_the_kernel(),
        case("an announcement by somebody else of our VIP is no request", switch)
            .arrives_raw(ETH0, Arp::request((CLIENT8, VIP), VIP).build())
            .stays_with_the_kernel(),
        case("an answer is no request", switch)
            .arrives_raw(ETH0, Arp { operation: 2, ..ask(VIP) }.build())
            .stays_with_the_kernel(),
        case("ARP for other hardware than Ethernet is not ours", switch)
            .arrives_raw(ETH0, not_ethernet)
            .stays_with_the_kernel(),
        case("an ARP packet that is cut short is not answered", switch)
            .arrives_raw(ETH0, cut)
            .stays_with_the_kernel(),
    ]
}

#[test]
fn arp() {
    play(&cases());
}
