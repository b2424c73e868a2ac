//! What a way of forwarding asks of its service and its backends.

use xswitch::config::Severity;

use super::mistakes::{Case, holds};
use super::said;

/// A service with these keys and one backend at this address.
fn service(keys: &str, backend: &str) -> String {
    format!(
        "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\n\
         snat_addresses = [\"198.18.1.2\"]\ntunnel_sources = [\"198.18.1.3\"]\n\
         [[service]]\nname = \"web\"\n{keys}\n[[service.backend]]\naddress = {backend}\n"
    )
}

const V4: &str = "vip = \"198.18.0.100:80\"";
const V6: &str = "vip = \"[2001:db8::100]:80\"";

#[test]
fn every_way_of_forwarding_takes_both_protocols_and_tunnels_cross_families() {
    for protocol in ["tcp", "udp"] {
        for (forwarding, vip, backend) in [
            ("nat", V4, "\"198.18.1.11:8080\""),
            ("nat", V6, "\"[2001:db8:1::11]:8080\""),
            ("full-nat", V4, "\"198.18.1.11:8080\""),
            ("dsr", V4, "\"198.18.0.11:80\""),
            ("dsr", V6, "\"[2001:db8::11]:80\""),
            ("ipip", V4, "\"198.18.7.11:80\""),
            ("ipip", V4, "\"[2001:db8:7::11]:80\""),
            ("ipip", V6, "\"198.18.7.11:80\""),
            ("gue", V6, "\"[2001:db8:7::11]:80\""),
            ("gue", V6, "\"198.18.7.11:80\""),
        ] {
            let text =
                service(&format!("{vip}\nprotocol = {protocol:?}\nforwarding = {forwarding:?}"), backend);
            assert_eq!(said(&text), [], "{text}");
        }
    }
}

#[test]
fn without_a_tunnel_backends_are_of_the_vips_family() {
    let crossing = "does not cross families";
    for (vip, backend, help) in [
        (V4, "«\"[2001:db8::11]:80\"", "an IPv4 backend; only tunnels"),
        (V6, "«\"198.18.1.11:80\"", "an IPv6"),
    ] {
        for forwarding in ["nat", "dsr"] {
            let frame = |_: &str| service(&format!("{vip}\nforwarding = {forwarding:?}"), backend);
            holds(frame, &[(forwarding, crossing, help)], Severity::Error);
        }
    }
}

#[test]
fn who_answers_directly_listens_on_the_vips_port() {
    for forwarding in ["dsr", "ipip", "gue"] {
        let frame = |backend: &str| service(&format!("{V4}\nforwarding = {forwarding:?}"), backend);
        let cases: &[Case] = &[("«\"198.18.1.11:8080\"", "port 8080 is not the VIP's", "\"198.18.1.11:80\"")];
        holds(frame, cases, Severity::Error);
    }
}

#[test]
fn full_nat_sends_from_an_address_of_the_vips_family() {
    let frame = |keys: &str| service(&format!("{V6}\n{keys}"), "\"[2001:db8:1::11]:80\"");
    let cases: &[Case] = &[("forwarding = «\"full-nat\"", "no IPv6 address to send from", "2001:db8:1::2")];
    holds(frame, cases, Severity::Error);
}

#[test]
fn a_source_of_tunnels_is_no_backend_and_dsr_has_no_segment_size() {
    let cases: &[Case] = &[("«\"198.18.1.3:80\"", "one of tunnel_sources", "another host")];
    holds(|backend| service(V4, backend), cases, Severity::Error);
    let frame = |keys: &str| service(&format!("{V4}\nforwarding = \"dsr\"\n{keys}"), "\"198.18.0.11:80\"");
    holds(frame, &[("mss_clamp = «\"auto\"", "never sees the answers", "remove")], Severity::Error);
}

#[test]
fn syn_cookies_need_to_see_what_backends_answer() {
    for forwarding in ["dsr", "ipip", "gue"] {
        let frame = |keys: &str| {
            service(&format!("{V4}\nforwarding = \"{forwarding}\"\n{keys}"), "\"198.18.0.11:80\"")
        };
        let cases: &[Case] =
            &[("syn_cookies = «\"auto\"", "does not see what backends answer", "\"nat\" or \"full-nat\"")];
        holds(frame, cases, Severity::Error);
    }
    let frame = |keys: &str| service(&format!("{V4}\n{keys}"), "\"198.18.0.11:80\"");
    let cases: &[Case] = &[
        ("half_open = «100", "unless cookies come and go", "syn_cookies = \"auto\""),
        ("syn_cookies = \"always\"\nhalf_open = «100", "unless cookies come and go", "remove it"),
    ];
    holds(frame, cases, Severity::Warning);
}

#[test]
fn a_bridge_has_two_interfaces_and_nat_services_only() {
    let service = "[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n\
                   backend = [{ address = \"198.18.0.11:80\" }]\n";
    let frame = |switch: &str| format!("[switch]\n{switch}\n{service}");
    let cases: &[Case] = &[
        ("interfaces = [\"eth0\"]\ntopology = «\"bridge\"", "`interfaces` has 1", "two in interfaces"),
        ("interfaces = [\"a\", \"b\", \"c\"]\ntopology = «\"bridge\"", "has 3", "\"routed\""),
    ];
    holds(frame, cases, Severity::Error);
    let bridge = "interfaces = [\"eth0\", \"eth1\"]\ntopology = \"bridge\"";
    assert_eq!(said(&frame(bridge)), []);
    let frame = |keys: &str| {
        format!("[switch]\n{bridge}\n{}", service.replace("backend", &format!("{keys}\nbackend")))
    };
    let cases: &[Case] =
        &[("forwarding = «\"dsr\"", "\"dsr\" does not work in a bridge", "forwarding = \"nat\"")];
    holds(frame, cases, Severity::Error);
    let rule = "[[snat]]\nname = «\"home\"\ninside = [\"10.0.0.0/24\"]\naddresses = [\"198.18.0.3\"]\n";
    let frame = |rule: &str| format!("[switch]\n{bridge}\n{service}{rule}");
    holds(frame, &[(rule, "does not work in a bridge", "routed")], Severity::Error);
}

#[test]
fn vlans_are_one_or_two_numbers() {
    let frame = |keys: &str| {
        let service = service(V4, "\"198.18.1.11:80\"");
        format!("{service}[[interface]]\nname = \"eth0\"\n{keys}\n")
    };
    let cases: &[Case] = &[
        ("vlan = «0", "there is no VLAN 0", "from 1 to 4094"),
        ("vlan = «4095", "there is no VLAN 4095", "from 1 to 4094"),
        ("vlan = «70000", "there is no VLAN 70000", "from 1 to 4094"),
        ("vlan = «\"100\"", "this is a string", "[200, 100]"),
        ("vlan = «[100, \"7\"]", "this is a string", "[200, 100]"),
        ("vlan = «[1, 2, 3]", "3 tags are more than 2", "the service VLAN first"),
    ];
    holds(frame, cases, Severity::Error);
}
