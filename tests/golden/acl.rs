//! Access lists: who may connect, and that connections which exist go on.

use xswitch::dataplane::Verdict;
use xswitch::tables::DropReason;

use crate::frames::lab::{Lab, compile};
use crate::frames::network::*;
use crate::frames::{ACK, SYN, tcp, udp};

const WEB: &str = "198.18.0.100:80";
const DNS: &str = "198.18.0.100:53";
const ALLOWED: &str = "198.18.0.7:40000";
const DENIED: &str = "198.18.0.8:40000";

/// Client 8 may not connect by `[acl]`; to `dns` nobody may but client 7, by `[service.acl]`. With a scheduler that the lane for
/// first frames knows, and through a way that it does not know.
fn switch(forwarding: &str) -> String {
    let acl = "[acl]\ndeny = [\"198.18.0.8/32\"]\n";
    let own = "[service.acl]\ndefault = \"deny\"\nallow = [\"198.18.0.7/32\", \"198.18.0.8/32\"]\n";
    let web = service("web", WEB, "tcp", forwarding, &[("198.18.1.11:8080", 1), ("198.18.1.12:8080", 1)]);
    let dns = service("dns", DNS, "udp", forwarding, &[("198.18.1.12:5353", 1)]);
    [SWITCH, acl, &web, &dns, own, NETWORK, DEFAULT_ROUTE].concat()
}

#[test]
fn a_client_needs_the_leave_of_both_lists() {
    for forwarding in ["nat", "full-nat"] {
        let mut lab = Lab::new(&switch(forwarding), 1024);
        let mut verdict = |frame: Vec<u8>| lab.send(ETH0, &frame).verdict;
        let denied = Verdict::Drop(DropReason::Denied);
        let forwarded = Verdict::Forward(ETH1);
        let from = |client: &str, mac| tcp(client, WEB, SYN).in_at_eth0_from(mac).build();
        let ask = |client: &str, mac| udp(client, DNS).in_at_eth0_from(mac).build();
        assert_eq!(verdict(from(ALLOWED, CLIENT7)), forwarded, "{forwarding}");
        assert_eq!(verdict(from(DENIED, CLIENT8)), denied, "{forwarding}: by [acl]");
        assert_eq!(verdict(ask(ALLOWED, CLIENT7)), forwarded, "{forwarding}");
        assert_eq!(
            verdict(ask(DENIED, CLIENT8)),
            denied,
            "{forwarding}: by [acl], though the service allows it"
        );
        assert_eq!(verdict(ask("203.0.113.9:4000", ROUTER0)), denied, "{forwarding}: by [service.acl]");
        assert_eq!(verdict(from("203.0.113.9:4000", ROUTER0)), forwarded, "{forwarding}: another service");
        let refused = |service: usize| lab.counters.services[service].refused.get();
        assert_eq!((refused(0), refused(1)), (1, 2), "{forwarding}");
    }
}

/// The list is for who comes new.
#[test]
fn a_connection_that_exists_goes_on() {
    let mut lab = Lab::new(&switch("nat"), 1024);
    let allowing = switch("nat").replace("deny = [\"198.18.0.8/32\"]", "deny = []");
    lab.snapshot = compile(&allowing);
    let syn = tcp(DENIED, WEB, SYN).in_at_eth0_from(CLIENT8).build();
    assert_eq!(lab.send(ETH0, &syn).verdict, Verdict::Forward(ETH1));
    lab.snapshot = compile(&switch("nat"));
    assert_eq!(lab.send(ETH0, &syn).verdict, Verdict::Forward(ETH1), "the SYN again");
    let data = tcp(DENIED, WEB, ACK).in_at_eth0_from(CLIENT8).build();
    assert_eq!(lab.send(ETH0, &data).verdict, Verdict::Forward(ETH1));
    let other = tcp("198.18.0.8:40001", WEB, SYN).in_at_eth0_from(CLIENT8).build();
    assert_eq!(lab.send(ETH0, &other).verdict, Verdict::Drop(DropReason::Denied));
}
