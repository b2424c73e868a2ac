//! Records as pcapng (draft-ietf-opsawg-pcapng): a frame as it came in and as it left are two packets, each with its
//! interface, its direction and a comment.

use std::fmt::Write as _;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, PcapError};

use crate::tables::capture::{Cut, Outcome, Record};
use crate::tables::{InterfaceId, Snapshot};

/// Directions of a packet, in its flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Ticks of 10^−9 s.
const NANOSECONDS: u8 = 9;

/// Writes records into memory that is taken away now and then.
pub struct Writer {
    pcapng: PcapNgWriter<Vec<u8>>,
    /// Nanoseconds since 1970 when the workers' clock was at zero.
    origin_ns: u64,
    /// Frames so far.
    frames: u64,
}

impl Writer {
    /// Begins a file with the interfaces of a switch.
    pub fn new(snapshot: &Snapshot, snaplen: u16, origin_ns: u64) -> Result<Self, PcapError> {
        let application = SectionHeaderOption::UserApplication(
            concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).into(),
        );
        let section = SectionHeaderBlock { options: vec![application], ..SectionHeaderBlock::default() };
        let mut pcapng = PcapNgWriter::with_section_header(Vec::new(), section)?;
        for interface in &snapshot.interfaces {
            pcapng.write_pcapng_block(InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: snaplen.into(),
                options: vec![
                    InterfaceDescriptionOption::IfName(interface.name.as_str().into()),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            })?;
        }
        Ok(Self { pcapng, origin_ns, frames: 0 })
    }

    /// Bytes that wait to be taken away.
    pub fn waiting(&self) -> usize {
        self.pcapng.get_ref().len()
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes back the last frame: all that was written since so many bytes waited.
    pub fn undo(&mut self, waiting: usize) {
        self.pcapng.get_mut().truncate(waiting);
        self.frames -= 1;
    }

    /// Takes away what was written.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.pcapng.get_mut())
    }

    /// Writes one frame.
    pub fn record(&mut self, record: &Record, worker: usize, snapshot: &Snapshot) -> Result<(), PcapError> {
        self.frames += 1;
        let what = comment(record, worker, snapshot);
        let egress = match record.outcome {
            Outcome::Forward(egress) | Outcome::Reply(egress) => egress,
            _ => record.ingress,
        };
        let Record { before, after, in_ns, out_ns, ingress, .. } = record;
        self.packet(before, (*ingress, INBOUND), *in_ns, &format!("#{} in: {what}", self.frames), record)?;
        self.packet(after, (egress, OUTBOUND), *out_ns, &format!("#{} out: {what}", self.frames), record)
    }

    fn packet(
        &mut self,
        frame: &Cut,
        (interface, direction): (InterfaceId, u32),
        at_ns: u64,
        comment: &str,
        record: &Record,
    ) -> Result<(), PcapError> {
        let Some(bytes) = frame.bytes() else { return Ok(()) };
        let mut options =
            vec![EnhancedPacketOption::Comment(comment.into()), EnhancedPacketOption::Flags(direction)];
        if let Outcome::Drop(reason) = record.outcome {
            options.insert(1, EnhancedPacketOption::Comment(reason.explanation().trim().into()));
        }
        let at_ns = self.origin_ns.saturating_add(at_ns);
        self.pcapng.write_pcapng_block(EnhancedPacketBlock {
            interface_id: u32::from(interface.0),
            timestamp: std::time::Duration::from_nanos(at_ns),
            original_len: frame.len() as u32,
            data: bytes.into(),
            options,
        })?;
        Ok(())
    }

    /// Says how it stands: frames that matched, frames of those that were lost, and where it is over, why.
    pub fn statistics(
        &mut self,
        matched: u64,
        lost: u64,
        at_ns: u64,
        ended: Option<&str>,
    ) -> Result<(), PcapError> {
        let timestamp = self.origin_ns.saturating_add(at_ns);
        let mut options = vec![
            InterfaceStatisticsOption::IsbIfRecv(matched),
            InterfaceStatisticsOption::IsbOsDrop(lost),
            InterfaceStatisticsOption::IsbUsrDeliv(self.frames),
        ];
        if let Some(ended) = ended {
            options.insert(0, InterfaceStatisticsOption::Comment(ended.into()));
        }
        // The high half stands first in the format, so this is right because the file is big-endian.
        self.pcapng.write_pcapng_block(InterfaceStatisticsBlock { interface_id: 0, timestamp, options })?;
        Ok(())
    }
}

