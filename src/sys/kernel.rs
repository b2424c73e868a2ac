//! Which kernel this is, and what it lets this process do.

use std::fs;
use std::io;

/// Whether AF_XDP sockets can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfXdp {
    /// They can.
    #[default]
    There,
    /// The kernel was built without CONFIG_XDP_SOCKETS.
    Missing,
    /// Not for this process.
    Forbidden,
}

/// Capabilities (capabilities(7)) by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Every one there is.
    pub const ALL: Self = Self(u64::MAX);

    /// Giving up what programs started later could get back.
    pub const SETPCAP: u8 = 8;
    /// Listening on ports below 1024.
    pub const NET_BIND_SERVICE: u8 = 10;
    /// Network configuration, XDP.
    pub const NET_ADMIN: u8 = 12;
    /// AF_XDP and packet sockets.
    pub const NET_RAW: u8 = 13;
    /// Locking memory beyond the limit.
    pub const IPC_LOCK: u8 = 14;
    /// Nearly everything; BPF before Linux 5.8.
    pub const SYS_ADMIN: u8 = 21;
    /// Raising one's own limits.
    pub const SYS_RESOURCE: u8 = 24;
    /// BPF programs that the kernel does not take for hostile.
    pub const PERFMON: u8 = 38;
    /// Loading BPF programs.
    pub const BPF: u8 = 39;

    /// Those in force for this thread; none where procfs is not there.
    pub fn effective() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let word = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self(word.and_then(|word| u64::from_str_radix(word.trim(), 16).ok()).unwrap_or(0))
    }

    /// Exactly these.
    pub fn of(capabilities: &[u8]) -> Self {
        Self(capabilities.iter().fold(0, |bits, capability| bits | 1 << capability))
    }

    /// Their names, without "CAP_"; numbers for those that have nothing to do with a switch.
    pub fn names(self) -> Vec<String> {
        let name = |capability| match capability {
            Self::SETPCAP => "SETPCAP".to_owned(),
            Self::NET_BIND_SERVICE => "NET_BIND_SERVICE".to_owned(),
            Self::NET_ADMIN => "NET_ADMIN".to_owned(),
            Self::NET_RAW => "NET_RAW".to_owned(),
            Self::IPC_LOCK => "IPC_LOCK".to_owned(),
            Self::SYS_ADMIN => "SYS_ADMIN".to_owned(),
            Self::SYS_RESOURCE => "SYS_RESOURCE".to_owned(),
            Self::PERFMON => "PERFMON".to_owned(),
            Self::BPF => "BPF".to_owned(),
            other => other.to_string(),
        };
        (0..64).filter(|capability| self.has(*capability)).map(name).collect()
    }

    /// Whether this one is among them.
    pub const fn has(self, capability: u8) -> bool {
        (self.0 >> capability) & 1 == 1
    }
}

/// Major and minor number of the running kernel's version; none where it does not say.
pub fn version() -> Option<(u32, u32)> {
    parse(&fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Tries to open a socket.
pub fn af_xdp() -> AfXdp {
    // SAFETY: takes integers only.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd >= 0 {
        // SAFETY: the descriptor was just opened, and nobody else knows it.
        unsafe { libc::close(fd) };
        return AfXdp::There;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::ESOCKTNOSUPPORT) => AfXdp::Missing,
        _ => AfXdp::Forbidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_two_numbers_that_count() {
        assert_eq!(parse("6.1.0-38-amd64\n"), Some((6, 1)));
        assert_eq!(parse("6.18.44"), Some((6, 18)));
        assert_eq!(parse("next"), None);
        assert!(version().is_some_and(|version| version >= (3, 10)));
    }

    #[test]
    fn capabilities_are_bits() {
        let some = Capabilities(1 << 12 | 1 << 39);
        assert!(some.has(Capabilities::NET_ADMIN) && some.has(Capabilities::BPF));
        assert!(!some.has(Capabilities::NET_RAW));
    }

    #[test]
    fn a_socket_is_refused_for_want_of_the_capability_or_of_the_kernel() {
        let may = Capabilities::effective().has(Capabilities::NET_RAW);
        assert!(may || af_xdp() != AfXdp::There);
    }
}
