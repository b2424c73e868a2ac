//! The XDP programs of pktgen.bpf.c: loading and attaching.

use aya::Ebpf;
use aya::maps::{Map, MapError};
use aya::programs::{Xdp, XdpMode};

use super::error::{Error, os_error};
use crate::sys::limits;

/// A loaded object; its programs are detached when it is dropped.
pub(super) struct Programs(Ebpf);

/// The kernel's number for an attachment point that is taken.
const TAKEN: [i32; 2] = [16, 17];

impl Programs {
    /// Loads the object and hands the program `name` to the kernel.
    pub fn load(name: &str) -> Result<Self, Error> {
        // Before Linux 5.11 maps count against it.
        let _ = limits::unlock_memory();
        let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pktgen.bpf.o"));
        let failed =
            |error: &dyn std::error::Error| Error::from_source("cannot load the XDP programs", error);
        let mut programs = Self(Ebpf::load(object).map_err(|error| failed(&error))?);
        programs.program_mut(name)?.load().map_err(|error| failed(&error))?;
        Ok(programs)
    }

    fn program_mut(&mut self, name: &str) -> Result<&mut Xdp, Error> {
        let program = self.0.program_mut(name).and_then(|program| program.try_into().ok());
        program.ok_or_else(|| Error::Failed(format!("the object holds no program `{name}`")))
    }

    /// One of the programs.
    pub fn program(&self, name: &str) -> Result<&Xdp, Error> {
        let program = self.0.program(name).and_then(|program| program.try_into().ok());
        program.ok_or_else(|| Error::Failed(format!("the object holds no program `{name}`")))
    }

    /// Attaches a program, in the driver where that works; whether it did.
    pub fn attach(&mut self, name: &str, interface: &str) -> Result<bool, Error> {
        let mut first = None;
        for mode in [XdpMode::Driver, XdpMode::Skb] {
            match self.program_mut(name)?.attach(interface, mode) {
                Ok(_) => return Ok(first.is_none()),
                Err(error) => {
                    let is_taken = os_error(&error).is_some_and(|number| TAKEN.contains(&number));
                    let what = format!("cannot attach an XDP program to {interface}");
                    let Error::Failed(mut text) = Error::from_source(&what, &error) else { continue };
                    if is_taken {
                        text.push_str(&format!(
                            "; another one is attached: end the program that holds it (`bpftool link` lists them); `ip link set dev {interface} \
                             xdp off` takes off only what `ip` attached"
                        ));
                        return Err(Error::Failed(text));
                    }
                    first.get_or_insert(Error::Failed(text));
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::Failed(format!("cannot attach an XDP program to {interface}"))))
    }

    /// Takes a map out of the object.
    pub fn map<M: TryFrom<Map, Error = MapError>>(&mut self, name: &str) -> Result<M, Error> {
        let map = self
            .0
            .take_map(name)
            .ok_or_else(|| Error::Failed(format!("the object holds no map `{name}`")))?;
        M::try_from(map).map_err(|error| Error::from_source(&format!("XDP map `{name}`"), &error))
    }
}
