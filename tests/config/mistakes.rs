//! Each mistake by itself: a `«` marks the place that must be named.

use xswitch::config::{Diagnostic, Severity};

use super::said;

/// A text with a mark, what must be said at the mark, and what must be advised.
pub(super) type Case = (&'static str, &'static str, &'static str);

pub(super) fn holds(frame: impl Fn(&str) -> String, cases: &[Case], severity: Severity) {
    for (snippet, message, help) in cases {
        let marked = frame(snippet);
        let (before, after) = marked.split_once('«').expect("a mark");
        let place = (before.split('\n').count(), before.chars().rev().take_while(|c| *c != '\n').count() + 1);
        let found = said(&format!("{before}{after}"));
        let right = |d: &&Diagnostic| {
            (d.line, d.column, d.severity) == (place.0, place.1, severity)
                && d.message.contains(message)
                && d.help.contains(help)
        };
        let shown: String = found.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|d| right(&d)), "{snippet}: expected {message:?}, {help:?}, found\n{shown}");
        assert_eq!(found.len(), 1, "{snippet}: no more than that, found\n{shown}");
    }
}

const SERVICE: &str = "[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n\
                       [[service.backend]]\naddress = \"198.18.1.11:8080\"\n";

fn in_switch(keys: &str) -> String {
    format!("[switch]\ninterfaces = [\"eth0\", \"eth1\"]\n{keys}\n{SERVICE}")
}

fn in_service(keys: &str) -> String {
    format!(
        "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\n[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n{keys}\n\
         [[service.backend]]\naddress = \"198.18.1.11:8080\"\n"
    )
}

fn after(tables: &str) -> String {
    format!(
        "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\nsnat_addresses = [\"198.18.1.2\"]\n{SERVICE}{tables}\n"
    )
}

fn whole(text: &str) -> String {
    text.to_owned()
}

/// Another service, with one backend.
macro_rules! another {
    ($keys:expr, $backend:expr) => {
        concat!("[[service]]\nname = \"b\"\n", $keys, "\n[[service.backend]]\naddress = ", $backend)
    };
}

