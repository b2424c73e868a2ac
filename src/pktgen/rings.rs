//! Frames through AF_XDP sockets: for adapters, for frames that no template makes, and for those who also listen.

use std::os::fd::RawFd;
use std::time::Duration;

use super::error::Error;
use crate::sys::interface;
use crate::sys::wait::WaitSet;
use crate::tables::counters::PortCounters;
use crate::xsk::{CopyMode, Frame, Port, RingSet, Umem};

/// Descriptors of each ring.
const RING: u32 = 2048;
/// Frames that are moved at a time.
pub(super) const BURST: usize = 64;
/// Queues that are listened to at the most, as the XDP program has room for.
const MAX_QUEUES: u32 = 64;
/// How often the ring is emptied for one frame, before it counts as lost.
const TRIES: usize = 1000;

/// Sockets on queues of one interface, with their memory.
pub(super) struct Rings {
    set: RingSet,
    counters: Vec<PortCounters>,
    refused: u64,
}

impl Rings {
    /// Sockets on the first `queues` queues, or on all there are; zero copy where the driver has it.
    pub fn open(name: &str, queues: Option<u32>) -> Result<Self, Error> {
        let queues = queues.unwrap_or_else(|| interface::rx_queues(name)).clamp(1, MAX_QUEUES);
        let open = |mode| -> Result<RingSet, Error> {
            let failed = |error: &dyn std::error::Error| Error::from_source("AF_XDP", error);
            let umem = Umem::new(queues * 2 * RING, RING, false).map_err(|error| failed(&error))?;
            let mut ports = Vec::new();
            for queue in 0..queues {
                let port =
                    Port::open(&umem, name, queue, RING, mode, false).map_err(|error| failed(&error))?;
                ports.push(Some(port));
            }
            Ok(RingSet { ports, umem })
        };
        let set = match interface::is_hardware(name).then(|| open(CopyMode::ZeroCopy)) {
            Some(Ok(set)) => set,
            _ => open(CopyMode::Copy)?,
        };
        let counters = set.ports.iter().map(|_| PortCounters::default()).collect();
        Ok(Self { set, counters, refused: 0 })
    }

    /// The sockets, by queue.
    pub fn sockets(&self) -> Vec<RawFd> {
        self.set.ports.iter().flatten().map(Port::fd).collect()
    }

    /// A free frame; it still holds what was last in it.
    pub fn take(&mut self) -> Option<Frame> {
        self.set.umem.take()
    }

    /// Stages a frame for sending through the first queue. Where the ring is full it is emptied first; a frame for which there
    /// is no room even then, because the interface is down, is counted as lost.
    pub fn transmit(&mut self, mut frame: Frame) {
        for _ in 0..TRIES {
            let RingSet { ports, umem } = &mut self.set;
            let (Some(Some(port)), Some(counters)) = (ports.first_mut(), self.counters.first()) else {
                break;
            };
            match port.transmit(frame, umem, counters) {
                Ok(()) => return,
                Err(refused) => frame = refused,
            }
            self.flush();
        }
        self.refused += 1;
        self.give_back(frame);
    }

    /// Sends what is staged and takes back what was sent.
    pub fn flush(&mut self) {
        let RingSet { ports, umem } = &mut self.set;
        for (port, counters) in ports.iter_mut().flatten().zip(&self.counters) {
            port.retry(counters);
            port.flush(umem, counters);
        }
    }

    /// Keeps the kernel in frames to receive into.
    pub fn refill(&mut self) {
        let RingSet { ports, umem } = &mut self.set;
        for port in ports.iter_mut().flatten() {
            port.refill(umem);
            port.wake_receive();
        }
    }

    /// Moves what came to `batch`.
    pub fn receive(&mut self, batch: &mut Vec<Frame>) {
        let RingSet { ports, umem } = &mut self.set;
        for (port, counters) in ports.iter_mut().flatten().zip(&self.counters) {
            port.receive(umem, BURST, counters, |frame| batch.push(frame));
        }
    }

    /// Takes a frame back.
    pub fn give_back(&mut self, frame: Frame) {
        self.set.umem.give_back(frame);
    }

    /// Whether everything that was staged is with the device.
    pub fn is_drained(&self) -> bool {
        self.set.ports.iter().flatten().all(|port| port.levels().1 == 0)
    }

    /// Frames that the kernel or the device did not take.
    pub fn lost(&self) -> u64 {
        self.refused + self.thrown_away()
    }

    /// Of those, frames that the device threw away. A veth counts the same ones in its `tx_dropped`.
    fn thrown_away(&self) -> u64 {
        self.counters.iter().map(|counters| counters.tx_lost.get()).sum()
    }

    /// Frames that did not leave since these rings were opened, each counted once: refused, still here, or thrown away.
    pub fn not_sent(&self, dropped_by_interface: u64) -> u64 {
        let here: u32 = self.set.ports.iter().flatten().map(|port| port.levels().1).sum();
        self.refused + u64::from(here) + self.thrown_away().max(dropped_by_interface)
    }

    /// Frames that came and found no room.
    pub fn overrun(&self) -> u64 {
        for (port, counters) in self.set.ports.iter().flatten().zip(&self.counters) {
            port.read_statistics(counters);
        }
        let lost = |counters: &PortCounters| counters.rx_ring_full.get() + counters.rx_dropped.get();
        self.counters.iter().map(lost).sum()
    }

    /// Sleeps until something came or the time is up.
    pub fn wait(&self, timeout: Duration) {
        let mut waiting = WaitSet::<{ MAX_QUEUES as usize }>::default();
        for socket in self.sockets() {
            waiting.add(socket);
        }
        waiting.wait_for(timeout);
    }
}
