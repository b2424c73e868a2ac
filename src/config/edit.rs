//! Changes to the text of a configuration.

use std::net::SocketAddr;
use std::path::Path;

use super::valid::AdminState;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// To a backend.
    Backend {
        /// Name of its service.
        service: String,
        /// Its address.
        address: SocketAddr,
        /// Another state.
        state: Option<AdminState>,
        /// Another weight.
        weight: Option<u32>,
    },
    /// To a service.
    Service {
        /// Its name.
        name: String,
        /// Another state.
        state: AdminState,
    },
}

/// Why a change cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Nothing can, yet.
    #[error("not yet")]
    NotYet,
}

/// Writes changes into a file.
pub fn save(_path: &Path, _edits: &[Edit]) -> Result<(), EditError> {
    Err(EditError::NotYet)
}