#[test]
fn in_the_switch() {
    let cases: &[Case] = &[
        ("workers = «65", "65 is out of bounds", "from 0 to 64"),
        ("workers = «-1", "-1 is out of bounds", "from 0 to 64"),
        ("workers = «99999999999999999999999", "does not fit", "workers = 64"),
        ("workers = «true", "a whole number belongs here, this is a boolean", "workers = 1"),
        ("workers = «1.5", "this is a float", "workers = 1"),
        ("ring_size = «3000", "3000 is not a power of two", "2048 or 4096"),
        ("ring_size = «32", "out of bounds", "from 64 to 32768"),
        ("max_connections = «1000", "out of bounds", "from 1024 to 67108864"),
        ("max_connections = «67108865", "out of bounds", "67108864"),
        ("topology = «\"bridged\"", "unknown word", "did you mean \"bridge\"?"),
        ("xdp_mode = «\"skb\"", "unknown word \"skb\"", "available: auto, native, generic"),
        ("zero_copy = «true", "a string belongs here, this is a boolean", "available: auto, on, off"),
        ("idle = «true", "a string belongs here, this is a boolean", "available: adaptive, spin"),
        ("huge_pages = «true", "a string belongs here, this is a boolean", "available: auto, on, off"),
        ("busy_poll = «\"on\"", "true or false belongs here, this is a string", "busy_poll = true"),
        ("busy_poll_device = «true", "workers that do not poll", "busy_poll = true"),
        ("topology = «1", "a string belongs here, this is an integer", "available: routed, bridge"),
        ("max_connections = «true", "this is a boolean", "max_connections = 1024"),
        ("ring_size = «\"99999\"", "this is a string", "ring_size = 32768"),
        ("idle = «\"spinn\"", "unknown word", "did you mean \"spin\"?"),
        ("verify_checksums = «\"never\"", "unknown word", "available: always, state"),
        ("snat_addresses = «\"198.18.1.2\"", "a list of strings belongs here", "[\"198.18.1.2\"]"),
        ("snat_addresses = [«1]", "a string belongs here, this is an integer", "\"1\""),
        ("snat_addresses = [\"198.18.1.2\", «\"198.18.1.2\"]", "listed twice", "once"),
        ("snat_addresses = [«\"198.18.1.2/24\"]", "is not an IP address", "\"198.18.1.2\""),
        ("snat_addresses = [«\"fe80::1\"]", "a link-local address", "2001:db8::100"),
        ("snat_addresses = [«\"::ffff:198.18.1.2\"]", "an IPv4 address written as IPv6", "198.18.1.2"),
        ("max_connections_ipv6 = «1000", "out of bounds", "from 1024 to 67108864"),
        ("max_fragmented = «63", "out of bounds", "from 64 to 65536"),
        ("icmp_rate = «-1", "out of bounds", "from 0 to 1000000"),
        (
            "tunnel_sources = [\"198.18.1.2\", «\"198.18.1.3\"]",
            "the same family as 198.18.1.2",
            "one IPv4 and one",
        ),
        ("tunnel_sources = [«\"198.18.1.2/24\"]", "is not an IP address", "\"198.18.1.2\""),
        ("snat_addresses = [«\"127.0.0.1\"]", "127.0.0.1 is a loopback address", "unicast"),
        ("snat_ports = «\"2000-1024\"", "ends before it begins", "\"1024-2000\""),
        ("snat_ports = «\"0-1024\"", "port 0", "1024"),
        ("snat_ports = «\"1024\"", "is not a range", "1024-32767"),
        ("snat_ports = «\"1024-70000\"", "is not a range", "65535"),
        ("control_socket = «\"\"", "cannot have this path", "/run/xswitch.sock"),
        ("metrics_listen = «\"9500\"", "is not an address with a port", "127.0.0.1:9500"),
        ("status_listen = «\"localhost:9501\"", "is not an address with a port", "127.0.0.1:9500"),
        ("status_listen = «\"0.0.0.0:9500\"", "is where the metrics are, at 127.0.0.1:9500", "another port"),
        ("status_token_file = «\"page-token\"", "does not begin at", "/etc/xswitch/page-token"),
        ("«worker = 2", "unknown key `worker` in [switch]", "did you mean `workers`?"),
        ("«scheduler = \"rr\"", "unknown key `scheduler`", "belongs in [[service]]"),
        ("«colour = \"red\"", "unknown key `colour`", "known here: busy_poll, busy_poll_device"),
    ];
    holds(in_switch, cases, Severity::Error);
}

#[test]
fn in_the_list_of_interfaces() {
    let frame = |snippet: &str| format!("{snippet}\n{SERVICE}");
    let cases: &[Case] = &[
        ("«", "[switch] is missing", "add [switch]"),
        ("«[switch]", "`interfaces` is missing in [switch]", "interfaces = [\"eth0\", \"eth1\"]"),
        ("«[switch]\n[[interface]]\nname = \"ens3\"", "`interfaces` is missing", "interfaces = [\"ens3\"]"),
        ("[switch]\ninterfaces = «[]", "no interface", "[\"eth0\"]"),
        ("[switch]\ninterfaces = [\"a\", «\"a\"]", "\"a\" is listed twice", "once"),
        ("[switch]\ninterfaces = [«\"averyverylongname\"]", "is not the name of an interface", "15 bytes"),
        ("[switch]\ninterfaces = [«\"a b\"]", "is not the name of an interface", "without spaces"),
        (
            "[switch]\ninterfaces = [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", «\"9\"]",
            "9 are too many",
            "at most 8",
        ),
        ("«[[switch]]\ninterfaces = [\"eth0\"]", "`switch` is an array", "write [switch]"),
    ];
    holds(frame, cases, Severity::Error);
}

