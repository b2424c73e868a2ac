//! Packet memory without a kernel: for `replay`, tests, fuzzers and benchmarks.

use std::ptr::NonNull;

use xsk_rs::FrameDesc;

use super::Frame;

/// Bytes in one chunk, as the AF_XDP memory has them.
pub const CHUNK: usize = 4096;

/// A block of chunks. Counts what it hands out, so that tests can prove that none was lost.
#[derive(Debug)]
pub struct Arena {
    memory: Option<Box<[u8]>>,
    free: Vec<NonNull<u8>>,
    chunks: usize,
}

// SAFETY: the pointers lie in `memory`, which the arena owns, and each is handed to one frame at a time.
unsafe impl Send for Arena {}

impl Arena {
    /// An arena of `chunks` chunks.
    pub fn new(chunks: usize) -> Self {
        let mut memory = vec![0u8; chunks * CHUNK].into_boxed_slice();
        let base = memory.as_mut_ptr();
        let free = (0..chunks)
            .rev()
            // SAFETY: `index * CHUNK` lies within the allocation of `chunks * CHUNK` bytes.
            .filter_map(|index| NonNull::new(unsafe { base.add(index * CHUNK) }))
            .collect();
        Self { memory: Some(memory), free, chunks }
    }

    /// A frame that holds `packet`; none when all are out or the packet is larger than a chunk.
    pub fn frame(&mut self, packet: &[u8]) -> Option<Frame> {
        if packet.len() > CHUNK {
            return None;
        }
        let data = self.free.pop()?;
        // SAFETY: the chunk was in `free`, so no frame refers to it, and the arena keeps (or leaks) the memory while
        // frames are out.
        let mut frame = unsafe { Frame::new(data, 0, CHUNK as u32, FrameDesc::default()) };
        frame.fill(packet);
        Some(frame)
    }

    /// The same with `room` bytes in front of the packet, as the XDP program makes it.
    pub fn frame_with_room(&mut self, room: usize, packet: &[u8]) -> Option<Frame> {
        if room + packet.len() > CHUNK {
            return None;
        }
        let mut frame = self.frame(packet)?;
        frame.make_room(room);
        Some(frame)
    }

    /// Takes a frame back.
    pub fn give_back(&mut self, frame: Frame) {
        self.free.push(frame.into_chunk().0);
    }

    /// Frames that are out.
    pub fn outstanding(&self) -> usize {
        self.chunks - self.free.len()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // Frames that are still out refer to the memory: leaking it is the sound answer.
        if self.outstanding() > 0 {
            std::mem::forget(self.memory.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_what_was_put_in_and_come_back() {
        let mut arena = Arena::new(2);
        let mut one = arena.frame(&[1, 2, 3]).unwrap();
        let two = arena.frame(&[]).unwrap();
        assert!(arena.frame(&[]).is_none());
        one.bytes_mut()[0] = 9;
        assert_eq!(one.bytes(), [9, 2, 3]);
        assert!(one.resize(CHUNK));
        assert!(!one.resize(CHUNK + 1));
        assert_eq!(arena.outstanding(), 2);
        arena.give_back(one);
        arena.give_back(two);
        assert_eq!(arena.outstanding(), 0);
    }

    #[test]
    fn an_arena_with_frames_out_leaks_rather_than_dangles() {
        let mut arena = Arena::new(1);
        let frame = arena.frame(&[7]).unwrap();
        drop(arena);
        assert_eq!(frame.bytes(), [7]);
        std::mem::forget(frame);
    }

    #[test]
    #[should_panic(expected = "dropped instead of given back")]
    #[cfg(debug_assertions)]
    fn losing_a_frame_is_noticed() {
        drop(Arena::new(1).frame(&[1]));
    }
}
