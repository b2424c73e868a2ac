//! Sizes of packets: what fits a chunk of packet memory, what fits the next link, what fits a tunnel.

use super::{Case, exit};
use crate::boot::BootError;
use crate::control::topology::Exit;
use crate::doctor::facts::{Device, Far};
use crate::doctor::finding::Finding;
use crate::tables::Forwarding;
use crate::wire::ipv6;
use crate::wire::tunnel::Encapsulation;
use crate::xsk::jumbo::{LARGEST_IN_ONE, LARGEST_PACKET};

/// Since this version frames may come in several buffers.
const MULTI_BUFFER: (u32, u32) = (6, 6);

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let there = || case.facts.devices.iter().filter(|device| device.exists && device.mtu > 0);
    for device in there() {
        size(case, device, findings);
        both_ends(device, findings);
    }
    // Through tunnels, and past the switch, nothing comes back that would have to fit.
    let both_ways = case.is_bridge()
        || case.config.is_some_and(|config| !config.snat.is_empty())
        || case.services().iter().any(|s| matches!(s.forwarding, Forwarding::Nat | Forwarding::FullNat));
    if both_ways
        && let (Some(least), Some(most)) = (there().min_by_key(|d| d.mtu), there().max_by_key(|d| d.mtu))
        && least.mtu < most.mtu
    {
        let (small, large) = (&least.name, &most.name);
        findings.push(
            Finding::warning(
                "mtu-differs",
                small,
                format!("{small} takes packets of {} bytes, {large} of {}", least.mtu, most.mtu),
            )
            .because(
                "what does not fit goes back as an ICMP error: clients and backends that do not hear ICMP \
                get stuck",
            )
            .command(format!("ip link set dev {small} mtu {}", most.mtu)),
        );
    }
    tunnels(case, findings);
}

fn size(case: &Case<'_>, device: &Device, findings: &mut Vec<Finding>) {
    let (name, mtu) = (&device.name, device.mtu);
    if mtu > u32::from(LARGEST_PACKET) {
        let error = BootError::Mtu { interface: name.clone(), mtu };
        findings.push(
            Finding::error("mtu", name, error.to_string())
                .because("xswitch refuses to start")
                .command(format!("ip link set dev {name} mtu 9000")),
        );
    } else if mtu > u32::from(LARGEST_IN_ONE) && !case.facts.host.is_at_least(MULTI_BUFFER) {
        findings.push(
            Finding::error(
                "mtu",
                name,
                format!("{name} has MTU {mtu}, which takes frames in several buffers"),
            )
            .because("AF_XDP has those since Linux 6.6; sockets cannot be opened with this kernel")
            .command(format!("ip link set dev {name} mtu {LARGEST_IN_ONE}")),
        );
    } else if mtu > u32::from(LARGEST_IN_ONE)
        && device.xdp.is_some_and(|can| can.native() && !can.multi_buffer())
    {
        findings.push(
            Finding::warning(
                "mtu",
                name,
                format!("{name} has MTU {mtu}, and its driver knows frames in one buffer only"),
            )
            .because("the driver refuses the XDP program, and the slow, generic receive path is left")
            .command(format!("ip link set dev {name} mtu {LARGEST_IN_ONE}")),
        );
    }
    let ipv6 = case.services().iter().any(|service| service.vip.is_ipv6());
    if ipv6 && mtu < u32::from(ipv6::MINIMUM_MTU) {
        findings.push(
            Finding::error(
                "mtu",
                name,
                format!("{name} has MTU {mtu}, and IPv6 needs {}", ipv6::MINIMUM_MTU),
            )
            .because("the kernel takes IPv6 away from such a link")
            .command(format!("ip link set dev {name} mtu {}", ipv6::MINIMUM_MTU)),
        );
    }
}

/// A link has one MTU: what one end sends and the other does not take is gone without a word.
fn both_ends(device: &Device, findings: &mut Vec<Finding>) {
    let Far::Seen(far) = &device.far else { return };
    let (name, mtu) = (&device.name, device.mtu);
    if far.mtu == mtu {
        return;
    }
    let command = if mtu < far.mtu {
        format!("ip link set dev {name} mtu {}", far.mtu)
    } else {
        format!("{}ip link set dev {} mtu {mtu}", far.place.prefix(), far.name)
    };
    findings.push(
        Finding::error(
            "mtu-far-end",
            name,
            format!("{name} has MTU {mtu}, and {}, its far end, {}", far.name, far.mtu),
        )
        .because("packets that fit one end only are lost on this link without an ICMP error")
        .command(command),
    );
}

