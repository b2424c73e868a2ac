//! `[service.health]`: what is accepted, what it means, and what is wrong.

use xswitch::config::valid::{Check, Health, Http, Tls, Via};
use xswitch::config::{self, Severity};

use super::mistakes::{Case, holds};
use super::said;

/// A service with these keys of its own and these of its checks.
fn service(own: &str, health: &str) -> String {
    format!(
        "[switch]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n{own}\n\
         [service.health]\n{health}\n[[service.backend]]\naddress = \"198.18.1.11:80\"\n"
    )
}

fn tcp(health: &str) -> String {
    service("", health)
}

fn udp(health: &str) -> String {
    service("protocol = \"udp\"", health)
}

fn read(text: &str) -> Health {
    let config = config::parse(text, "x.toml").unwrap_or_else(|error| panic!("{text}\n{error}")).config;
    config.services[0].health.clone().unwrap()
}

fn http() -> Http {
    Http {
        method: "GET".into(),
        path: "/".into(),
        host: None,
        statuses: vec![(200, 399)],
        body: String::new(),
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let default = Health {
        check: Check::Tcp,
        via: Via::Direct,
        port: None,
        interval_ms: 5000,
        fast_interval_ms: 500,
        timeout_ms: 3000,
        rise: 2,
        fall: 3,
        passive_failures: 3,
        agent_port: None,
    };
    assert_eq!(read(&tcp("")), default);
    assert_eq!(read(&udp("")), Health { check: Check::Icmp, ..default });
    assert_eq!(read(&tcp("check = \"http\"")).check, Check::Http(http()));
    let tls = Tls { verify: true, sni: None, ca_file: None };
    assert_eq!(read(&tcp("check = \"https\"")).check, Check::Https(http(), tls));
    assert_eq!(read(&tcp("check = \"udp\"")).check, Check::Udp { send: vec![], expect: vec![] });
}

#[test]
fn the_fast_interval_is_a_tenth_within_bounds() {
    for (interval, fast) in [(5000, 500), (500, 100), (50, 50), (60_000, 1000)] {
        let text = tcp(&format!("interval_ms = {interval}\ntimeout_ms = 40"));
        assert_eq!(read(&text).fast_interval_ms, fast, "{interval}");
    }
    assert_eq!(read(&tcp("fast_interval_ms = 250")).fast_interval_ms, 250);
}

#[test]
fn every_check_takes_its_own_keys() {
    let text = "check = \"https\"\nport = 8443\nmethod = \"HEAD\"\npath = \"/health?full=1\"\n\
                host = \"www.example.net:8443\"\nstatuses = [204, \"300-399\"]\nverify = false\nsni = \"www.example.net\"";
    let health = read(&tcp(text));
    let asked = Http {
        method: "HEAD".into(),
        path: "/health?full=1".into(),
        host: Some("www.example.net:8443".into()),
        statuses: vec![(204, 204), (300, 399)],
        body: String::new(),
    };
    let tls = Tls { verify: false, sni: Some("www.example.net".into()), ca_file: None };
    assert_eq!((health.port, health.check), (Some(8443), Check::Https(asked, tls)));

    let text = "check = \"udp\"\nport = 53\nsend_hex = \"12 34\\t0aFF\"\nexpect = \"\\u0000ß\"";
    let wanted = Check::Udp { send: vec![0x12, 0x34, 0x0a, 0xff], expect: vec![0, 0xc3, 0x9f] };
    assert_eq!(read(&udp(text)).check, wanted);

    let text =
        "check = \"http\"\nstatuses = 200\nbody = \"all is well\"\nagent_port = 9999\npassive_failures = 0";
    let health = read(&tcp(text));
    let asked = Http { statuses: vec![(200, 200)], body: "all is well".into(), ..http() };
    assert_eq!((health.check, health.agent_port), (Check::Http(asked), Some(9999)));
    assert_eq!(health.passive_failures, 0);
}

#[test]
fn an_agent_that_is_the_check_has_one_port_whichever_key_says_it() {
    for key in ["port", "agent_port"] {
        let health = read(&tcp(&format!("check = \"agent\"\n{key} = 9999")));
        assert_eq!((health.check, health.port, health.agent_port), (Check::Agent, Some(9999), None));
    }
}

#[test]
fn checks_of_backends_that_hold_the_vip_may_go_the_way_of_its_packets() {
    for forwarding in ["dsr", "ipip", "gue"] {
        for check in ["icmp", "tcp", "udp\"\nsend = \"x"] {
            let own = format!("forwarding = {forwarding:?}");
            let text = service(&own, &format!("check = \"{check}\"\nvia = \"forwarding\""));
            assert_eq!(read(&text).via, Via::Forwarding);
            assert_eq!(said(&text), []);
        }
    }
}

#[test]
fn keys_of_other_checks_are_errors_that_say_whose_they_are() {
    let cases: &[Case] = &[
        (
            "«path = \"/\"",
            "`path` does not go with check = \"tcp\" (the default): it belongs to \"http\", \"https\"",
            "check = \"http\"",
        ),
        ("check = \"icmp\"\n«port = 80", "`port` does not go with check = \"icmp\"", "check = \"tcp\""),
        ("check = \"tcp\"\n«method = \"GET\"", "`method` does not go with check = \"tcp\"", "remove it"),
        (
            "check = \"agent\"\nport = 1\n«host = \"a\"",
            "`host` does not go with check = \"agent\"",
            "remove it",
        ),
        (
            "check = \"udp\"\nsend = \"x\"\n«statuses = [200]",
            "`statuses` does not go with check = \"udp\"",
            "\"http\"",
        ),
        ("check = \"tcp\"\n«body = \"x\"", "`body` does not go", "\"http\""),
        (
            "check = \"http\"\n«verify = false",
            "`verify` does not go with check = \"http\": it belongs to \"https\"",
            "\"https\"",
        ),
        ("check = \"http\"\n«sni = \"a\"", "`sni` does not go with", "\"https\""),
        ("check = \"http\"\n«ca_file = \"/a\"", "`ca_file` does not go with", "\"https\""),
        (
            "check = \"tcp\"\n«send = \"x\"",
            "`send` does not go with check = \"tcp\": it belongs to \"udp\"",
            "\"udp\"",
        ),
        ("check = \"http\"\n«send_hex = \"00\"", "`send_hex` does not go", "\"udp\""),
        ("check = \"http\"\n«expect = \"x\"", "`expect` does not go", "\"udp\""),
        ("check = \"agent\"\nport = 1\n«expect_hex = \"00\"", "`expect_hex` does not go", "\"udp\""),
    ];
    let at_value = |snippet: &str| tcp(&to_value(snippet));
    holds(at_value, cases, Severity::Error);
    let at_value = |snippet: &str| udp(&to_value(snippet));
    let cases: &[Case] =
        &[("«port = 53", "`port` does not go with check = \"icmp\" (the default)", "check = \"tcp\"")];
    holds(at_value, cases, Severity::Error);
}

/// Moves the mark from a key to its value, which is what findings point at.
fn to_value(snippet: &str) -> String {
    let (before, after) = snippet.split_once('«').unwrap();
    let (key, value) = after.split_once(" = ").unwrap();
    format!("{before}{key} = «{value}")
}

#[test]
fn wrong_values() {
    let cases: &[Case] = &[
        ("check = «\"ping\"", "unknown word \"ping\"", "available: icmp, tcp, udp, http, https, agent"),
        ("via = «\"tunnel\"", "unknown word", "available: direct, forwarding"),
        ("port = «0", "out of bounds", "from 1 to 65535"),
        ("interval_ms = «5", "out of bounds", "from 10 to 86400000"),
        ("fast_interval_ms = «5", "out of bounds", "from 10"),
        ("passive_failures = «-1", "out of bounds", "from 0 to 1000"),
        ("agent_port = «70000", "out of bounds", "65535"),
        ("«interval_s = 5", "unknown key `interval_s` in [service.health]", "did you mean `interval_ms`?"),
        ("check = \"http\"\nmethod = «\"get\"", "\"get\" is no method", "in capitals: \"GET\""),
        ("check = \"http\"\nmethod = «\"CONNECT\"", "not a method to check with", "\"HEAD\""),
        ("check = \"http\"\npath = «\"health\"", "not the path of a request", "\"/health\""),
        ("check = \"http\"\nhost = «\"http://a/\"", "is not a host", "www.example.net"),
        ("check = \"http\"\nstatuses = [200, «99]", "no HTTP status", "from 100 to 599"),
        ("check = \"http\"\nstatuses = [«\"399-200\"]", "399-200 ends before it begins", "\"200-399\""),
        ("check = \"http\"\nstatuses = [«\"2xx\"]", "no HTTP status", "300-399"),
        ("check = \"http\"\nstatuses = «true", "this is a boolean", "statuses = ["),
        ("check = \"http\"\nstatuses = «[]", "no answer would do", "200-399"),
        ("check = \"http\"\nmethod = \"HEAD\"\nbody = «\"ok\"", "have no body", "method = \"GET\""),
        ("check = \"https\"\nsni = «\"198.18.1.1\"", "is an address, not a name", "backend"),
        ("check = \"https\"\nsni = «\"a b\"", "is not a DNS name", "web.example.net"),
        (
            "check = \"https\"\nsni = \"a\"\nca_file = «\"ca.pem\"",
            "does not begin at \"/\"",
            "\"/etc/xswitch/ca.pem\"",
        ),
        ("check = \"udp\"\nsend_hex = «\"123\"", "these are not bytes", "two hexadecimal digits"),
        (
            "check = \"udp\"\nsend = \"a\"\nsend_hex = «\"00\"",
            "`send_hex`: `send` says it already",
            "keep one",
        ),
        (
            "check = \"udp\"\nsend = \"a\"\nexpect = \"\"\nexpect_hex = «\"00\"",
            "`expect` says it already",
            "keep one",
        ),
        ("check = \"agent\"\nport = 1\nagent_port = «2", "asks the agent at `port` already", "keep one"),
        ("via = «\"forwarding\"", "not for forwarding = \"nat\"", "remove it"),
    ];
    holds(tcp, cases, Severity::Error);
    let tunnel = |health: &str| service("forwarding = \"ipip\"", health);
    let cases: &[Case] = &[(
        "check = \"http\"\nvia = «\"forwarding\"",
        "\"forwarding\" does not go with check = \"http\"",
        "\"icmp\", \"tcp\" or \"udp\"",
    )];
    holds(tunnel, cases, Severity::Error);
}

#[test]
fn a_datagram_is_one_packet() {
    let text = |length: usize| udp(&format!("check = \"udp\"\nsend = \"{}\"", "x".repeat(length)));
    assert_eq!(said(&text(1452)), []);
    assert_eq!(said(&text(1453))[0].message, "`send`: 1453 bytes do not fit into one datagram");
}

#[test]
fn what_works_but_is_hardly_meant() {
    let cases: &[Case] = &[
        ("timeout_ms = «6000", "6000 is longer than interval_ms = 5000", "timeout_ms = 5000 or less"),
        ("interval_ms = «1000", "`timeout_ms`: 3000 is longer", "timeout_ms = 1000 or less"),
        ("fast_interval_ms = «6000", "6000 is slower than interval_ms = 5000", "5000 or less"),
        ("check = \"https\"\nverify = false\nca_file = «\"/a\"", "means nothing to verify = false", "remove"),
    ];
    holds(tcp, cases, Severity::Warning);
    let frame = |keys: &str| tcp(keys).replace("[service.health]", "«[service.health]");
    let cases: &[Case] = &[
        ("check = \"https\"", "certificates must name the backends' addresses", "sni = "),
        ("check = \"udp\"", "an empty datagram", "send = "),
        ("check = \"agent\"", "at the port that serves the clients", "port = PORT"),
    ];
    holds(frame, cases, Severity::Warning);
}
