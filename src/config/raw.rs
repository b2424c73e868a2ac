//! A configuration as the file says it: every value right by itself, defaults filled in, each with its place.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use super::limits;
use super::reader::{Field, Reader};
use super::valid::{Idle, Scheduler, Timeouts, Topology, XdpMode, ZeroCopy};
use super::{values, variants};
use crate::tables::{Filtering, Forwarding, Mapping, MssClamp, Protocol, VerifyChecksums};

/// The whole file.
#[derive(Debug)]
pub(super) struct Raw {
    pub switch: Option<Switch>,
    pub timeouts: RawTimeouts,
    pub services: Vec<Service>,
    pub snat: Vec<Snat>,
    pub neighbors: Vec<Neighbor>,
    pub routes: Vec<Route>,
    pub interfaces: Vec<Interface>,
}

/// `[switch]`.
#[derive(Debug)]
pub(super) struct Switch {
    pub heading: Range<usize>,
    /// None where the key is missing; the list's items are none where they are wrong.
    pub interfaces: Field<Option<Vec<Field<String>>>>,
    pub topology: Field<Topology>,
    pub workers: Field<u16>,
    pub xdp_mode: Field<XdpMode>,
    pub zero_copy: Field<ZeroCopy>,
    pub idle: Field<Idle>,
    pub snat_addresses: Field<Vec<Field<IpAddr>>>,
    pub snat_ports: Field<(u16, u16)>,
    pub max_connections: Field<u32>,
    /// None where it follows from `max_connections`.
    pub max_connections_ipv6: Field<Option<u32>>,
    pub max_fragmented: Field<u32>,
    pub icmp_rate: Field<u32>,
    pub tunnel_sources: Field<Vec<Field<IpAddr>>>,
    pub ring_size: Field<u32>,
    pub verify_checksums: Field<VerifyChecksums>,
    pub control_socket: Field<PathBuf>,
    pub metrics_listen: Field<Option<SocketAddr>>,
}

/// `[timeouts]`.
#[derive(Debug)]
pub(super) struct RawTimeouts {
    pub tcp_syn_s: Field<u32>,
    pub tcp_established_s: Field<u32>,
    pub tcp_half_closed_s: Field<u32>,
    pub tcp_closed_s: Field<u32>,
    pub tcp_reset_s: Field<u32>,
    pub udp_s: Field<u32>,
    pub icmp_s: Field<u32>,
    pub fragment_s: Field<u32>,
}

/// `[[service]]`.
#[derive(Debug)]
pub(super) struct Service {
    pub heading: Range<usize>,
    pub name: Field<String>,
    pub vip: Field<SocketAddr>,
    pub protocol: Field<Protocol>,
    pub forwarding: Field<Forwarding>,
    pub scheduler: Field<Scheduler>,
    pub mss_clamp: Field<MssClamp>,
    pub gue_port: Field<Option<u16>>,
    pub maglev_table_size: Field<u32>,
    pub announce: Field<bool>,
    pub health: Option<Health>,
    pub backends: Vec<Backend>,
}

/// `[service.health]`.
#[derive(Debug)]
pub(super) struct Health {
    pub heading: Range<usize>,
    pub check: Field<&'static str>,
    pub path: Field<Option<String>>,
    pub interval_ms: Field<u32>,
    pub timeout_ms: Field<u32>,
    pub rise: Field<u32>,
    pub fall: Field<u32>,
}

/// `[[service.backend]]`.
#[derive(Debug)]
pub(super) struct Backend {
    pub address: Field<SocketAddr>,
    pub weight: Field<u32>,
}

/// `[[snat]]`.
#[derive(Debug)]
pub(super) struct Snat {
    pub name: Field<String>,
    pub inside: Field<Vec<Field<(IpAddr, u8)>>>,
    pub addresses: Field<Vec<Field<IpAddr>>>,
    /// None where they are those of full NAT.
    pub ports: Field<Option<(u16, u16)>>,
    pub mapping: Field<Mapping>,
    pub filtering: Field<Filtering>,
    pub hairpinning: Field<bool>,
}

/// `[[neighbor]]`.
#[derive(Debug)]
pub(super) struct Neighbor {
    pub interface: Field<String>,
    pub address: Field<IpAddr>,
    pub mac: Field<[u8; 6]>,
}

/// `[[route]]`.
#[derive(Debug)]
pub(super) struct Route {
    pub prefix: Field<(IpAddr, u8)>,
    pub interface: Field<String>,
    pub via: Field<Option<IpAddr>>,
}

