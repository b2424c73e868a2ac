//! Memory: what may be locked, huge pages, room for the tables.

use super::Case;
use crate::boot;
use crate::config::valid::{Config, HugePages};
use crate::doctor::finding::{Action, Finding};
use crate::sys::kernel::Capabilities;

/// Bytes of an entry with its share of the index (docs/OPERATIONS.md, Sizing).
const CONNECTION: u64 = 89;
const CONNECTION_IPV6: u64 = 134;
/// Tables above this profit from huge pages: the processor's address cache holds no more in small ones.
const LARGE: u64 = 64 << 20;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(config) = case.config else { return };
    // A switch that runs has its memory.
    if case.facts.status.is_some() {
        return;
    }
    let queues = |name: &str| case.facts.devices.iter().find(|d| d.name == name).map_or(0, |d| d.queues);
    let workers = u64::from(boot::workers(&config.switch, queues).unwrap_or(1).max(1));
    let (bytes, pages) = boot::packet_memory(&config.switch);
    locked(case, bytes, findings);
    huge_pages(case, config, pages * workers as u32, findings);
    tables(case, config, bytes * workers, findings);
}

/// Each worker's packet memory counts by itself, but against the limit of the user: one of them is the least.
fn locked(case: &Case<'_>, bytes: u64, findings: &mut Vec<Finding>) {
    let host = &case.facts.host;
    let lifted = [Capabilities::IPC_LOCK, Capabilities::SYS_RESOURCE];
    let (Some(limit), false) = (host.locked_memory, lifted.iter().any(|c| host.capabilities.has(*c))) else {
        return;
    };
    if limit < bytes {
        let what = format!("{} KiB of memory may be locked", limit >> 10);
        findings.push(
            Finding::error("memlock", "process", what)
                .because(format!("a worker's packet memory is locked and takes {} KiB", bytes >> 10))
                .command("ulimit -l unlimited    # under systemd: LimitMEMLOCK=infinity"),
        );
    }
}

fn huge_pages(case: &Case<'_>, config: &Config, needed: u32, findings: &mut Vec<Finding>) {
    let (reserved, free) = case.facts.host.huge_pages;
    if free >= needed {
        return;
    }
    let wanted = reserved + needed - free;
    let what = format!("{free} huge pages of 2 MiB are free, and packet memory takes {needed}");
    let sysctl = Action::Sysctl { key: "vm.nr_hugepages".into(), value: wanted.to_string() };
    match config.switch.huge_pages {
        HugePages::On => findings.push(
            Finding::error("huge-pages", "memory", what)
                .because("`huge_pages = \"on\"`: xswitch refuses to start without them")
                .safely(sysctl),
        ),
        HugePages::Auto => findings.push(
            Finding::note("huge-pages", "memory", what)
                .because("packet memory lies in small pages: a little slower, nothing else")
                .command(sysctl.to_string()),
        ),
        HugePages::Off => {}
    }
}

fn tables(case: &Case<'_>, config: &Config, packets: u64, findings: &mut Vec<Finding>) {
    let switch = &config.switch;
    let tables = u64::from(switch.max_connections) * CONNECTION
        + u64::from(switch.max_connections_ipv6) * CONNECTION_IPV6;
    if tables >= LARGE && case.facts.host.huge_on_demand == Some(false) {
        findings.push(
            Finding::warning(
                "transparent-huge-pages",
                "memory",
                format!("the kernel gives no huge pages on demand, and the tables take {} MiB", tables >> 20),
            )
            .because("looking up one of millions of connections then takes twice as long")
            .command("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
        );
    }
    let Some((total, available)) = case.facts.host.memory else { return };
    let needed = tables + packets;
    let what = |has: u64, word: &str| {
        format!("tables and packet memory take {} MiB, and {} MiB are {word}", needed >> 20, has >> 20)
    };
    let finding = if needed > total {
        Finding::error("memory", "memory", what(total, "there"))
    } else if needed > available {
        Finding::warning("memory", "memory", what(available, "available"))
    } else {
        return;
    };
    findings.push(finding.because(
        "all of it is written at start: the kernel would end xswitch or others; lower `max_connections` and \
         `max_connections_ipv6` in [switch]",
    ));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{checks, config, facts, found, only};
    use super::*;
    use crate::doctor::{Fix, Severity};

    #[test]
    fn the_limit_on_locked_memory_counts_for_those_it_binds() {
        let (mut config, mut facts) = (config(), facts());
        config.switch.huge_pages = HugePages::Off;
        facts.host.locked_memory = Some(8 << 20);
        assert!(found(judge, &config, &facts).is_empty(), "root is not bound");
        facts.host.capabilities = Capabilities(0);
        assert_eq!(only(judge, &config, &facts).check, "memlock");
        facts.host.locked_memory = None;
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn huge_pages_that_are_required_are_reserved_beside_those_in_use() {
        let (mut config, mut facts) = (config(), facts());
        config.switch.huge_pages = HugePages::On;
        facts.host.huge_pages = (10, 4);
        // Two workers, two interfaces: 2 × ⌈(2 × 2 × 2048 + 256) ÷ 512⌉ = 34 pages, of which 4 are there.
        let finding = only(judge, &config, &facts);
        assert_eq!((finding.check, finding.severity), ("huge-pages", Severity::Error));
        assert_eq!(finding.fix.command(), "sysctl -w vm.nr_hugepages=40");
        assert!(matches!(finding.fix, Fix::Safe(_)));
        config.switch.huge_pages = HugePages::Auto;
        let finding = only(judge, &config, &facts);
        assert_eq!(finding.severity, Severity::Note);
        assert!(!matches!(finding.fix, Fix::Safe(_)), "nobody asked for them");
        facts.host.huge_pages = (40, 34);
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn tables_must_fit_and_large_ones_want_huge_pages() {
        let (mut config, mut facts) = (config(), facts());
        config.switch.huge_pages = HugePages::Off;
        config.switch.max_connections = 10_000_000;
        facts.host.huge_on_demand = Some(false);
        facts.host.memory = Some((1 << 29, 1 << 28));
        let findings = found(judge, &config, &facts);
        assert_eq!(checks(&findings), ["transparent-huge-pages", "memory"]);
        assert_eq!(findings[1].severity, Severity::Error);
        facts.host.memory = Some((16 << 30, 1 << 29));
        assert_eq!(found(judge, &config, &facts)[1].severity, Severity::Warning);
    }
}
