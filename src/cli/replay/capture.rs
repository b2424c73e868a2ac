//! Reading a capture file frame by frame: pcap and pcapng, whichever it turns out to be.
//!
//! Time stamps are nanoseconds since 1970, whatever the resolution of the file. The capture is never in memory as a
//! whole; the next frame is.

use std::fs::File;
use std::io::{Chain, Cursor, Read};
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, PACKET_BLOCK, SIMPLE_PACKET_BLOCK};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

/// First bytes of a pcapng file, in either byte order.
const PCAPNG: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
/// Length of the fixed part of an enhanced packet block's body.
const ENHANCED: usize = 20;
const SECOND_NS: u128 = 1_000_000_000;

/// What makes a capture unreadable.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be opened, or read any further.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}: frame {frame}: {what}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// Number of the frame, the first being 1.
        frame: u64,
        /// What is wrong.
        what: String,
    },
    /// It is no capture of Ethernet frames.
    #[error("{}: {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// One frame of a capture.
#[derive(Debug, Default)]
pub struct Captured {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// The bytes that were captured.
    pub bytes: Vec<u8>,
    /// Whether these are all bytes that the frame had (no snapshot length cut it).
    pub whole: bool,
}

type Source = Chain<Cursor<Vec<u8>>, File>;

enum Format {
    Pcap(PcapReader<Source>),
    PcapNg(PcapNgReader<Source>),
}

/// A capture file that is being read. Holds its next frame.
pub struct Capture {
    path: PathBuf,
    format: Format,
    number: u64,
    next: Captured,
}

/// Either the next frame is in place, or the file is at its end.
type Step = Result<bool, String>;

impl Capture {
    /// Opens the file and reads its header. No frame is read yet.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let read = |source| CaptureError::Read { path: path.to_owned(), source };
        let format = |what: String| CaptureError::Format { path: path.to_owned(), what };
        let mut file = File::open(path).map_err(read)?;
        let mut start = Vec::new();
        file.by_ref().take(4).read_to_end(&mut start).map_err(read)?;
        let is_pcapng = start == PCAPNG;
        let source = Cursor::new(start).chain(file);
        let format = if is_pcapng {
            Format::PcapNg(PcapNgReader::new(source).map_err(|error| format(explain(&error)))?)
        } else {
            let not_one = |_| format("neither a pcap nor a pcapng file".to_owned());
            let reader = PcapReader::new(source).map_err(not_one)?;
            ethernet(reader.header().datalink).map_err(format)?;
            Format::Pcap(reader)
        };
        Ok(Self { path: path.to_owned(), format, number: 0, next: Captured::default() })
    }

    /// Reads the next frame. False at the end of the file.
    pub fn advance(&mut self) -> Result<bool, CaptureError> {
        let step = match &mut self.format {
            Format::Pcap(reader) => next_pcap(reader, &mut self.next),
            Format::PcapNg(reader) => next_pcapng(reader, &mut self.next),
        };
        self.number += 1;
        step.map_err(|what| CaptureError::Frame { path: self.path.clone(), frame: self.number, what })
    }

    /// The frame that [`Capture::advance`] read.
    pub fn frame(&self) -> &Captured {
        &self.next
    }
}

fn next_pcap(reader: &mut PcapReader<Source>, next: &mut Captured) -> Step {
    let unit_ns = match reader.header().ts_resolution {
        TsResolution::MicroSecond => 1000,
        TsResolution::NanoSecond => 1,
    };
    // The raw form: the checked one refuses files whose frames were cut by the snapshot length.
    let Some(packet) = reader.next_raw_packet() else { return Ok(false) };
    let packet = packet.map_err(|error| explain(&error))?;
    let fraction_ns = u64::from(packet.ts_frac) * unit_ns;
    if u128::from(fraction_ns) >= SECOND_NS {
        return Err("the time stamp has a second or more behind its seconds".to_owned());
    }
    next.time_ns = u64::from(packet.ts_sec) * SECOND_NS as u64 + fraction_ns;
    next.whole = packet.incl_len >= packet.orig_len;
    next.bytes.clear();
    next.bytes.extend_from_slice(&packet.data);
    Ok(true)
}

/// Packet blocks are decoded here: of a frame's block nothing counts but these five fields, and options that are
/// wrong or unknown are no reason to give the capture up.
fn next_pcapng(reader: &mut PcapNgReader<Source>, next: &mut Captured) -> Step {
    loop {
        let big = reader.section().endianness == Endianness::Big;
        let Some(block) = reader.next_raw_block() else { return Ok(false) };
        let block = block.map_err(|error| explain(&error))?;
        match block.type_ {
            ENHANCED_PACKET_BLOCK => {
                let word = |at| word(&block.body, at, big);
                let (interface, high, low) = (word(0)?, word(4)?, word(8)?);
                let (captured, original) = (word(12)?, word(16)?);
                let data = block.body.get(ENHANCED..).and_then(|data| data.get(..captured as usize));
                let data = data.ok_or("the packet is longer than its block")?;
                next.bytes.clear();
                next.bytes.extend_from_slice(data);
                next.whole = captured >= original;
                let ticks = u64::from(high) << 32 | u64::from(low);
                let interface = reader.interfaces().get(interface as usize);
                next.time_ns = time_ns(ticks, interface.ok_or("its interface is not described")?)?;
                return Ok(true);
            }
            SIMPLE_PACKET_BLOCK => return Err("a simple packet block, which has no time stamp".to_owned()),
            PACKET_BLOCK => {
                return Err("an obsolete packet block; `editcap -F pcapng` makes it readable".to_owned());
            }
            _ => {}
        }
    }
}

fn word(body: &[u8], at: usize, big: bool) -> Result<u32, String> {
    let bytes = body.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or("the packet block is too short")?;
    Ok(if big { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) })
}

/// Ticks of an interface to nanoseconds (draft-ietf-opsawg-pcapng, if_tsresol and if_tsoffset).
fn time_ns(ticks: u64, interface: &InterfaceDescriptionBlock<'_>) -> Result<u64, String> {
    ethernet(interface.linktype)?;
    let (mut resolution, mut offset_s) = (6, 0i64);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
            InterfaceDescriptionOption::IfTsOffset(value) => offset_s = *value as i64,
            _ => {}
        }
    }
    let per_second = match (resolution & 0x80 != 0, u32::from(resolution & 0x7F)) {
        (false, exponent) => 10u128.checked_pow(exponent),
        (true, exponent) => 1u128.checked_shl(exponent),
    };
    // 2^64 ticks × 10^9 stays below 2^94.
    let since_offset = per_second.map(|per_second| u128::from(ticks) * SECOND_NS / per_second);
    since_offset
        .and_then(|time| i128::try_from(time).ok())
        .map(|time| time + i128::from(offset_s) * SECOND_NS as i128)
        .and_then(|time| u64::try_from(time).ok())
        .ok_or_else(|| "the time stamp lies before 1970 or after 2554".to_owned())
}

fn ethernet(link: DataLink) -> Result<(), String> {
    match link {
        DataLink::ETHERNET => Ok(()),
        other => Err(format!("link type {}; only Ethernet (1) can be replayed", u32::from(other))),
    }
}

fn explain(error: &PcapError) -> String {
    match error {
        PcapError::IoError(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends in the middle of it".to_owned()
        }
        PcapError::IoError(source) => source.to_string(),
        other => other.to_string(),
    }
}
