//! Rules between services, their backends and the way that frames take between them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::diagnostic::{Findings, Severity};
use super::raw::{Backend, Raw, Service};
use super::reader::Field;
use super::valid::{Cookies, Topology};
use crate::tables::{Forwarding, MssClamp, Protocol};

/// Applies them.
pub(super) fn check(raw: &Raw, findings: &mut Findings<'_>) {
    for service in &raw.services {
        families(service, findings);
        ports(service, findings);
        options(service, findings);
        cookies(service, findings);
        in_bridge(raw, service, findings);
        snat_needed(raw, service, findings);
    }
    backends_are_others(raw, findings);
    shared_backends(raw, findings);
}

/// "IPv4" or "IPv6".
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Rewriting addresses does not turn one header into the other.
fn families(service: &Service, findings: &mut Findings<'_>) {
    let (Some(forwarding), Some(vip)) = (&service.forwarding, &service.vip) else { return };
    if forwarding.get_ref().is_tunnel() {
        return;
    }
    let needed = family(vip.get_ref().ip());
    for address in addresses(service).filter(|address| family(address.get_ref().ip()) != needed) {
        let message = format!(
            "`address`: {} is {} and the VIP is {needed}: {:?} does not cross families",
            address.get_ref().ip(),
            family(address.get_ref().ip()),
            forwarding.get_ref().name()
        );
        let help =
            format!("an {needed} backend; only tunnels cross families: forwarding = \"ipip\" or \"gue\"");
        findings.error(address.span(), message, help);
    }
}

/// Only NAT rewrites ports: by any other way the backend gets what the client sent.
fn ports(service: &Service, findings: &mut Findings<'_>) {
    let (Some(forwarding), Some(vip)) = (&service.forwarding, &service.vip) else { return };
    if !forwarding.get_ref().returns_directly() {
        return;
    }
    let port = vip.get_ref().port();
    for address in addresses(service).filter(|address| address.get_ref().port() != port) {
        let message = format!(
            "`address`: port {} is not the VIP's: {:?} leaves ports as they are",
            address.get_ref().port(),
            forwarding.get_ref().name()
        );
        let right = SocketAddr::new(address.get_ref().ip(), port);
        findings.error(address.span(), message, format!("the port that clients connect to: \"{right}\""));
    }
}

/// Keys that not every service can have.
fn options(service: &Service, findings: &mut Findings<'_>) {
    let Some(forwarding) = service.forwarding.as_ref().map(|field| *field.get_ref()) else { return };
    if let Some(port) = service.gue_port.as_ref().filter(|port| port.get_ref().is_some())
        && forwarding != Forwarding::Gue
    {
        let message = format!("`gue_port` means nothing to forwarding = {:?}", forwarding.name());
        findings.warning(port.span(), message, "remove it, or write forwarding = \"gue\"");
    }
    let Some(clamp) = service.mss_clamp.as_ref().filter(|clamp| *clamp.get_ref() != MssClamp::Off) else {
        return;
    };
    if service.protocol.as_ref().is_some_and(|protocol| *protocol.get_ref() == Protocol::Udp) {
        let message = "`mss_clamp`: UDP has no segment size";
        findings.error(clamp.span(), message, "remove it, or write protocol = \"tcp\"");
    } else if forwarding == Forwarding::Dsr {
        let message = "`mss_clamp`: \"dsr\" puts nothing in front of frames, and never sees the answers";
        findings.error(clamp.span(), message, "remove it");
    }
}

/// Whoever answers in the backend's name must see what it says afterwards.
fn cookies(service: &Service, findings: &mut Findings<'_>) {
    let Some(choice) = &service.syn_cookies else { return };
    if let Some(half_open) = service.half_open.as_ref().filter(|number| number.get_ref().is_some())
        && *choice.get_ref() != Cookies::Auto
    {
        let message = "`half_open` means nothing unless cookies come and go with the pressure";
        findings.warning(half_open.span(), message, "remove it, or write syn_cookies = \"auto\"");
    }
    if *choice.get_ref() == Cookies::Off {
        return;
    }
    if service.protocol.as_ref().is_some_and(|protocol| *protocol.get_ref() == Protocol::Udp) {
        let message = "`syn_cookies`: UDP has no SYN";
        findings.error(choice.span(), message, "remove it, or write protocol = \"tcp\"");
    } else if let Some(forwarding) = service.forwarding.as_ref().map(|field| *field.get_ref())
        && forwarding.returns_directly()
    {
        let message =
            format!("`syn_cookies`: the switch does not see what backends answer by {:?}", forwarding.name());
        let help = "remove it, or write forwarding = \"nat\" or \"full-nat\"";
        findings.error(choice.span(), message, help);
    }
}

