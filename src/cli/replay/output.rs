//! The captures that a replay writes: pcap with nanoseconds, so that no input's time stamp loses anything.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

/// A capture that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct OutputError {
    path: PathBuf,
    what: String,
}

/// One capture that is being written.
pub struct Output {
    path: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
}

impl Output {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let failed = |what: String| OutputError { path: path.to_owned(), what };
        let header = PcapHeader {
            // What tcpdump writes; frames are never longer than a chunk of packet memory.
            snaplen: 262_144,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        let file = File::create(path).map_err(|error| failed(error.to_string()))?;
        let writer = PcapWriter::with_header(BufWriter::new(file), header);
        Ok(Self { path: path.to_owned(), writer: writer.map_err(|error| failed(explain(&error)))? })
    }

    /// Appends a frame.
    pub fn write(&mut self, time_ns: u64, bytes: &[u8]) -> Result<(), OutputError> {
        let packet = PcapPacket::new(std::time::Duration::from_nanos(time_ns), bytes.len() as u32, bytes);
        match self.writer.write_packet(&packet) {
            Ok(_) => Ok(()),
            Err(error) => Err(OutputError { path: self.path.clone(), what: explain(&error) }),
        }
    }

    /// Writes what is still buffered.
    pub fn finish(self) -> Result<(), OutputError> {
        let flushed = self.writer.into_writer().flush();
        flushed.map_err(|error| OutputError { path: self.path, what: error.to_string() })
    }
}

fn explain(error: &PcapError) -> String {
    match error {
        PcapError::IoError(source) => source.to_string(),
        PcapError::InvalidField(field) if field.contains("timestamp") => {
            "the time stamp lies after 2106, which pcap cannot hold".to_owned()
        }
        other => other.to_string(),
    }
}
