//! The files in config/ load, and full.toml leaves nothing out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use xswitch::config::valid::AdminState;
use xswitch::config::{self, Severity, valid};
use xswitch::tables::{
    Fate, Filtering, Forwarding, Mapping, MssClamp, OnNoBackend, Protocol, VerifyChecksums,
};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

#[test]
fn every_example_loads() {
    let mut count = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let loaded = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(loaded.warnings.count(Severity::Warning), 0, "{}", loaded.warnings);
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} examples");
}

#[test]
fn full_toml_has_every_key_and_no_other() {
    let text = std::fs::read_to_string(directory().join("full.toml")).unwrap();
    let mut written = BTreeSet::new();
    collect(&text.parse().unwrap(), "", &mut written);
    let known: BTreeSet<String> = config::known_keys().into_iter().collect();
    assert_eq!(known, written);
}

fn collect(table: &toml::Table, path: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let tables = value.as_array().into_iter().flatten().chain([value]);
        tables.filter_map(toml::Value::as_table).for_each(|table| collect(table, &path, keys));
        keys.insert(path);
    }
}

#[test]
fn full_toml_shows_the_defaults() {
    let full = config::load(&directory().join("full.toml")).unwrap().config;
    let minimal = config::load(&directory().join("minimal.toml")).unwrap().config;
    let without_addresses =
        valid::Switch { snat_addresses: vec![], resolvers: vec![], tunnel_sources: vec![], ..full.switch };
    assert_eq!(without_addresses, minimal.switch);
    assert_eq!(full.timeouts, minimal.timeouts);
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = config::load(&directory().join("minimal.toml")).unwrap().config;
    assert_eq!(
        config.switch,
        valid::Switch {
            interfaces: vec!["eth0".into(), "eth1".into()],
            topology: valid::Topology::Routed,
            workers: 0,
            xdp_mode: valid::XdpMode::Auto,
            zero_copy: valid::ZeroCopy::Auto,
            huge_pages: valid::HugePages::Auto,
            idle: valid::Idle::Adaptive,
            busy_poll: false,
            busy_poll_device: false,
            snat_addresses: Vec::new(),
            snat_ports: (1024, 32767),
            max_connections: 1_048_576,
            max_connections_ipv6: 262_144,
            max_fragmented: 1024,
            icmp_rate: 1000,
            max_affinities: 65_536,
            resolvers: Vec::new(),
            tunnel_sources: Vec::new(),
            ring_size: 2048,
            verify_checksums: VerifyChecksums::Always,
            control_socket: "/run/xswitch/xswitch.sock".into(),
            metrics_listen: Some("127.0.0.1:9500".parse().unwrap()),
        }
    );
    assert_eq!(config.timeouts, valid::Timeouts::default());
    let service = &config.services[0];
    assert_eq!((service.protocol, service.forwarding), (Protocol::Tcp, Forwarding::Nat));
    assert_eq!(service.scheduler, valid::Scheduler::WeightedRoundRobin);
    assert_eq!((service.maglev_table_size, service.announce, &service.health), (65_537, true, &None));
    assert_eq!((service.mss_clamp, service.gue_port), (MssClamp::Off, 6080));
    assert_eq!(service.backends[0], valid::Backend::new("198.18.1.11:8080".parse().unwrap(), 1));
    assert_eq!((service.state, service.on_no_backend), (AdminState::Enabled, OnNoBackend::Drop));
    assert_eq!((service.on_down, service.drain_timeout_s, service.slow_start_s), (Fate::Keep, 0, 0));
    assert_eq!((&service.affinity, &service.discover), (&None, &None));
}

#[test]
fn every_value_arrives_where_it_belongs() {
    let config = config::load(&directory().join("full.toml")).unwrap().config;
    assert_eq!(config.neighbors[0].mac, [2, 0, 0, 0, 1, 0x0b]);
    assert_eq!(config.routes[0].prefix, ("0.0.0.0".parse().unwrap(), 0));
    assert_eq!(config.routes[0].via, Some("198.18.0.1".parse().unwrap()));
    assert_eq!(config.interfaces[0].mtu, Some(1500));
    assert_eq!(config.interfaces[1].addresses, [("198.18.1.1".parse().unwrap(), 24)]);
    assert_eq!(config.services[1].forwarding, Forwarding::FullNat);
    assert_eq!((config.services[4].forwarding, config.services[4].gue_port), (Forwarding::Gue, 6080));
    assert_eq!(config.switch.tunnel_sources.len(), 2);
    let rule = valid::Snat {
        name: "home".into(),
        inside: vec![("10.0.0.0".parse().unwrap(), 24)],
        addresses: vec!["198.18.0.3".parse().unwrap()],
        ports: (1024, 32767),
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        hairpinning: true,
    };
    assert_eq!(config.snat, [rule]);
}

