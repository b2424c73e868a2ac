//! `[[service]]`, its backends, its affinity and where more backends are found.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use super::{Acl, Health, Limits};
use crate::config::reader::{Field, Reader};
use crate::config::valid::{AdminState, Cookies, Scheduler};
use crate::config::{texts, values, variants, words};
use crate::tables::{Dscp, Fate, Forwarding, MssClamp, OnNoBackend, Protocol};

const DAY_S: i64 = 24 * 3600;
const WEEK_S: i64 = 7 * DAY_S;

/// `[[service]]`.
#[derive(Debug)]
pub(in crate::config) struct Service {
    pub heading: Range<usize>,
    pub name: Field<String>,
    pub vip: Field<SocketAddr>,
    pub protocol: Field<Protocol>,
    pub forwarding: Field<Forwarding>,
    pub scheduler: Field<Scheduler>,
    pub mss_clamp: Field<MssClamp>,
    pub syn_cookies: Field<Cookies>,
    pub half_open: Field<Option<u32>>,
    pub gue_port: Field<Option<u16>>,
    pub maglev_table_size: Field<u32>,
    pub announce: Field<bool>,
    pub state: Field<AdminState>,
    pub on_no_backend: Field<OnNoBackend>,
    pub on_down: Field<Fate>,
    pub drain_timeout_s: Field<u32>,
    pub slow_start_s: Field<u32>,
    pub affinity: Option<Affinity>,
    pub acl: Option<Acl>,
    pub limits: Option<Limits>,
    pub dscp: Field<Option<Dscp>>,
    pub health: Option<Health>,
    pub discover: Option<Discover>,
    pub backends: Vec<Backend>,
}

/// `[service.affinity]`.
#[derive(Debug)]
pub(in crate::config) struct Affinity {
    pub timeout_s: Field<u32>,
    pub prefix_ipv4: Field<u8>,
    pub prefix_ipv6: Field<u8>,
    pub group: Field<Option<String>>,
}

/// `[service.discover]`.
#[derive(Debug)]
pub(in crate::config) struct Discover {
    pub heading: Range<usize>,
    pub dns: Field<Option<String>>,
    pub srv: Field<Option<String>>,
    pub file: Field<Option<PathBuf>>,
    pub port: Field<Option<u16>>,
    pub weight: Field<u32>,
    pub min_backends: Field<u32>,
    /// None where the default holds.
    pub interval_s: Field<Option<(u32, u32)>>,
}

/// `[[service.backend]]`.
#[derive(Debug)]
pub(in crate::config) struct Backend {
    pub address: Field<SocketAddr>,
    pub weight: Field<u32>,
    pub max_connections: Field<u32>,
    pub backup: Field<bool>,
    pub state: Field<AdminState>,
}

impl Service {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        // The largest prime below 2^24: 32 MiB of slots.
        const LARGEST_TABLE: i64 = 16_777_213;
        const MOST_HALF_OPEN: i64 = 100_000_000;
        let name = table.text("name", texts::service_name);
        let vip = table.text("vip", values::endpoint);
        Self {
            heading: table.span(),
            name: table.require("name", name, "add a unique name: name = \"web\""),
            vip: table.require("vip", vip, "add what clients connect to: vip = \"198.18.0.100:80\""),
            protocol: table.word("protocol", &words::PROTOCOL).or(Protocol::Tcp),
            forwarding: table.word("forwarding", &words::FORWARDING).or(Forwarding::Nat),
            scheduler: table.word("scheduler", &words::SCHEDULER).or(Scheduler::WeightedRoundRobin),
            mss_clamp: table.value("mss_clamp", variants::mss_clamp).or(MssClamp::Off),
            syn_cookies: table.word("syn_cookies", &words::SYN_COOKIES).or(Cookies::default()),
            half_open: table.integer("half_open", 1..=MOST_HALF_OPEN).optional(),
            gue_port: table.integer("gue_port", 1..=65535).optional(),
            maglev_table_size: table.integer("maglev_table_size", 2..=LARGEST_TABLE).or(65_537),
            announce: table.flag("announce").or(true),
            state: table.word("state", &words::STATE).or(AdminState::default()),
            on_no_backend: table.word("on_no_backend", &words::ON_NO_BACKEND).or(OnNoBackend::default()),
            on_down: table.word("on_down", &words::ON_DOWN).or(Fate::default()),
            drain_timeout_s: table.integer("drain_timeout_s", 0..=WEEK_S).or(0),
            slow_start_s: table.integer("slow_start_s", 0..=DAY_S).or(0),
            affinity: table.table("affinity", Affinity::read),
            acl: table.table("acl", Acl::read),
            limits: table.table("limits", Limits::read),
            dscp: table.value("dscp", variants::dscp).optional(),
            health: table.table("health", Health::read),
            discover: table.table("discover", Discover::read),
            backends: table.tables("backend", Backend::read),
        }
    }
}

impl Affinity {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        Self {
            timeout_s: table.integer("timeout_s", 1..=WEEK_S).or(300),
            prefix_ipv4: table.integer("prefix_ipv4", 1..=32).or(32),
            // A host that changes its privacy address (RFC 8981) stays within its /64.
            prefix_ipv6: table.integer("prefix_ipv6", 1..=128).or(64),
            group: table.text("group", texts::group_name).optional(),
        }
    }
}

impl Discover {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        // As many as one source may name.
        const MOST_BACKENDS: i64 = 10_000;
        Self {
            heading: table.span(),
            dns: table.text("dns", texts::dns_name).optional(),
            srv: table.text("srv", texts::dns_name).optional(),
            file: table.text("file", texts::absolute_path).optional(),
            port: table.integer("port", 1..=65535).optional(),
            weight: table.integer("weight", 0..=65535).or(1),
            min_backends: table.integer("min_backends", 0..=MOST_BACKENDS).or(1),
            interval_s: table.value("interval_s", variants::intervals).optional(),
        }
    }
}

impl Backend {
    fn read(table: &mut Reader<'_, '_>) -> Self {
        let address = table.text("address", values::endpoint);
        const MOST_CONNECTIONS: i64 = 64 << 20;
        let help = "add where it listens: address = \"198.18.1.11:8080\"";
        Self {
            address: table.require("address", address, help),
            weight: table.integer("weight", 0..=65535).or(1),
            max_connections: table.integer("max_connections", 0..=MOST_CONNECTIONS).or(0),
            backup: table.flag("backup").or(false),
            state: table.word("state", &words::STATE).or(AdminState::default()),
        }
    }
}
