//! What a reload would change, in sentences.

use xswitch::config;
use xswitch::config::diff::difference;
use xswitch::config::valid::{self, Check, Config, Scheduler, Via};
use xswitch::tables::{
    Access, Fate, Filtering, Forwarding, Mapping, MssClamp, OnNoBackend, Protocol, VerifyChecksums,
};

fn full() -> Config {
    config::parse(include_str!("../../config/full.toml"), "full.toml").unwrap().config
}

/// What is said of one change.
fn said(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let old = full();
    let mut new = old.clone();
    change(&mut new);
    difference(&old, &new)
}

type Change = (fn(&mut Config), &'static str);

fn each(changes: &[Change]) {
    for (change, sentence) in changes {
        assert_eq!(said(change), [*sentence]);
    }
}

#[test]
fn nothing_is_said_where_nothing_changes() {
    assert_eq!(said(|_| ()), [""; 0]);
}

#[test]
fn every_key_of_the_switch_and_its_timeouts() {
    each(&[
        (|c| c.switch.interfaces.push("eth2".into()), "[switch] interfaces: eth2 added"),
        (|c| c.switch.interfaces.reverse(), "[switch] interfaces [eth0, eth1] → [eth1, eth0]"),
        (|c| c.switch.topology = valid::Topology::Bridge, "[switch] topology routed → bridge"),
        (|c| c.switch.workers = 2, "[switch] workers 0 → 2"),
        (|c| c.switch.xdp_mode = valid::XdpMode::Generic, "[switch] xdp_mode auto → generic"),
        (|c| c.switch.zero_copy = valid::ZeroCopy::On, "[switch] zero_copy auto → on"),
        (|c| c.switch.huge_pages = valid::HugePages::On, "[switch] huge_pages auto → on"),
        (|c| c.switch.idle = valid::Idle::Spin, "[switch] idle adaptive → spin"),
        (|c| c.switch.busy_poll = true, "[switch] busy_poll false → true"),
        (|c| c.switch.busy_poll_device = true, "[switch] busy_poll_device false → true"),
        (
            |c| c.switch.snat_addresses = vec!["198.18.1.3".parse().unwrap()],
            "[switch] snat_addresses: 198.18.1.3 added, 198.18.1.2 removed",
        ),
        (|c| c.switch.snat_ports = (1024, 2000), "[switch] snat_ports 1024-32767 → 1024-2000"),
        (|c| c.switch.max_connections = 4096, "[switch] max_connections 1048576 → 4096"),
        (|c| c.switch.max_connections_ipv6 = 4096, "[switch] max_connections_ipv6 262144 → 4096"),
        (|c| c.switch.max_fragmented = 64, "[switch] max_fragmented 1024 → 64"),
        (|c| c.switch.icmp_rate = 500, "[switch] icmp_rate 1000 → 500"),
        (|c| c.switch.max_clients = 1024, "[switch] max_clients 65536 → 1024"),
        (|c| c.switch.client_prefix_ipv4 = 24, "[switch] client_prefix_ipv4 32 → 24"),
        (|c| c.switch.client_prefix_ipv6 = 56, "[switch] client_prefix_ipv6 64 → 56"),
        (|c| c.switch.icmp_budget = 0, "[switch] icmp_budget 50000 → 0"),
        (|c| c.switch.fragment_budget = 9, "[switch] fragment_budget 0 → 9"),
        (|c| c.switch.max_affinities = 1024, "[switch] max_affinities 65536 → 1024"),
        (|c| c.switch.resolvers.truncate(1), "[switch] resolvers: [2001:db8::53]:5353 removed"),
        (|c| c.switch.tunnel_sources.truncate(1), "[switch] tunnel_sources: 2001:db8:1::2 removed"),
        (|c| c.switch.ring_size = 64, "[switch] ring_size 2048 → 64"),
        (|c| c.switch.verify_checksums = VerifyChecksums::State, "[switch] verify_checksums always → state"),
        (|c| c.switch.control_socket = "/a".into(), "[switch] control_socket /run/xswitch.sock → /a"),
        (|c| c.switch.metrics_listen = None, "[switch] metrics_listen 127.0.0.1:9500 → none"),
        (|c| c.switch.status_listen = None, "[switch] status_listen 127.0.0.1:9501 → none"),
        (|c| c.switch.status_token_file = None, "[switch] status_token_file /etc/xswitch/page-token → none"),
        (|c| c.acl = None, "[acl] removed (default allow, 1 allowed, 2 denied)"),
        (|c| c.timeouts.tcp_syn_s = 1, "[timeouts] tcp_syn_s 240 → 1"),
        (|c| c.timeouts.tcp_established_s = 1, "[timeouts] tcp_established_s 7440 → 1"),
        (|c| c.timeouts.tcp_half_closed_s = 1, "[timeouts] tcp_half_closed_s 240 → 1"),
        (|c| c.timeouts.tcp_closed_s = 1, "[timeouts] tcp_closed_s 240 → 1"),
        (|c| c.timeouts.tcp_reset_s = 1, "[timeouts] tcp_reset_s 240 → 1"),
        (|c| c.timeouts.udp_s = 1, "[timeouts] udp_s 300 → 1"),
        (|c| c.timeouts.icmp_s = 1, "[timeouts] icmp_s 60 → 1"),
        (|c| c.timeouts.fragment_s = 1, "[timeouts] fragment_s 5 → 1"),
    ]);
}

#[test]
fn every_key_of_a_service() {
    each(&[
        (|c| c.services[0].name = "www".into(), "service \"web\": name web → www"),
        (|c| c.services[0].forwarding = Forwarding::FullNat, "service \"web\": forwarding nat → full-nat"),
        (|c| c.services[0].scheduler = Scheduler::LeastConnections, "service \"web\": scheduler wrr → lc"),
        (|c| c.services[0].mss_clamp = MssClamp::Bytes(1220), "service \"web\": mss_clamp off → 1220"),
        (
            |c| c.services[0].syn_cookies = valid::Cookies::Always,
            "service \"web\": syn_cookies auto → always",
        ),
        (|c| c.services[0].half_open = 100, "service \"web\": half_open 4096 → 100"),
        (|c| c.services[4].gue_port = 7000, "service \"video\": gue_port 6080 → 7000"),
        (|c| c.services[0].maglev_table_size = 251, "service \"web\": maglev_table_size 65537 → 251"),
        (|c| c.services[0].announce = false, "service \"web\": announce true → false"),
        (|c| c.services[0].state = valid::AdminState::Drain, "service \"web\": state enabled → drain"),
        (
            |c| c.services[0].on_no_backend = OnNoBackend::ToKernel,
            "service \"web\": on_no_backend drop → to_kernel",
        ),
        (|c| c.services[0].on_down = Fate::Reschedule, "service \"web\": on_down keep → reschedule"),
        (|c| c.services[0].drain_timeout_s = 60, "service \"web\": drain_timeout_s 0 → 60"),
        (|c| c.services[0].slow_start_s = 30, "service \"web\": slow_start_s 0 → 30"),
        (|c| c.services[0].affinity = None, "service \"web\": affinity removed (group shop)"),
        (|c| affinity(c).timeout_s = 60, "service \"web\": affinity: timeout_s 300 → 60"),
        (|c| affinity(c).prefix_ipv4 = 24, "service \"web\": affinity: prefix_ipv4 32 → 24"),
        (|c| affinity(c).prefix_ipv6 = 56, "service \"web\": affinity: prefix_ipv6 64 → 56"),
        (|c| affinity(c).group = None, "service \"web\": affinity: group shop → none"),
        (|c| c.services[0].acl = None, "service \"web\": acl removed (default deny, 1 allowed, 1 denied)"),
        (
            |c| {
                c.services[0].acl =
                    Some(valid::Acl::new(Access::Deny, vec![], vec![network("198.51.100.66", 32)]))
            },
            "service \"web\": acl: allow: 198.51.100.0/24 removed",
        ),
        (
            |c| c.services[0].limits = None,
            "service \"web\": limits removed (new_connections_per_s 20000, packets_per_s 2000000, bits_per_s \
             5000000000, client_new_connections_per_s 100, client_packets_per_s 50000, client_connections 500)",
        ),
        (|c| limits(c).new_connections_per_s = 0, "service \"web\": limits: new_connections_per_s 20000 → 0"),
        (|c| limits(c).packets_per_s = 0, "service \"web\": limits: packets_per_s 2000000 → 0"),
        (|c| limits(c).bits_per_s = 0, "service \"web\": limits: bits_per_s 5000000000 → 0"),
        (
            |c| limits(c).client_new_connections_per_s = 0,
            "service \"web\": limits: client_new_connections_per_s 100 → 0",
        ),
        (|c| limits(c).client_packets_per_s = 0, "service \"web\": limits: client_packets_per_s 50000 → 0"),
        (|c| limits(c).client_connections = 0, "service \"web\": limits: client_connections 500 → 0"),
        (|c| limits(c).burst_ms = 10, "service \"web\": limits: burst_ms 1000 → 10"),
        (|c| c.services[0].dscp = None, "service \"web\": dscp 18 → none"),
        (|c| c.services[0].discover = None, "service \"web\": discover removed (dns web.example.net:8443)"),
        (
            |c| discover(c).source = valid::Source::File { path: "/a".into() },
            "service \"web\": discover: source dns web.example.net:8443 → file /a",
        ),
        (|c| discover(c).weight = 5, "service \"web\": discover: weight 1 → 5"),
        (|c| discover(c).min_backends = 5, "service \"web\": discover: min_backends 1 → 5"),
        (|c| discover(c).interval_s = (1, 2), "service \"web\": discover: interval_s [5, 300] → [1, 2]"),
    ]);
}

#[test]
fn every_key_of_checks() {
    each(&[
        (|c| c.services[0].health = None, "service \"web\": health removed (check https)"),
        (|c| health(c).check = Check::Tcp, "service \"web\": health: check https → tcp"),
        (
            |c| c.services[4].health.as_mut().unwrap().via = Via::Direct,
            "service \"video\": health: via forwarding → direct",
        ),
        (|c| health(c).port = None, "service \"web\": health: port 8443 → none"),
        (|c| health(c).interval_ms = 1000, "service \"web\": health: interval_ms 5000 → 1000"),
        (|c| health(c).fast_interval_ms = 100, "service \"web\": health: fast_interval_ms 500 → 100"),
        (|c| health(c).timeout_ms = 1000, "service \"web\": health: timeout_ms 3000 → 1000"),
        (|c| health(c).rise = 1, "service \"web\": health: rise 2 → 1"),
        (|c| health(c).fall = 1, "service \"web\": health: fall 3 → 1"),
        (|c| health(c).passive_failures = 0, "service \"web\": health: passive_failures 3 → 0"),
        (|c| health(c).agent_port = None, "service \"web\": health: agent_port 9999 → none"),
        (|c| https(c).0.method = "HEAD".into(), "service \"web\": health: method GET → HEAD"),
        (|c| https(c).0.path = "/up".into(), "service \"web\": health: path / → /up"),
        (|c| https(c).0.host = None, "service \"web\": health: host www.example.net → none"),
        (
            |c| https(c).0.statuses = vec![(204, 204)],
            "service \"web\": health: statuses: 204-204 added, 200-399 removed",
        ),
        (|c| https(c).0.body = "a \"b\"".into(), "service \"web\": health: body \"\" → \"a \\\"b\\\"\""),
        (|c| https(c).1.verify = false, "service \"web\": health: verify true → false"),
        (|c| https(c).1.sni = None, "service \"web\": health: sni www.example.net → none"),
        (|c| https(c).1.ca_file = None, "service \"web\": health: ca_file /etc/xswitch/authority.pem → none"),
        (|c| datagram(c).0.clear(), "service \"echo\": health: send \"are you there?\" → \"\""),
        (|c| *datagram(c).1 = vec![0, 255], "service \"echo\": health: expect \"there?\" → \"\\x00\\xff\""),
    ]);
}

fn network(address: &str, length: u8) -> (std::net::IpAddr, u8) {
    (address.parse().unwrap(), length)
}

fn affinity(config: &mut Config) -> &mut valid::Affinity {
    config.services[0].affinity.as_mut().unwrap()
}

fn limits(config: &mut Config) -> &mut valid::Limits {
    config.services[0].limits.as_mut().unwrap()
}

fn discover(config: &mut Config) -> &mut valid::Discover {
    config.services[0].discover.as_mut().unwrap()
}

fn health(config: &mut Config) -> &mut valid::Health {
    config.services[0].health.as_mut().unwrap()
}

fn https(config: &mut Config) -> (&mut valid::Http, &mut valid::Tls) {
    match &mut health(config).check {
        Check::Https(http, tls) => (http, tls),
        other => panic!("{other:?}"),
    }
}

fn datagram(config: &mut Config) -> (&mut Vec<u8>, &mut Vec<u8>) {
    match &mut config.services[3].health.as_mut().unwrap().check {
        Check::Udp { send, expect } => (send, expect),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_key_of_backends() {
    each(&[
        (
            |c| c.services[0].backends[0].max_connections = 5,
            "service \"web\": backend 198.18.1.11:8443: max_connections 0 → 5",
        ),
        (|c| c.services[0].backends[0].weight = 5, "service \"web\": backend 198.18.1.11:8443: weight 3 → 5"),
        (
            |c| c.services[0].backends[0].backup = true,
            "service \"web\": backend 198.18.1.11:8443: backup false → true",
        ),
        (
            |c| c.services[0].backends[0].state = valid::AdminState::Disabled,
            "service \"web\": backend 198.18.1.11:8443: state enabled → disabled",
        ),
        (
            |c| c.services[0].backends.truncate(2),
            "service \"web\": backend 198.18.1.13:8443 removed (weight 1, backup)",
        ),
        (
            |c| c.services[0].backends.insert(0, valid::Backend::new("10.0.0.1:80".parse().unwrap(), 7)),
            "service \"web\": backend 10.0.0.1:80 added (weight 7)",
        ),
        (|c| c.services[0].backends.swap(0, 1), "service \"web\": backends in another order"),
    ]);
}

#[test]
fn every_key_of_rules_and_static_facts() {
    each(&[
        (
            |c| c.snat[0].inside = vec![("10.0.0.0".parse().unwrap(), 8)],
            "[[snat]] \"home\": inside: 10.0.0.0/8 added, 10.0.0.0/24 removed",
        ),
        (
            |c| c.snat[0].addresses.push("198.18.0.4".parse().unwrap()),
            "[[snat]] \"home\": addresses: 198.18.0.4 added",
        ),
        (|c| c.snat[0].ports = (1, 2), "[[snat]] \"home\": ports 1024-32767 → 1-2"),
        (
            |c| c.snat[0].mapping = Mapping::AddressAndPortDependent,
            "[[snat]] \"home\": mapping endpoint-independent → address-and-port-dependent",
        ),
        (
            |c| c.snat[0].filtering = Filtering::AddressDependent,
            "[[snat]] \"home\": filtering address-and-port-dependent → address-dependent",
        ),
        (|c| c.snat[0].hairpinning = false, "[[snat]] \"home\": hairpinning true → false"),
        (|c| c.snat.clear(), "[[snat]] \"home\" removed (10.0.0.0/24)"),
        (
            |c| c.neighbors[0].mac[5] = 0xc,
            "[[neighbor]] 198.18.1.11 at eth1: mac 02:00:00:00:01:0b → 02:00:00:00:01:0c",
        ),
        (|c| c.neighbors.clear(), "[[neighbor]] 198.18.1.11 at eth1 removed (mac 02:00:00:00:01:0b)"),
        (|c| c.routes[0].interface = "eth1".into(), "[[route]] 0.0.0.0/0: interface eth0 → eth1"),
        (|c| c.routes[0].via = None, "[[route]] 0.0.0.0/0: via 198.18.0.1 → none"),
        (|c| c.routes.clear(), "[[route]] 0.0.0.0/0 removed (via 198.18.0.1 at eth0)"),
        (|c| c.interfaces[0].mac = None, "[[interface]] eth0: mac 02:00:00:00:00:01 → none"),
        (|c| c.interfaces[0].vlan = vec![200, 100], "[[interface]] eth0: vlan: 200, 100 added"),
        (|c| c.interfaces[0].addresses.clear(), "[[interface]] eth0: addresses: 198.18.0.2/24 removed"),
        (|c| c.interfaces[0].mtu = Some(9000), "[[interface]] eth0: mtu 1500 → 9000"),
        (|c| c.interfaces.truncate(1), "[[interface]] eth1 removed (mac 02:00:00:00:00:02)"),
    ]);
}

#[test]
fn another_vip_or_protocol_is_another_service() {
    let changed = said(|c| c.services[1].vip = "198.18.0.101:5432".parse().unwrap());
    assert_eq!(
        changed,
        [
            "service \"database\" added (198.18.0.101:5432/tcp)",
            "service \"database\" removed (198.18.0.100:5432/tcp)"
        ]
    );
    let changed = said(|c| c.services[2].protocol = Protocol::Tcp);
    assert_eq!(
        changed,
        ["service \"dns\" added (198.18.0.100:53/tcp)", "service \"dns\" removed (198.18.0.100:53/udp)"]
    );
    assert_eq!(said(|c| c.services.swap(0, 1)), ["services in another order"]);
}

#[test]
fn changes_come_in_the_order_of_the_file() {
    let changed = said(|c| {
        c.interfaces[0].mtu = None;
        c.services[3].backends[0].weight = 9;
        c.services[0].backends[1].weight = 9;
        c.services[0].state = valid::AdminState::Disabled;
        c.timeouts.udp_s = 600;
        c.switch.icmp_rate = 0;
    });
    assert_eq!(
        changed,
        [
            "[switch] icmp_rate 1000 → 0",
            "[timeouts] udp_s 300 → 600",
            "service \"web\": state enabled → disabled",
            "service \"web\": backend 198.18.1.12:8443: weight 1 → 9",
            "service \"echo\": backend 198.18.1.41:7: weight 1 → 9",
            "[[interface]] eth0: mtu 1500 → none",
        ]
    );
}

#[test]
fn long_lists_are_cut() {
    let changed = said(|c| {
        let more = (0..100).map(|n| std::net::IpAddr::from([198, 18, 7, n]));
        c.switch.snat_addresses.extend(more);
    });
    assert_eq!(changed.len(), 1);
    assert!(changed[0].ends_with("198.18.7.7 and 92 more added"), "{changed:?}");
}