fn tunnels(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let arrives = case.facts.devices.iter().map(|device| device.mtu).max().unwrap_or(0);
    for service in case.services() {
        let Some(encapsulation) = service.encapsulation() else { continue };
        let overhead = |backend: std::net::IpAddr| {
            let ip = if backend.is_ipv4() { 20 } else { 40 };
            // UDP and the largest GUE header that is written (see docs/MODES.md).
            ip + if matches!(encapsulation, Encapsulation::Gue { .. }) { 12 } else { 0 }
        };
        let short = service.backends.iter().find_map(|backend| {
            let address = backend.address.ip();
            let (Exit::OnLink(id) | Exit::Via(id, _)) = exit(&case.topology, address)? else { return None };
            let port = case.topology.port(id)?;
            let left = u32::from(port.interface.mtu).saturating_sub(overhead(address));
            (left < arrives).then(|| (port.interface.name.clone(), left))
        });
        if let Some((interface, left)) = short {
            findings.push(
                Finding::note(
                    "mtu-tunnel",
                    format!("service {}", service.name),
                    format!(
                        "in the tunnel through {interface}, {left} of {arrives} bytes are left for a packet"
                    ),
                )
                .because(
                    "clients are told by ICMP; those that do not hear it get stuck. More MTU on the way to \
                    the backends avoids it",
                )
                .command(format!("ip link set dev {interface} mtu {}", arrives + arrives - left)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, facts, found, only, parse};
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::facts::{FarEnd, XdpFeatures};

    #[test]
    fn both_ends_of_a_link_have_one_mtu() {
        let (config, mut facts) = (config(), facts());
        let far = |mtu| Far::Seen(Box::new(FarEnd { name: "far".into(), mtu, ..FarEnd::default() }));
        facts.devices[0].far = far(9000);
        let finding = only(judge, &config, &facts);
        assert_eq!(
            (finding.check, finding.fix.command().as_str()),
            ("mtu-far-end", "ip link set dev eth0 mtu 9000")
        );
        facts.devices[0].far = far(1400);
        assert_eq!(only(judge, &config, &facts).fix.command(), "ip link set dev far mtu 1500");
        facts.devices[0].far = far(1500);
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn the_smaller_of_two_interfaces_is_named() {
        let (config, mut facts) = (config(), facts());
        facts.devices[1].mtu = 1300;
        let finding = only(judge, &config, &facts);
        assert_eq!((finding.check, finding.subject.as_str()), ("mtu-differs", "eth1"));
        assert_eq!(finding.severity, Severity::Warning);
    }

    #[test]
    fn large_packets_need_a_kernel_and_a_driver() {
        let (config, mut facts) = (config(), facts());
        let set = |facts: &mut crate::doctor::Facts, mtu| facts.devices.iter_mut().for_each(|d| d.mtu = mtu);
        set(&mut facts, 9000);
        assert!(found(judge, &config, &facts).is_empty());
        facts.devices[0].xdp = Some(XdpFeatures(0x1F));
        assert_eq!(only(judge, &config, &facts).severity, Severity::Warning);
        facts.host.kernel = Some((6, 5));
        assert!(found(judge, &config, &facts).iter().all(|finding| finding.severity == Severity::Error));
        set(&mut facts, 9500);
        assert!(found(judge, &config, &facts)[0].what.contains("9134 is the largest"));
    }

    #[test]
    fn a_tunnel_takes_its_share() {
        let text = "[switch]\ninterfaces = [\"eth0\", \"eth1\"]\n[[service]]\nname = \"web\"\n\
                    vip = \"198.18.0.100:80\"\nforwarding = \"ipip\"\nbackend = [{ address = \"198.18.1.11:80\" \
                        }]\n";
        let mut facts = facts();
        let finding = only(judge, &parse(text), &facts);
        assert!(
            finding.what.ends_with("through eth1, 1480 of 1500 bytes are left for a packet"),
            "{}",
            finding.what
        );
        assert_eq!(finding.severity, Severity::Note);
        facts.view.links.get_mut(&3).unwrap().mtu = 1600;
        assert!(found(judge, &parse(text), &facts).is_empty());
    }
}
