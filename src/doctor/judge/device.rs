//! Interfaces: whether they are there, up, and let the switch have its frames.

use std::collections::BTreeSet;

use super::Case;
use crate::boot;
use crate::config::valid::{XdpMode, ZeroCopy};
use crate::control::ControlError;
use crate::doctor::facts::{Device, Far};
use crate::doctor::finding::{Action, Finding};

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for device in &case.facts.devices {
        if !device.exists {
            findings.push(
                Finding::error(
                    "no-interface",
                    &device.name,
                    ControlError::NoInterface(device.name.clone()).to_string(),
                )
                .because("xswitch refuses to start without it")
                .command("ip -brief link show"),
            );
            continue;
        }
        link(case, device, findings);
        program(case, device, findings);
        xdp(case, device, findings);
        veth_queues(device, findings);
        spread(device, findings);
        enslaved(case, device, findings);
        everything(case, device, findings);
    }
    queues(case, findings);
}

fn link(case: &Case<'_>, device: &Device, findings: &mut Vec<Finding>) {
    let name = &device.name;
    if !device.is_up {
        let raise = Action::Raise { interface: name.clone() };
        findings.push(
            Finding::error("interface-down", name, format!("{name} is down"))
                .because("no frame comes or goes, and the kernel has no routes through it")
                // Two ends of a wire that already has another way would make a loop.
                .act(raise, !case.is_bridge()),
        );
    } else if !device.has_carrier {
        let finding =
            Finding::error("no-carrier", name, format!("{name} is up, but nobody is at the other end"))
                .because(
                    "no frame comes or goes: the cable, the port of the switch in the rack, the far end of a \
                veth",
                );
        findings.push(match &device.far {
            Far::Seen(far) if !far.is_up => {
                finding.command(format!("{}ip link set dev {} up", far.place.prefix(), far.name))
            }
            _ => finding.command(format!("ethtool {name}")),
        });
    }
}

/// There is room for one program only.
fn program(case: &Case<'_>, device: &Device, findings: &mut Vec<Finding>) {
    let name = &device.name;
    let Some((attached, title)) = device.program.as_ref().filter(|_| !case.facts.is_ours(name)) else {
        return;
    };
    let called = title.as_ref().map_or_else(|| "without a name".to_owned(), |title| format!("`{title}`"));
    let like_ours = title.as_ref().is_some_and(|title| title.starts_with("steer"));
    let hint = if like_ours { "; it looks like that of another xswitch" } else { "" };
    let off = if attached.mode == "generic" { "xdpgeneric" } else { "xdp" };
    findings.push(
        Finding::error(
            "foreign-xdp",
            name,
            format!("another XDP program is on {name}: {called}, number {}, {}{hint}", attached.id, attached.mode),
        )
        .because(
            "an interface takes one program: that of the switch cannot be attached. Whoever put it there must take it off; \
             the command does so unless it holds on by a BPF link, and then its owner is to be stopped",
        )
        .command(format!("ip link set dev {name} {off} off")),
    );
}

fn xdp(case: &Case<'_>, device: &Device, findings: &mut Vec<Finding>) {
    let (Some(config), name) = (case.config, &device.name) else { return };
    let driver = device.driver.as_deref().unwrap_or("unknown");
    let Some(can) = device.xdp else {
        findings.push(
            Finding::note(
                "xdp-features",
                name,
                format!("{name} (driver {driver}) does not say what XDP it can do"),
            )
            .because("before Linux 6.3 only trying tells; `xswitch status` shows what came of it"),
        );
        return;
    };
    let (mode, copy) = (config.switch.xdp_mode, config.switch.zero_copy);
    if !can.native() && mode != XdpMode::Generic {
        let what = format!("{name} (driver {driver}) has no native XDP");
        findings.push(if mode == XdpMode::Native {
            Finding::error("xdp-mode", name, what).because(
                "`xdp_mode = \"native\"`: xswitch refuses to start; \"auto\" or \"generic\" in [switch], or \
                    another NIC",
            )
        } else {
            Finding::warning("xdp-mode", name, what)
                .because("the generic receive path works with every driver, at a fraction of the speed")
        });
    }
    if !can.zero_copy() && copy != ZeroCopy::Off {
        let what = format!("{name} (driver {driver}) has no zero copy");
        findings.push(if copy == ZeroCopy::On {
            Finding::error("zero-copy", name, what).because(
                "`zero_copy = \"on\"`: xswitch refuses to start; \"auto\" in [switch], or another NIC",
            )
        } else {
            Finding::note("zero-copy", name, what).because(
                "frames are copied between driver and switch; all interfaces are, since a worker's share packet \
                    memory",
            )
        });
    }
}

