//! Where fragments wait for the first of their datagram, which alone has the ports. One room per worker.

use crate::dataplane::batch::Meta;
use crate::tables::Tick;
use crate::xsk::Frame;
use crate::xsk::jumbo::KEPT;

/// Frames that wait at one worker, at the most.
pub const WAITING: usize = 256;
/// Of those, of one datagram: 65,535 bytes in pieces of 1,480 are 45.
const PER_DATAGRAM: usize = 64;

/// Fragments that wait.
#[derive(Debug)]
pub struct Waiting {
    frames: Vec<(Frame, Meta, Tick)>,
    /// The hash of each one's datagram, side by side: to count those of one datagram must not cost much.
    hashes: Vec<u64>,
    /// How many of them lie in buffers for large frames, without which no more of these would be received.
    large: usize,
    /// Where the next look begins.
    hand: usize,
    /// How many frames of the batch under way are to be put here.
    pub(in crate::dataplane) wanted: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        let (frames, hashes) = (Vec::with_capacity(WAITING), Vec::with_capacity(WAITING));
        Self { frames, hashes, large: 0, hand: 0, wanted: 0 }
    }
}

impl Waiting {
    /// How many wait.
    #[inline]
    pub fn count(&self) -> usize {
        self.frames.len()
    }

    /// Of those, how many lie in ordinary chunks of packet memory.
    pub fn in_chunks(&self) -> usize {
        self.frames.len() - self.large
    }

    /// Whether none does and none is about to.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.frames.is_empty() && self.wanted == 0
    }

    /// Whether `frame`, of this datagram, may wait.
    pub fn has_room(&self, frame: &Frame, hash: u64) -> bool {
        self.frames.len() < WAITING
            && (!frame.is_jumbo() || self.large < KEPT)
            && self.hashes.iter().filter(|other| **other == hash).count() < PER_DATAGRAM
    }

    /// Lets a fragment wait for which there is room.
    pub fn put(&mut self, frame: Frame, meta: Meta, now: Tick) {
        self.large += usize::from(frame.is_jumbo());
        self.hashes.push(meta.hash);
        self.frames.push((frame, meta, now));
    }

    /// Looks at one fragment, a different one each time: takes it out if `is_over` says of it, and of when it came, that
    /// its waiting is.
    pub fn look(&mut self, is_over: impl FnOnce(&Meta, Tick) -> bool) -> Option<(Frame, Meta)> {
        if self.hand >= self.frames.len() {
            self.hand = 0;
        }
        let (_, meta, since) = self.frames.get(self.hand)?;
        if !is_over(meta, *since) {
            self.hand += 1;
            return None;
        }
        self.hashes.swap_remove(self.hand);
        let (frame, meta, _) = self.frames.swap_remove(self.hand);
        self.large -= usize::from(frame.is_jumbo());
        Some((frame, meta))
    }

    /// Takes all out.
    pub fn drain(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.hashes.clear();
        self.large = 0;
        self.frames.drain(..).map(|(frame, _, _)| frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::InterfaceId;
    use crate::xsk::jumbo::Jumbos;
    use crate::xsk::memory::Arena;

    #[test]
    fn large_frames_that_wait_leave_buffers_for_others_and_take_no_chunk() {
        let (mut jumbos, mut arena, mut waiting) = (Jumbos::new(true), Arena::new(2), Waiting::default());
        for number in 0..KEPT as u64 {
            let frame = jumbos.take().unwrap();
            assert!(waiting.has_room(&frame, number));
            waiting.put(frame, Meta { hash: number, ..Meta::new(InterfaceId(0)) }, Tick(0));
        }
        let (large, small) = (jumbos.take().unwrap(), arena.frame(b"small").unwrap());
        assert!(!waiting.has_room(&large, 1000) && waiting.has_room(&small, 1000));
        waiting.put(small, Meta::new(InterfaceId(0)), Tick(0));
        assert_eq!((waiting.count(), waiting.in_chunks()), (KEPT + 1, 1));
        jumbos.give_back(waiting.look(|_, _| true).unwrap().0);
        assert!(waiting.has_room(&large, 1000));
        jumbos.give_back(large);
        for frame in waiting.drain() {
            if frame.is_jumbo() { jumbos.give_back(frame) } else { arena.give_back(frame) }
        }
        assert_eq!((arena.outstanding(), waiting.in_chunks()), (0, 0));
    }
}
