//! How a service picks backends, remembers clients, and is taken out: what is accepted, and what is wrong.

use xswitch::config::valid::{AdminState, Affinity, Backend, Scheduler, Service};
use xswitch::config::{self, Severity};
use xswitch::tables::{Fate, OnNoBackend};

use super::mistakes::{Case, holds};
use super::said;

/// A service with these keys, and whatever follows; one backend unless it lists others.
fn service(keys: &str) -> String {
    let backend = if keys.contains("backend = [") || keys.contains("[[service.backend]]") {
        ""
    } else {
        "[[service.backend]]\naddress = \"198.18.1.11:80\"\n"
    };
    format!(
        "[switch]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n{keys}\n{backend}"
    )
}

fn read(keys: &str) -> Service {
    config::parse(&service(keys), "x.toml")
        .unwrap_or_else(|error| panic!("{error}"))
        .config
        .services
        .remove(0)
}

#[test]
fn schedulers_go_by_short_names_full_names_and_those_of_ipvs() {
    for (scheduler, names) in [
        (Scheduler::RoundRobin, &["rr", "round-robin"][..]),
        (Scheduler::WeightedRoundRobin, &["wrr", "weighted-round-robin"]),
        (Scheduler::SourceHash, &["sh", "source-hash", "source-hashing"]),
        (Scheduler::FlowHash, &["hash", "flow-hash"]),
        (Scheduler::LeastConnections, &["lc", "least-connection", "least-connections"]),
        (
            Scheduler::WeightedLeastConnections,
            &["wlc", "weighted-least-connection", "weighted-least-connections"],
        ),
        (Scheduler::Maglev, &["maglev", "mh", "maglev-hashing"]),
        (Scheduler::LeastResponseTime, &["lrt", "least-response-time"]),
        (Scheduler::Resource, &["resource", "resource-based"]),
        (Scheduler::TwoChoices, &["p2c", "two-choices", "power-of-two-choices"]),
    ] {
        assert_eq!(scheduler.name(), names[0]);
        for name in names {
            assert_eq!(read(&format!("scheduler = {name:?}")).scheduler, scheduler, "{name}");
        }
    }
}

#[test]
fn what_only_ipvs_has_is_unknown_and_the_help_names_what_comes_nearest() {
    let cases: &[Case] = &[
        ("scheduler = «\"sed\"", "unknown word \"sed\"", "\"wlc\" comes nearest"),
        ("scheduler = «\"nq\"", "unknown word \"nq\"", "\"wlc\" comes nearest"),
        ("scheduler = «\"dh\"", "unknown word \"dh\"", "\"maglev\" hashes"),
        ("scheduler = «\"lblc\"", "unknown word \"lblc\"", "\"sh\" keeps clients"),
        ("scheduler = «\"lblcr\"", "unknown word \"lblcr\"", "\"wlc\" goes by open connections"),
        ("scheduler = «\"fo\"", "unknown word \"fo\"", "backup = true"),
        ("scheduler = «\"ovf\"", "unknown word \"ovf\"", "backup = true"),
        ("scheduler = «\"least_connections\"", "unknown word", "did you mean \"least-connections\"?"),
        (
            "scheduler = «\"random\"",
            "unknown word",
            "available: rr, wrr, lc, wlc, lrt, p2c, resource, maglev, sh",
        ),
    ];
    holds(service, cases, Severity::Error);
}

#[test]
fn a_service_can_be_taken_out_and_says_what_becomes_of_its_connections() {
    let service = read(
        "state = \"drain\"\non_no_backend = \"to_kernel\"\non_down = \"reschedule\"\ndrain_timeout_s = 600\n\
         slow_start_s = 30",
    );
    assert_eq!((service.state, service.on_no_backend), (AdminState::Drain, OnNoBackend::ToKernel));
    assert_eq!((service.on_down, service.drain_timeout_s, service.slow_start_s), (Fate::Reschedule, 600, 30));
    let backend = &read(
        "backend = [{ address = \"198.18.1.1:80\", backup = true, state = \"disabled\" }, \
                         { address = \"198.18.1.2:80\" }]",
    )
    .backends[0];
    let wanted = Backend {
        backup: true,
        state: AdminState::Disabled,
        ..Backend::new("198.18.1.1:80".parse().unwrap(), 1)
    };
    assert_eq!(*backend, wanted);
}

#[test]
fn affinity_remembers_hosts_for_five_minutes_unless_told_otherwise() {
    let default = Affinity { timeout_s: 300, prefix_ipv4: 32, prefix_ipv6: 64, group: None };
    assert_eq!(read("affinity = {}").affinity, Some(default));
    let told = "[service.affinity]\ntimeout_s = 60\nprefix_ipv4 = 24\nprefix_ipv6 = 56\ngroup = \"shop\"";
    let wanted = Affinity { timeout_s: 60, prefix_ipv4: 24, prefix_ipv6: 56, group: Some("shop".into()) };
    assert_eq!(read(told).affinity, Some(wanted));
}