#[test]
fn in_a_service() {
    let cases: &[Case] = &[
        ("protocol = «\"sctp\"", "unknown word \"sctp\"", "available: tcp, udp"),
        ("protocol = «\"TCP\"", "unknown word \"TCP\"", "did you mean \"tcp\"?"),
        ("forwarding = «\"natt\"", "unknown word \"natt\"", "did you mean \"nat\"?"),
        ("forwarding = «\"tunnel\"", "unknown word", "available: nat, full-nat, dsr, ipip, gue"),
        ("mss_clamp = «\"on\"", "unknown word \"on\"", "\"auto\", a number of bytes"),
        ("mss_clamp = «true", "this is a boolean", "or \"off\""),
        ("mss_clamp = «500", "500 is out of bounds", "from 536 to 65495"),
        ("mss_clamp = «1400\nprotocol = \"udp\"", "UDP has no segment size", "remove it"),
        ("syn_cookies = «\"on\"", "unknown word \"on\"", "available: off, auto, always"),
        ("syn_cookies = «\"auto\"\nprotocol = \"udp\"", "UDP has no SYN", "protocol = \"tcp\""),
        ("syn_cookies = \"auto\"\nhalf_open = «0", "out of bounds", "from 1 to 100000000"),
        ("gue_port = «0", "out of bounds", "from 1 to 65535"),
        ("forwarding = «\"full-nat\"", "no IPv4 address to send from", "snat_addresses"),
        ("scheduler = «\"sed\"", "unknown word \"sed\"", "\"wlc\" comes nearest"),
        ("scheduler = «\"maglv\"", "unknown word", "did you mean \"maglev\"?"),
        ("maglev_table_size = «65536", "65536 is not a prime", "65537"),
        ("maglev_table_size = «16777214", "out of bounds", "16777213"),
        ("announce = «\"yes\"", "true or false belongs here, this is a string", "announce = true"),
        ("health = «\"tcp\"", "`health` is a string", "write [service.health]"),
        (
            "«wieght = 3",
            "unknown key `wieght` in [[service]]",
            "known here: acl, affinity, announce, backend",
        ),
        ("«weight = 3", "unknown key `weight` in [[service]]", "belongs in [[service.backend]]"),
    ];
    holds(in_service, cases, Severity::Error);
}

#[test]
fn in_names_and_addresses() {
    let frame = |keys: &str| format!("[switch]\ninterfaces = [\"eth0\"]\n[[service]]\n{keys}\n");
    let cases: &[Case] = &[
        ("name = «\"\"\nvip = \"198.18.0.1:80\"", "not a name for a service", "1 to 63"),
        ("name = «\"a b\"\nvip = \"198.18.0.1:80\"", "not a name for a service", "letters, digits"),
        ("name = \"a\"\nvip = «\"198.18.0.1\"", "not an address with a port", "\"198.18.0.1:80\""),
        ("name = \"a\"\nvip = «\"198.18.0.1:0\"", "port 0", "from 1 to 65535"),
        ("name = \"a\"\nvip = «\"web.example:80\"", "not an address with a port", "\"[2001:db8::100]:80\""),
        ("name = \"a\"\nvip = «\"2001:db8::1\"", "not an address with a port", "\"[2001:db8::1]:80\""),
        ("name = \"a\"\nvip = «\"[2001:db8::1]:0\"", "port 0", "\"[2001:db8::1]:80\""),
        ("name = \"a\"\nvip = «\"[fe80::1]:80\"", "a link-local address", "global"),
        ("name = \"a\"\nvip = «\"[ff02::1]:80\"", "a multicast address", "unicast"),
        ("name = \"a\"\nvip = «\"224.0.0.1:80\"", "a multicast address", "unicast"),
        ("name = \"a\"\nvip = «\"0.0.0.0:80\"", "an unspecified address", "unicast"),
        ("name = \"a\"\nvip = «\"255.255.255.255:80\"", "the broadcast address", "unicast"),
        ("name = \"a\"\nvip = «\"127.0.0.1:80\"", "a loopback address", "unicast"),
    ];
    let with_backend =
        |keys: &str| format!("{}[[service.backend]]\naddress = \"198.18.1.1:80\"\n", frame(keys));
    holds(with_backend, cases, Severity::Error);
    let missing: &[Case] =
        &[("vip = \"198.18.0.1:80\"", "`name` is missing in [[service]]", "name = \"web\"")];
    let marked = |keys: &str| with_backend(keys).replace("[[service]]", "«[[service]]");
    holds(marked, missing, Severity::Error);
    holds(marked, &[("name = \"a\"", "`vip` is missing in [[service]]", "vip = ")], Severity::Error);
}

