//! The four rings of one interface queue.
//!
//! ```text
//!   free frames ──▶ fill ──▶ kernel receives ──▶ rx ──▶ batch ──▶ tx ──▶ kernel sends ──▶ completion ──▶ free frames
//! ```

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue};

use crate::sys::prefetch;
use crate::tables::counters::PortCounters;

use super::Frame;
use super::socket::{copy_mode, explain, is_busy, receive, set_option};
use super::umem::Umem;

mod lost;
mod send;

use lost::Lost;

/// Descriptors moved per call.
const BURST: usize = 64;
/// Frames the kernel may send per call, where it lets itself be told (linux/if_xdp.h, since 6.17).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const TX_BUDGET: u32 = 256;
/// Busy polling (linux/socket.h, since 5.11): not in every libc.
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
/// Microseconds that a blocking call may poll the driver; ours do not block, and poll it once.
const BUSY_POLL_US: libc::c_int = 20;
/// Bytes of frames in flight that the socket may hold.
const SEND_BUFFER: libc::c_int = 64 << 20;
/// How often a bind that finds the queue busy is tried again, and how long it waits in between:
/// a socket that was just closed lets go of its queue a little later.
const BIND_TRIES: u32 = 50;
const BIND_WAIT: Duration = Duration::from_millis(40);

const NO_MULTI_BUFFER: &str = "frames that are larger than a chunk of packet memory need multi-buffer AF_XDP: Linux 6.6 or \
     newer, and for zero copy a driver that has it; lower the MTU to 3758 (`ip link set dev DEV mtu 3758`), or try \
     `zero_copy = \"off\"`";

/// Whether frames are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMode {
    /// The driver reads and writes packet memory itself.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

impl CopyMode {
    /// The name in `status` and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
        }
    }
}

/// A frame of several chunks, of which not all have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partial {
    /// There is none.
    None,
    /// Being put together.
    Frame,
    /// There was no buffer for it: the rest of its chunks go the same way.
    Lost,
}

/// Linux: `XDP_USE_SG` (linux/if_xdp.h, since 6.6): frames may be spread over several chunks.
const XDP_USE_SG: u16 = 1 << 4;
/// `XDP_PKT_CONTD`: the frame goes on in the next descriptor.
const CONTINUED: u32 = 1;

/// A socket could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot open an AF_XDP socket on {interface} queue {queue} ({mode}): {reason}")]
pub struct Error {
    interface: String,
    queue: u32,
    mode: &'static str,
    reason: String,
}

/// The rings of one interface queue, with the counters of what passes through them.
#[derive(Debug)]
pub struct Port {
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    scratch: Box<[FrameDesc; BURST]>,
    staged: Vec<FrameDesc>,
    ring: u32,
    fill_level: u32,
    in_flight: u32,
    /// Frames in the TX ring that no `sendto` has covered yet.
    unsent: bool,
    /// The large frame that is being received.
    partial: Partial,
    assembling: Option<Frame>,
    down: bool,
    /// What the counters know of the kernel's.
    lost: Cell<Lost>,
    /// Whether the driver is polled by us, and whether it had nothing the last time.
    busy_poll: bool,
    quiet: bool,
    /// Frames per `sendto`, as far as known.
    pub tx_budget: u32,
    /// Whether frames are copied.
    pub copy_mode: CopyMode,
    /// RX queue of the interface.
    pub queue: u32,
}

impl Port {
    /// Opens a socket on `queue` of `interface`. A queue that is still held is waited for, up to two seconds.
    ///
    /// `jumbo`: frames may be larger than a chunk. An error where kernel or driver cannot.
    pub fn open(
        umem: &Umem,
        interface: &str,
        queue: u32,
        ring: u32,
        mode: CopyMode,
        jumbo: bool,
    ) -> Result<Self, Error> {
        let fail = |reason: String| Error { interface: interface.into(), queue, mode: mode.name(), reason };
        let size = QueueSize::new(ring).map_err(|e| fail(e.to_string()))?;
        let copy = match mode {
            CopyMode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
            CopyMode::Copy => BindFlags::XDP_COPY,
        };
        let spread = BindFlags::from_bits_retain(if jumbo { XDP_USE_SG } else { 0 });
        let config = SocketConfig::builder()
            .rx_queue_size(size)
            .tx_queue_size(size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | copy | spread)
            .build();
        let name: Interface = CString::new(interface).map(Interface::new).map_err(|e| fail(e.to_string()))?;
        let mut tries = 0;
        let (tx, rx, rings) = loop {
            // SAFETY: INHIBIT_PROG_LOAD is set, as sharing a UMEM demands.
            match unsafe { Socket::new(config, umem.raw(), &name, queue) } {
                Ok(opened) => break opened,
                Err(error) if is_busy(&error) && tries < BIND_TRIES => {
                    tries += 1;
                    std::thread::sleep(BIND_WAIT);
                }
                Err(error) if jumbo => return Err(fail(format!("{}; {NO_MULTI_BUFFER}", explain(&error)))),
                Err(error) => return Err(fail(explain(&error))),
            }
        };
        let (fill, completion) =
            rings.ok_or_else(|| fail("the queue is bound twice through the same packet memory".into()))?;
        let mut port = Self {
            rx,
            tx,
            fill,
            completion,
            scratch: Box::new([FrameDesc::default(); BURST]),
            staged: Vec::with_capacity(BURST),
            ring,
            fill_level: 0,
            in_flight: 0,
            unsent: false,
            partial: Partial::None,
            assembling: None,
            down: false,
            lost: Cell::default(),
            busy_poll: false,
            quiet: true,
            tx_budget: 32,
            copy_mode: CopyMode::Copy,
            queue,
        };
        port.tune();
        port.copy_mode = copy_mode(port.fd());
        Ok(port)
    }