/// What became of a frame, for people and for display filters (`frame.comment contains "reason=no_route"`).
fn comment(record: &Record, worker: usize, snapshot: &Snapshot) -> String {
    let mut text = format!("verdict={}", record.outcome.name());
    // Writing into a string cannot fail.
    if let Outcome::Drop(reason) = record.outcome {
        let _ = write!(text, " reason={}", reason.name());
    }
    if let Some(service) = record.service.and_then(|id| snapshot.service(id)) {
        let _ = write!(text, " service={}", service.name);
    }
    if let Some(backend) = snapshot.backend(record.backend) {
        let _ = write!(text, " backend={}", backend.address);
    }
    let _ = write!(text, " worker={worker}");
    if record.before.is_empty() {
        text.push_str(" (made by the switch, or waited for the first of its fragments)");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;
    use crate::control::compile::compile_static;
    use crate::control::testing;
    use crate::tables::{BackendId, DropReason, ServiceId};

    fn written(records: &[Record]) -> Vec<Block<'static>> {
        let config = crate::config::valid::Config { interfaces: testing::interfaces(), ..testing::config() };
        let (snapshot, _) = compile_static(&config).unwrap();
        let mut writer = Writer::new(&snapshot, 128, 1_000_000_000).unwrap();
        for record in records {
            writer.record(record, 3, &snapshot).unwrap();
        }
        writer.statistics(9, 2, 77, Some("count")).unwrap();
        let mut reader = PcapNgReader::new(Cursor::new(writer.take())).unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block() {
            blocks.push(block.unwrap().into_owned());
        }
        blocks
    }

    fn comments(block: &Block<'_>) -> Vec<String> {
        let Block::EnhancedPacket(packet) = block else { panic!("{block:?}") };
        let texts = packet.options.iter().filter_map(|option| match option {
            EnhancedPacketOption::Comment(text) => Some(text.to_string()),
            _ => None,
        });
        texts.collect()
    }

    #[test]
    fn a_frame_that_left_is_two_packets_on_their_interfaces() {
        let mut record = Record::new(128);
        record.before.set(&[1; 60]);
        record.after.set(&[2; 200]);
        (record.in_ns, record.out_ns) = (5, 11);
        record.outcome = Outcome::Forward(InterfaceId(1));
        (record.service, record.backend) = (Some(ServiceId(0)), BackendId(1));
        let blocks = written(&[record]);
        let [Block::InterfaceDescription(one), Block::InterfaceDescription(_), came, left, _] = &blocks[..]
        else {
            panic!("{blocks:?}")
        };
        assert!(one.options.contains(&InterfaceDescriptionOption::IfName("eth0".into())));
        let what = "verdict=forward service=web backend=198.18.1.12:8080 worker=3";
        assert_eq!(comments(came), [format!("#1 in: {what}")]);
        assert_eq!(comments(left), [format!("#1 out: {what}")]);
        let (Block::EnhancedPacket(came), Block::EnhancedPacket(left)) = (came, left) else { unreachable!() };
        assert_eq!((came.interface_id, left.interface_id), (0, 1));
        assert_eq!((left.data.len(), left.original_len), (128, 200));
        assert_eq!((came.timestamp.as_nanos(), left.timestamp.as_nanos()), (1_000_000_005, 1_000_000_011));
    }

    #[test]
    fn a_frame_that_was_dropped_is_one_packet_that_says_why() {
        let mut record = Record::new(128);
        record.before.set(&[1; 60]);
        record.outcome = Outcome::Drop(DropReason::NoRoute);
        let blocks = written(&[record]);
        assert_eq!(blocks.len(), 4, "{blocks:?}");
        let said = comments(&blocks[2]);
        assert_eq!(said[0], "#1 in: verdict=drop reason=no_route worker=3");
        assert!(said[1].starts_with("The kernel has no route"), "{said:?}");
    }

    #[test]
    fn the_end_says_what_was_lost_and_why_it_ended() {
        let blocks = written(&[]);
        let Block::InterfaceStatistics(end) = &blocks[2] else { panic!("{blocks:?}") };
        assert_eq!(end.timestamp, 1_000_000_077);
        assert_eq!(
            end.options,
            [
                InterfaceStatisticsOption::Comment("count".into()),
                InterfaceStatisticsOption::IsbIfRecv(9),
                InterfaceStatisticsOption::IsbOsDrop(2),
                InterfaceStatisticsOption::IsbUsrDeliv(0)
            ]
        );
    }
}