#[test]
fn one_example_shows_each_way_of_forwarding() {
    let load = |name: &str| config::load(&directory().join(name)).unwrap().config;
    for forwarding in
        [Forwarding::Nat, Forwarding::FullNat, Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue]
    {
        let config = load(&format!("{}.toml", forwarding.name()));
        assert!(config.services.iter().all(|service| service.forwarding == forwarding), "{forwarding:?}");
    }
    assert_eq!(load("bridge.toml").switch.topology, valid::Topology::Bridge);
    assert_eq!(load("snat.toml").snat[0].ports, (1024, 65535));
    assert!(load("ipv6.toml").services[0].vip.is_ipv6());
}

/// A file with one interface that has these keys, one service and one rule of outbound NAT.
fn with(interface: &str, service: &str, rule: &str) -> valid::Config {
    let text = format!(
        "[switch]\ninterfaces = [\"eth0\"]\nmax_connections = 2000\nsnat_ports = \"2000-3000\"\n\
         [[service]]\nname = \"a\"\nvip = \"[2001:db8::1]:80\"\n{service}\n\
         [[interface]]\nname = \"eth0\"\n{interface}\n\
         [[snat]]\nname = \"b\"\ninside = [\"2001:db8:1::/64\"]\naddresses = [\"2001:db8::2\"]\n{rule}\n"
    );
    config::parse(&text, "x.toml").unwrap_or_else(|error| panic!("{error}")).config
}

#[test]
fn values_of_several_types_mean_what_they_say() {
    for (written, meant) in [
        ("\"auto\"", MssClamp::Auto),
        ("\"off\"", MssClamp::Off),
        ("false", MssClamp::Off),
        ("1_220", MssClamp::Bytes(1220)),
    ] {
        assert_eq!(with("", &format!("mss_clamp = {written}"), "").services[0].mss_clamp, meant);
    }
    for (written, meant) in
        [("100", vec![100]), ("[]", vec![]), ("[7]", vec![7]), ("[200, 100]", vec![200, 100])]
    {
        assert_eq!(with(&format!("vlan = {written}"), "", "").interfaces[0].vlan, meant);
    }
}

#[test]
fn what_a_rule_or_the_ipv6_table_leaves_out_follows_from_the_switch() {
    let config = with("", "", "");
    assert_eq!(config.switch.max_connections_ipv6, 1024, "no table is smaller");
    let rule = &config.snat[0];
    assert_eq!((rule.ports, rule.mapping), ((2000, 3000), Mapping::EndpointIndependent));
    assert_eq!((rule.filtering, rule.hairpinning), (Filtering::AddressAndPortDependent, true));
}

#[test]
fn no_metrics_and_words_other_than_the_defaults() {
    let text = "[switch]\ninterfaces = [\"eth0\"]\nmetrics_listen = \"\"\nxdp_mode = \"generic\"\n\
                zero_copy = \"off\"\nidle = \"spin\"\nverify_checksums = \"state\"\nsnat_ports = \"2000-2000\"\n";
    let switch = config::parse(text, "x.toml").unwrap().config.switch;
    assert_eq!(switch.metrics_listen, None);
    assert_eq!((switch.xdp_mode, switch.zero_copy), (valid::XdpMode::Generic, valid::ZeroCopy::Off));
    assert_eq!((switch.idle, switch.verify_checksums), (valid::Idle::Spin, VerifyChecksums::State));
    assert_eq!(switch.snat_ports, (2000, 2000));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_its_name() {
    let error = config::load(Path::new("/nowhere/x.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/x.toml: error: cannot be read"), "{error}");
}

#[test]
fn a_file_that_is_not_text_is_an_error_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    std::fs::write(&path, b"[switch]\n# \xff\n").unwrap();
    let error = config::load(&path).unwrap_err().to_string();
    assert!(error.contains("x.toml:2:3: error: byte 0xff is not UTF-8 text"), "{error}");
}
