//! Addresses of services: who else has them, and what backends that hold them must be told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Case, exit};
use crate::config::valid::Service;
use crate::control::topology::Exit;
use crate::doctor::finding::Finding;
use crate::tables::Forwarding;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for vip in case.vips() {
        in_kernel(case, vip, findings);
        on_link(case, vip, findings);
    }
    for service in case.services() {
        advice(service, findings);
    }
}

/// Whether the switch answers for it.
fn is_announced(case: &Case<'_>, vip: IpAddr) -> bool {
    case.services().iter().any(|service| service.vip.ip() == vip && service.announce)
}

fn in_kernel(case: &Case<'_>, vip: IpAddr, findings: &mut Vec<Finding>) {
    let view = &case.facts.view;
    let held = view.addresses.iter().find(|(_, address, _)| *address == vip);
    let subject = format!("VIP {vip}");
    match held {
        Some((index, _, length)) if is_announced(case, vip) => {
            let name = view.links.get(index).map_or("lo", |link| link.name.as_str());
            findings.push(
                Finding::warning("vip-in-kernel", subject, format!("{vip} is also an address of this host, on {name}"))
                    .because(
                        "both answer for it, and what is no service's at this address, SSH among it, is open to clients; take \
                         it from the kernel, or leave it to the kernel with announce = false in [[service]]",
                    )
                    .command(format!("ip address delete {vip}/{length} dev {name}")),
            );
        }
        None if !is_announced(case, vip) && matches!(exit(&case.topology, vip), Some(Exit::OnLink(_))) => {
            findings.push(
                Finding::warning("vip-silent", subject, format!("nobody on this host answers for {vip}"))
                    .because(
                        "`announce = false` leaves that to the kernel, which does not have the address; right only on the standby \
                         host of a pair",
                    )
                    .command(format!("ip address add {vip}/{} dev lo", if vip.is_ipv4() { 32 } else { 128 })),
            );
        }
        _ => {}
    }
}

/// Somebody answered when asked for it on the wire.
fn on_link(case: &Case<'_>, vip: IpAddr, findings: &mut Vec<Finding>) {
    let own: BTreeSet<[u8; 6]> = case.facts.view.links.values().filter_map(|link| link.mac).collect();
    for ((interface, address), macs) in &case.facts.wire.answers {
        let Some(mac) = macs.iter().find(|mac| !own.contains(*mac)).filter(|_| *address == vip) else {
            continue;
        };
        let text = mac_text(*mac);
        let holders = holders(case, *mac);
        let is_backend =
            |address: &&IpAddr| case.backends().any(|(_, backend)| backend.address.ip() == **address);
        let backend = holders.iter().find(is_backend);
        let subject = format!("VIP {vip}");
        let finding = match backend {
            Some(backend) => Finding::error(
                "vip-duplicate",
                subject,
                format!("backend {backend} ({text}) answers for {vip} on {interface}"),
            )
            .because("clients that hear it first go to this one backend, past the switch")
            .command(format!("{}    # at {backend}", silence(vip))),
            None => {
                let who = holders.first().map_or_else(String::new, |address| format!(" ({address})"));
                Finding::error(
                    "vip-duplicate",
                    subject,
                    format!("another host, {text}{who}, answers for {vip} on {interface}"),
                )
                .because(
                    "clients that hear it first never reach the switch: take the address from one of the \
                    two",
                )
                .command(format!("ip neighbor show | grep -i {text}"))
            }
        };
        findings.push(finding);
    }
}

/// Other addresses that this host is known by: from the kernel, and from what was just answered.
fn holders(case: &Case<'_>, mac: [u8; 6]) -> BTreeSet<IpAddr> {
    let vips = case.vips();
    let known = case.facts.view.neighbors.iter().filter(|(_, neighbor)| neighbor.mac == Some(mac));
    let told = case.facts.wire.answers.iter().filter(|(_, macs)| macs.contains(&mac));
    let addresses = known.map(|((_, address), _)| *address).chain(told.map(|((_, address), _)| *address));
    addresses.filter(|address| !vips.contains(address)).collect()
}