    /// Raises the send buffer and the transmit budget, as far as the kernel lets us.
    fn tune(&mut self) {
        let _ = set_option(self.fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER);
        if set_option(
            self.fd(),
            libc::SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            TX_BUDGET.min(self.ring) as libc::c_int,
        )
        .is_ok()
        {
            self.tx_budget = TX_BUDGET.min(self.ring);
        }
    }

    /// From now on the driver is polled by whoever turns this port, not when its interrupts come. An error where the kernel
    /// does not let us.
    pub fn poll_driver(&mut self) -> std::io::Result<()> {
        for (name, value) in [
            (SO_PREFER_BUSY_POLL, 1),
            (libc::SO_BUSY_POLL, BUSY_POLL_US),
            (SO_BUSY_POLL_BUDGET, BURST as libc::c_int),
        ] {
            set_option(self.fd(), libc::SOL_SOCKET, name, value)?;
        }
        self.busy_poll = true;
        Ok(())
    }

    /// The socket, to be polled and put into the XDP program's map.
    pub fn fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// Takes up to `room` received frames, each handed to `sink`.
    #[inline]
    pub fn receive(
        &mut self,
        umem: &mut Umem,
        room: usize,
        counters: &PortCounters,
        mut sink: impl FnMut(Frame),
    ) -> usize {
        let room = room.min(BURST);
        // SAFETY: the descriptors are only written to, and all rings of this port belong to `umem`.
        let received = unsafe { self.rx.consume(&mut self.scratch[..room]) };
        self.quiet = received == 0;
        if received == 0 {
            return 0;
        }
        let mut bytes = 0;
        // Written by the driver, maybe on another core: asked for all at once, before the first is looked at.
        for desc in &self.scratch[..received] {
            prefetch::at(umem.address(desc));
        }
        let mut frames = 0;
        for at in 0..received {
            let desc = self.scratch[at];
            let mut frame = umem.adopt(desc);
            if desc.has_more_frames() || self.partial != Partial::None {
                match self.put_together(frame, desc.has_more_frames(), umem, counters) {
                    Some(whole) => frame = whole,
                    None => continue,
                }
            }
            frame.unwrap_room();
            bytes += frame.len() as u64;
            frames += 1;
            sink(frame);
        }
        self.fill_level -= received as u32;
        counters.rx_frames.add(frames);
        counters.rx_bytes.add(bytes);
        received
    }

    /// Adds one chunk to the large frame that is being received, and gives the chunk back. The frame, once it is whole.
    #[cold]
    fn put_together(
        &mut self,
        chunk: Frame,
        more: bool,
        umem: &mut Umem,
        counters: &PortCounters,
    ) -> Option<Frame> {
        let mut whole = match std::mem::replace(&mut self.partial, Partial::None) {
            Partial::None => umem.jumbos.take(),
            Partial::Frame => self.assembling.take(),
            Partial::Lost => None,
        };
        if let Some(frame) = &mut whole
            && !frame.append(chunk.bytes())
            && let Some(frame) = whole.take()
        {
            umem.give_back(frame);
        }
        umem.give_back(chunk);
        if more {
            self.partial = if whole.is_some() { Partial::Frame } else { Partial::Lost };
            self.assembling = whole;
            return None;
        }
        if whole.is_none() {
            counters.rx_jumbo_lost.add(1);
        }
        whole
    }

    /// Gives back what is kept of a frame that is not whole yet, before the packet memory goes.
    pub(super) fn let_go(&mut self, umem: &mut Umem) {
        self.partial = Partial::None;
        if let Some(frame) = self.assembling.take() {
            umem.give_back(frame);
        }
    }

    /// Keeps the fill ring full, so that the kernel always has somewhere to put a frame.
    #[inline]
    pub fn refill(&mut self, umem: &mut Umem) {
        while self.fill_level < self.ring {
            let wanted = BURST.min((self.ring - self.fill_level) as usize);
            let mut taken = 0;
            while taken < wanted {
                let Some(frame) = umem.take() else { break };
                self.scratch[taken] = frame.into_desc();
                taken += 1;
            }
            // SAFETY: each descriptor comes from a token that was just given up.
            let accepted = unsafe { self.fill.produce(&self.scratch[..taken]) };
            self.fill_level += accepted as u32;
            if accepted < taken {
                // The ring refuses all or nothing; cannot be while `fill_level` is right, and loses nothing if it is not.
                for desc in &self.scratch[..taken] {
                    umem.give_back(umem.adopt(*desc));
                }
                return;
            }
            if taken < wanted {
                return;
            }
        }
    }

    /// Calls the driver where it waits for a sign that the fill ring has frames again (zero copy), or where it is polled by us
    /// and everything it had is taken.
    #[inline]
    pub fn wake_receive(&self) {
        if (self.busy_poll && self.quiet) || self.fill.needs_wakeup() {
            receive(self.fd());
        }
    }

    /// Frames in the fill ring or with the kernel, and frames staged, in the TX ring or with the driver.
    pub fn levels(&self) -> (u32, u32) {
        (self.fill_level, self.in_flight)
    }

    /// Adds what the kernel has counted for this socket since the last time.
    pub fn read_statistics(&self, counters: &PortCounters) {
        if let Some(now) = Lost::of(&self.rx) {
            let mut known = self.lost.get();
            known.advance(now, counters);
            self.lost.set(known);
        }
    }
}