fn in_bridge(raw: &Raw, service: &Service, findings: &mut Findings<'_>) {
    let topology = raw.switch.as_ref().and_then(|switch| switch.topology.as_ref());
    let (Some(topology), Some(forwarding)) = (topology, &service.forwarding) else { return };
    if *topology.get_ref() == Topology::Bridge && *forwarding.get_ref() != Forwarding::Nat {
        let message = format!("`forwarding`: {:?} does not work in a bridge", forwarding.get_ref().name());
        findings.error(
            forwarding.span(),
            message,
            "forwarding = \"nat\", or topology = \"routed\" in [switch]",
        );
    }
}

/// The addresses of its backends.
pub(super) fn addresses(service: &Service) -> impl Iterator<Item = &Spanned<SocketAddr>> {
    service.backends.iter().filter_map(|backend: &Backend| backend.address.as_ref())
}

fn snat_needed(raw: &Raw, service: &Service, findings: &mut Findings<'_>) {
    let Some(switch) = &raw.switch else { return };
    let Some(pool) = &switch.snat_addresses else { return };
    let full = service.forwarding.as_ref().filter(|field| *field.get_ref() == Forwarding::FullNat);
    if let (Some(forwarding), Some(vip)) = (full, &service.vip) {
        let needed = family(vip.get_ref().ip());
        // What is wrong in the list may have been meant to be the one that is needed.
        let served = |address: &Field<IpAddr>| {
            address.as_ref().is_none_or(|address| family(*address.get_ref()) == needed)
        };
        if !pool.get_ref().iter().any(served) {
            let message = format!("`forwarding`: \"full-nat\" has no {needed} address to send from");
            let example = if needed == "IPv4" { "198.18.1.2" } else { "2001:db8:1::2" };
            let help = format!(
                "add an address that backends answer to, in [switch]: snat_addresses = [{example:?}]"
            );
            findings.missing(Severity::Error, forwarding.span(), message, help);
        }
    }
    let (Some(vip), Some(ports)) = (&service.vip, &switch.snat_ports) else { return };
    let (first, last) = *ports.get_ref();
    let shared = pool.get_ref().iter().flatten().any(|address| *address.get_ref() == vip.get_ref().ip());
    if shared && (first..=last).contains(&vip.get_ref().port()) {
        let message = format!("`vip`: {} is also a source of full NAT, {first}-{last}", vip.get_ref());
        let help = "another address in snat_addresses, or snat_ports that leave this port out";
        findings.error(vip.span(), message, help);
    }
}

/// A backend that is the switch itself would get its frames back for ever.
fn backends_are_others(raw: &Raw, findings: &mut Findings<'_>) {
    let mut own: HashMap<IpAddr, &str> = HashMap::new();
    for interface in &raw.interfaces {
        let addresses = interface.addresses.iter().flat_map(|list| list.get_ref()).flatten();
        own.extend(addresses.map(|address| (address.get_ref().0, "an address of the switch")));
    }
    let pool = raw.switch.iter().filter_map(|switch| switch.snat_addresses.as_ref());
    let pool = pool.flat_map(|list| list.get_ref()).flatten();
    own.extend(pool.map(|address| (*address.get_ref(), "one of snat_addresses")));
    let sources = raw.switch.iter().filter_map(|switch| switch.tunnel_sources.as_ref());
    let sources = sources.flat_map(|list| list.get_ref()).flatten();
    own.extend(sources.map(|address| (*address.get_ref(), "one of tunnel_sources")));
    let rules = raw.snat.iter().filter_map(|rule| rule.addresses.as_ref());
    let rules = rules.flat_map(|list| list.get_ref()).flatten();
    own.extend(rules.map(|address| (*address.get_ref(), "an address of [[snat]]")));
    let vips = raw.services.iter().filter_map(|service| service.vip.as_ref());
    own.extend(vips.map(|vip| (vip.get_ref().ip(), "the VIP of a service")));
    for address in raw.services.iter().flat_map(addresses) {
        if let Some(what) = own.get(&address.get_ref().ip()) {
            let message = format!("`address`: {} is {what}", address.get_ref().ip());
            findings.error(address.span(), message, "a backend is another host: its own address");
        }
    }
}

/// The backend tells two `nat` services apart only by the client's address and port.
fn shared_backends(raw: &Raw, findings: &mut Findings<'_>) {
    let mut seen: HashMap<(SocketAddr, Protocol), (usize, usize)> = HashMap::new();
    for (row, service) in raw.services.iter().enumerate() {
        let (Some(protocol), Some(forwarding)) = (&service.protocol, &service.forwarding) else { continue };
        if *forwarding.get_ref() != Forwarding::Nat {
            continue;
        }
        for address in addresses(service) {
            let line = findings.line(address.span().start);
            let key = (*address.get_ref(), *protocol.get_ref());
            let (first, first_line) = *seen.entry(key).or_insert((row, line));
            if first != row {
                let message = format!(
                    "`address`: {} also serves the service of line {first_line} by \"nat\": \
                     a client that uses one source port for both cannot be told apart",
                    address.get_ref()
                );
                let help = "another port at the backend for one of the two, or forwarding = \"full-nat\"";
                findings.warning(address.span(), message, help);
            }
        }
    }
}