/// Keeps a host that holds an address from telling anybody.
fn silence(vip: IpAddr) -> String {
    match vip {
        IpAddr::V4(_) => {
            "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2".to_owned()
        }
        IpAddr::V6(_) => format!("ip address replace {vip}/128 dev lo"),
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What cannot be seen from here is said once per service.
fn advice(service: &Service, findings: &mut Vec<Finding>) {
    let vip = service.vip.ip();
    let length = if vip.is_ipv4() { 32 } else { 128 };
    let subject = format!("service {}", service.name);
    let finding = match service.forwarding {
        Forwarding::Nat | Forwarding::FullNat => return,
        Forwarding::Dsr => {
            let hold = format!("ip address add {vip}/{length} dev lo");
            let command = if vip.is_ipv4() { format!("{} && {hold}", silence(vip)) } else { hold };
            Finding::note(
                "backend-setup",
                subject,
                format!("the backends must hold {vip} and be silent about it"),
            )
            .because("a backend that answers ARP for the VIP takes clients away from the switch")
            .command(format!("{command}    # at each backend"))
        }
        Forwarding::Ipip | Forwarding::Gue => Finding::note(
            "backend-setup",
            subject,
            format!("the backends must take the tunnel off and hold {vip}"),
        )
        .because(
            "docs/MODES.md has the commands for each pair of IP versions; packets out of a tunnel \
                    fail the reverse path filter",
        )
        .command(
            "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tunl0.rp_filter=0    # at each \
                    backend",
        ),
    };
    findings.push(finding);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, facts, found, only};
    use super::*;
    use crate::doctor::Severity;

    const VIP: &str = "198.18.0.100";

    fn vip() -> IpAddr {
        VIP.parse().unwrap()
    }

    #[test]
    fn a_vip_in_the_kernel_is_right_only_where_it_is_left_to_it() {
        let (mut config, mut facts) = (config(), facts());
        facts.view.addresses.insert((2, vip(), 24));
        let finding = only(judge, &config, &facts);
        assert_eq!((finding.check, finding.severity), ("vip-in-kernel", Severity::Warning));
        assert_eq!(finding.fix.command(), "ip address delete 198.18.0.100/24 dev eth0");
        config.services[0].announce = false;
        assert!(found(judge, &config, &facts).is_empty());
        facts.view.addresses.remove(&(2, vip(), 24));
        assert_eq!(only(judge, &config, &facts).check, "vip-silent");
    }

    #[test]
    fn whoever_answers_for_the_vip_is_named_unless_it_is_us() {
        let (config, mut facts) = (config(), facts());
        let mut answered = |mac: [u8; 6]| {
            facts.wire.answers = [(("eth0".to_owned(), vip()), [mac].into())].into();
            found(judge, &config, &facts)
        };
        assert!(answered([2, 0, 0, 0, 0, 2]).is_empty(), "eth1 is ours, too");
        let stranger = answered([6, 7, 8, 9, 10, 11]);
        assert!(
            stranger[0].what.contains("another host, 06:07:08:09:0a:0b, answers"),
            "{}",
            stranger[0].what
        );
        let router = answered([2, 0, 0, 0, 1, 1]);
        assert!(router[0].what.contains("02:00:00:00:01:01 (198.18.0.1)"), "{}", router[0].what);
        facts.wire.answers.insert(("eth1".to_owned(), "198.18.1.12".parse().unwrap()), [[6; 6]].into());
        let mut answered = |mac: [u8; 6]| {
            facts.wire.answers.insert(("eth0".to_owned(), vip()), [mac].into());
            found(judge, &config, &facts)
        };
        let told = answered([6; 6]);
        assert!(
            told[0].what.starts_with("backend 198.18.1.12"),
            "the kernel does not know yet: {}",
            told[0].what
        );
        let backend = answered([2, 0, 0, 0, 1, 11]);
        assert!(backend[0].what.starts_with("backend 198.18.1.11"), "{}", backend[0].what);
        assert!(backend[0].fix.command().contains("arp_ignore=1"), "{}", backend[0].fix.command());
    }

    #[test]
    fn backends_that_hold_the_vip_get_advice() {
        let (mut config, facts) = (config(), facts());
        for (forwarding, word) in
            [(Forwarding::Dsr, "arp_announce=2"), (Forwarding::Ipip, "tunl0.rp_filter=0")]
        {
            config.services[0].forwarding = forwarding;
            let finding = only(judge, &config, &facts);
            assert_eq!(finding.severity, Severity::Note);
            assert!(finding.fix.command().contains(word));
        }
    }
}
