//! What brings frames to AF_XDP sockets.

use std::os::fd::RawFd;

use aya::maps::{Array, MapData, XskMap};

use super::error::Error;
use super::filter::{Filter, SETTINGS, settings};
use super::programs::Programs;
use super::tuples::Range;

/// Whose frames go to the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Everybody's.
    All,
    /// What is for these addresses, and questions (ARP, neighbour discovery) about them. The kernel gets the rest.
    Addresses(Range),
}

/// An XDP program on one interface; off again when it is dropped.
pub struct Divert {
    _programs: Programs,
    _sockets: XskMap<MapData>,
}

impl Divert {
    /// Attaches the program. `sockets` are those of the interface's queues, by queue; what comes to another queue goes to the
    /// kernel, or nowhere with [`Wanted::All`].
    pub fn attach(interface: &str, wanted: Wanted, sockets: &[RawFd]) -> Result<Self, Error> {
        let name = match wanted {
            Wanted::All => "divert",
            Wanted::Addresses(_) => "endpoint",
        };
        let mut programs = Programs::load(name)?;
        if let Wanted::Addresses(range) = wanted {
            let filter = Filter { destination: Some(range), protocol: None };
            let mut map: Array<MapData, [u8; SETTINGS]> = programs.map("settings")?;
            map.set(0, settings(&filter, 0, 0), 0)
                .map_err(|error| Error::from_source("XDP map `settings`", &error))?;
        }
        let mut map: XskMap<MapData> = programs.map("sockets")?;
        for (queue, socket) in sockets.iter().enumerate() {
            map.set(queue as u32, *socket, 0)
                .map_err(|error| Error::from_source("XDP map `sockets`", &error))?;
        }
        programs.attach(name, interface)?;
        Ok(Self { _programs: programs, _sockets: map })
    }
}
