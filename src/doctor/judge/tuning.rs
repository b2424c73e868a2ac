//! What costs speed and breaks nothing: clock, processor, queues.

use super::Case;
use super::device::set_queues;
use crate::boot;
use crate::config::valid::Idle;
use crate::doctor::finding::Finding;

/// Clocks that are read without a trap or a slow device.
const FAST_CLOCKS: [&str; 4] = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let host = &case.facts.host;
    if let Some(clock) = host.clocksource.as_deref().filter(|clock| !FAST_CLOCKS.contains(clock)) {
        findings.push(
            Finding::note("clocksource", "clock", format!("the kernel reads time from `{clock}`"))
                .because(
                    "each turn of a worker reads the clock: a microsecond there instead of some \
                    nanoseconds",
                )
                .command("cat /sys/devices/system/clocksource/clocksource0/available_clocksource"),
        );
    }
    if let Some(governor) = host.governor.as_deref().filter(|governor| *governor != "performance") {
        findings.push(
            Finding::note(
                "governor",
                "processor",
                format!("the processor's frequency is governed by `{governor}`"),
            )
            .because("a core that was slowed down takes its time when frames come again")
            .command("cpupower frequency-set --governor performance"),
        );
    }
    let Some(config) = case.config else { return };
    let queues = |name: &str| case.facts.devices.iter().find(|d| d.name == name).map_or(0, |d| d.queues);
    let Ok(workers) = boot::workers(&config.switch, queues) else { return };
    let Some(cores) = host.cores else { return };
    if workers as usize > cores {
        findings.push(
            Finding::warning("cores", "processor", format!("{workers} workers are to share {cores} cores"))
                .because(
                    "a worker that waits for its core loses frames: fewer queues, alike on every interface",
                )
                .command(set_queues(&case.facts.devices, &config.switch.interfaces, cores as u32)),
        );
    }
    let more = case.facts.devices.iter().filter_map(|device| device.channels).map(|c| c.most).min();
    if let Some(most) = more.filter(|most| workers == 1 && *most > 1 && cores > 1) {
        findings.push(
            Finding::note("one-queue", "processor", "one queue, and so one worker, takes all frames")
                .because(format!(
                    "the interfaces could have {most} queues, each with a worker on a core of its \
                    own"
                )),
        );
    }
    if config.switch.idle == Idle::Spin
        && host.isolated.as_deref().is_none_or(|cores| cores.trim().is_empty())
    {
        findings.push(
            Finding::note("isolation", "processor", "workers spin, and no core is kept free for them")
                .because(
                    "others on the same core cost latency: `isolcpus=` on the kernel's command line, and \
                    interrupts elsewhere",
                ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{checks, config, facts, found, only};
    use super::*;
    use crate::doctor::Severity;
    use crate::sys::ethtool::Channels;

    #[test]
    fn slow_clocks_and_saving_governors_are_notes() {
        let (config, mut facts) = (config(), facts());
        (facts.host.clocksource, facts.host.governor) = (Some("hpet".into()), Some("powersave".into()));
        let findings = found(judge, &config, &facts);
        assert_eq!(checks(&findings), ["clocksource", "governor"]);
        assert!(findings.iter().all(|finding| finding.severity == Severity::Note));
        (facts.host.clocksource, facts.host.governor) = (None, Some("performance".into()));
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn workers_and_cores_should_match() {
        let (mut config, mut facts) = (config(), facts());
        facts.host.cores = Some(1);
        let finding = only(judge, &config, &facts);
        assert_eq!(finding.check, "cores");
        assert_eq!(finding.fix.command(), "ethtool -L eth0 combined 1; ethtool -L eth1 combined 1");
        facts.host.cores = Some(4);
        for device in &mut facts.devices {
            (device.queues, device.channels) = (1, Some(Channels { most: 8, now: 1, tx: 1 }));
        }
        assert_eq!(only(judge, &config, &facts).check, "one-queue");
        facts.devices[0].channels = None;
        facts.devices[1].channels = None;
        config.switch.idle = Idle::Spin;
        assert_eq!(only(judge, &config, &facts).check, "isolation");
        facts.host.isolated = Some("2-3\n".into());
        assert!(found(judge, &config, &facts).is_empty());
    }
}
