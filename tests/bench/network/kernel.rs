//! The kernel as a peer: plain forwarding, and destination NAT by nftables.
//!
//! Its work is put onto the core of the device under test by threaded NAPI. Otherwise the kernel would do it on the
//! generator's core, and both would share one.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lay::{BACKEND, VIP};
use super::{Error, Measure, SWITCH_DEVICES};

/// How long the kernel may take to start its thread.
const START: Duration = Duration::from_secs(5);

/// Destination NAT with one backend, as the switch's first service has.
const DNAT: &str = "table ip bench {
  chain prerouting {
    type nat hook prerouting priority dstnat
    ip daddr 198.18.0.100 udp dport 80 dnat to 198.18.1.11:8080
    ip daddr 198.18.0.100 tcp dport 80 dnat to 198.18.1.11:8080
  }
}
";

/// A kernel that forwards. Dropping it makes the namespace forget.
pub struct Kernel {
    namespace: String,
}

impl Kernel {
    /// Routes and neighbours, with the work on the core of the device under test. With `translates`, by nftables.
    pub fn start(arguments: &Measure, translates: bool) -> Result<Self, Error> {
        let kernel = Self::host(arguments)?;
        kernel.shell("sysctl --quiet --write net.ipv4.ip_forward=1")?;
        if translates {
            kernel.feed(&["nft", "--file", "-"], DNAT)?;
        } else {
            kernel.shell(&format!("ip route replace {VIP}/32 via {BACKEND} dev bsw1"))?;
        }
        Ok(kernel)
    }

    /// The same without forwarding: for a program that terminates connections at the VIP.
    pub fn host(arguments: &Measure) -> Result<Self, Error> {
        let kernel = Self { namespace: arguments.namespace.clone() };
        kernel.shell(&format!(
            "ip neigh replace 198.18.0.1 lladdr 02:00:00:00:00:0a dev bsw0 nud permanent
             ip neigh replace {BACKEND} lladdr 02:00:00:00:00:0b dev bsw1 nud permanent
             ip route replace 198.19.0.0/16 via 198.18.0.1 dev bsw0"
        ))?;
        for device in SWITCH_DEVICES {
            kernel.shell(&format!(
                "ethtool --offload {device} gro on && echo 1 > /sys/class/net/{device}/threaded"
            ))?;
            let thread = napi_thread(device)?;
            // With the precedence that everything else has here.
            kernel.shell(&format!(
                "taskset --pid --cpu-list {} {thread}; renice --priority -15 --pid {thread}",
                arguments.switch_core
            ))?;
        }
        Ok(kernel)
    }

    /// Where it forwards.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Makes the VIP an address of the namespace.
    pub fn own_vip(&self) -> Result<(), Error> {
        self.shell(&format!("ip address replace {VIP}/32 dev bsw0"))
    }

    fn shell(&self, script: &str) -> Result<(), Error> {
        self.feed(&["sh", "-e", "-s"], script)
    }

    fn feed(&self, command: &[&str], input: &str) -> Result<(), Error> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.namespace])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        child.stdin.take().ok_or("no pipe")?.write_all(input.as_bytes())?;
        if child.wait()?.success() { Ok(()) } else { Err(format!("this failed: {input}").into()) }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let undo = "sysctl --quiet --write net.ipv4.ip_forward=0
            nft flush ruleset
            ip address delete 198.18.0.100/32 dev bsw0 2>/dev/null
            ip route flush 198.18.0.100/32
            ip route flush 198.19.0.0/16
            for device in bsw0 bsw1; do
                echo 0 > /sys/class/net/$device/threaded
                ethtool --offload $device gro off
            done";
        if let Err(error) = self.feed(&["sh", "-s"], undo) {
            eprintln!("bench-network: {error}");
        }
    }
}

/// The kernel's thread for the only queue of a device.
fn napi_thread(device: &str) -> Result<u32, Error> {
    let deadline = Instant::now() + START;
    let wanted = format!("napi/{device}-");
    loop {
        for process in std::fs::read_dir("/proc")?.flatten() {
            let Ok(id) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
            let comm = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            if comm.starts_with(&wanted) {
                return Ok(id);
            }
        }
        if Instant::now() > deadline {
            return Err(format!("the kernel has no thread for {device}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