#[test]
fn between_services_and_backends() {
    let cases: &[Case] = &[
        (
            "[[service]]\nname = «\"web\"\nvip = \"198.18.0.2:80\"\nbackend = [{ address = \"198.18.1.5:1\" }]",
            "\"web\" is the service on line 5",
            "a name of its own",
        ),
        (
            another!("vip = «\"198.18.0.100:80\"", "\"198.18.1.9:1\""),
            "198.18.0.100:80/tcp",
            "another address",
        ),
        (another!("vip = \"198.18.0.3:80\"", "«\"198.18.0.100:80\""), "the VIP of a service", "another host"),
        (another!("vip = \"198.18.0.3:80\"", "«\"198.18.1.2:80\""), "one of snat_addresses", "another host"),
        (
            another!("vip = «\"198.18.1.2:2000\"", "\"198.18.1.9:1\""),
            "also a source of full NAT",
            "snat_ports",
        ),
        (
            concat!(
                "[[interface]]\nname = \"eth1\"\naddresses = [\"198.18.1.1/24\"]\n",
                another!("vip = \"198.18.0.3:80\"", "«\"198.18.1.1:80\"")
            ),
            "an address of the switch",
            "another host",
        ),
        ("[[service.backend]]\naddress = «\"198.18.1.11:8080\"", "the backend on line 8", "once"),
        ("[[service.backend]]\naddress = «\"198.18.1.12:0\"", "port 0", "from 1"),
        ("«[[service.backend]]", "`address` is missing in [[service.backend]]", "address = "),
        ("weight = «65536", "out of bounds", "from 0 to 65535"),
        ("backup = «1", "true or false belongs here, this is an integer", "backup = true"),
        ("state = «\"down\"", "unknown word \"down\"", "available: enabled, drain, disabled"),
    ];
    holds(after, cases, Severity::Error);
    // The same address and port for another protocol is another service.
    let udp = another!("vip = \"198.18.0.100:80\"\nprotocol = \"udp\"", "\"198.18.1.11:8080\"");
    assert_eq!(said(&after(udp)), []);
}

