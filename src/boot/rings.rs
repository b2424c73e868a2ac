//! The rings of one worker, opened as the configuration asks.

use std::os::fd::RawFd;
use std::time::Duration;

use crate::config::valid::{HugePages, Switch, ZeroCopy};
use crate::sys::{huge, interface};
use crate::xsk::{CopyMode, Port, RingSet, Umem, jumbo, umem};

use super::BootError;

/// How often huge pages that are in use are tried again, and how long it waits in between: a second in all.
const PAGE_TRIES: u32 = 25;
const PAGE_WAIT: Duration = Duration::from_millis(40);

/// What the XDP program and `status` must know of a socket.
pub(super) type Socket = (RawFd, CopyMode);

/// Rings of the worker of `queue`, of so many, over the interfaces that are `there`, in the first copy mode that all of them can do: they share
/// packet memory, and a driver with zero copy cannot share it with one without. With the sockets, by interface.
pub(super) fn open(
    switch: &Switch,
    (queue, queues): (u32, u32),
    there: &[bool],
) -> Result<(RingSet, Vec<Option<Socket>>), BootError> {
    let mut refused = String::from("no copy mode is allowed");
    for mode in copy_modes(switch.zero_copy) {
        match open_in(switch, (queue, queues), there, *mode) {
            Ok(rings) => {
                let sockets =
                    rings.ports.iter().map(|port| port.as_ref().map(|port| (port.fd(), port.copy_mode)));
                let sockets = sockets.collect();
                return Ok((rings, sockets));
            }
            Err(error) => refused = error.to_string(),
        }
    }
    Err(BootError::Rings(refused))
}

fn open_in(
    switch: &Switch,
    (queue, queues): (u32, u32),
    there: &[bool],
    mode: CopyMode,
) -> Result<RingSet, Box<dyn std::error::Error>> {
    let jumbo = needs_jumbo(&switch.interfaces)?;
    let umem = packet_memory(switch, queues, jumbo)?;
    let mut ports = Vec::new();
    for (name, there) in switch.interfaces.iter().zip(there) {
        let mut port = None;
        if *there {
            let opened = port.insert(Port::open(&umem, name, queue, switch.ring_size, mode, jumbo)?);
            if switch.busy_poll {
                opened
                    .poll_driver()
                    .map_err(|source| BootError::BusyPoll { interface: name.clone(), source })?;
            }
            let (copy_mode, tx_budget) = (opened.copy_mode.name(), opened.tx_budget);
            tracing::info!(interface = name, queue, copy_mode, tx_budget, "socket open");
        }
        ports.push(port);
    }
    Ok(RingSet { ports, umem })
}

/// Frames of one worker: for each port a full fill ring and a full TX ring; besides, a batch in hand and some to breathe.
pub(super) fn frames(switch: &Switch) -> u32 {
    switch.interfaces.len() as u32 * 2 * switch.ring_size + 256
}

fn packet_memory(switch: &Switch, workers: u32, jumbo: bool) -> Result<Umem, Box<dyn std::error::Error>> {
    let (ring, frames) = (switch.ring_size, frames(switch));
    match switch.huge_pages {
        HugePages::Off => Ok(Umem::new(frames, ring, jumbo)?),
        HugePages::On => Ok(in_huge_pages(frames, ring, jumbo).map_err(|error| {
            let pages = Umem::huge_pages(frames);
            let all = pages * workers.max(1);
            format!(
                "{error}; `huge_pages = \"on\"` needs {pages} free pages of 2 MiB for each worker: \
                 `sysctl vm.nr_hugepages={all}`, or huge_pages = \"auto\""
            )
        })?),
        HugePages::Auto => match in_huge_pages(frames, ring, jumbo) {
            Ok(umem) => {
                tracing::info!("packet memory lies in huge pages");
                Ok(umem)
            }
            Err(_) => Ok(Umem::new(frames, ring, jumbo)?),
        },
    }
}

/// The kernel takes its time to give back what former rings had: those of a copy mode that cannot be, or those of before an
/// interface returned. So where enough are reserved, they are waited for.
fn in_huge_pages(frames: u32, ring: u32, jumbo: bool) -> Result<Umem, umem::Error> {
    let are_reserved = huge::reserved() >= Umem::huge_pages(frames);
    let mut tries = if are_reserved { PAGE_TRIES } else { 1 };
    loop {
        tries -= 1;
        match Umem::in_huge_pages(frames, ring, jumbo) {
            Err(_) if tries > 0 => std::thread::sleep(PAGE_WAIT),
            outcome => return outcome,
        }
    }
}

/// Whether a frame of some interface may be larger than a chunk of packet memory.
fn needs_jumbo(interfaces: &[String]) -> Result<bool, BootError> {
    let mut largest = 0;
    for interface in interfaces {
        let mtu = interface::mtu(interface).unwrap_or(0);
        if mtu > u32::from(jumbo::LARGEST_PACKET) {
            return Err(BootError::Mtu { interface: interface.clone(), mtu });
        }
        largest = largest.max(mtu);
    }
    Ok(largest > u32::from(jumbo::LARGEST_IN_ONE))
}

const fn copy_modes(zero_copy: ZeroCopy) -> &'static [CopyMode] {
    match zero_copy {
        ZeroCopy::Auto => &[CopyMode::ZeroCopy, CopyMode::Copy],
        ZeroCopy::On => &[CopyMode::ZeroCopy],
        ZeroCopy::Off => &[CopyMode::Copy],
    }
}
