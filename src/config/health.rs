//! Rules for `[service.health]`.

use std::ops::Range;

use super::diagnostic::Findings;
use super::raw::{Health, Service};
use super::reader::Field;
use super::valid::Via;
use super::words::{CHECK, CheckKind};

use CheckKind::{Agent, Http, Https, Icmp, Tcp, Udp};

/// Applies them.
pub(super) fn check(service: &Service, findings: &mut Findings<'_>) {
    let Some(health) = &service.health else { return };
    intervals(health, findings);
    written_twice(health, findings);
    let Some(kind) = health.kind(&service.protocol) else { return };
    let asked = Asked { kind, by_default: given(&health.check).is_none() };
    out_of_place(health, asked, findings);
    forwarding(service, health, asked, findings);
    match kind {
        Agent => agents(health, findings),
        Udp => datagram(health, findings),
        Http | Https => answers(health, findings),
        Icmp | Tcp => {}
    }
    if kind == Https {
        certificates(health, findings);
    }
}

/// What is asked, for messages.
#[derive(Clone, Copy)]
struct Asked {
    kind: CheckKind,
    by_default: bool,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "check = {:?}", CHECK.name(self.kind))?;
        if self.by_default {
            f.write_str(" (the default)")?;
        }
        Ok(())
    }
}

/// The place of a key that is there and right by itself.
fn given<T>(field: &Field<Option<T>>) -> Option<Range<usize>> {
    field.as_ref().filter(|field| field.get_ref().is_some()).map(|field| field.span())
}

/// Keys that only some checks have.
fn out_of_place(health: &Health, asked: Asked, findings: &mut Findings<'_>) {
    let (http, tls, datagram) = (&health.http, &health.tls, &health.datagram);
    let keys: [(&str, _, &[CheckKind]); 13] = [
        ("port", given(&health.port), &[Tcp, Udp, Http, Https, Agent]),
        ("method", given(&http.method), &[Http, Https]),
        ("path", given(&http.path), &[Http, Https]),
        ("host", given(&http.host), &[Http, Https]),
        ("statuses", given(&http.statuses), &[Http, Https]),
        ("body", given(&http.body), &[Http, Https]),
        ("verify", given(&tls.verify), &[Https]),
        ("sni", given(&tls.sni), &[Https]),
        ("ca_file", given(&tls.ca_file), &[Https]),
        ("send", given(&datagram.send), &[Udp]),
        ("send_hex", given(&datagram.send_hex), &[Udp]),
        ("expect", given(&datagram.expect), &[Udp]),
        ("expect_hex", given(&datagram.expect_hex), &[Udp]),
    ];
    for (key, place, kinds) in keys {
        let Some(place) = place.filter(|_| !kinds.contains(&asked.kind)) else { continue };
        let words: Vec<_> = kinds.iter().map(|kind| format!("{:?}", CHECK.name(*kind))).collect();
        let message = format!("`{key}` does not go with {asked}: it belongs to {}", words.join(", "));
        findings.error(place, message, format!("remove it, or write check = {}", words[0]));
    }
}

/// A probe that goes the way of the service's packets must be one packet, and there must be such a way.
fn forwarding(service: &Service, health: &Health, asked: Asked, findings: &mut Findings<'_>) {
    let Some(via) = health.via.as_ref().filter(|via| *via.get_ref() == Via::Forwarding) else { return };
    if let Some(forwarding) = service.forwarding.as_ref().map(|field| *field.get_ref())
        && !forwarding.returns_directly()
    {
        let message = format!(
            "`via`: \"forwarding\" is for backends that hold the VIP, not for forwarding = {:?}",
            forwarding.name()
        );
        let help = "remove it: the backend is asked at the address and port that the service's packets go to";
        findings.error(via.span(), message, help);
    }
    if !matches!(asked.kind, Icmp | Tcp | Udp) {
        let message = format!("`via`: \"forwarding\" does not go with {asked}");
        findings.error(via.span(), message, "check = \"icmp\", \"tcp\" or \"udp\", or via = \"direct\"");
    }
}

