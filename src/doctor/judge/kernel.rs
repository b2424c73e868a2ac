//! The kernel's version and features, and what this process may do.

use super::Case;
use crate::doctor::finding::Finding;
use crate::sys::kernel::{AfXdp, Capabilities};

/// The oldest kernel with all that the switch cannot do without: BPF links for XDP, memory of BPF maps that counts against
/// the cgroup, busy poll by preference.
const OLDEST: (u32, u32) = (5, 11);

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let host = &case.facts.host;
    if let Some((major, minor)) = host.kernel.filter(|kernel| *kernel < OLDEST) {
        findings.push(
            Finding::error("kernel-version", "kernel", format!("the kernel is Linux {major}.{minor}"))
                .because(format!("xswitch needs Linux {}.{} or newer", OLDEST.0, OLDEST.1)),
        );
    }
    match host.af_xdp {
        AfXdp::Missing => findings.push(
            Finding::error("af-xdp", "kernel", "the kernel has no AF_XDP sockets")
                .because("frames reach the switch through them: CONFIG_XDP_SOCKETS is to be built in"),
        ),
        AfXdp::There | AfXdp::Forbidden => {}
    }
    privileges(case, findings);
    if let Some(refused) = &host.xdp_refused {
        findings.push(
            Finding::error("xdp-load", "kernel", refused)
                .because("without its XDP program no frame is steered to the switch"),
        );
    }
    let polls = case.config.is_some_and(|config| config.switch.busy_poll);
    if polls && host.can_busy_poll == Some(false) {
        findings.push(
            Finding::error(
                "busy-poll",
                "kernel",
                "`busy_poll` is asked for, and the kernel cannot poll drivers",
            )
            .because(
                "xswitch refuses to start: CONFIG_NET_RX_BUSY_POLL is to be built in, or busy_poll = \
                    false in [switch]",
            ),
        );
    }
}

fn privileges(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let has = |capability| case.facts.host.capabilities.has(capability);
    let mut missing = Vec::new();
    if !has(Capabilities::NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    if !has(Capabilities::NET_RAW) {
        missing.push("CAP_NET_RAW");
    }
    let newer = [(Capabilities::PERFMON, "CAP_PERFMON"), (Capabilities::BPF, "CAP_BPF")];
    for (capability, name) in newer {
        if !has(capability) && !has(Capabilities::SYS_ADMIN) {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return;
    }
    let what = format!("this process lacks {}", missing.join(" and "));
    // A switch that runs has what it needs: only the doctor sees less.
    let finding = if case.facts.status.is_some() {
        Finding::note("privileges", "process", what)
            .because("not everything can be looked at, and no questions are asked on the wire")
    } else {
        Finding::error("privileges", "process", what).because(
            "opening AF_XDP sockets, loading and attaching the XDP program and announcing VIPs need them; the doctor itself \
             sees less without them",
        )
    };
    findings.push(finding.command("sudo xswitch doctor"));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{checks, config, facts, found, only};
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn an_old_kernel_or_one_without_af_xdp_is_an_error() {
        let mut facts = facts();
        facts.host.kernel = Some((5, 10));
        assert_eq!(only(judge, &config(), &facts).check, "kernel-version");
        facts.host.af_xdp = AfXdp::Missing;
        assert_eq!(checks(&found(judge, &config(), &facts)), ["kernel-version", "af-xdp"]);
        facts.host.kernel = Some((5, 11));
        facts.host.af_xdp = AfXdp::There;
        assert!(found(judge, &config(), &facts).is_empty());
    }

    #[test]
    fn missing_capabilities_are_named_and_the_old_one_will_do() {
        let mut facts = facts();
        facts.host.capabilities = Capabilities(1 << Capabilities::NET_ADMIN | 1 << Capabilities::NET_RAW);
        let finding = only(judge, &config(), &facts);
        assert_eq!(
            (finding.severity, finding.what.as_str()),
            (Severity::Error, "this process lacks CAP_PERFMON and CAP_BPF")
        );
        facts.host.capabilities.0 |= 1 << Capabilities::SYS_ADMIN;
        assert!(found(judge, &config(), &facts).is_empty());
        facts.host.capabilities.0 = 0;
        assert!(only(judge, &config(), &facts).what.ends_with("CAP_NET_RAW and CAP_PERFMON and CAP_BPF"));
    }

    #[test]
    fn busy_poll_counts_only_where_it_is_asked_for() {
        let (mut config, mut facts) = (config(), facts());
        facts.host.can_busy_poll = Some(false);
        assert!(found(judge, &config, &facts).is_empty());
        config.switch.busy_poll = true;
        assert_eq!(only(judge, &config, &facts).check, "busy-poll");
        facts.host.xdp_refused = Some("no".into());
        assert_eq!(checks(&found(judge, &config, &facts)), ["xdp-load", "busy-poll"]);
    }
}
