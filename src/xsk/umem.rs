//! The packet memory of one worker (UMEM): one block that all of its interfaces share, and the frames that are free.

use std::num::NonZeroU32;
use std::ptr::NonNull;

use xsk_rs::config::{FrameSize, QueueSize, UmemConfig};
use xsk_rs::{FrameDesc, Umem as RawUmem};

use super::Frame;
use super::jumbo::Jumbos;
use super::socket::explain;

/// Bytes of one chunk. The kernel keeps 256 of them as headroom for XDP.
pub const CHUNK: usize = 4096;
/// Bytes of one huge page.
const HUGE_PAGE: u32 = 2 << 20;

/// What went wrong with packet memory.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up packet memory of {frames} frames: {reason}")]
pub struct Error {
    frames: u32,
    reason: String,
}

/// One worker's packet memory.
#[derive(Debug)]
pub struct Umem {
    raw: RawUmem,
    base: NonNull<u8>,
    free: Vec<Frame>,
    frames: u32,
    /// Buffers for frames that are larger than a chunk.
    pub(super) jumbos: Jumbos,
}

// SAFETY: `base` points into the mapping that `raw` keeps alive; access goes through frames, each held once.
unsafe impl Send for Umem {}

impl Umem {
    /// Memory for `frames` frames, with fill and completion rings of `ring` entries each; with buffers for frames that are
    /// larger than a chunk where `jumbo`.
    pub fn new(frames: u32, ring: u32, jumbo: bool) -> Result<Self, Error> {
        Self::map(frames, ring, jumbo, false)
    }

    /// The same in huge pages of 2 MiB, of which the last is filled with frames. An error where too few are reserved.
    pub fn in_huge_pages(frames: u32, ring: u32, jumbo: bool) -> Result<Self, Error> {
        Self::map(Self::huge_pages(frames) * (HUGE_PAGE / CHUNK as u32), ring, jumbo, true)
    }

    /// How many huge pages so many frames take.
    pub const fn huge_pages(frames: u32) -> u32 {
        frames.div_ceil(HUGE_PAGE / CHUNK as u32)
    }

    fn map(frames: u32, ring: u32, jumbo: bool, huge: bool) -> Result<Self, Error> {
        let fail = |reason: String| Error { frames, reason };
        let queue = QueueSize::new(ring).map_err(|e| fail(e.to_string()))?;
        let config = UmemConfig::builder()
            .fill_queue_size(queue)
            .comp_queue_size(queue)
            .frame_size(FrameSize::new(CHUNK as u32).map_err(|e| fail(e.to_string()))?)
            .build()
            .map_err(|e| fail(e.to_string()))?;
        let count = NonZeroU32::new(frames).ok_or_else(|| fail("no frames asked for".into()))?;
        let (raw, mut descs) = RawUmem::new(config, count, huge).map_err(|e| fail(explain(&e)))?;
        let Some(first) = descs.first_mut() else { return Err(fail("no frames given".into())) };
        // SAFETY: the descriptor was just made by this very UMEM, and nothing else uses its frame yet.
        let data = unsafe { raw.data_mut(first).contents().as_ptr() };
        // SAFETY: the descriptor's address is its offset from the start of the mapping.
        let base =
            NonNull::new(unsafe { data.sub(first.addr()) }.cast_mut()).ok_or_else(|| fail("null".into()))?;
        let free = Vec::with_capacity(frames as usize);
        let mut umem = Self { raw, base, free, frames, jumbos: Jumbos::new(jumbo) };
        for desc in descs {
            let frame = umem.adopt(desc);
            umem.free.push(frame);
        }
        Ok(umem)
    }

    /// Turns a descriptor that the kernel gave back into the token it stands for.
    pub(super) fn adopt(&self, desc: FrameDesc) -> Frame {
        let offset = desc.addr();
        let room = CHUNK - offset % CHUNK;
        // SAFETY: `offset` lies within the mapping: descriptors come from this UMEM or from the kernel, which checked
        // them. The kernel (or the initial list) just gave the chunk up, so the new token is the only access. The
        // mapping lives as long as `self.raw`, and rings and frames are dropped with or before it (see `RingSet`).
        unsafe { Frame::new(self.base.add(offset), desc.lengths().data() as u32, room as u32, desc) }
    }

    /// Where a descriptor's packet lies, to be asked for ahead of time.
    pub(super) fn address(&self, desc: &FrameDesc) -> *const u8 {
        self.base.as_ptr().wrapping_add(desc.addr())
    }

    /// A free frame, if there is one. It still holds whatever packet was last in it.
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Takes a frame back.
    #[inline]
    pub fn give_back(&mut self, frame: Frame) {
        if frame.is_jumbo() {
            self.jumbos.give_back(frame);
        } else {
            self.free.push(frame);
        }
    }

    /// Free frames.
    #[inline]
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Frames in all.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    pub(super) fn raw(&self) -> &RawUmem {
        &self.raw
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        for frame in self.free.drain(..) {
            let _ = frame.into_desc();
        }
    }
}

pub(super) fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
