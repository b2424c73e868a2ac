//! What the kernel says of its interfaces in sysfs and procfs.

use std::path::{Path, PathBuf};

/// Whether there is an interface of this name.
pub fn exists(interface: &str) -> bool {
    sysfs(interface).exists()
}

/// Number of RX queues; 0 where there is no such interface.
pub fn rx_queues(interface: &str) -> u32 {
    let entries = std::fs::read_dir(sysfs(interface).join("queues"));
    let rx = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("rx-");
    entries.map_or(0, |entries| entries.flatten().filter(rx).count() as u32)
}

/// The kernel's number of the interface; none where there is no such interface.
pub fn index(interface: &str) -> Option<u32> {
    std::fs::read_to_string(sysfs(interface).join("ifindex")).ok()?.trim().parse().ok()
}

/// Largest IP packet of the interface, in bytes; none where there is no such interface.
pub fn mtu(interface: &str) -> Option<u32> {
    std::fs::read_to_string(sysfs(interface).join("mtu")).ok()?.trim().parse().ok()
}

/// The MAC address of the interface; none where there is no such interface.
pub fn mac(interface: &str) -> Option<[u8; 6]> {
    let text = std::fs::read_to_string(sysfs(interface).join("address")).ok()?;
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Whether there is an adapter behind the interface (virtual machines have them, too), not software alone.
pub fn is_hardware(interface: &str) -> bool {
    sysfs(interface).join("device").exists()
}

/// Whether the interface is up, by its administrator's will.
pub fn is_up(interface: &str) -> bool {
    let flags = std::fs::read_to_string(sysfs(interface).join("flags")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
    flags & 1 != 0
}

/// One of the kernel's statistics of the interface, such as `tx_packets`; 0 where there is none.
pub fn statistic(interface: &str, name: &str) -> u64 {
    let path = sysfs(interface).join("statistics").join(name);
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// First and last of the ports from which the kernel takes its own source ports.
pub fn local_port_range() -> Option<(u16, u16)> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = range.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn sysfs(interface: &str) -> PathBuf {
    Path::new("/sys/class/net").join(interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_a_loopback_interface() {
        assert!(exists("lo"));
        assert!(rx_queues("lo") >= 1);
        assert_eq!(mtu("lo"), Some(65536));
        assert!(!exists("no-such-interface"));
        assert_eq!((rx_queues("no-such-interface"), mtu("no-such-interface")), (0, None));
        assert_eq!((mac("lo"), mac("no-such-interface")), (Some([0; 6]), None));
        assert!(is_up("lo") && !is_hardware("lo") && !is_up("no-such-interface"));
        assert_eq!((statistic("lo", "tx_errors"), statistic("lo", "no-such")), (0, 0));
        assert_eq!((index("lo").is_some(), index("no-such-interface")), (true, None));
    }
}