/// A veth refuses native XDP where the other end has more TX queues than this end has RX queues.
fn veth_queues(device: &Device, findings: &mut Vec<Finding>) {
    let (Far::Seen(far), name) = (&device.far, &device.name) else { return };
    if far.tx_queues > device.queues {
        findings.push(
            Finding::warning(
                "veth-queues",
                name,
                format!("{name} has {} RX queues, its far end {} TX queues", device.queues, far.tx_queues),
            )
            .because("then a veth takes XDP programs in the slow, generic way only")
            .command(format!(
                "{}ethtool -L {} tx {}",
                far.place.prefix(),
                far.name,
                device.queues
            )),
        );
    }
}

/// Which queues get frames at all.
fn spread(device: &Device, findings: &mut Vec<Finding>) {
    let used: BTreeSet<u32> = device.indirection.iter().copied().collect();
    let (name, queues) = (&device.name, device.queues);
    if !used.is_empty() && (used.len() as u32) < queues {
        let used: Vec<String> = used.iter().map(u32::to_string).collect();
        findings.push(
            Finding::warning(
                "rss",
                name,
                format!(
                    "{name} spreads frames over {} of its {queues} queues: {}",
                    used.len(),
                    used.join(", ")
                ),
            )
            .because("a worker owns each queue: those of the others have nothing to do")
            .command(format!("ethtool -X {name} equal {queues}")),
        );
    }
}

fn enslaved(case: &Case<'_>, device: &Device, findings: &mut Vec<Finding>) {
    let Some(master) = &device.master else { return };
    let name = &device.name;
    let what = format!("{name} belongs to {master}");
    let finding = if case.is_bridge() {
        Finding::error("enslaved", name, what).because(
            "the kernel bridges the same frames that the switch bridges: they arrive twice, or for ever in a \
                loop",
        )
    } else {
        Finding::warning("enslaved", name, what).because(
            "its addresses, routes and neighbours are those of its master, and the switch looks for \
                them here",
        )
    };
    findings.push(finding.command(format!("ip link set dev {name} nomaster")));
}

/// Adapters of virtual machines, whose host decides what they see.
const VIRTUAL: [&str; 5] = ["virtio_net", "vmxnet3", "hv_netvsc", "iavf", "ena"];

/// A bridge takes in frames that are for others, and sends some with others' addresses.
fn everything(case: &Case<'_>, device: &Device, findings: &mut Vec<Finding>) {
    let driver = device.driver.as_deref().unwrap_or_default();
    if case.is_bridge() && VIRTUAL.contains(&driver) {
        let name = &device.name;
        findings.push(
            Finding::note(
                "promiscuous",
                name,
                format!("{name} is the adapter of a virtual machine ({driver})"),
            )
            .because(
                "a bridge needs frames that are for others: the host must allow promiscuous mode and foreign \
                     source addresses at this port",
            ),
        );
    }
}

/// The same sentence with which a start is refused.
fn queues(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(config) = case.config else { return };
    let devices = &case.facts.devices;
    if devices.iter().any(|device| !device.exists) {
        return;
    }
    let count = |name: &str| devices.iter().find(|d| d.name == name).map_or(0, |device| device.queues);
    let Err(boot::BootError::Queues { interface, found, wanted, reason }) =
        boot::workers(&config.switch, count)
    else {
        return;
    };
    let device = devices.iter().find(|device| device.name == interface);
    let most = device.and_then(|device| device.channels).map_or(wanted, |channels| channels.most);
    let count = wanted.min(most);
    let command = match (count < wanted, config.switch.workers) {
        (false, _) => set_queues(devices, std::slice::from_ref(&interface), count),
        (true, 0) => set_queues(devices, &config.switch.interfaces, count),
        (true, _) => {
            let command = set_queues(devices, std::slice::from_ref(&interface), count);
            format!("{command}    # and workers = {count} in [switch]")
        }
    };
    let error = boot::BootError::Queues { interface: interface.clone(), found, wanted, reason };
    findings.push(
        Finding::error("queues", interface, error.to_string())
            .because("xswitch refuses to start. Changing queues takes the link down for a moment")
            .command(command),
    );
}

