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

/// The configuration with these tables, in which `{NAME}` is a file, and the files in which this stands.
fn with_files(acl: &str, files: &[(&str, &str)]) -> (String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = with(acl);
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        text = text.replace(&format!("{{{name}}}"), path.to_str().unwrap());
    }
    (text, folder)
}

#[test]
fn lists_in_files_are_added_to_those_of_the_configuration() {
    let files = [
        ("feed", "# who is not wanted\n203.0.113.0/24 ; twice\n203.0.113.0/24\r\n198.51.100.7\n"),
        ("ours", "203.0.113.0/24\n2001:db8:bad::/48\n"),
        ("friends", "203.0.113.128/25\n"),
        ("nobody", "# none yet\n"),
    ];
    let acl = "[acl]\ndeny = [\"192.0.2.0/24\"]\ndeny_files = [\"{feed}\", \"{ours}\"]\nallow_files = [\"{friends}\"]\n\
               [service.acl]\ndefault = \"deny\"\nallow = [\"203.0.113.0/24\"]\nallow_files = [\"{feed}\", \"{nobody}\"]";
    let (text, folder) = with_files(acl, &files);
    let config = config::parse(&text, "x.toml").unwrap().config;
    let (global, own) = (config.acl.clone().unwrap(), config.services[0].acl.clone().unwrap());
    for (acl, address, access) in [
        (&global, "192.0.2.1", Access::Deny),
        (&global, "203.0.113.1", Access::Deny),
        (&global, "203.0.113.129", Access::Allow),
        (&global, "198.51.100.7", Access::Deny),
        (&global, "198.51.100.8", Access::Allow),
        (&global, "2001:db8:bad::1", Access::Deny),
        (&own, "198.51.100.7", Access::Allow),
        (&own, "203.0.113.1", Access::Allow),
        (&own, "198.51.100.8", Access::Deny),
    ] {
        assert_eq!(acl.list.decide(address.parse().unwrap()), access, "{address}");
    }
    assert_eq!((global.deny.len(), own.allow.len()), (4, 2), "each prefix once");
    assert_eq!(config.lists().count(), 5);

    std::fs::write(folder.path().join("ours"), "203.0.113.0/24\n").unwrap();
    let new = config::parse(&text, "x.toml").unwrap().config;
    assert_eq!(difference(&config, &new), ["[acl]: deny: 2001:db8:bad::/48 removed"]);
    let mut new = new.clone();
    let fewer = new.acl.take().unwrap();
    new.acl = Some(fewer.with_files(vec![], vec![folder.path().join("feed"), folder.path().join("ours")]));
    let said = difference(&config, &new);
    let friends = folder.path().join("friends");
    assert_eq!(said[1..], [format!("[acl]: allow_files: {} removed", friends.display())], "{said:?}");
}

/// Each is told at the file's name, with the line in it.
#[test]
fn mistakes_in_files_are_named_with_their_lines() {
    let files = [
        ("bad", "203.0.113.0/24\n203.0.113.7/24\n"),
        ("names", "a.example\nb.example\nc.example\nd.example\ne.example\n"),
        ("good", "203.0.113.0/24\n"),
        ("same", "\n203.0.113.0/24\n"),
    ];
    let told = |acl: &str| {
        let (text, _folder) = with_files(acl, &files);
        let error = config::parse(&text, "x.toml").unwrap_err();
        let config::Error::Invalid(found) = error else { panic!("{error}") };
        found.iter().map(|found| (found.line, found.message.clone(), found.help.clone())).collect::<Vec<_>>()
    };
    for (acl, message, help) in [
        ("[acl]\ndeny_files = [\"{bad}\"]", "bad:2: \"203.0.113.7/24\" has host bits set", "203.0.113.0/24"),
        ("[acl]\ndeny_files = [\"/nowhere/list\"]", "`deny_files`: /nowhere/list: No such file", "may read"),
        ("[acl]\ndeny_files = [\"/dev/zero\"]", "/dev/zero: it is a device", "may read"),
        ("[acl]\nallow_files = [\"list.txt\"]", "does not begin at \"/\"", "/etc/xswitch/list.txt"),
        (
            "[acl]\nallow = [\"203.0.113.0/24\"]\ndeny_files = [\"{same}\"]",
            "same:2: 203.0.113.0/24 is in `allow` on line 9, too",
            "allowed or denied",
        ),
        (
            "[acl]\ndeny = [\"203.0.113.0/24\"]\nallow_files = [\"{same}\"]",
            "same:2: 203.0.113.0/24 is in `deny` on line 9, too",
            "allowed or denied",
        ),
        ("[acl]\nallow_files = [\"{good}\"]\ndeny_files = [\"{same}\"]", "good:1, too", "allowed or denied"),
    ] {
        let told = told(acl);
        assert!(
            told.len() == 1 && told[0].1.contains(message) && told[0].2.contains(help),
            "{acl}: {told:?}"
        );
        assert_eq!(told[0].0, acl.lines().count() + 7, "{acl}: {told:?}");
    }
    let unread = told("[acl]\ndefault = \"deny\"\nallow_files = [\"/nowhere/list\"]");
    assert_eq!(unread.len(), 1, "not that nobody may connect: {unread:?}");
    let told = told("[acl]\ndeny_files = [\"{names}\"]");
    assert!(told.len() == 4 && told[3].1.ends_with("names: and 2 more mistakes"), "{told:?}");
}

#[test]
fn a_list_without_anybody_is_warned_of_unless_a_file_has_some() {
    let warnings = |content| {
        let acl = "[acl]\ndefault = \"deny\"\nallow_files = [\"{friends}\"]";
        let (text, _folder) = with_files(acl, &[("friends", content)]);
        config::parse(&text, "x.toml").unwrap().warnings.totals()
    };
    assert_eq!((warnings("# none\n").as_str(), warnings("10.0.0.0/8\n").as_str()), ("2 warnings", ""));
}
