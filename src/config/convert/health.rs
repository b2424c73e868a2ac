//! `[service.health]`: what is left out follows from the check.

use super::{value, values};
use crate::config::raw::{self, Health};
use crate::config::valid::{self, Check};
use crate::config::words::CheckKind;

/// Statuses of answers that are neither a client's nor a server's error.
const STATUSES: (u16, u16) = (200, 399);

/// `kind` is what is asked.
pub(super) fn convert(raw: Health, kind: CheckKind) -> Option<valid::Health> {
    let check = match kind {
        CheckKind::Icmp => Check::Icmp,
        CheckKind::Tcp => Check::Tcp,
        CheckKind::Udp => datagram(raw.datagram)?,
        CheckKind::Http => Check::Http(http(raw.http)?),
        CheckKind::Https => Check::Https(http(raw.http)?, tls(raw.tls)?),
        CheckKind::Agent => Check::Agent,
    };
    let interval_ms = value(raw.interval_ms)?;
    let (mut port, mut agent_port) = (value(raw.port)?, value(raw.agent_port)?);
    if kind == CheckKind::Agent {
        // There is one agent to ask, whichever key says where.
        port = port.or(agent_port.take());
    }
    Some(valid::Health {
        check,
        via: value(raw.via)?,
        port,
        interval_ms,
        fast_interval_ms: value(raw.fast_interval_ms)?
            .unwrap_or((interval_ms / 10).clamp(100, 1000).min(interval_ms)),
        timeout_ms: value(raw.timeout_ms)?,
        rise: value(raw.rise)?,
        fall: value(raw.fall)?,
        passive_failures: value(raw.passive_failures)?,
        agent_port,
    })
}

fn http(raw: raw::Http) -> Option<valid::Http> {
    Some(valid::Http {
        method: value(raw.method)?.unwrap_or_else(|| "GET".to_owned()),
        path: value(raw.path)?.unwrap_or_else(|| "/".to_owned()),
        host: value(raw.host)?,
        statuses: value(raw.statuses)?.map_or(Some(vec![STATUSES]), values)?,
        body: value(raw.body)?.unwrap_or_default(),
    })
}

fn tls(raw: raw::Tls) -> Option<valid::Tls> {
    Some(valid::Tls {
        verify: value(raw.verify)?.unwrap_or(true),
        sni: value(raw.sni)?,
        ca_file: value(raw.ca_file)?,
    })
}

fn datagram(raw: raw::Datagram) -> Option<Check> {
    let (send, expect) = (value(raw.send)?, value(raw.expect)?);
    Some(Check::Udp {
        send: send.or(value(raw.send_hex)?).unwrap_or_default(),
        expect: expect.or(value(raw.expect_hex)?).unwrap_or_default(),
    })
}
