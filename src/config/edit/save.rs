//! Writes edits into the file itself: all of them, or nothing.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::{Edit, EditError, edit};
use crate::config::{self, Diagnostics, file};

/// Why a file was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It cannot be read or written.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// What is to be edited is not there.
    #[error("{}: {source}", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// What is missing.
        source: EditError,
    },
    /// With the edits it would not be a configuration; most likely it was none before.
    #[error("nothing is saved into a file that cannot be used:\n{0}")]
    Invalid(Diagnostics),
}

/// Edits a file.
///
/// The new text is written beside it and takes its place at once, with the same owner and mode; where the path is a
/// symbolic link, that is what it leads to. Whoever reads the file meanwhile sees the old text or the new one.
pub fn save(path: &Path, edits: &[Edit]) -> Result<(), SaveError> {
    let failed = |what| move |source| SaveError::Io { path: path.to_owned(), what, source };
    let target = fs::canonicalize(path).map_err(failed("cannot be found"))?;
    let before = fs::metadata(&target).map_err(failed("cannot be read"))?;
    let bytes = file::read(&target).map_err(failed("cannot be read"))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| failed("cannot be read")(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let edited = edit(&text, edits).map_err(|source| SaveError::Edit { path: path.to_owned(), source })?;
    if let Err(config::Error::Invalid(diagnostics)) = config::parse(&edited, &path.display().to_string()) {
        return Err(SaveError::Invalid(diagnostics));
    }
    if edited == text {
        return Ok(());
    }
    replace(&target, &before, &edited).map_err(failed("cannot be written"))
}

/// Puts `text` in the place of a file, if it is still the one that `before` describes.
fn replace(target: &Path, before: &Metadata, text: &str) -> io::Result<()> {
    let folder = target.parent().ok_or_else(|| io::Error::other("it is in no folder"))?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    let beside = folder.join(format!(".{name}.{random:016x}"));
    let written = write(&beside, before, text).and_then(|()| {
        let now = fs::metadata(target)?;
        let identity =
            |metadata: &Metadata| (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if identity(&now) != identity(before) {
            return Err(io::Error::other("somebody else has changed it meanwhile"));
        }
        fs::rename(&beside, target)
    });
    if let Err(error) = written {
        // What is left of it is of no use; that it may not even be removed changes nothing about the error.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    // The name, too, is to survive a loss of power.
    File::open(folder)?.sync_all()
}

fn write(beside: &Path, before: &Metadata, text: &str) -> io::Result<()> {
    // Nobody else may read it before it has its owner and mode.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
        fchown(&file, Some(before.uid()), Some(before.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
