//! What the kernel does with the same traffic.

use super::Case;
use crate::doctor::finding::{Action, Finding};
use crate::tables::Forwarding;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    forwarding(case, findings);
    reverse_path(case, findings);
    tracking(case, findings);
}

/// Not wrong in itself: routers forward. But then what the switch leaves alone finds its way around it.
fn forwarding(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let (Some(config), false) = (case.config, case.is_bridge()) else { return };
    let translates = !config.snat.is_empty()
        || config.services.iter().any(|s| matches!(s.forwarding, Forwarding::Nat | Forwarding::FullNat));
    for (key, what) in [("net.ipv4.ip_forward", "IPv4"), ("net.ipv6.conf.all.forwarding", "IPv6")] {
        if translates && case.facts.host.number(key).is_some_and(|value| value > 0) {
            findings.push(
                Finding::note("kernel-forwarding", key, format!("the kernel forwards {what}, too"))
                    .because(
                        "what the switch leaves to it passes by with its addresses as they are; wanted where backends or \
                         inside hosts send other traffic through this host, a leak where they do not",
                    )
                    .command(format!("sysctl -w {key}=0")),
            );
        }
    }
}

/// The kernel uses the larger of the two values; 2 is the loose way.
fn reverse_path(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let value = |name: &str| {
        case.facts.host.number(&format!("net.ipv4.conf.{}.rp_filter", slashed(name))).unwrap_or(0)
    };
    for device in case.facts.devices.iter().filter(|device| device.exists) {
        if value("all").max(value(&device.name)) != 1 {
            continue;
        }
        let key = format!("net.ipv4.conf.{}.rp_filter", slashed(&device.name));
        let finding = Finding::note("rp-filter", &device.name, format!("the kernel filters by reverse path at {}", device.name))
            .because(
                "what the switch leaves to the kernel is dropped there where the way back leads elsewhere: answers to checks, \
                 other traffic of backends with two ways",
            );
        findings.push(finding.command(Action::Sysctl { key, value: "2".into() }.to_string()));
    }
}

/// In names of parameters, dots of an interface's name stand as slashes (sysctl(8)).
pub(super) fn slashed(interface: &str) -> String {
    interface.replace('.', "/")
}

/// Frames of services never see it; checks, SSH and everything else do.
fn tracking(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some((count, most)) = case.facts.host.conntrack.filter(|(_, most)| *most > 0) else { return };
    if count >= most / 10 * 9 {
        findings.push(
            Finding::warning(
                "conntrack",
                "kernel",
                format!("the kernel's connection tracking has {count} of {most} entries"),
            )
            .because(
                "once it is full the kernel drops new connections: checks, SSH, discovery. Frames of services \
                    pass it by",
            )
            .safely(Action::Sysctl {
                key: "net.netfilter.nf_conntrack_max".into(),
                value: (most * 2).to_string(),
            }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, facts, found, only};
    use super::*;

    #[test]
    fn a_kernel_that_forwards_is_worth_a_note_where_addresses_are_translated() {
        let (mut config, mut facts) = (config(), facts());
        facts.host.sysctls.insert("net.ipv4.ip_forward".into(), "1\n".into());
        facts.host.sysctls.insert("net.ipv6.conf.all.forwarding".into(), "0".into());
        assert_eq!(only(judge, &config, &facts).fix.command(), "sysctl -w net.ipv4.ip_forward=0");
        config.services[0].forwarding = Forwarding::Dsr;
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn the_larger_value_of_the_filter_counts() {
        let (config, mut facts) = (config(), facts());
        let mut set = |name: &str, value: &str| {
            facts.host.sysctls.insert(format!("net.ipv4.conf.{name}.rp_filter"), value.into());
            found(judge, &config, &facts).iter().map(|f| f.subject.clone()).collect::<Vec<_>>()
        };
        assert_eq!(set("all", "1"), ["eth0", "eth1"]);
        assert_eq!(set("eth0", "2"), ["eth1"]);
        assert_eq!(set("all", "2"), [""; 0]);
        assert_eq!(slashed("eth0.100"), "eth0/100");
    }

    #[test]
    fn tracking_that_is_nearly_full_may_have_more() {
        let (config, mut facts) = (config(), facts());
        facts.host.conntrack = Some((900, 1000));
        assert_eq!(
            only(judge, &config, &facts).fix.command(),
            "sysctl -w net.netfilter.nf_conntrack_max=2000"
        );
        for few in [Some((899, 1000)), Some((0, 0)), None] {
            facts.host.conntrack = few;
            assert!(found(judge, &config, &facts).is_empty());
        }
    }
}
