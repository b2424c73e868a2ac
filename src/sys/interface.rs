//! What the kernel says of its interfaces in sysfs and procfs.

use std::io;
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

/// The interface's MAC address.
pub fn mac(interface: &str) -> io::Result<[u8; 6]> {
    let text = std::fs::read_to_string(sysfs(interface).join("address"))?;
    parse_mac(&text).ok_or_else(|| io::Error::other(format!("{interface} has no Ethernet address")))
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

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_have_six_bytes() {
        assert_eq!(parse_mac("02:00:00:00:01:0b\n"), Some([2, 0, 0, 0, 1, 11]));
        assert_eq!(parse_mac("02:00:00:00:01"), None);
        assert_eq!(parse_mac("80:00:02:08:fe:80:00:00:00:00:00:00"), None, "an InfiniBand address");
        assert_eq!(parse_mac(""), None);
    }

    #[test]
    fn every_host_has_a_loopback_interface() {
        assert!(exists("lo"));
        assert!(rx_queues("lo") >= 1);
        assert_eq!(mac("lo").unwrap(), [0; 6]);
        assert!(!exists("no-such-interface"));
        assert_eq!(rx_queues("no-such-interface"), 0);
    }
}
