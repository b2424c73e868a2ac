//! The four rings of one interface queue.
//!
//! ```text
//!   free frames ──▶ fill ──▶ kernel receives ──▶ rx ──▶ batch ──▶ tx ──▶ kernel sends ──▶ completion ──▶ free frames
//! ```
//!
//! Sending in copy mode is a system call, and its answers differ: EAGAIN means call again, nothing is lost; EBUSY means
//! that one frame was completed without being sent. Both are counted, the second as a loss.

use std::ffi::CString;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue};

use crate::sys::prefetch;
use crate::tables::counters::PortCounters;

use super::Frame;
use super::socket::{copy_mode, explain, is_busy, receive, send, set_option};
use super::umem::{CHUNK, Umem};

/// Descriptors moved per call.
const BURST: usize = 64;
/// `sendto` calls per turn at the most, so that a slow device cannot hold the loop.
const KICKS: usize = 8;
/// Frames the kernel may send per call, where it lets itself be told (linux/if_xdp.h, since 6.17).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const TX_BUDGET: u32 = 256;
/// Bytes of frames in flight that the socket may hold.
const SEND_BUFFER: libc::c_int = 64 << 20;
/// How often a bind that finds the queue busy is tried again, and how long it waits in between:
/// a socket that was just closed lets go of its queue a little later.
const BIND_TRIES: u32 = 50;
const BIND_WAIT: Duration = Duration::from_millis(40);

/// What every chunk can hold when it is sent, wherever in it the kernel put what it last received: all but the headroom and
/// what the XDP program may have cut off in front.
const SMALLEST_CHUNK: usize = CHUNK - 512;
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

    /// Calls the driver where it waits for a sign that the fill ring has frames again (zero copy).
    #[inline]
    pub fn wake_receive(&self) {
        if self.fill.needs_wakeup() {
            receive(self.fd());
        }
    }

    /// Stages a frame for sending; handed back where the ring has no room or the interface is down.
    #[inline]
    pub fn transmit(
        &mut self,
        mut frame: Frame,
        umem: &mut Umem,
        counters: &PortCounters,
    ) -> Result<(), Frame> {
        if self.down || self.in_flight >= self.ring || self.staged.len() == BURST {
            return Err(frame);
        }
        if frame.has_room() {
            // Made for headers that nobody needed.
            frame.set_header(0, 0);
        }
        if frame.is_jumbo() {
            return self.transmit_apart(frame, umem, counters);
        }
        counters.tx_bytes.add(frame.len() as u64);
        self.stage(frame, false, umem);
        counters.tx_frames.add(1);
        if self.staged.len() == BURST {
            self.submit();
        }
        Ok(())
    }

    #[inline]
    fn stage(&mut self, mut frame: Frame, more: bool, umem: &Umem) {
        let len = frame.len();
        if frame.desc_len() != len {
            // SAFETY: the descriptor belongs to `umem`, and `frame` is the only access to it.
            unsafe { umem.raw().data_mut(frame.desc_mut()) }.cursor().set_pos(len);
        }
        // Received descriptors come with options of their own.
        frame.desc_mut().set_options(if more { CONTINUED } else { 0 });
        self.staged.push(frame.into_desc());
        self.in_flight += 1;
    }

    /// Sends a large frame in chunks.
    #[cold]
    fn transmit_apart(
        &mut self,
        frame: Frame,
        umem: &mut Umem,
        counters: &PortCounters,
    ) -> Result<(), Frame> {
        let chunks = frame.len().div_ceil(SMALLEST_CHUNK);
        if self.staged.len() + chunks > BURST {
            self.submit();
        }
        let room = (self.ring - self.in_flight) as usize;
        if room < chunks || self.staged.len() + chunks > BURST || umem.available() < chunks {
            return Err(frame);
        }
        let mut rest = frame.bytes();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(SMALLEST_CHUNK));
            // There are enough: they were counted, and each holds as much.
            let Some(mut chunk) = umem.take() else { break };
            chunk.fill(now);
            self.stage(chunk, !later.is_empty(), umem);
            rest = later;
        }
        counters.tx_bytes.add(frame.len() as u64);
        counters.tx_frames.add(1);
        umem.give_back(frame);
        Ok(())
    }

    /// Moves staged frames into the TX ring. They stay staged where it has no room, which cannot be while `in_flight` is
    /// right.
    fn submit(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        // SAFETY: each descriptor comes from a token that was given up in `transmit`, of the same packet memory.
        let accepted = unsafe { self.tx.produce(&self.staged) };
        debug_assert_eq!(accepted, self.staged.len(), "in_flight never exceeds the ring");
        if accepted > 0 {
            self.staged.clear();
            self.unsent = true;
        }
    }

    /// Sends what was staged, calls the kernel until its TX ring is drained (or it must wait), and takes back what was sent.
    /// Returns whether anything moved.
    #[inline]
    pub fn flush(&mut self, umem: &mut Umem, counters: &PortCounters) -> bool {
        self.submit();
        if self.in_flight == 0 {
            return false;
        }
        let kicked = self.unsent && !self.down;
        if kicked {
            self.kick(counters);
        }
        self.complete(umem, counters) > 0 || kicked
    }

    fn kick(&mut self, counters: &PortCounters) {
        for _ in 0..KICKS {
            if self.tx.nb_free_exact() == self.ring {
                self.unsent = false;
                return;
            }
            if !self.tx.needs_wakeup() {
                return;
            }
            counters.tx_kicks.add(1);
            match send(self.fd()) {
                Ok(()) => self.down = false,
                Err(libc::EAGAIN) => {
                    self.down = false;
                    counters.tx_retries.add(1);
                }
                Err(libc::EBUSY) => counters.tx_lost.add(1),
                Err(libc::ENOBUFS | libc::EINTR) => {
                    counters.tx_retries.add(1);
                    return;
                }
                Err(_) => {
                    counters.tx_down.add(1);
                    self.down = true;
                    return;
                }
            }
        }
    }

    fn complete(&mut self, umem: &mut Umem, counters: &PortCounters) -> usize {
        let mut total = 0;
        loop {
            // SAFETY: the descriptors are only written to, and the ring belongs to `umem`.
            let done = unsafe { self.completion.consume(&mut self.scratch[..]) };
            for desc in &self.scratch[..done] {
                umem.give_back(umem.adopt(*desc));
            }
            self.in_flight -= done as u32;
            counters.tx_completed.add(done as u64);
            total += done;
            if done < BURST {
                return total;
            }
        }
    }

    /// Whether the last `sendto` found the interface down. Frames for it are refused until [`Port::retry`] succeeds.
    #[inline]
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// Tries a port that was down again; call it now and then.
    pub fn retry(&mut self, counters: &PortCounters) {
        if self.down {
            match send(self.fd()) {
                Ok(()) | Err(libc::EAGAIN) => self.down = false,
                Err(libc::EBUSY) => {
                    self.down = false;
                    counters.tx_lost.add(1);
                }
                Err(_) => {}
            }
        }
    }

    /// Frames in the fill ring or with the kernel, and frames staged, in the TX ring or with the driver.
    pub fn levels(&self) -> (u32, u32) {
        (self.fill_level, self.in_flight)
    }

    /// Copies what the kernel counts for this socket.
    pub fn read_statistics(&self, counters: &PortCounters) {
        if let Ok(statistics) = self.rx.fd().xdp_statistics() {
            counters.rx_ring_full.set(statistics.rx_ring_full());
            counters.rx_fill_empty.set(statistics.rx_fill_ring_empty_descs());
            counters.rx_dropped.set(statistics.rx_dropped());
        }
    }
}
