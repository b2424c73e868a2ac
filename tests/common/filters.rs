//! What nftables does at a host: swallows, counts.

use std::time::Duration;

use super::namespace::Namespace;

/// Makes a host swallow what comes to a TCP port, without a word, until this goes out of scope.
#[derive(Debug)]
pub struct BlackHole<'host> {
    host: &'host Namespace,
    port: u16,
}

impl<'host> BlackHole<'host> {
    /// Begins at once.
    pub fn dig(host: &'host Namespace, port: u16) -> Self {
        host.run(&format!("nft add table inet hole{port}"));
        host.run(&format!("nft add chain inet hole{port} input {{ type filter hook input priority 0 ; }}"));
        host.run(&format!("nft add rule inet hole{port} input tcp dport {port} drop"));
        Self { host, port }
    }
}

impl Drop for BlackHole<'_> {
    fn drop(&mut self) {
        // Also while panicking, when the namespace may be gone.
        let line = format!("nft delete table inet hole{}", self.port);
        self.host.run_within(Duration::from_secs(5), &line);
    }
}

/// Counts the TCP resets that reach a host.
#[derive(Debug)]
pub struct Resets<'host> {
    host: &'host Namespace,
}

impl<'host> Resets<'host> {
    /// Counts from now on.
    pub fn watch(host: &'host Namespace) -> Self {
        host.run("nft add table inet resets");
        host.run("nft add chain inet resets input { type filter hook input priority 0 ; }");
        host.run("nft add rule inet resets input tcp flags & rst == rst counter");
        Self { host }
    }

    /// Resets so far.
    pub fn count(&self) -> u64 {
        let listed = self.host.run("nft list table inet resets");
        let mut words = listed.split_whitespace().skip_while(|word| *word != "packets");
        let count = words.nth(1).and_then(|word| word.parse().ok());
        count.unwrap_or_else(|| panic!("nft names no number of packets: {listed}"))
    }
}
