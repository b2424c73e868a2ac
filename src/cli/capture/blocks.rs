//! A pcapng file as it arrives: only whole blocks are handed on, so that whatever ends it leaves a file that opens cleanly.
//!
//! It is read as the switch writes it, with the most significant byte first (draft-ietf-opsawg-pcapng).

const ENHANCED_PACKET: u32 = 6;
const INTERFACE_STATISTICS: u32 = 5;
/// Type, length, and length again.
const FRAME: usize = 12;
/// Fixed part of a statistics block's body.
const STATISTICS: usize = 12;
/// Longest block that can be: a frame of 65,535 bytes with its comments.
const LONGEST: usize = 1 << 17;

const COMMENT: u16 = 1;
const MATCHED: u16 = 4;
const LOST: u16 = 7;
const KEPT: u16 = 8;

/// What the blocks so far say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets: a frame that left is two.
    pub packets: u64,
    /// Frames, as the switch said last.
    pub frames: u64,
    /// Frames that matched, as the switch said last.
    pub matched: u64,
    /// Those of them that it could not keep.
    pub lost: u64,
    /// Why it ended; empty while it did not.
    pub ended: String,
}

/// Cuts a stream into blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    rest: Vec<u8>,
    /// What they say.
    pub seen: Seen,
}

impl Blocks {
    /// Takes a piece of the stream. The blocks that it completes, or none where that is no such stream.
    pub fn take(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        self.rest.extend_from_slice(piece);
        let mut whole = 0;
        while let Some(length) = self.length_at(whole) {
            let length = length?;
            let Some(block) = self.rest.get(whole..whole + length) else { break };
            read(block, &mut self.seen);
            whole += length;
        }
        let rest = self.rest.split_off(whole);
        Some(std::mem::replace(&mut self.rest, rest))
    }

    /// Length of the block that begins there, if that much is there; an inner none where it cannot be.
    fn length_at(&self, at: usize) -> Option<Option<usize>> {
        let length = word(self.rest.get(at..)?, 4)? as usize;
        Some((length.is_multiple_of(4) && (FRAME..LONGEST).contains(&length)).then_some(length))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read(block: &[u8], seen: &mut Seen) {
    match word(block, 0) {
        Some(ENHANCED_PACKET) => seen.packets += 1,
        Some(INTERFACE_STATISTICS) => {
            let options = block.get(8 + STATISTICS..block.len() - 4).unwrap_or_default();
            statistics(options, seen);
        }
        _ => {}
    }
}

fn statistics(mut options: &[u8], seen: &mut Seen) {
    while let Some([a, b, c, d]) = options.first_chunk() {
        let (code, length) = (u16::from_be_bytes([*a, *b]), usize::from(u16::from_be_bytes([*c, *d])));
        let value = options.get(4..4 + length).unwrap_or_default();
        let number = value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        match (code, number) {
            (COMMENT, _) => seen.ended = String::from_utf8_lossy(value).into_owned(),
            (MATCHED, Some(number)) => seen.matched = number,
            (LOST, Some(number)) => seen.lost = number,
            (KEPT, Some(number)) => seen.frames = number,
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::capture::Writer;
    use crate::tables::Snapshot;
    use crate::tables::capture::Record;

    fn file() -> Vec<u8> {
        let snapshot = Snapshot { interfaces: Default::default(), ..Snapshot::default() };
        let mut writer = Writer::new(&snapshot, 128, 0).unwrap();
        let mut bytes = writer.take();
        // An interface by hand: link type 1, any length of frames.
        for value in [1u32, 20, 1 << 16, 0, 20] {
            bytes.extend(value.to_be_bytes());
        }
        bytes
    }

    fn enhanced(payload: usize) -> Vec<u8> {
        let length = (FRAME + 20 + payload) as u32;
        let mut block = [ENHANCED_PACKET, length].map(u32::to_be_bytes).concat();
        block.resize(length as usize - 4, 0);
        block.extend(length.to_be_bytes());
        block
    }

    #[test]
    fn only_whole_blocks_are_handed_on_however_the_stream_is_cut() {
        let all = [file(), enhanced(60), enhanced(4), enhanced(0)].concat();
        for size in [1, 3, 7, 50, all.len()] {
            let (mut blocks, mut out, mut whole) = (Blocks::default(), Vec::new(), 0);
            for piece in all.chunks(size) {
                let more = blocks.take(piece).unwrap();
                out.extend_from_slice(&more);
                whole += more.len();
                assert!([0, file().len() - 20, file().len()].contains(&whole) || whole > file().len());
            }
            assert_eq!((out == all, blocks.seen.packets), (true, 3), "in pieces of {size}");
        }
        let mut blocks = Blocks::default();
        assert_eq!(blocks.take(&all[..all.len() - 1]).unwrap().len(), all.len() - enhanced(0).len());
    }

    #[test]
    fn what_is_no_such_stream_is_noticed() {
        assert_eq!(Blocks::default().take(b"HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn the_switch_says_how_it_stands() {
        let config = crate::config::parse(include_str!("../../../config/nat.toml"), "nat.toml").unwrap();
        let mut config = config.config;
        config.interfaces = ["eth0", "eth1"]
            .map(|name| crate::config::valid::StaticInterface {
                name: name.into(),
                mac: Some([2, 0, 0, 0, 0, 1]),
                vlan: vec![],
                addresses: vec![],
                mtu: None,
            })
            .into();
        let (snapshot, _) = crate::control::compile::compile_static(&config).unwrap();
        let mut writer = Writer::new(&snapshot, 128, 0).unwrap();
        let mut record = Record::new(128);
        record.before.set(&[1; 61]);
        record.after.set(&[1; 62]);
        writer.record(&record, 0, &snapshot).unwrap();
        writer.statistics(5, 3, 0, None).unwrap();
        let mut blocks = Blocks::default();
        blocks.take(&writer.take()).unwrap();
        let seen = Seen { packets: 2, frames: 1, matched: 5, lost: 3, ended: String::new() };
        assert_eq!(blocks.seen, seen);
        writer.statistics(6, 4, 0, Some("count")).unwrap();
        blocks.take(&writer.take()).unwrap();
        assert_eq!(blocks.seen, Seen { matched: 6, lost: 4, ended: "count".into(), ..seen });
    }
}
