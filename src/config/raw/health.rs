//! `[service.health]`.

use std::ops::Range;
use std::path::PathBuf;

use crate::config::reader::{Field, Reader};
use crate::config::valid::Via;
use crate::config::words::CheckKind;
use crate::config::{texts, variants, words};
use crate::tables::Protocol;

/// `[service.health]`. What only some checks ask is none where it is left out: `convert` fills it in.
#[derive(Debug)]
pub(in crate::config) struct Health {
    pub heading: Range<usize>,
    pub check: Field<Option<CheckKind>>,
    pub via: Field<Via>,
    pub port: Field<Option<u16>>,
    pub interval_ms: Field<u32>,
    pub fast_interval_ms: Field<Option<u32>>,
    pub timeout_ms: Field<u32>,
    pub rise: Field<u32>,
    pub fall: Field<u32>,
    pub passive_failures: Field<u32>,
    pub agent_port: Field<Option<u16>>,
    pub http: Http,
    pub tls: Tls,
    pub datagram: Datagram,
}

/// First and last status of each range; none where one is wrong.
type Statuses = Vec<Field<(u16, u16)>>;

/// Keys of `check = "http"` and `"https"`.
#[derive(Debug)]
pub(in crate::config) struct Http {
    pub method: Field<Option<String>>,
    pub path: Field<Option<String>>,
    pub host: Field<Option<String>>,
    pub statuses: Field<Option<Statuses>>,
    pub body: Field<Option<String>>,
}

/// Keys of `check = "https"`.
#[derive(Debug)]
pub(in crate::config) struct Tls {
    pub verify: Field<Option<bool>>,
    pub sni: Field<Option<String>>,
    pub ca_file: Field<Option<PathBuf>>,
}

/// Keys of `check = "udp"`.
#[derive(Debug)]
pub(in crate::config) struct Datagram {
    pub send: Field<Option<Vec<u8>>>,
    pub send_hex: Field<Option<Vec<u8>>>,
    pub expect: Field<Option<Vec<u8>>>,
    pub expect_hex: Field<Option<Vec<u8>>>,
}

impl Health {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        const DAY_MS: i64 = 24 * 3600 * 1000;
        Self {
            heading: table.span(),
            check: table.word("check", &words::CHECK).optional(),
            via: table.word("via", &words::VIA).or(Via::default()),
            port: table.integer("port", 1..=65535).optional(),
            interval_ms: table.integer("interval_ms", 10..=DAY_MS).or(5000),
            fast_interval_ms: table.integer("fast_interval_ms", 10..=DAY_MS).optional(),
            timeout_ms: table.integer("timeout_ms", 1..=DAY_MS).or(3000),
            rise: table.integer("rise", 1..=1000).or(2),
            fall: table.integer("fall", 1..=1000).or(3),
            passive_failures: table.integer("passive_failures", 0..=1000).or(3),
            agent_port: table.integer("agent_port", 1..=65535).optional(),
            http: Http {
                method: table.text("method", texts::method).optional(),
                path: table.text("path", texts::request_path).optional(),
                host: table.text("host", texts::host).optional(),
                statuses: table.items("statuses", variants::statuses).optional(),
                body: table.text("body", texts::body).optional(),
            },
            tls: Tls {
                verify: table.flag("verify").optional(),
                sni: table.text("sni", texts::dns_name).optional(),
                ca_file: table.text("ca_file", texts::absolute_path).optional(),
            },
            datagram: Datagram {
                send: table.text("send", texts::datagram).optional(),
                send_hex: table.text("send_hex", texts::datagram_hex).optional(),
                expect: table.text("expect", texts::datagram).optional(),
                expect_hex: table.text("expect_hex", texts::datagram_hex).optional(),
            },
        }
    }

    /// What is asked of backends of a service of this protocol. None where either is wrong.
    pub fn kind(&self, protocol: &Field<Protocol>) -> Option<CheckKind> {
        match (self.check.as_ref()?.get_ref(), protocol.as_ref()?.get_ref()) {
            (Some(kind), _) => Some(*kind),
            (None, Protocol::Tcp) => Some(CheckKind::Tcp),
            // What a datagram must hold to be answered is the service's own affair: that the host is there is all that
            // can be asked without knowing.
            (None, Protocol::Udp) => Some(CheckKind::Icmp),
        }
    }
}
