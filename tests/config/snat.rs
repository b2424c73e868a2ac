//! `[[snat]]`: what is wrong with a rule, and between rules.

use xswitch::config::Severity;

use super::mistakes::{Case, holds};
use super::said;

const HOME: &str = "[[snat]]\nname = \"home\"\ninside = [\"10.0.0.0/24\"]\naddresses = [\"198.18.0.3\"]\n";

/// A switch with one service and whatever follows.
fn after_service(rules: &str) -> String {
    format!(
        "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\nsnat_addresses = [\"198.18.0.4\"]\n\
         [[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\nbackend = [{{ address = \"10.0.0.11:80\" }}]\n{rules}\n"
    )
}

fn after_home(rule: &str) -> String {
    after_service(&format!("{HOME}{rule}"))
}

#[test]
fn in_a_rule() {
    let cases: &[Case] = &[
        ("mapping = «\"symmetric\"", "unknown word", "endpoint-independent, address-and-port-dependent"),
        ("mapping = «\"address-dependent\"", "unknown word", "available: endpoint-independent"),
        ("filtering = «\"none\"", "unknown word", "address-dependent"),
        ("ports = «\"1024\"", "is not a range", "1024-32767"),
        ("hairpinning = «1", "true or false belongs here", "hairpinning = true"),
        ("«port = \"1-2\"", "unknown key `port` in [[snat]]", "did you mean `ports`?"),
    ];
    holds(after_home, cases, Severity::Error);
    let warned: &[Case] = &[("ports = «\"80-90\"", "below 1024", "1024-32767")];
    holds(after_home, warned, Severity::Warning);
}

#[test]
fn what_a_rule_must_have() {
    let cases: &[Case] = &[
        (
            "«[[snat]]\ninside = [\"10.0.0.0/24\"]\naddresses = [\"198.18.0.3\"]",
            "`name` is missing in [[snat]]",
            "home",
        ),
        ("«[[snat]]\nname = \"a\"\naddresses = [\"198.18.0.3\"]", "`inside` is missing", "10.0.0.0/24"),
        ("«[[snat]]\nname = \"a\"\ninside = [\"10.0.0.0/24\"]", "`addresses` is missing", "198.18.0.3"),
        (
            "[[snat]]\nname = \"a\"\ninside = «[]\naddresses = [\"198.18.0.3\"]",
            "`inside` is empty",
            "10.0.0.0/24",
        ),
        (
            "[[snat]]\nname = \"a\"\ninside = [\"10.0.0.0/24\"]\naddresses = «[]",
            "`addresses` is empty",
            "198.18.0.3",
        ),
        (
            "[[snat]]\nname = «\"a b\"\ninside = [\"10.0.0.0/24\"]\naddresses = [\"198.18.0.3\"]",
            "not a name for a rule",
            "\"home\"",
        ),
        (
            "[[snat]]\nname = \"a\"\ninside = [«\"10.0.0.1/24\"]\naddresses = [\"198.18.0.3\"]",
            "host bits",
            "\"10.0.0.0/24\"",
        ),
    ];
    holds(after_service, cases, Severity::Error);
}

#[test]
fn families_must_meet() {
    let cases: &[Case] = &[
        (
            "[[snat]]\nname = \"a\"\ninside = [\"10.0.0.0/24\", «\"2001:db8:1::/64\"]\naddresses = [\"198.18.0.3\"]",
            "2001:db8:1::/64 has no IPv6 address",
            "add an IPv6 address",
        ),
        (
            "[[snat]]\nname = \"a\"\ninside = [\"10.0.0.0/24\"]\naddresses = [\"198.18.0.3\", «\"2001:db8::3\"]",
            "nothing is translated to 2001:db8::3",
            "an IPv6 prefix",
        ),
    ];
    holds(after_service, cases, Severity::Error);
    let both = "[[snat]]\nname = \"a\"\ninside = [\"10.0.0.0/24\", \"2001:db8:1::/64\"]\n\
                addresses = [\"198.18.0.3\", \"2001:db8::3\"]";
    assert_eq!(said(&after_service(both)), []);
}

#[test]
fn rules_share_neither_names_nor_hosts_nor_ports_of_an_address() {
    let cases: &[Case] = &[
        (
            "[[snat]]\nname = «\"home\"\ninside = [\"10.0.1.0/24\"]\naddresses = [\"198.18.0.5\"]",
            "the rule on line 9",
            "a name of its own",
        ),
        (
            "[[snat]]\nname = \"b\"\ninside = [«\"10.0.0.128/25\"]\naddresses = [\"198.18.0.5\"]",
            "10.0.0.128/25 overlaps 10.0.0.0/24 on line 10",
            "one rule",
        ),
        (
            "[[snat]]\nname = \"b\"\ninside = [«\"10.0.0.0/8\"]\naddresses = [\"198.18.0.5\"]",
            "10.0.0.0/8 overlaps 10.0.0.0/24",
            "one rule",
        ),
        (
            "[[snat]]\nname = \"b\"\ninside = [\"10.0.1.0/24\"]\naddresses = [«\"198.18.0.3\"]\nports = \"32767-40000\"",
            "32767-40000 overlaps its ports 1024-32767 on line 11",
            "other `ports`",
        ),
        (
            "[[snat]]\nname = \"b\"\ninside = [\"10.0.1.0/24\"]\naddresses = [«\"198.18.0.4\"]",
            "overlaps its ports 1024-32767 on line 3",
            "another address",
        ),
        (
            "[[snat]]\nname = \"b\"\ninside = [\"10.0.1.0/24\"]\naddresses = [«\"198.18.0.100\"]",
            "is the VIP on line 6",
            "no service has",
        ),
        (
            "[[service]]\nname = \"b\"\nvip = \"198.18.0.101:1\"\nbackend = [{ address = «\"198.18.0.3:1\" }]",
            "an address of [[snat]]",
            "another host",
        ),
    ];
    holds(after_home, cases, Severity::Error);
    let beside = "[[snat]]\nname = \"b\"\ninside = [\"10.0.1.0/24\"]\naddresses = [\"198.18.0.3\"]\nports = \"32768-40000\"";
    assert_eq!(said(&after_home(beside)), [], "one address, ports apart");
}
