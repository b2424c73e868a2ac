//! Reads a file that can be a configuration, or belong to one: a regular one, and not a huge one.

use std::fs::{File, FileType, OpenOptions};
use std::io::{Error, Read, Result};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Far more than as many services and backends as there can be need.
const LARGEST: u64 = 64 << 20;

/// Reads it whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    bounded(open(path)?, LARGEST)
}

/// Opens it.
pub(crate) fn open(path: &Path) -> Result<File> {
    // A FIFO that nobody writes to must not hold us up.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        return Err(Error::other(format!("it is {}, not a regular file", name(kind))));
    }
    Ok(file)
}

/// Reads what may grow meanwhile.
fn bounded(file: File, largest: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.metadata()?.len() <= largest {
        (&file).take(largest + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= largest {
            return Ok(bytes);
        }
    }
    Err(Error::other(format!("it is larger than {} MiB", largest >> 20)))
}

fn name(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    }
}
