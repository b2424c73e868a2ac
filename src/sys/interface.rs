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
        assert_eq!((index("lo").is_some(), index("no-such-interface")), (true, None));
    }
}
