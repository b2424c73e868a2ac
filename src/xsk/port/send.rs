//! The sending half of a port.
//!
//! Sending in copy mode is a system call, and its answers differ: EAGAIN means call again, nothing is lost; EBUSY means
//! that one frame was completed without being sent. Both are counted, the second as a loss.

use crate::tables::counters::PortCounters;

use super::super::Frame;
use super::super::socket::send;
use super::super::umem::{CHUNK, Umem};
use super::{BURST, CONTINUED, Port};

/// `sendto` calls per turn at the most, so that a slow device cannot hold the loop.
const KICKS: usize = 8;
/// What every chunk can hold when it is sent, wherever in it the kernel put what it last received: all but the headroom and
/// what the XDP program may have cut off in front.
const SMALLEST_CHUNK: usize = CHUNK - 512;

impl Port {
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
}
