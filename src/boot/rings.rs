//! The rings of one worker, opened as the configuration asks.

use std::os::fd::RawFd;

use crate::config::valid::{HugePages, Switch, ZeroCopy};
use crate::sys::interface;
use crate::xsk::{CopyMode, Port, RingSet, Umem, jumbo};

use super::BootError;

/// What the XDP program and `status` must know of a socket.
pub(super) type Socket = (RawFd, CopyMode);

/// Rings of one worker over the interfaces that are `there`, in the first copy mode that all of them can do: they share
/// packet memory, and a driver with zero copy cannot share it with one without. With the sockets, by interface.
pub(super) fn open(
    switch: &Switch,
    queue: u32,
    there: &[bool],
) -> Result<(RingSet, Vec<Option<Socket>>), BootError> {
    let mut refused = String::from("no copy mode is allowed");
    for mode in copy_modes(switch.zero_copy) {
        match open_in(switch, queue, there, *mode) {
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
    queue: u32,
    there: &[bool],
    mode: CopyMode,
) -> Result<RingSet, Box<dyn std::error::Error>> {
    let jumbo = needs_jumbo(&switch.interfaces)?;
    let umem = packet_memory(switch, jumbo)?;
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

/// For each port a full fill ring and a full TX ring; besides, a batch in hand and some to breathe.
fn packet_memory(switch: &Switch, jumbo: bool) -> Result<Umem, Box<dyn std::error::Error>> {
    let ring = switch.ring_size;
    let frames = switch.interfaces.len() as u32 * 2 * ring + 256;
    match switch.huge_pages {
        HugePages::Off => Ok(Umem::new(frames, ring, jumbo)?),
        HugePages::On => Ok(Umem::in_huge_pages(frames, ring, jumbo).map_err(|error| {
            let workers = if switch.workers == 0 { String::new() } else { format!(" × {}", switch.workers) };
            let pages = Umem::huge_pages(frames);
            format!(
                "{error}; `huge_pages = \"on\"` needs {pages} free pages of 2 MiB for each worker: \
                 `sysctl vm.nr_hugepages={pages}`{workers}, or huge_pages = \"auto\""
            )
        })?),
        HugePages::Auto => match Umem::in_huge_pages(frames, ring, jumbo) {
            Ok(umem) => Ok(umem),
            Err(_) => Ok(Umem::new(frames, ring, jumbo)?),
        },
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