fn intervals(health: &Health, findings: &mut Findings<'_>) {
    let Some(interval) = &health.interval_ms else { return };
    if let Some(timeout) = health.timeout_ms.as_ref().filter(|ms| ms.get_ref() > interval.get_ref()) {
        // Where it is the default, the interval is what was written.
        let place = if timeout.span() == health.heading { interval.span() } else { timeout.span() };
        let message = format!(
            "`timeout_ms`: {} is longer than interval_ms = {}: the next check would be due before this one is over",
            timeout.get_ref(),
            interval.get_ref()
        );
        findings.warning(place, message, format!("timeout_ms = {} or less", interval.get_ref()));
    }
    let fast = health.fast_interval_ms.as_ref();
    let Some((fast, number)) = fast.and_then(|fast| Some((fast, (*fast.get_ref())?))) else { return };
    if number > *interval.get_ref() {
        let message =
            format!("`fast_interval_ms`: {number} is slower than interval_ms = {}", interval.get_ref());
        findings.warning(fast.span(), message, format!("{} or less", interval.get_ref()));
    }
}

fn written_twice(health: &Health, findings: &mut Findings<'_>) {
    let datagram = &health.datagram;
    let pairs = [
        ("send", &datagram.send, "send_hex", &datagram.send_hex),
        ("expect", &datagram.expect, "expect_hex", &datagram.expect_hex),
    ];
    for (text, as_text, hex, as_hex) in pairs {
        if let (Some(_), Some(place)) = (given(as_text), given(as_hex)) {
            let message = format!("`{hex}`: `{text}` says it already");
            findings.error(place, message, "keep one of the two");
        }
    }
}

fn agents(health: &Health, findings: &mut Findings<'_>) {
    match (given(&health.port), given(&health.agent_port)) {
        (Some(_), Some(place)) => {
            let message = "`agent_port`: check = \"agent\" asks the agent at `port` already";
            findings.error(place, message, "keep one of the two");
        }
        (None, None) if health.port.is_some() && health.agent_port.is_some() => {
            let message = "the agent is asked at the port that serves the clients";
            let help = "port = PORT, where the agent listens";
            findings.warning(health.heading.clone(), message, help);
        }
        _ => {}
    }
}

fn datagram(health: &Health, findings: &mut Findings<'_>) {
    let absent =
        |field: &Field<Option<Vec<u8>>>| field.as_ref().is_some_and(|field| field.get_ref().is_none());
    if absent(&health.datagram.send) && absent(&health.datagram.send_hex) {
        let message = "check = \"udp\" sends an empty datagram, which few servers answer";
        let help = "send = \"TEXT\" or send_hex = \"HEX\": what the server answers to";
        findings.warning(health.heading.clone(), message, help);
    }
}

fn answers(health: &Health, findings: &mut Findings<'_>) {
    if let Some(statuses) = &health.http.statuses
        && statuses.get_ref().as_ref().is_some_and(Vec::is_empty)
    {
        let help = "name at least one: statuses = [\"200-399\"]";
        findings.error(statuses.span(), "`statuses`: no answer would do", help);
    }
    let method = health.http.method.as_ref().and_then(|method| method.get_ref().as_deref());
    if let (Some("HEAD"), Some(place)) = (method, given(&health.http.body)) {
        let message = "`body`: answers to \"HEAD\" have no body (RFC 9110 §9.3.2)";
        findings.error(place, message, "remove it, or write method = \"GET\"");
    }
}

fn certificates(health: &Health, findings: &mut Findings<'_>) {
    let tls = &health.tls;
    let (Some(verify), Some(sni), Some(host)) = (&tls.verify, &tls.sni, &health.http.host) else { return };
    if *verify.get_ref() == Some(false) {
        if let Some(place) = given(&tls.ca_file) {
            let message = "`ca_file` means nothing to verify = false";
            findings.warning(place, message, "remove one of the two");
        }
    } else if sni.get_ref().is_none() && host.get_ref().is_none() {
        let message = "check = \"https\" without a name: certificates must name the backends' addresses";
        let help = "sni = \"www.example.net\", or verify = false";
        findings.warning(health.heading.clone(), message, help);
    }
}
