//! Frames that are larger than one chunk of packet memory.
//!
//! The kernel delivers such a frame in several chunks (multi-buffer AF_XDP, Linux 6.6), which lie anywhere. Everything
//! behind this room reads and writes frames in one piece, so a large one is put together here when it comes in, and taken
//! apart when it leaves: two copies of what is, at 9,000 bytes, a sixth as many frames. See docs/design/0011.

use std::ptr::NonNull;

use xsk_rs::FrameDesc;

use super::Frame;
use super::umem::CHUNK;

/// Bytes of the largest frame: 9,000 of IP, tags, and room for outer headers; a multiple of a cache line.
pub const LARGEST: usize = 9216;
/// Large frames that may be kept from one batch to the next: fragments that wait for the first of their datagram. Of
/// 65,535 bytes in pieces of 8,976 there are eight.
pub const KEPT: usize = 32;
/// Large frames that one worker can hold at a time: a batch, what was put together for the next one, and what is kept.
const BUFFERS: usize = 80 + KEPT;
/// Bytes in front of a received packet that the kernel keeps for XDP (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;

/// Largest IP packet whose frame fits one chunk, whatever stands in front of it: 22 bytes of Ethernet with two tags, and
/// 60 bytes of room.
pub const LARGEST_IN_ONE: u16 = (CHUNK - HEADROOM - 22 - 60) as u16;
/// Largest IP packet that can be forwarded at all.
pub const LARGEST_PACKET: u16 = (LARGEST - 22 - 60) as u16;

/// The buffers of one worker.
#[derive(Debug)]
pub struct Jumbos {
    memory: Option<Box<[u8]>>,
    free: Vec<NonNull<u8>>,
    buffers: usize,
}

// SAFETY: the pointers lie in `memory`, which is owned here, and each is handed to one frame at a time.
unsafe impl Send for Jumbos {}

impl Jumbos {
    /// Buffers for large frames where `wanted`; without them none is received.
    pub fn new(wanted: bool) -> Self {
        let buffers = if wanted { BUFFERS } else { 0 };
        let mut memory = vec![0u8; buffers * LARGEST].into_boxed_slice();
        let base = memory.as_mut_ptr();
        let free = (0..buffers)
            // SAFETY: the offset lies within the allocation of `buffers * LARGEST` bytes.
            .filter_map(|index| NonNull::new(unsafe { base.add(index * LARGEST) }))
            .collect();
        Self { memory: Some(memory), free, buffers }
    }

    /// An empty large frame, if a buffer is free.
    pub fn take(&mut self) -> Option<Frame> {
        let data = self.free.pop()?;
        // SAFETY: the buffer was in `free`, so no frame refers to it; the memory is kept, or leaked, while frames are out.
        Some(unsafe { Frame::new(data, 0, LARGEST as u32, FrameDesc::default()) })
    }

    /// Takes a large frame back.
    pub fn give_back(&mut self, frame: Frame) {
        self.free.push(frame.into_chunk().0);
    }
}

impl Drop for Jumbos {
    fn drop(&mut self) {
        // Frames that are still out refer to the memory: leaking it is the sound answer.
        if self.free.len() < self.buffers {
            std::mem::forget(self.memory.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_frame_is_put_together_and_grows_no_further_than_its_buffer() {
        let mut jumbos = Jumbos::new(true);
        let mut frame = jumbos.take().unwrap();
        assert!(frame.is_jumbo());
        assert!(frame.append(&[1; 3840]) && frame.append(&[2; 3840]) && frame.append(&[3; 1300]));
        assert_eq!(
            (frame.len(), frame.bytes()[3839], frame.bytes()[3840], frame.bytes()[8979]),
            (8980, 1, 2, 3)
        );
        assert!(!frame.append(&[4; 300]), "one byte more than fits is refused whole");
        assert_eq!(frame.len(), 8980);
        jumbos.give_back(frame);
        assert_eq!(jumbos.free.len(), BUFFERS);
    }

    #[test]
    fn without_large_frames_there_are_no_buffers() {
        assert!(Jumbos::new(false).take().is_none());
    }
}