#[test]
fn wrong_values() {
    let cases: &[Case] = &[
        ("state = «\"drained\"", "unknown word", "did you mean \"drain\"?"),
        ("on_no_backend = «\"refuse\"", "unknown word", "available: drop, reject, to_kernel"),
        ("on_no_backend = «\"to-kernel\"", "unknown word", "did you mean \"to_kernel\"?"),
        ("on_down = «\"resched\"", "unknown word", "available: keep, reset, reschedule"),
        ("drain_timeout_s = «604801", "out of bounds", "from 0 to 604800"),
        ("slow_start_s = «\"30s\"", "a whole number belongs here", "slow_start_s = 1"),
        ("«drain_timeout = 60", "unknown key `drain_timeout`", "did you mean `drain_timeout_s`?"),
        ("affinity = «true", "`affinity` is a boolean", "write [service.affinity]"),
        ("[service.affinity]\ntimeout_s = «0", "out of bounds", "from 1 to 604800"),
        ("[service.affinity]\nprefix_ipv4 = «33", "out of bounds", "from 1 to 32"),
        ("[service.affinity]\nprefix_ipv6 = «0", "out of bounds", "from 1 to 128"),
        ("[service.affinity]\ngroup = «\"my shop\"", "not a name for a group", "\"shop\""),
        (
            "[service.affinity]\n«timeout = 60",
            "unknown key `timeout` in [service.affinity]",
            "did you mean `timeout_s`?",
        ),
    ];
    holds(service, cases, Severity::Error);
    let frame = |keys: &str| service("").replace("[switch]", &format!("[switch]\n{keys}"));
    let cases: &[Case] = &[
        ("max_affinities = «1000", "out of bounds", "from 1024 to 16777216"),
        ("resolvers = [«\"dns.example.net\"]", "not the address of a DNS server", "\"198.18.1.53\""),
        ("resolvers = [«\"198.18.1.53:0\"]", "port 0", "\"198.18.1.53\""),
        ("resolvers = [«\"224.0.0.1\"]", "a multicast address", "unicast"),
        ("resolvers = [\"10.0.0.1\", «\"10.0.0.1:53\"]", "10.0.0.1:53 is listed twice", "once"),
    ];
    holds(frame, cases, Severity::Error);
}

#[test]
fn resolvers_may_leave_their_port_out_and_live_on_this_host() {
    let text =
        service("").replace("[switch]", "[switch]\nresolvers = [\"127.0.0.53\", \"[2001:db8::53]:5353\"]");
    let resolvers = config::parse(&text, "x.toml").unwrap().config.switch.resolvers;
    assert_eq!(resolvers, ["127.0.0.53:53".parse().unwrap(), "[2001:db8::53]:5353".parse().unwrap()]);
}

#[test]
fn services_of_one_group_agree() {
    let first = "[[service.backend]]\naddress = \"198.18.1.11:80\"\n[service.affinity]\ntimeout_s = 600\ngroup = \"shop\"\n";
    let frame = |keys: &str| {
        service(&format!(
            "{first}[[service]]\nname = \"tls\"\nvip = \"198.18.0.100:443\"\nbackend = [{{ address = \"198.18.1.11:443\" }}]\n{keys}"
        ))
    };
    let other = "but both are of the group \"shop\"";
    let cases: &[Case] = &[
        (
            "[service.affinity]\ntimeout_s = «60\ngroup = \"shop\"",
            "\"tls\" has 60 and \"web\" on line 4 has 600",
            "timeout_s = 600 here, or another group",
        ),
        (
            "[service.affinity]\ntimeout_s = 600\nprefix_ipv4 = «24\ngroup = \"shop\"",
            other,
            "prefix_ipv4 = 32",
        ),
        (
            "[service.affinity]\ntimeout_s = 600\nprefix_ipv6 = «56\ngroup = \"shop\"",
            other,
            "prefix_ipv6 = 64",
        ),
        // The default, which nobody has written.
        ("«[service.affinity]\ngroup = \"shop\"", "\"tls\" has 300", "timeout_s = 600"),
    ];
    holds(frame, cases, Severity::Error);
    assert_eq!(said(&frame("[service.affinity]\ntimeout_s = 600\ngroup = \"shop\"")), []);
    assert_eq!(said(&frame("[service.affinity]\ntimeout_s = 60\ngroup = \"other\"")), []);
}

#[test]
fn nobody_left_to_serve_is_hardly_meant() {
    let frame = |backends: &str| service(backends).replace("[[service]]", "«[[service]]");
    let cases: &[Case] = &[
        (
            "backend = [{ address = \"198.18.1.1:80\", backup = true }]",
            "every backend has backup = true",
            "remove it",
        ),
        (
            "backend = [{ address = \"198.18.1.1:80\", state = \"drain\" }, { address = \"198.18.1.2:80\", weight = 0 }]",
            "every backend is drained, disabled or of weight 0",
            "state = \"enabled\"",
        ),
        (
            "backend = [{ address = \"198.18.1.1:80\", weight = 0 }]",
            "every backend has weight 0",
            "weight of 1",
        ),
        ("backend = []", "the service has no backend", "[[service.backend]]"),
    ];
    holds(frame, cases, Severity::Warning);
    let cases: &[Case] = &[
        ("scheduler = «\"resource\"", "without an agent that reports capacity", "agent_port"),
        ("scheduler = «\"resource\"\n[service.health]", "without an agent", "check = \"agent\""),
        ("scheduler = \"sh\"\nmaglev_table_size = «53", "share unevenly", "101"),
    ];
    holds(service, cases, Severity::Warning);
    for asked in ["check = \"agent\"\nport = 9999", "agent_port = 9999"] {
        assert_eq!(said(&service(&format!("scheduler = \"resource\"\n[service.health]\n{asked}"))), []);
    }
}
