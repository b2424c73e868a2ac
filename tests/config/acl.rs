//! `[acl]` and `[service.acl]`.

use xswitch::config::diff::difference;
use xswitch::config::valid::Acl;
use xswitch::config::{self, Severity};
use xswitch::tables::Access;

use super::mistakes::{Case, holds};

const SERVICE: &str = "[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n\
                       [[service.backend]]\naddress = \"198.18.1.11:8080\"\n";

fn with(acl: &str) -> String {
    format!("[switch]\ninterfaces = [\"eth0\", \"eth1\"]\n{SERVICE}{acl}\n")
}

fn prefix(text: &str) -> (std::net::IpAddr, u8) {
    let (address, length) = text.split_once('/').unwrap();
    (address.parse().unwrap(), length.parse().unwrap())
}

#[test]
fn everybody_may_connect_unless_told_otherwise() {
    let config = config::parse(&with(""), "x.toml").unwrap().config;
    assert_eq!((config.acl, &config.services[0].acl), (None, &None));
    let config = config::parse(&with("[acl]\n[service.acl]"), "x.toml").unwrap().config;
    let all = Acl::new(Access::Allow, vec![], vec![]);
    assert!(all.list.allows_all());
    assert_eq!((config.acl, &config.services[0].acl), (Some(all.clone()), &Some(all)));
}

#[test]
fn what_is_listed_is_what_holds() {
    let text = "[acl]\ndeny = [\"203.0.113.0/24\", \"2001:db8:bad::/48\"]\n\
                [service.acl]\ndefault = \"deny\"\nallow = [\"198.51.100.0/24\"]\ndeny = [\"198.51.100.7/32\"]";
    let config = config::parse(&with(text), "x.toml").unwrap().config;
    let global = config.acl.unwrap();
    assert_eq!(
        global,
        Acl::new(Access::Allow, vec![], vec![prefix("203.0.113.0/24"), prefix("2001:db8:bad::/48")])
    );
    let own = config.services[0].acl.as_ref().unwrap();
    for (acl, address, access) in [
        (&global, "203.0.113.9", Access::Deny),
        (&global, "203.0.114.9", Access::Allow),
        (&global, "2001:db8:bad::1", Access::Deny),
        (own, "198.51.100.6", Access::Allow),
        (own, "198.51.100.7", Access::Deny),
        (own, "2001:db8::1", Access::Deny),
    ] {
        assert_eq!(acl.list.decide(address.parse().unwrap()), access, "{address}");
    }
}

#[test]
fn mistakes_are_named() {
    let cases: &[Case] = &[
        ("[acl]\ndefault = «\"reject\"", "unknown word", "available: allow, deny"),
        ("[acl]\ndeny = [«\"203.0.113.7/24\"]", "host bits", "\"203.0.113.0/24\""),
        ("[acl]\ndeny = [«\"203.0.113.0\"]", "not a prefix", "203.0.113.0/"),
        ("[acl]\nallow = [«\"203.0.113.0/33\"]", "not a prefix", "from 0 to 32"),
        ("[acl]\n«dney = []", "unknown key `dney` in [acl]", "did you mean `deny`?"),
        (
            "[service.acl]\ndeny = «\"203.0.113.0/24\"",
            "a list of strings belongs here",
            "deny = [\"203.0.113.0/24\"]",
        ),
        (
            "[service.acl]\nallow = [\"203.0.113.0/24\"]\ndeny = [«\"203.0.113.0/24\"]",
            "203.0.113.0/24 is in `allow` on line 9",
            "the longest decides",
        ),
        (
            "[acl]\ndeny = [\"203.0.113.0/24\", «\"203.0.113.0/24\"]",
            "203.0.113.0/24 is in `deny` on line 9",
            "once",
        ),
    ];
    holds(with, cases, Severity::Error);
    let warned: &[Case] = &[("[acl]\ndefault = «\"deny\"", "nobody may connect", "allow = [")];
    holds(with, warned, Severity::Warning);
}

/// Neither reading nor comparing takes longer than a person waits.
#[test]
fn fifty_thousand_prefixes_are_a_list_like_any_other() {
    let list = |beginning: u32| {
        let prefixes = (0..50_000u32).map(|i| std::net::Ipv4Addr::from(beginning + (i << 12)));
        prefixes.map(|address| format!("\"{address}/24\"")).collect::<Vec<_>>().join(", ")
    };
    let read =
        |list: &str| config::parse(&with(&format!("[acl]\ndeny = [{list}]")), "x.toml").unwrap().config;
    let (old, new) = (read(&list(0x0100_0000)), read(&list(0x0100_1000)));
    assert_eq!(old.acl.as_ref().unwrap().list.changes(), 100_000);
    let said = difference(&old, &new);
    assert_eq!(said, ["[acl]: deny: 13.53.0.0/24 added, 1.0.0.0/24 removed"]);
}