/// The commands that give each of these interfaces so many queues. A veth has no combined ones.
pub(super) fn set_queues(devices: &[Device], names: &[String], count: u32) -> String {
    let command = |name: &String| {
        let driver = devices.iter().find(|device| device.name == *name).and_then(|d| d.driver.as_deref());
        match driver {
            Some("veth") => format!("ethtool -L {name} rx {count} tx {count}"),
            _ => format!("ethtool -L {name} combined {count}"),
        }
    };
    names.iter().map(command).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{checks, config, facts, found, only};
    use super::*;
    use crate::control::netlink::links::Attached;
    use crate::doctor::facts::{FarEnd, XdpFeatures};
    use crate::doctor::{Fix, Severity};
    use crate::sys::ethtool::Channels;

    #[test]
    fn interfaces_that_are_gone_down_or_unplugged_are_told_apart() {
        let (config, mut facts) = (config(), facts());
        facts.devices[1].has_carrier = false;
        assert_eq!(only(judge, &config, &facts).check, "no-carrier");
        facts.devices[1].is_up = false;
        let finding = only(judge, &config, &facts);
        assert_eq!(
            (finding.check, finding.fix.command().as_str()),
            ("interface-down", "ip link set dev eth1 up")
        );
        assert!(matches!(finding.fix, Fix::Safe(_)));
        facts.devices[1].exists = false;
        let finding = only(judge, &config, &facts);
        assert_eq!(finding.check, "no-interface");
        assert!(finding.what.starts_with("there is no interface eth1;"), "{}", finding.what);
    }

    #[test]
    fn a_wire_is_not_closed_without_asking() {
        let (mut config, mut facts) = (config(), facts());
        config.switch.topology = crate::config::valid::Topology::Bridge;
        facts.devices[0].is_up = false;
        let found = found(judge, &config, &facts);
        assert!(matches!(&found[0].fix, Fix::Command(command) if command == "ip link set dev eth0 up"));
    }

    #[test]
    fn a_bridge_in_a_virtual_machine_needs_its_hosts_leave() {
        let (mut config, mut facts) = (config(), facts());
        facts.devices[0].driver = Some("virtio_net".into());
        assert!(found(judge, &config, &facts).is_empty());
        config.switch.topology = crate::config::valid::Topology::Bridge;
        assert_eq!(only(judge, &config, &facts).check, "promiscuous");
    }

    #[test]
    fn a_program_is_somebody_elses_unless_the_switch_runs_there() {
        let (config, mut facts) = (config(), facts());
        let program = |title: &str| Some((Attached { id: 7, mode: "generic" }, Some(title.to_owned())));
        facts.devices[0].program = program("firewall");
        let finding = only(judge, &config, &facts);
        assert_eq!((finding.check, finding.severity), ("foreign-xdp", Severity::Error));
        assert!(
            finding.what.contains("`firewall`, number 7, generic")
                && !finding.what.contains("another xswitch")
        );
        assert_eq!(finding.fix, Fix::Command("ip link set dev eth0 xdpgeneric off".into()));
        facts.devices[0].program = program("steer_single");
        assert!(only(judge, &config, &facts).what.ends_with("it looks like that of another xswitch"));
        facts.status = Some(super::super::running::tests::status());
        assert!(found(judge, &config, &facts).is_empty(), "it is ours");
    }

    #[test]
    fn what_a_driver_cannot_do_is_as_bad_as_it_is_asked_for() {
        let (mut config, mut facts) = (config(), facts());
        facts.devices[0].xdp = Some(XdpFeatures(0));
        let findings = found(judge, &config, &facts);
        assert_eq!(checks(&findings), ["xdp-mode", "zero-copy"]);
        assert_eq!([findings[0].severity, findings[1].severity], [Severity::Warning, Severity::Note]);
        (config.switch.xdp_mode, config.switch.zero_copy) = (XdpMode::Native, ZeroCopy::On);
        assert!(found(judge, &config, &facts).iter().all(|finding| finding.severity == Severity::Error));
        (config.switch.xdp_mode, config.switch.zero_copy) = (XdpMode::Generic, ZeroCopy::Off);
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn queues_are_judged_as_at_the_start() {
        let (mut config, mut facts) = (config(), facts());
        facts.devices[1].queues = 4;
        facts.devices[1].indirection.clear();
        let finding = only(judge, &config, &facts);
        assert_eq!(finding.subject, "eth1");
        assert!(finding.what.contains("ethtool -L eth1 combined 2"), "{}", finding.what);
        assert_eq!(finding.fix, Fix::Command("ethtool -L eth1 combined 2".into()));
        facts.devices[0].queues = 8;
        facts.devices[0].indirection.clear();
        facts.devices[1].channels = Some(Channels { most: 4, now: 4, tx: 4 });
        let both = "ethtool -L eth0 combined 4; ethtool -L eth1 combined 4";
        assert_eq!(only(judge, &config, &facts).fix.command(), both, "eth1 can have no more");
        config.switch.workers = 8;
        facts.devices[1].driver = Some("veth".into());
        let fewer = "ethtool -L eth1 rx 4 tx 4    # and workers = 4 in [switch]";
        assert_eq!(only(judge, &config, &facts).fix.command(), fewer);
    }

    #[test]
    fn queues_that_get_no_frames_and_ends_with_too_many_are_found() {
        let (config, mut facts) = (config(), facts());
        facts.devices[0].indirection = vec![1; 128];
        assert!(only(judge, &config, &facts).what.ends_with("1 of its 2 queues: 1"));
        facts.devices[0].indirection = vec![0, 1];
        let far = FarEnd { name: "far".into(), tx_queues: 3, ..FarEnd::default() };
        facts.devices[0].far = Far::Seen(Box::new(far));
        assert_eq!(only(judge, &config, &facts).fix.command(), "ethtool -L far tx 2");
        facts.devices[0].far = Far::NoVeth;
        facts.devices[0].master = Some("br0".into());
        assert_eq!(only(judge, &config, &facts).severity, Severity::Warning);
    }
}
