//! Capture files, written and read by their definitions.

/// Nanoseconds since 1970, and the frame.
pub type Frame = (u64, Vec<u8>);

pub const SECOND: u64 = 1_000_000_000;
/// Some time in 2023.
pub const START: u64 = 1_700_000_000 * SECOND;

/// A pcap with microseconds. `snaplen` cuts frames.
pub fn pcap(frames: &[Frame], snaplen: usize) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4u32, 4 << 16 | 2, 0, 0, snaplen as u32, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (time, frame) in frames {
        let kept = frame.len().min(snaplen);
        let micros = time % SECOND / 1000;
        for word in [(time / SECOND) as u32, micros as u32, kept as u32, frame.len() as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&frame[..kept]);
    }
    file
}

/// A pcapng in which one second has 10^`exponent` ticks, in either byte order.
pub fn pcapng(frames: &[Frame], exponent: u8, big: bool) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let block = |kind: u32, body: &[u8]| {
        let length = word(12 + body.len() as u32);
        [&word(kind)[..], &length, body, &length].concat()
    };
    let section = [&word(0x1A2B_3C4D)[..], &half(1), &half(0), &[0xFF; 8]].concat();
    // Link type, reserved, snapshot length, then if_tsresol (9) and the end of options.
    let resolution = [&half(9)[..], &half(1), &[exponent, 0, 0, 0], &half(0), &half(0)].concat();
    let interface = [&half(1)[..], &half(0), &word(0), &resolution].concat();
    // A block that nobody knows is skipped.
    let unknown = block(0x0BAD_CAFE, &[1, 2, 3, 4]);
    let mut file = [block(0x0A0D_0D0A, &section), block(1, &interface), unknown].concat();
    for (time, frame) in frames {
        let ticks = time / 10u64.pow(9 - u32::from(exponent));
        let length = word(frame.len() as u32);
        let mut body = [&word(0)[..], &word((ticks >> 32) as u32), &word(ticks as u32)].concat();
        body.extend_from_slice(&[length, length].concat());
        body.extend_from_slice(frame);
        body.resize(body.len().next_multiple_of(4), 0);
        file.extend_from_slice(&block(6, &body));
    }
    file
}

/// The frames of a capture that the program wrote: little-endian pcap with nanoseconds.
pub fn read(file: &[u8]) -> Vec<Frame> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xA1B2_3C4D, 1), "a pcap of Ethernet frames with nanoseconds");
    let mut frames = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let length = word(at + 8) as usize;
        assert_eq!(word(at + 12) as usize, length, "a whole frame");
        let time = u64::from(word(at)) * SECOND + u64::from(word(at + 4));
        frames.push((time, file[at + 16..at + 16 + length].to_vec()));
        at += 16 + length;
    }
    frames
}
