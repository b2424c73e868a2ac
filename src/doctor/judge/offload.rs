//! Work left to devices that changes frames behind the switch's back, or hides them from it.

use super::Case;
use crate::config::valid::XdpMode;
use crate::doctor::facts::{Device, Far, FarEnd};
use crate::doctor::finding::{Action, Finding, Place};
use crate::sys::ethtool::Feature;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for device in case.facts.devices.iter().filter(|device| device.exists) {
        match &device.far {
            Far::NoVeth => {}
            Far::Unseen => findings.push(unseen(device)),
            Far::Seen(far) => far_end(case, device, far, findings),
        }
        merging(case, device, findings);
        tags(case, device, findings);
    }
}

/// Whether frames with VLAN tags are the switch's business here.
fn reads_tags(case: &Case<'_>, device: &Device) -> bool {
    let tagged = case.config.is_some_and(|config| {
        config.interfaces.iter().any(|fixed| fixed.name == device.name && !fixed.vlan.is_empty())
    });
    tagged || case.is_bridge()
}

fn unseen(device: &Device) -> Finding {
    let name = &device.name;
    Finding::note("checksum-offload", name, format!("the far end of {name}, a veth, is out of sight"))
        .because(
            "if it leaves checksums to an offload, the switch drops its frames: they would be wrong where \
            they arrive",
        )
        .command("ethtool -K DEV tx off    # at the far end")
}

fn far_end(case: &Case<'_>, device: &Device, far: &FarEnd, findings: &mut Vec<Finding>) {
    let at_far =
        |feature, on| Action::Feature { place: far.place.clone(), interface: far.name.clone(), feature, on };
    let name = &device.name;
    if far.is_on(Feature::TransmitChecksum) {
        findings.push(
            Finding::error(
                "checksum-offload",
                name,
                format!(
                    "{}, the far end of {name}, leaves checksums to an offload that no veth carries out",
                    far.name
                ),
            )
            .because(
                "the switch drops such frames as `checksum_offload`: they would be wrong where they arrive",
            )
            .safely(at_far(Feature::TransmitChecksum, false)),
        );
    }
    if far.is_on(Feature::InsertVlan) && reads_tags(case, device) {
        findings.push(
            Finding::warning(
                "vlan-offload",
                name,
                format!("{}, the far end of {name}, leaves VLAN tags to an offload", far.name),
            )
            .because("a tag that is left to an offload is not in the frame, and the switch sees frames alone")
            .safely(at_far(Feature::InsertVlan, false)),
        );
    }
    if case.is_bridge() && !far.is_on(Feature::ReceiveMerge) && !far.has_program {
        findings.push(
            Finding::error(
                "veth-poll",
                name,
                format!(
                    "{}, the far end of {name}, does not poll: GRO is off and it has no XDP program",
                    far.name
                ),
            )
            .because(
                "frames of no service cross the bridge in the XDP program, and such a veth loses them \
                without a trace",
            )
            .safely(at_far(Feature::ReceiveMerge, true)),
        );
    }
}

/// Packets that were put together are larger than the MTU. In the driver, programs see them before.
fn merging(case: &Case<'_>, device: &Device, findings: &mut Vec<Finding>) {
    let name = &device.name;
    let asked = case.config.is_some_and(|config| config.switch.xdp_mode == XdpMode::Generic);
    let says = case.facts.status.as_ref().is_some_and(|status| {
        status.ports.iter().any(|port| port.interface == *name && port.xdp_mode == "generic")
    });
    if device.is_on(Feature::ReceiveMerge) && (asked || says || device.is_native() == Some(false)) {
        let off = Action::Feature {
            place: Place::Here,
            interface: name.clone(),
            feature: Feature::ReceiveMerge,
            on: false,
        };
        findings.push(
            Finding::error("gro", name, format!("GRO is on at {name}, where XDP is generic"))
                .because(
                    "packets are put together before the switch sees them; what is larger than the MTU is \
                    dropped",
                )
                .safely(off),
        );
    }
    if device.is_on(Feature::LargeReceive) {
        findings.push(
            Finding::warning("lro", name, format!("LRO is on at {name}"))
                .because(
                    "the adapter puts packets together that the switch must see one by one; most drivers \
                    switch it off when the XDP program comes, some refuse the program",
                )
                .command(format!("ethtool -K {name} lro off")),
        );
    }
}

