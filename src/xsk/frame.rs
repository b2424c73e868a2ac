//! A frame: the right to one chunk of packet memory, and the packet in it.
//!
//! A frame is a token. Whoever holds it may touch the bytes; to hand the bytes on is to move the token, so no two
//! places can hold the same chunk. It is neither `Copy` nor `Clone`, and losing one loses a chunk for good: debug
//! builds panic where a frame is dropped instead of being given back.

use std::ptr::NonNull;

use xsk_rs::FrameDesc;

use super::umem::CHUNK;

/// One chunk of packet memory with the packet that lies in it.
#[derive(Debug)]
#[must_use = "a frame that is dropped is a chunk of packet memory lost"]
pub struct Frame {
    /// Where the kernel put what it received, and where what it sends begins.
    data: NonNull<u8>,
    /// Bytes from `data` to the packet: room for headers to be put in front of it.
    front: u32,
    /// Bytes of the packet.
    len: u32,
    /// Bytes from `data` to the end of the chunk.
    capacity: u32,
    /// The kernel's name for it (unused by memory rings).
    desc: FrameDesc,
}

// SAFETY: a frame is the only access to its bytes, whichever thread holds it.
unsafe impl Send for Frame {}

impl Frame {
    /// A token for the `capacity` bytes at `data`, of which `len` are a packet.
    ///
    /// # Safety
    ///
    /// The bytes must be valid and initialised for as long as the frame exists, and nothing else may access them.
    pub(super) unsafe fn new(data: NonNull<u8>, len: u32, capacity: u32, desc: FrameDesc) -> Self {
        debug_assert!(len <= capacity, "a packet of {len} bytes in a chunk of {capacity}");
        Self { data, front: 0, len: len.min(capacity), capacity, desc }
    }

