//! Rules for `[service.discover]`.

use super::diagnostic::{Findings, Severity};
use super::raw::{Discover, Service};

/// Applies them.
pub(super) fn check(service: &Service, findings: &mut Findings<'_>) {
    let Some(discover) = &service.discover else { return };
    let (Some(dns), Some(srv), Some(file)) = (&discover.dns, &discover.srv, &discover.file) else { return };
    let sources = [
        ("dns", dns.get_ref().is_some(), dns.span()),
        ("srv", srv.get_ref().is_some(), srv.span()),
        ("file", file.get_ref().is_some(), file.span()),
    ];
    let mut written = sources.into_iter().filter(|(_, there, _)| *there);
    let Some((source, _, _)) = written.next() else {
        let message = "[service.discover] does not say where";
        let help = "one of: dns = \"NAME\" with port = PORT, srv = \"NAME\", file = \"/PATH\"";
        return findings.missing(Severity::Error, discover.heading.clone(), message, help);
    };
    for (other, _, place) in written {
        let message = format!("`{other}`: the backends are discovered by `{source}` already");
        findings.error(
            place,
            message,
            "one of dns, srv and file; list the other backends as [[service.backend]]",
        );
    }
    port(service, discover, source, findings);
    if let Some(interval) = discover.interval_s.as_ref().filter(|interval| interval.get_ref().is_some())
        && source == "file"
    {
        let message = "`interval_s` does not go with `file`, which is looked at every second";
        findings.error(interval.span(), message, "remove it: it belongs to dns and srv");
    }
}

/// Addresses come without a port, the others with one.
fn port(service: &Service, discover: &Discover, source: &str, findings: &mut Findings<'_>) {
    let Some(port) = &discover.port else { return };
    match (source, port.get_ref()) {
        ("dns", None) => {
            let message = "`port` is missing in [service.discover]: `dns` yields addresses only";
            let help = "add where the backends listen: port = 8080; srv = \"NAME\" yields ports, too";
            findings.missing(Severity::Error, discover.heading.clone(), message, help);
        }
        ("dns", Some(number)) => {
            let (Some(forwarding), Some(vip)) = (&service.forwarding, &service.vip) else { return };
            if forwarding.get_ref().returns_directly() && vip.get_ref().port() != *number {
                let message = format!(
                    "`port`: {number} is not the VIP's: {:?} leaves ports as they are",
                    forwarding.get_ref().name()
                );
                let help = format!("the port that clients connect to: port = {}", vip.get_ref().port());
                findings.error(port.span(), message, help);
            }
        }
        (_, Some(_)) => {
            let message = format!("`port` does not go with `{source}`, which names ports itself");
            findings.error(port.span(), message, "remove it: it belongs to dns");
        }
        _ => {}
    }
}