fn tags(case: &Case<'_>, device: &Device, findings: &mut Vec<Finding>) {
    // A veth takes no tags out: its far end leaves them out, see above.
    if !device.is_on(Feature::StripVlan) || !reads_tags(case, device) || !matches!(device.far, Far::NoVeth) {
        return;
    }
    let off = Action::Feature {
        place: Place::Here,
        interface: device.name.clone(),
        feature: Feature::StripVlan,
        on: false,
    };
    findings.push(
        Finding::error(
            "vlan-offload",
            &device.name,
            format!("{} takes VLAN tags out of frames", device.name),
        )
        .because(
            "the switch cannot see tags that the adapter takes out: it takes the frames for untagged \
                ones",
        )
        .act(off, !device.is_hardware),
    );
}

#[cfg(test)]
mod tests {
    use super::super::testing::{checks, config, facts, found, only, parse};
    use super::*;
    use crate::doctor::facts::XdpFeatures;
    use crate::doctor::{Fix, Severity};

    fn seen(features: &[(Feature, bool)]) -> Far {
        Far::Seen(Box::new(FarEnd {
            place: Place::Namespace("/run/netns/lan".into()),
            name: "port".into(),
            features: features.iter().copied().collect(),
            ..FarEnd::default()
        }))
    }

    #[test]
    fn checksums_left_at_the_far_end_are_an_error_with_the_command_that_names_its_place() {
        let (config, mut facts) = (config(), facts());
        facts.devices[1].far = seen(&[(Feature::TransmitChecksum, true)]);
        let finding = only(judge, &config, &facts);
        assert_eq!((finding.check, finding.severity), ("checksum-offload", Severity::Error));
        assert_eq!(finding.fix.command(), "ip netns exec lan ethtool -K port tx off");
        assert!(matches!(finding.fix, Fix::Safe(_)));
        facts.devices[1].far = seen(&[(Feature::TransmitChecksum, false)]);
        assert!(found(judge, &config, &facts).is_empty());
        facts.devices[1].far = Far::Unseen;
        assert_eq!(only(judge, &config, &facts).severity, Severity::Note);
    }

    #[test]
    fn a_bridge_needs_a_far_end_that_polls_and_leaves_tags_in() {
        let (mut config, mut facts) = (config(), facts());
        facts.devices[0].far = seen(&[(Feature::InsertVlan, true)]);
        assert!(found(judge, &config, &facts).is_empty(), "routed, without tags");
        config.switch.topology = crate::config::valid::Topology::Bridge;
        assert_eq!(checks(&found(judge, &config, &facts)), ["vlan-offload", "veth-poll"]);
        facts.devices[0].far = seen(&[(Feature::ReceiveMerge, true)]);
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn merging_hurts_where_xdp_is_generic() {
        let (mut config, mut facts) = (config(), facts());
        facts.devices[0].features.insert(Feature::ReceiveMerge, true);
        assert!(found(judge, &config, &facts).is_empty(), "native");
        config.switch.xdp_mode = XdpMode::Generic;
        assert_eq!(only(judge, &config, &facts).fix.command(), "ethtool -K eth0 gro off");
        config.switch.xdp_mode = XdpMode::Auto;
        facts.devices[0].xdp = Some(XdpFeatures(0));
        assert_eq!(only(judge, &config, &facts).check, "gro");
        facts.devices[0].features = [(Feature::LargeReceive, true)].into();
        assert_eq!(only(judge, &config, &facts).check, "lro");
    }

    #[test]
    fn tags_that_an_adapter_takes_out_are_missed_where_the_switch_reads_them() {
        let mut facts = facts();
        facts.devices[0].features.insert(Feature::StripVlan, true);
        assert!(found(judge, &config(), &facts).is_empty());
        let tagged = parse(
            "[switch]\ninterfaces = [\"eth0\"]\n[[interface]]\nname = \"eth0\"\nvlan = 100\n\
             [[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\nforwarding = \"nat\"\n\
             backend = [{ address = \"198.18.1.11:8080\" }]\n",
        );
        let finding = only(judge, &tagged, &facts);
        assert_eq!(finding.fix, Fix::Command("ethtool -K eth0 rxvlan off".into()), "its link may flap");
        facts.devices[0].is_hardware = false;
        assert!(matches!(only(judge, &tagged, &facts).fix, Fix::Safe(_)));
    }
}
