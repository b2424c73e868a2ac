//! How much memory the process has.

use std::fs;
use std::io::{self, ErrorKind};

/// Bytes of memory that the process holds at this moment, packet memory included (`VmRSS` of proc_pid_status(5)). The
/// kernel counts by the processor and sums up now and then: it may be off by some hundred KiB.
pub fn resident_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    read(&status)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "/proc/self/status has no VmRSS in kB"))
}

/// Bytes of that which lie in huge pages (`AnonHugePages` of proc_pid_smaps(5)). The kernel walks the whole address space:
/// some milliseconds per GiB without them.
pub fn huge_bytes() -> io::Result<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    value(&rollup, "AnonHugePages:")
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "smaps_rollup has no AnonHugePages in kB"))
}

/// Bytes of memory that this machine has, and those that programs could still get (`MemTotal`, `MemAvailable` of
/// proc_meminfo(5)).
pub fn of_machine() -> io::Result<(u64, u64)> {
    let info = fs::read_to_string("/proc/meminfo")?;
    value(&info, "MemTotal:")
        .zip(value(&info, "MemAvailable:"))
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "/proc/meminfo has no MemAvailable in kB"))
}

fn read(status: &str) -> Option<u64> {
    value(status, "VmRSS:")
}

fn value(lines: &str, name: &str) -> Option<u64> {
    let value = lines.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_is_counted() {
        const MORE: usize = 64 << 20;
        let before = resident_bytes().unwrap();
        let written = std::hint::black_box(vec![1u8; MORE]);
        let after = resident_bytes().unwrap();
        assert!(after >= before + MORE as u64 / 2, "{before} bytes, then {after}");
        drop(written);
    }

    #[test]
    fn a_status_without_the_line_says_nothing() {
        assert_eq!(read("Name:\txswitch\nVmRSS:\t  2048 kB\n"), Some(2 << 20));
        assert_eq!(read("Name:\tkthreadd\n"), None);
        assert_eq!(read("VmRSS:\tmuch\n"), None);
    }

    #[test]
    fn a_machine_has_more_memory_than_it_gives_away() {
        let (total, available) = of_machine().unwrap();
        assert!(available > 0 && total > available);
    }

    #[test]
    fn huge_pages_are_part_of_what_is_resident() {
        assert!(huge_bytes().unwrap() <= resident_bytes().unwrap() + (1 << 20));
    }
}
