//! Where frames were lost, by name: what was sent equals what arrived plus the sum of these.

use std::collections::BTreeMap;
use std::process::Command;

use xswitch::control::status::Status;
use xswitch::tables::{DropReason, WorkerCounters};

use super::{END_DEVICES, Error, SWITCH_DEVICES};

/// Lost frames by name.
pub type Losses = BTreeMap<String, u64>;

/// Of the bare forwarder.
pub fn of_counters(counters: &WorkerCounters) -> Losses {
    let mut losses = Losses::new();
    for reason in DropReason::ALL {
        losses.insert(reason.name().into(), counters.dropped(*reason).get());
    }
    for (device, port) in SWITCH_DEVICES.into_iter().zip(&counters.ports) {
        rings(&mut losses, device, [port.rx_ring_full.get(), port.rx_dropped.get(), port.tx_lost.get()]);
    }
    losses
}

/// Of the switch.
pub fn of_status(status: &Status) -> Losses {
    let mut losses = status.dropped.clone();
    for port in status.workers.iter().flat_map(|worker| &worker.ports) {
        rings(&mut losses, &port.interface, [port.rx_ring_full, port.rx_dropped, port.tx_lost]);
    }
    losses
}

/// `rx_fill_empty` is left out: in copy mode the kernel counts such a frame in `rx_dropped`, too.
fn rings(losses: &mut Losses, device: &str, [full, dropped, lost]: [u64; 3]) {
    for (name, count) in [("rx_ring_full", full), ("rx_dropped", dropped), ("tx_lost", lost)] {
        *losses.entry(format!("{device} {name}")).or_default() += count;
    }
}

/// Of a kernel that forwards, as far as its interfaces count.
pub fn of_kernel(namespace: &str) -> Result<Losses, Error> {
    let mut losses = Losses::new();
    for device in SWITCH_DEVICES {
        // What does not fit the first ring is counted by the generator's end, too.
        let path = format!("/sys/class/net/{device}/statistics/tx_dropped");
        let output = Command::new("ip").args(["netns", "exec", namespace, "cat", &path]).output()?;
        let count = String::from_utf8_lossy(&output.stdout).trim().parse()?;
        losses.insert(format!("{device} tx_dropped"), count);
    }
    Ok(losses)
}

/// Of the veth pairs: frames that the generator could not put into the peer's ring because it was full.
pub fn of_generator() -> Result<Losses, Error> {
    let mut losses = Losses::new();
    for device in END_DEVICES {
        let output = Command::new("ethtool").args(["--statistics", device]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = text
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .filter(|(name, _)| name.starts_with("tx_queue_") && name.ends_with("_xdp_xmit_errors"))
            .filter_map(|(_, count)| count.parse::<u64>().ok())
            .sum();
        losses.insert(format!("{device} veth ring full"), errors);
    }
    Ok(losses)
}

/// What was lost between two readings; names without a loss are left out.
pub fn difference(before: &Losses, after: &Losses) -> Losses {
    after
        .iter()
        .map(|(name, count)| (name.clone(), count - before.get(name).copied().unwrap_or(0).min(*count)))
        .filter(|(_, count)| *count > 0)
        .collect()
}
