//! `[service.health]`.

use super::Part;
use super::said::Quoted;
use crate::config::valid::{Check, Health, Http, Tls};

pub(super) fn detail(health: &Health) -> String {
    format!("check {}", health.check.name())
}

pub(super) fn compare(old: &Health, new: &Health, part: &mut Part<'_>) {
    let Health {
        check: own_check,
        via,
        port,
        interval_ms,
        fast_interval_ms,
        timeout_ms,
        rise,
        fall,
        passive_failures,
        agent_port,
    } = old;
    check(own_check, &new.check, part);
    part.key("via", via, &new.via);
    part.key("port", port, &new.port);
    part.key("interval_ms", interval_ms, &new.interval_ms);
    part.key("fast_interval_ms", fast_interval_ms, &new.fast_interval_ms);
    part.key("timeout_ms", timeout_ms, &new.timeout_ms);
    part.key("rise", rise, &new.rise);
    part.key("fall", fall, &new.fall);
    part.key("passive_failures", passive_failures, &new.passive_failures);
    part.key("agent_port", agent_port, &new.agent_port);
}

fn check(old: &Check, new: &Check, part: &mut Part<'_>) {
    part.key("check", &old.name().to_owned(), &new.name().to_owned());
    let (was, will_be) = (Asked::of(old), Asked::of(new));
    if let (Some(old), Some(new)) = (was.http, will_be.http) {
        http(old, new, part);
    }
    if let (Some(old), Some(new)) = (was.tls, will_be.tls) {
        tls(old, new, part);
    }
    if let (Some((send, expect)), Some((new_send, new_expect))) = (was.datagram, will_be.datagram) {
        part.key("send", &Quoted(send), &Quoted(new_send));
        part.key("expect", &Quoted(expect), &Quoted(new_expect));
    }
}

/// What checks may have in common.
#[derive(Default)]
struct Asked<'c> {
    http: Option<&'c Http>,
    tls: Option<&'c Tls>,
    datagram: Option<(&'c [u8], &'c [u8])>,
}

impl<'c> Asked<'c> {
    fn of(check: &'c Check) -> Self {
        match check {
            Check::Icmp | Check::Tcp | Check::Agent => Self::default(),
            Check::Udp { send, expect } => Self { datagram: Some((send, expect)), ..Self::default() },
            Check::Http(http) => Self { http: Some(http), ..Self::default() },
            Check::Https(http, tls) => Self { http: Some(http), tls: Some(tls), datagram: None },
        }
    }
}

fn http(old: &Http, new: &Http, part: &mut Part<'_>) {
    let Http { method, path, host, statuses, body } = old;
    part.key("method", method, &new.method);
    part.key("path", path, &new.path);
    part.key("host", host, &new.host);
    part.list("statuses", statuses, &new.statuses);
    part.key("body", &Quoted(body.as_bytes()), &Quoted(new.body.as_bytes()));
}

fn tls(old: &Tls, new: &Tls, part: &mut Part<'_>) {
    let Tls { verify, sni, ca_file } = old;
    part.key("verify", verify, &new.verify);
    part.key("sni", sni, &new.sni);
    part.key("ca_file", ca_file, &new.ca_file);
}