/// `[[interface]]`.
#[derive(Debug)]
pub(super) struct Interface {
    pub name: Field<String>,
    pub mac: Field<Option<[u8; 6]>>,
    pub vlan: Field<Vec<u16>>,
    pub addresses: Field<Vec<Field<(IpAddr, u8)>>>,
    pub mtu: Field<Option<u16>>,
}

impl Raw {
    /// Reads the whole file.
    pub fn read(file: &mut Reader<'_, '_>) -> Self {
        let switch = file.table("switch", Switch::read);
        let defaults = Timeouts::default();
        Self {
            switch,
            timeouts: file
                .table("timeouts", |table| RawTimeouts::read(table, defaults))
                .unwrap_or_else(|| RawTimeouts::at(0..0, defaults)),
            services: file.tables("service", Service::read),
            snat: file.tables("snat", Snat::read),
            neighbors: file.tables("neighbor", Neighbor::read),
            routes: file.tables("route", Route::read),
            interfaces: file.tables("interface", Interface::read),
        }
    }
}

impl Switch {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        const MOST_CONNECTIONS: i64 = 64 << 20;
        Self {
            heading: table.span(),
            interfaces: table.texts("interfaces", values::interface_name).optional(),
            topology: table.word("topology", &values::TOPOLOGY).or(Topology::Routed),
            workers: table.integer("workers", 0..=limits::MOST_WORKERS).or(0),
            xdp_mode: table.word("xdp_mode", &values::XDP_MODE).or(XdpMode::Auto),
            zero_copy: table.word("zero_copy", &values::ZERO_COPY).or(ZeroCopy::Auto),
            idle: table.word("idle", &values::IDLE).or(Idle::Adaptive),
            snat_addresses: table.texts("snat_addresses", values::forwarded_address).or(Vec::new()),
            snat_ports: table.text("snat_ports", values::port_range).or((1024, 32767)),
            max_connections: table.integer("max_connections", 1024..=MOST_CONNECTIONS).or(1 << 20),
            max_connections_ipv6: table.integer("max_connections_ipv6", 1024..=MOST_CONNECTIONS).optional(),
            max_fragmented: table.integer("max_fragmented", 64..=65536).or(1024),
            icmp_rate: table.integer("icmp_rate", 0..=1_000_000).or(1000),
            tunnel_sources: table.texts("tunnel_sources", values::forwarded_address).or(Vec::new()),
            ring_size: table.integer("ring_size", 64..=32768).or(2048),
            verify_checksums: table
                .word("verify_checksums", &values::VERIFY_CHECKSUMS)
                .or(VerifyChecksums::Always),
            control_socket: table
                .text("control_socket", values::socket_path)
                .or(PathBuf::from("/run/xswitch.sock")),
            metrics_listen: table
                .text("metrics_listen", values::listen)
                .or(Some(SocketAddr::from(([127, 0, 0, 1], 9500)))),
        }
    }
}

impl RawTimeouts {
    fn read(table: &mut Reader<'_, '_>, defaults: Timeouts) -> Self {
        // A week. What idles longer is not a connection but a leak.
        const BOUNDS: std::ops::RangeInclusive<i64> = 1..=7 * 24 * 3600;
        Self {
            tcp_syn_s: table.integer("tcp_syn_s", BOUNDS).or(defaults.tcp_syn_s),
            tcp_established_s: table.integer("tcp_established_s", BOUNDS).or(defaults.tcp_established_s),
            tcp_half_closed_s: table.integer("tcp_half_closed_s", BOUNDS).or(defaults.tcp_half_closed_s),
            tcp_closed_s: table.integer("tcp_closed_s", BOUNDS).or(defaults.tcp_closed_s),
            tcp_reset_s: table.integer("tcp_reset_s", BOUNDS).or(defaults.tcp_reset_s),
            udp_s: table.integer("udp_s", BOUNDS).or(defaults.udp_s),
            icmp_s: table.integer("icmp_s", BOUNDS).or(defaults.icmp_s),
            // Longer than any stack waits for the rest of a datagram (RFC 8200 §4.5) helps nobody.
            fragment_s: table.integer("fragment_s", 1..=60).or(defaults.fragment_s),
        }
    }

    fn at(place: Range<usize>, seconds: Timeouts) -> Self {
        let field = |value| Some(toml::Spanned::new(place.clone(), value));
        Self {
            tcp_syn_s: field(seconds.tcp_syn_s),
            tcp_established_s: field(seconds.tcp_established_s),
            tcp_half_closed_s: field(seconds.tcp_half_closed_s),
            tcp_closed_s: field(seconds.tcp_closed_s),
            tcp_reset_s: field(seconds.tcp_reset_s),
            udp_s: field(seconds.udp_s),
            icmp_s: field(seconds.icmp_s),
            fragment_s: field(seconds.fragment_s),
        }
    }
}

