//! Segments without data that the switch makes itself.

use super::options::{Options, ROOM};
use super::{Flags, HEADER};

/// A segment without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bare {
    /// Source port in the high half, destination port in the low half.
    pub ports: u32,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: Flags,
    /// The window as it stands in the header.
    pub window: u16,
    /// Options.
    pub options: Options,
}

impl Bare {
    /// Most bytes that one takes.
    pub const ROOM: usize = HEADER + ROOM;

    /// The segment and its length in bytes. Its checksum is 0.
    pub fn write(&self) -> ([u8; Self::ROOM], usize) {
        let mut room = [0; ROOM];
        let length = HEADER + self.options.write(&mut room);
        let mut segment = [0; Self::ROOM];
        segment[..4].copy_from_slice(&self.ports.to_be_bytes());
        segment[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        segment[8..12].copy_from_slice(&self.acknowledgment.to_be_bytes());
        (segment[12], segment[13]) = ((length as u8 / 4) << 4, self.flags.0);
        segment[14..16].copy_from_slice(&self.window.to_be_bytes());
        segment[HEADER..].copy_from_slice(&room);
        (segment, length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Timestamps;
    use super::*;

    #[test]
    fn another_parser_reads_what_is_written() {
        let timestamps = Some(Timestamps { value: 7, echo: 8 });
        let options =
            Options { segment_size: Some(1460), window_scale: Some(7), sack_permitted: true, timestamps };
        let flags = Flags::SYN.with(Flags::ACK);
        let bare =
            Bare { ports: 80 << 16 | 4000, sequence: 1, acknowledgment: 2, flags, window: 512, options };
        let (segment, length) = bare.write();
        let header = etherparse::TcpHeaderSlice::from_slice(&segment[..length]).unwrap();
        assert_eq!((header.source_port(), header.destination_port(), header.window_size()), (80, 4000, 512));
        assert_eq!((header.sequence_number(), header.acknowledgment_number()), (1, 2));
        assert!(header.syn() && header.ack() && !header.fin());
        assert_eq!(Options::parse(&segment[..length]), options);
        assert_eq!(length, 40);
    }
}
