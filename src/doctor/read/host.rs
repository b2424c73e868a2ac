//! The machine, from procfs and sysfs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::doctor::facts::Host;
use crate::doctor::fix::parameter;
use crate::sys::kernel::{self, AfXdp, Capabilities};
use crate::sys::{huge, interface, limits, memory};
use crate::xsk::Steer;

/// Parameters that are not of an interface.
const SYSCTLS: [&str; 3] =
    ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.rp_filter"];

/// Reads what concerns no interface, and the parameters of these.
pub(super) fn read(interfaces: &[String]) -> Host {
    let capabilities = Capabilities::effective();
    let af_xdp = kernel::af_xdp();
    Host {
        kernel: kernel::version(),
        af_xdp,
        capabilities,
        xdp_refused: refused(af_xdp, capabilities),
        can_busy_poll: Some(Path::new("/proc/sys/net/core/busy_poll").exists()),
        // Where nobody says, nothing is said about it.
        locked_memory: limits::locked_memory().unwrap_or(None),
        huge_pages: (huge::reserved(), huge::free()),
        huge_on_demand: Some(huge::are_given()),
        memory: memory::of_machine().ok(),
        cores: std::thread::available_parallelism().ok().map(usize::from),
        clocksource: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        isolated: word("/sys/devices/system/cpu/isolated"),
        sysctls: sysctls(interfaces),
        local_ports: interface::local_port_range(),
        conntrack: conntrack(),
    }
}

/// Loads the program, which attaches it to nothing, and forgets it. Not tried by whom the kernel refuses anyway.
fn refused(af_xdp: AfXdp, capabilities: Capabilities) -> Option<String> {
    let may = capabilities.has(Capabilities::NET_ADMIN)
        && (capabilities.has(Capabilities::SYS_ADMIN)
            || [Capabilities::BPF, Capabilities::PERFMON].iter().all(|one| capabilities.has(*one)));
    (may && af_xdp != AfXdp::Missing).then(Steer::load)?.err().map(|error| error.to_string())
}

fn sysctls(interfaces: &[String]) -> BTreeMap<String, String> {
    let of_interfaces =
        interfaces.iter().map(|name| format!("net.ipv4.conf.{}.rp_filter", name.replace('.', "/")));
    let keys = SYSCTLS.map(str::to_owned).into_iter().chain(of_interfaces);
    keys.filter_map(|key| fs::read_to_string(parameter(&key)).ok().map(|value| (key, value))).collect()
}

fn conntrack() -> Option<(u64, u64)> {
    let number = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok()?;
        text.trim().parse().ok()
    };
    Some((number("count")?, number("max")?))
}

fn word(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_linux_says_something_of_itself() {
        let host = read(&["lo".to_owned()]);
        assert!(host.kernel.is_some() && host.memory.is_some() && host.cores.is_some());
        assert!(host.number("net.ipv4.ip_forward").is_some());
        assert!(host.number("net.ipv4.conf.lo.rp_filter").is_some());
    }
}