#[test]
fn in_static_facts() {
    let cases: &[Case] = &[
        ("[[interface]]\nname = «\"eth2\"", "\"eth2\" is not in `interfaces`", "did you mean \"eth0\"?"),
        ("[[interface]]\nname = \"eth0\"\n[[interface]]\nname = «\"eth0\"", "same as on line 10", "keep one"),
        (
            "[[interface]]\nname = \"eth0\"\naddresses = [«\"198.18.0.2\"]",
            "not a prefix",
            "\"198.18.0.2/24\"",
        ),
        ("[[interface]]\nname = \"eth0\"\naddresses = [«\"198.18.0.2/33\"]", "not a prefix", "from 0 to 32"),
        ("[[interface]]\nname = \"eth0\"\nmac = «\"02-00-00-00-00-01\"", "not a MAC", "02:00:00:00:00:01"),
        ("[[interface]]\nname = \"eth0\"\nmac = «\"01:00:5e:00:00:01\"", "a multicast address", "even"),
        ("[[interface]]\nname = \"eth0\"\nmac = «\"00:00:00:00:00:00\"", "no interface's address", "unicast"),
        ("[[interface]]\nname = \"eth0\"\nmtu = «60", "out of bounds", "from 68"),
        ("[«interface]\nname = \"eth0\"", "`interface` is a single table", "[[interface]]"),
        ("[[route]]\ninterface = \"eth0\"\nprefix = «\"198.18.1.2/24\"", "host bits", "\"198.18.1.0/24\""),
        (
            "[[route]]\ninterface = \"eth0\"\nprefix = \"10.0.0.0/8\"\nvia = «\"2001:db8::1\"",
            "two families",
            "both IPv4",
        ),
        (
            "[[route]]\ninterface = \"eth0\"\nprefix = \"10.0.0.0/8\"\n\
             [[route]]\ninterface = \"eth1\"\nprefix = «\"10.0.0.0/8\"",
            "the same as on line 11",
            "keep one",
        ),
        (
            "[[neighbor]]\ninterface = \"eth0\"\naddress = \"10.0.0.1\"\nmac = \"02:00:00:00:00:01\"\n\
             [[neighbor]]\ninterface = \"eth0\"\naddress = «\"10.0.0.1\"\nmac = \"02:00:00:00:00:02\"",
            "the same as on line 11",
            "keep one",
        ),
    ];
    holds(after, cases, Severity::Error);
}

#[test]
fn a_number_that_does_not_fit_is_advised_the_nearest_bound() {
    let cases: &[Case] = &[
        ("[timeouts]\nudp_s = «99999999999999999999", "does not fit", "udp_s = 604800"),
        ("[timeouts]\nudp_s = «-99999999999999999999", "does not fit", "udp_s = 1"),
    ];
    holds(after, cases, Severity::Error);
}

#[test]
fn what_works_but_is_hardly_meant() {
    let cases: &[Case] = &[
        ("snat_ports = «\"80-90\"", "below 1024", "1024-32767"),
        (
            "status_token_file = «\"/etc/xswitch/page-token\"",
            "means nothing without a page",
            "status_listen = ",
        ),
    ];
    holds(in_switch, cases, Severity::Warning);
    holds(
        in_service,
        &[
            ("gue_port = «6081", "`gue_port` means nothing to forwarding = \"nat\"", "\"gue\""),
            ("scheduler = \"maglev\"\nmaglev_table_size = «53", "share unevenly", "101"),
        ],
        Severity::Warning,
    );
    let cases: &[Case] = &[
        ("[timeouts]\ntcp_established_s = «900", "may cut connections", "RFC 5382"),
        ("[timeouts]\ntcp_syn_s = «60", "may cut", "tcp_syn_s = 240"),
        ("[timeouts]\nudp_s = «30", "may cut", "RFC 4787"),
        ("[timeouts]\nicmp_s = «59", "may cut", "RFC 5508"),
        ("«[[service]]\nname = \"b\"\nvip = \"198.18.0.9:80\"", "has no backend", "[[service.backend]]"),
        (
            "«[[service]]\nname = \"b\"\nvip = \"198.18.0.9:80\"\nbackend = [{ address = \"10.0.0.1:1\", weight = 0 }]",
            "every backend has weight 0",
            "weight of 1",
        ),
        (another!("vip = \"198.18.0.9:80\"", "«\"198.18.1.11:8080\""), "service of line 8", "full-nat"),
    ];
    holds(after, cases, Severity::Warning);
    holds(whole, &[("«[switch]\ninterfaces = [\"eth0\"]\n", "no [[service]]", "add")], Severity::Warning);
}

#[test]
fn a_switch_that_only_translates_outwards_is_no_mistake() {
    let rule = "[[snat]]\nname = \"home\"\ninside = [\"10.0.0.0/24\"]\naddresses = [\"198.18.0.3\"]\n";
    let found = super::said(&format!("[switch]\ninterfaces = [\"eth0\"]\n{rule}"));
    assert!(found.is_empty(), "{found:?}");
}