    /// The packet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `new` was promised valid bytes that nobody else accesses, and `front + len` never exceeds them.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().add(self.front as usize), self.len as usize) }
    }

    /// The packet, to be changed in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`; `&mut self` makes this the only access.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.as_ptr().add(self.front as usize), self.len as usize)
        }
    }

    /// Where its chunk lies: what tells it from all other frames while it exists.
    pub fn place(&self) -> usize {
        self.data.as_ptr() as usize
    }

    /// Bytes of the packet.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a frame without a packet is still a frame")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Makes the packet `len` bytes long (whatever bytes lie there), if the chunk has room. Whether it had.
    #[inline]
    pub fn resize(&mut self, len: usize) -> bool {
        // `front` never exceeds `capacity`; the sum of both might overflow.
        let fits = len <= (self.capacity - self.front) as usize;
        if fits {
            self.len = len as u32;
        }
        fits
    }

    /// Makes the first `old` bytes of the packet `new` bytes long; what they hold afterwards is arbitrary. What follows them
    /// stays where it is if the room in front is just right, and is moved otherwise. False, and nothing is changed, where the
    /// chunk is too small.
    #[inline(always)]
    pub fn set_header(&mut self, old: usize, new: usize) -> bool {
        let Some(rest) = (self.len as usize).checked_sub(old) else { return false };
        if self.front as usize + old != new && !self.shift(old, new, rest) {
            return false;
        }
        self.len = (new + rest) as u32;
        self.front = 0;
        true
    }

    /// Makes the packet begin where the chunk does, with what is in the room in front of it, and `len` bytes long. None, and nothing is
    /// changed, where the chunk is too small.
    #[inline(always)]
    pub fn take_room(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.capacity as usize {
            return None;
        }
        (self.front, self.len) = (0, len as u32);
        Some(self.bytes_mut())
    }

    /// Moves the `rest` that follows the first `old` bytes to `new` bytes behind the start of the frame.
    #[cold]
    fn shift(&mut self, old: usize, new: usize, rest: usize) -> bool {
        if new > self.capacity as usize - rest {
            return false;
        }
        let at = self.front as usize + old;
        // SAFETY: `front + len` and `new + rest` lie within the chunk, which nobody else accesses; both places may overlap.
        unsafe { std::ptr::copy(self.data.as_ptr().add(at), self.data.as_ptr().add(new), rest) };
        true
    }

    /// Bytes of room in front of the packet.
    #[inline(always)]
    pub fn room(&self) -> usize {
        self.front as usize
    }

    /// Whether there is room in front of the packet that is still to be filled or closed before it is sent.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.front != 0
    }

    /// Understands the mark of the XDP program: six zero bytes (no frame for us is addressed to that MAC address), then the
    /// bytes of room in front of the packet.
    #[inline]
    pub(super) fn unwrap_room(&mut self) {
        let Some([0, 0, 0, 0, 0, 0, high, low]) = self.bytes().first_chunk::<8>() else { return };
        let room = u32::from(u16::from_be_bytes([*high, *low]));
        if room <= self.len {
            self.front = room;
            self.len -= room;
        }
    }

    /// Moves the packet away from the start of the chunk, which has room for it. What [`Frame::unwrap_room`] brings about.
    pub(super) fn make_room(&mut self, room: usize) {
        let len = self.len;
        if self.set_header(0, room) {
            (self.front, self.len) = (room as u32, len);
        }
    }

    /// Adds `bytes` behind the packet, if the chunk has room. Whether it had.
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        let at = self.len();
        let fits = self.resize(at + bytes.len());
        if fits && let Some(behind) = self.bytes_mut().get_mut(at..) {
            behind.copy_from_slice(bytes);
        }
        fits
    }

    /// Whether it lies in a buffer for frames that are larger than a chunk.
    #[inline]
    pub fn is_jumbo(&self) -> bool {
        self.capacity as usize > CHUNK
    }

    /// Replaces the packet by `packet`, if the chunk has room. Whether it had.
    pub fn fill(&mut self, packet: &[u8]) -> bool {
        self.front = 0;
        let fits = self.resize(packet.len());
        if fits {
            self.bytes_mut().copy_from_slice(packet);
        }
        fits
    }

    /// Gives the token up for the kernel's name of the chunk.
    #[inline]
    pub(super) fn into_desc(self) -> FrameDesc {
        let desc = self.desc;
        std::mem::forget(self);
        desc
    }

    /// Gives the token up for the place and size of its chunk.
    pub(super) fn into_chunk(self) -> (NonNull<u8>, u32) {
        let chunk = (self.data, self.capacity);
        std::mem::forget(self);
        chunk
    }

    /// Bytes of the packet as the kernel's name has it.
    #[inline]
    pub(super) fn desc_len(&self) -> usize {
        self.desc.lengths().data()
    }

    #[inline]
    pub(super) fn desc_mut(&mut self) -> &mut FrameDesc {
        &mut self.desc
    }
}

#[cfg(debug_assertions)]
impl Drop for Frame {
    fn drop(&mut self) {
        // While unwinding, the original panic is the message worth having.
        assert!(std::thread::panicking(), "a frame was dropped instead of given back");
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Arena, CHUNK};

    /// What becomes of a frame of `old` and then `rest`, with `room` in front, whose header becomes `new`.
    fn with_header(room: usize, [old, rest]: [&[u8]; 2], new: usize) -> Option<(Vec<u8>, usize)> {
        let mut arena = Arena::new(1);
        let mut frame = arena.frame_with_room(room, &[old, rest].concat()).unwrap();
        let at = frame.bytes().as_ptr() as usize + old.len();
        let done = frame.set_header(old.len(), new);
        let left = done.then(|| {
            assert!(!frame.has_room(), "what is sent begins where the chunk does");
            let moved = (frame.bytes().as_ptr() as usize + new).abs_diff(at);
            (frame.bytes()[new..].to_vec(), moved)
        });
        assert!(done || frame.bytes() == [old, rest].concat(), "nothing is changed");
        arena.give_back(frame);
        left
    }

    #[test]
    fn a_header_that_the_room_was_made_for_moves_nothing() {
        // Ethernet becomes Ethernet and an outer header: the room is the outer header.
        for outer in [8, 20, 32, 40, 52, 60] {
            assert_eq!(with_header(outer, [&[1; 14], b"packet"], 14 + outer), Some((b"packet".to_vec(), 0)));
        }
        assert_eq!(with_header(0, [&[1; 14], b"packet"], 14), Some((b"packet".to_vec(), 0)));
    }

