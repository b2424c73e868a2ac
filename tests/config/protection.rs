//! `[service.limits]`, `dscp`, `max_connections` of backends, budgets.

use xswitch::config::valid::Limits;
use xswitch::config::{self, Severity};
use xswitch::tables::{Dscp, Rate};

use super::mistakes::{Case, holds};

fn with(keys_and_tables: &str) -> String {
    format!(
        "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\n[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n\
         {keys_and_tables}\n"
    ) + if keys_and_tables.contains("[[service.backend]]") {
        ""
    } else {
        "[[service.backend]]\naddress = \"198.18.1.11:8080\"\n"
    }
}

#[test]
fn nothing_is_limited_unless_told_so() {
    let config = config::parse(&with(""), "x.toml").unwrap().config;
    let service = &config.services[0];
    assert_eq!((service.limits, service.dscp, service.backends[0].max_connections), (None, None, 0));
    assert_eq!((config.switch.icmp_budget, config.switch.fragment_budget), (50_000, 0));
    let rules = Limits::rules(None, None);
    assert!(!rules.opens() && !rules.attends());
}

#[test]
fn what_is_written_becomes_rules() {
    let text = "dscp = \"AF41\"\n[service.limits]\nnew_connections_per_s = 7\nclient_connections = 9\n\
                bits_per_s = 1_000_000_000_000\nburst_ms = 50";
    let config = config::parse(&with(text), "x.toml").unwrap().config;
    let service = &config.services[0];
    let rules = Limits::rules(service.limits.as_ref(), service.dscp);
    assert_eq!(rules.dscp, Dscp::new(34));
    assert_eq!((rules.opened, rules.bits), (Rate::of(7, 50), Rate::of(1_000_000_000_000, 50)));
    assert_eq!((rules.packets, rules.client_opened, rules.client_connections), (None, None, 9));
    assert!(rules.opens() && rules.attends());
}

#[test]
fn code_points_have_names() {
    let named = [
        ("\"cs0\"", 0),
        ("\"cs6\"", 48),
        ("\"af11\"", 10),
        ("\"af43\"", 38),
        ("\"ef\"", 46),
        ("\"va\"", 44),
        ("\"le\"", 1),
        ("63", 63),
    ];
    for (written, number) in named {
        let config = config::parse(&with(&format!("dscp = {written}")), "x.toml").unwrap().config;
        assert_eq!(config.services[0].dscp.map(Dscp::number), Some(number), "{written}");
    }
}

#[test]
fn mistakes_are_named() {
    let cases: &[Case] = &[
        ("dscp = «\"af44\"", "no code point", "0 to 63"),
        ("dscp = «\"a\"", "no code point", "\"ef\""),
        ("dscp = «64", "no code point", "0 to 63"),
        ("dscp = «true", "a name or a number belongs here", "0 to 63"),
        ("[service.limits]\nclient_connections = «-1", "out of bounds", "0 to 1000000"),
        ("[service.limits]\npackets_per_s = 9\nburst_ms = «0", "out of bounds", "1 to 10000"),
        (
            "[service.limits]\nbits_per_s = 9\n«packets_per_sec = 1",
            "unknown key `packets_per_sec`",
            "did you mean `packets_per_s`?",
        ),
        (
            "[[service.backend]]\naddress = \"198.18.1.11:8080\"\nmax_connections = «\"many\"",
            "a whole number belongs here",
            "max_connections = ",
        ),
    ];
    holds(with, cases, Severity::Error);
    let warned: &[Case] = &[
        ("«[service.limits]\nburst_ms = 10", "limits nothing", "client_new_connections_per_s = 100"),
        (
            "[service.limits]\nnew_connections_per_s = 10\nclient_new_connections_per_s = «10",
            "not less than what all clients",
            "below 10",
        ),
    ];
    holds(with, warned, Severity::Warning);
}
