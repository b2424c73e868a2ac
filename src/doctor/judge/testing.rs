//! A machine on which nothing is wrong, for tests to break.

use crate::config::valid::Config;
use crate::control::network::{Hop, KernelRoute, Link, Neighbor, NetworkView};
use crate::doctor::facts::{Device, Facts, Host, XdpFeatures};
use crate::doctor::finding::Finding;
use crate::sys::kernel::AfXdp;

/// `nat` to 198.18.1.11 and 198.18.1.12 behind eth1, clients on eth0.
pub fn config() -> Config {
    let text = "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\nsnat_addresses = [\"198.18.1.2\"]\n\
                [[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\nforwarding = \"nat\"\n\
                backend = [{ address = \"198.18.1.11:8080\" }, { address = \"198.18.1.12:8080\" }]\n";
    parse(text)
}

/// A configuration from its text.
pub fn parse(text: &str) -> Config {
    crate::config::parse(text, "test").unwrap_or_else(|error| panic!("{error}")).config
}

/// The names of the checks that found something.
pub fn checks(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.check).collect()
}

/// What this judge alone finds.
pub fn found(
    judge: impl Fn(&super::Case<'_>, &mut Vec<Finding>),
    config: &Config,
    facts: &Facts,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    judge(&super::Case::new(Some(config), facts), &mut findings);
    findings
}

/// The only finding of this judge.
pub fn only(judge: impl Fn(&super::Case<'_>, &mut Vec<Finding>), config: &Config, facts: &Facts) -> Finding {
    let mut findings = found(judge, config, facts);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

fn device(name: &str) -> Device {
    Device {
        name: name.into(),
        exists: true,
        is_up: true,
        has_carrier: true,
        driver: Some("ice".into()),
        is_hardware: true,
        queues: 2,
        mtu: 1500,
        xdp: Some(XdpFeatures(0x7F)),
        indirection: vec![0, 1, 0, 1],
        ..Device::default()
    }
}

/// eth0 with 198.18.0.2/24, eth1 with 198.18.1.1/24, both backends known, a default route.
pub fn view() -> NetworkView {
    let link = |name: &str, last| Link {
        name: name.into(),
        mac: Some([2, 0, 0, 0, 0, last]),
        mtu: 1500,
        up: true,
        vlan: None,
    };
    let ip = |text: &str| text.parse().unwrap();
    let route = |prefix: (&str, u8), ifindex, via: Option<&str>| KernelRoute {
        prefix: (ip(prefix.0), prefix.1),
        metric: 0,
        hops: vec![Hop { ifindex, via: via.map(ip) }],
    };
    let neighbor = |last| Neighbor { mac: Some([2, 0, 0, 0, 1, last]), pinned: false };
    NetworkView {
        links: [(2, link("eth0", 1)), (3, link("eth1", 2))].into(),
        addresses: [(2, ip("198.18.0.2"), 24), (3, ip("198.18.1.1"), 24)].into(),
        routes: vec![
            route(("198.18.0.0", 24), 2, None),
            route(("198.18.1.0", 24), 3, None),
            route(("0.0.0.0", 0), 2, Some("198.18.0.1")),
        ],
        neighbors: [
            ((2, ip("198.18.0.1")), neighbor(1)),
            ((3, ip("198.18.1.11")), neighbor(11)),
            ((3, ip("198.18.1.12")), neighbor(12)),
        ]
        .into(),
    }
}

/// Nothing is wrong with it.
pub fn facts() -> Facts {
    Facts {
        host: Host {
            kernel: Some((6, 12)),
            af_xdp: AfXdp::There,
            locked_memory: None,
            huge_pages: (0, 0),
            huge_on_demand: Some(true),
            memory: Some((64 << 30, 60 << 30)),
            cores: Some(8),
            clocksource: Some("tsc".into()),
            local_ports: Some((32768, 60999)),
            can_busy_poll: Some(true),
            ..Host::default()
        },
        devices: vec![device("eth0"), device("eth1")],
        view: view(),
        ..Facts::default()
    }
}
