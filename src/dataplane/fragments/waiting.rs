//! Where fragments wait for the first of their datagram, which alone has the ports. One room per worker.

use crate::dataplane::batch::Meta;
use crate::tables::Tick;
use crate::xsk::Frame;

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
    /// Where the next look begins.
    hand: usize,
    /// How many frames of the batch under way are to be put here.
    pub(in crate::dataplane) wanted: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { frames: Vec::with_capacity(WAITING), hashes: Vec::with_capacity(WAITING), hand: 0, wanted: 0 }
    }
}

impl Waiting {
    /// How many wait.
    #[inline]
    pub fn count(&self) -> usize {
        self.frames.len()
    }

    /// Whether none does and none is about to.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.frames.is_empty() && self.wanted == 0
    }

    /// Whether one more of this datagram may wait.
    pub fn has_room(&self, hash: u64) -> bool {
        self.frames.len() < WAITING
            && self.hashes.iter().filter(|other| **other == hash).count() < PER_DATAGRAM
    }

    /// Lets a fragment wait for which there is room.
    pub fn put(&mut self, frame: Frame, meta: Meta, now: Tick) {
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
        Some((frame, meta))
    }

    /// Takes all out.
    pub fn drain(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.hashes.clear();
        self.frames.drain(..).map(|(frame, _, _)| frame)
    }
}
