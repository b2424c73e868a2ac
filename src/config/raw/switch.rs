//! `[switch]` and `[timeouts]`.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use crate::config::reader::{Field, Reader};
use crate::config::valid::{HugePages, Idle, Timeouts, Topology, XdpMode, ZeroCopy};
use crate::config::{limits, texts, values, words};
use crate::tables::VerifyChecksums;

/// `[switch]`.
#[derive(Debug)]
pub(in crate::config) struct Switch {
    pub heading: Range<usize>,
    /// None where the key is missing; the list's items are none where they are wrong.
    pub interfaces: Field<Option<Vec<Field<String>>>>,
    pub topology: Field<Topology>,
    pub workers: Field<u16>,
    pub xdp_mode: Field<XdpMode>,
    pub zero_copy: Field<ZeroCopy>,
    pub huge_pages: Field<HugePages>,
    pub idle: Field<Idle>,
    pub busy_poll: Field<bool>,
    pub busy_poll_device: Field<bool>,
    pub snat_addresses: Field<Vec<Field<IpAddr>>>,
    pub snat_ports: Field<(u16, u16)>,
    pub max_connections: Field<u32>,
    /// None where it follows from `max_connections`.
    pub max_connections_ipv6: Field<Option<u32>>,
    pub max_fragmented: Field<u32>,
    pub icmp_rate: Field<u32>,
    pub max_affinities: Field<u32>,
    pub resolvers: Field<Vec<Field<SocketAddr>>>,
    pub tunnel_sources: Field<Vec<Field<IpAddr>>>,
    pub ring_size: Field<u32>,
    pub verify_checksums: Field<VerifyChecksums>,
    pub control_socket: Field<PathBuf>,
    pub metrics_listen: Field<Option<SocketAddr>>,
}

/// `[timeouts]`.
#[derive(Debug)]
pub(in crate::config) struct RawTimeouts {
    pub tcp_syn_s: Field<u32>,
    pub tcp_established_s: Field<u32>,
    pub tcp_half_closed_s: Field<u32>,
    pub tcp_closed_s: Field<u32>,
    pub tcp_reset_s: Field<u32>,
    pub udp_s: Field<u32>,
    pub icmp_s: Field<u32>,
    pub fragment_s: Field<u32>,
}

impl Switch {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        const MOST_CONNECTIONS: i64 = 64 << 20;
        const MOST_AFFINITIES: i64 = 16 << 20;
        Self {
            heading: table.span(),
            interfaces: table.texts("interfaces", texts::interface_name).optional(),
            topology: table.word("topology", &words::TOPOLOGY).or(Topology::Routed),
            workers: table.integer("workers", 0..=limits::MOST_WORKERS).or(0),
            xdp_mode: table.word("xdp_mode", &words::XDP_MODE).or(XdpMode::Auto),
            zero_copy: table.word("zero_copy", &words::ZERO_COPY).or(ZeroCopy::Auto),
            huge_pages: table.word("huge_pages", &words::HUGE_PAGES).or(HugePages::Auto),
            idle: table.word("idle", &words::IDLE).or(Idle::Adaptive),
            busy_poll: table.flag("busy_poll").or(false),
            busy_poll_device: table.flag("busy_poll_device").or(false),
            snat_addresses: table.texts("snat_addresses", values::forwarded_address).or(Vec::new()),
            snat_ports: table.text("snat_ports", values::port_range).or((1024, 32767)),
            max_connections: table.integer("max_connections", 1024..=MOST_CONNECTIONS).or(1 << 20),
            max_connections_ipv6: table.integer("max_connections_ipv6", 1024..=MOST_CONNECTIONS).optional(),
            max_fragmented: table.integer("max_fragmented", 64..=65536).or(1024),
            icmp_rate: table.integer("icmp_rate", 0..=1_000_000).or(1000),
            max_affinities: table.integer("max_affinities", 1024..=MOST_AFFINITIES).or(1 << 16),
            resolvers: table.texts("resolvers", values::resolver).or(Vec::new()),
            tunnel_sources: table.texts("tunnel_sources", values::forwarded_address).or(Vec::new()),
            ring_size: table.integer("ring_size", 64..=32768).or(2048),
            verify_checksums: table
                .word("verify_checksums", &words::VERIFY_CHECKSUMS)
                .or(VerifyChecksums::Always),
            control_socket: table
                .text("control_socket", texts::socket_path)
                .or(PathBuf::from("/run/xswitch/xswitch.sock")),
            metrics_listen: table
                .text("metrics_listen", values::listen)
                .or(Some(SocketAddr::from(([127, 0, 0, 1], 9500)))),
        }
    }
}

impl RawTimeouts {
    pub(super) fn read(table: &mut Reader<'_, '_>, defaults: Timeouts) -> Self {
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

    pub(super) fn at(place: Range<usize>, seconds: Timeouts) -> Self {
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