impl Service {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        // The largest prime below 2^24: 32 MiB of slots.
        const LARGEST_TABLE: i64 = 16_777_213;
        let name = table.text("name", values::service_name);
        let vip = table.text("vip", values::endpoint);
        Self {
            heading: table.span(),
            name: table.require("name", name, "add a unique name: name = \"web\""),
            vip: table.require("vip", vip, "add what clients connect to: vip = \"198.18.0.100:80\""),
            protocol: table.word("protocol", &values::PROTOCOL).or(Protocol::Tcp),
            forwarding: table.word("forwarding", &values::FORWARDING).or(Forwarding::Nat),
            scheduler: table.word("scheduler", &values::SCHEDULER).or(Scheduler::WeightedRoundRobin),
            mss_clamp: table.value("mss_clamp", variants::mss_clamp).or(MssClamp::Off),
            gue_port: table.integer("gue_port", 1..=65535).optional(),
            maglev_table_size: table.integer("maglev_table_size", 2..=LARGEST_TABLE).or(65_537),
            announce: table.flag("announce").or(true),
            health: table.table("health", Health::read),
            backends: table.tables("backend", Backend::read),
        }
    }
}

impl Health {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        const DAY_MS: i64 = 24 * 3600 * 1000;
        Self {
            heading: table.span(),
            check: table.word("check", &values::HEALTH_CHECK).or("tcp"),
            path: table.text("path", values::request_path).optional(),
            interval_ms: table.integer("interval_ms", 10..=DAY_MS).or(5000),
            timeout_ms: table.integer("timeout_ms", 1..=DAY_MS).or(3000),
            rise: table.integer("rise", 1..=1000).or(2),
            fall: table.integer("fall", 1..=1000).or(3),
        }
    }
}

impl Backend {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        table.planned("backup");
        let address = table.text("address", values::endpoint);
        Self {
            address: table.require(
                "address",
                address,
                "add where it listens: address = \"198.18.1.11:8080\"",
            ),
            weight: table.integer("weight", 0..=65535).or(1),
        }
    }
}

impl Snat {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        let name = table.text("name", values::rule_name);
        let inside = table.texts("inside", values::network);
        let addresses = table.texts("addresses", values::forwarded_address);
        let inside_help = "add whose packets are translated: inside = [\"10.0.0.0/24\"]";
        let addresses_help = "add what they are translated to: addresses = [\"198.18.0.3\"]";
        Self {
            name: table.require("name", name, "add a unique name: name = \"home\""),
            inside: table.require("inside", inside, inside_help),
            addresses: table.require("addresses", addresses, addresses_help),
            ports: table.text("ports", values::port_range).optional(),
            mapping: table.word("mapping", &values::MAPPING).or(Mapping::default()),
            filtering: table.word("filtering", &values::FILTERING).or(Filtering::default()),
            hairpinning: table.flag("hairpinning").or(true),
        }
    }
}

impl Neighbor {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        let interface = table.text("interface", values::interface_name);
        let address = table.text("address", values::host_address);
        let mac = table.text("mac", values::mac);
        Self {
            interface: table.require("interface", interface, "add where it is: interface = \"eth1\""),
            address: table.require("address", address, "add its address: address = \"198.18.1.11\""),
            mac: table.require("mac", mac, "add its MAC address: mac = \"02:00:00:00:01:0b\""),
        }
    }
}

impl Route {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        let prefix = table.text("prefix", values::network);
        let interface = table.text("interface", values::interface_name);
        Self {
            prefix: table.require("prefix", prefix, "add the destination: prefix = \"0.0.0.0/0\""),
            interface: table.require("interface", interface, "add where it leaves: interface = \"eth0\""),
            via: table.text("via", values::host_address).optional(),
        }
    }
}

impl Interface {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        let name = table.text("name", values::interface_name);
        Self {
            name: table.require("name", name, "add which one it is: name = \"eth0\""),
            mac: table.text("mac", values::mac).optional(),
            vlan: table.value("vlan", variants::vlans).or(Vec::new()),
            addresses: table.texts("addresses", values::interface_address).or(Vec::new()),
            // 68 bytes: what every IPv4 link carries (RFC 791 §3.2).
            mtu: table.integer("mtu", 68..=65535).optional(),
        }
    }
}