    #[test]
    fn room_that_is_taken_is_part_of_the_packet() {
        let mut arena = Arena::new(1);
        let mut frame = arena.frame_with_room(20, b"packet").unwrap();
        assert_eq!(frame.take_room(CHUNK + 1), None);
        assert_eq!((frame.bytes(), frame.room()), (&b"packet"[..], 20), "nothing is changed");
        assert_eq!(frame.take_room(24).map(|bytes| bytes[20..].to_vec()), Some(b"pack".to_vec()));
        assert_eq!((frame.len(), frame.room()), (24, 0));
        arena.give_back(frame);
    }

    #[test]
    fn any_other_header_moves_the_packet_and_keeps_it() {
        for room in [0, 8, 20, 60] {
            for new in [0, 1, 14, 18, 34, 74, 120] {
                let moved = (room + 14usize).abs_diff(new);
                assert_eq!(with_header(room, [&[1; 14], b"packet"], new), Some((b"packet".to_vec(), moved)));
            }
        }
    }

    #[test]
    fn a_header_that_the_chunk_has_no_room_for_changes_nothing() {
        let rest = &[7; CHUNK - 74][..];
        assert_eq!(with_header(60, [&[1; 14], rest], 74), Some((rest.to_vec(), 0)));
        assert_eq!(with_header(60, [&[1; 14], rest], 75), None);
        assert_eq!(with_header(0, [&[1; 14], rest], 75), None);
        assert_eq!(with_header(0, [&[1; 14], rest], 74), Some((rest.to_vec(), 60)));
    }

    #[test]
    fn a_header_longer_than_the_frame_is_none() {
        assert_eq!(with_header(8, [&[], b""], 14), Some((Vec::new(), 6)));
        let mut arena = Arena::new(1);
        let mut frame = arena.frame_with_room(8, &[1; 13]).unwrap();
        assert!(!frame.set_header(14, 20));
        assert!(!frame.set_header(14, 22), "the room would be just right");
        assert!(!frame.set_header(2 * CHUNK, 2 * CHUNK + 8));
        assert_eq!(frame.bytes(), [1; 13]);
        assert!(
            !frame.resize(usize::MAX) && !frame.resize(usize::MAX - 3) && !frame.set_header(0, usize::MAX)
        );
        arena.give_back(frame);
    }

    #[test]
    fn the_mark_of_the_xdp_program_is_understood_and_nothing_else_is() {
        let marked = |room: u16, rest: &[u8]| {
            let mut bytes = vec![0; 6];
            bytes.extend(room.to_be_bytes());
            bytes.extend_from_slice(rest);
            bytes
        };
        let unwrapped = |bytes: &[u8]| {
            let mut arena = Arena::new(1);
            let mut frame = arena.frame(bytes).unwrap();
            frame.unwrap_room();
            let seen = (frame.bytes().to_vec(), frame.has_room());
            arena.give_back(frame);
            seen
        };
        assert_eq!(unwrapped(&marked(8, b"frame")), (b"frame".to_vec(), true));
        assert_eq!(unwrapped(&marked(20, b"undefined...frame")), (b"frame".to_vec(), true));
        for unmarked in [&marked(14, b"frame")[..], b"", b"\0\0\0\0\0\0\0", b"\x02\0\0\0\0\x01\0\x08frame"] {
            assert_eq!(unwrapped(unmarked), (unmarked.to_vec(), false));
        }
    }

    #[test]
    fn room_is_no_part_of_the_packet() {
        let mut arena = Arena::new(1);
        let mut frame = arena.frame_with_room(60, b"packet").unwrap();
        assert_eq!((frame.bytes(), frame.len(), frame.has_room()), (&b"packet"[..], 6, true));
        assert!(frame.resize(CHUNK - 60) && !frame.resize(CHUNK - 59));
        assert!(frame.resize(6) && frame.append(b"!"));
        assert_eq!(frame.bytes(), b"packet!");
        assert!(frame.fill(b"other") && !frame.has_room());
        assert_eq!(frame.bytes(), b"other");
        arena.give_back(frame);
        assert!(arena.frame_with_room(60, &[0; CHUNK - 59]).is_none());
    }
}
