//! All rings of one worker with the packet memory under them.
//!
//! They live and die together: a shared UMEM can only take on new sockets while its first one is bound, so when an
//! interface comes back the worker gets a whole new set. (Kernel: net/xdp/xsk.c, `xsk_bind`, XDP_SHARED_UMEM.)

use super::{Port, Umem};

/// One worker's rings.
#[derive(Debug)]
pub struct RingSet {
    /// By interface; none where the interface is gone or has no queue for this worker.
    pub ports: Vec<Option<Port>>,
    /// The memory that all of them share. After the ports, so that it is dropped last.
    pub umem: Umem,
}

impl RingSet {
    /// Frames in the pool and in all rings. Outside a turn of the loop this is every frame there is; the debug build asserts it.
    pub fn accounted(&self) -> u32 {
        let in_rings: u32 = self
            .ports
            .iter()
            .flatten()
            .map(|port| {
                let (fill, in_flight) = port.levels();
                fill + in_flight
            })
            .sum();
        self.umem.available() as u32 + in_rings
    }
}

impl Drop for RingSet {
    fn drop(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            port.let_go(&mut self.umem);
        }
    }
}
