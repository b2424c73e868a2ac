//! Writes single values into the text of a configuration, and leaves every other byte of it as it is.
//!
//! toml_edit finds the places; what stands there is replaced in the text itself. Comments, layout and line ends are the
//! operator's.

mod place;
mod save;

use std::net::SocketAddr;

use super::valid::AdminState;
use super::words;
use place::{Entry, File};

pub use save::{SaveError, save};

/// A value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// State and weight of a backend.
    Backend {
        /// Name of its service.
        service: String,
        /// Where it listens.
        address: SocketAddr,
        /// None: as it is.
        state: Option<AdminState>,
        /// None: as it is.
        weight: Option<u32>,
    },
    /// State of a service.
    Service {
        /// Its name.
        name: String,
        /// What it is to be.
        state: AdminState,
    },
}

/// Why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not TOML.
    #[error("the file is not TOML any more: {0}")]
    Syntax(String),
    /// The text has no such service.
    #[error("the file has no service {0:?}")]
    NoService(String),
    /// The text has the service, but not the backend.
    #[error("the file does not list the backend {address} of service {service:?}{}", origin(*.discovers))]
    NoBackend {
        /// Name of the service.
        service: String,
        /// Where the backend listens.
        address: SocketAddr,
        /// Whether the service discovers backends: then this one comes from there.
        discovers: bool,
    },
}

fn origin(discovers: bool) -> &'static str {
    match discovers {
        true => ": discovered backends are changed where they are discovered",
        false => "",
    }
}

/// The text with these values.
///
/// A state that becomes the default again is not written where nothing is, and its line goes if nothing else is on it.
pub fn edit(text: &str, edits: &[Edit]) -> Result<String, EditError> {
    let mut text = text.to_owned();
    for edit in edits {
        text = match edit {
            Edit::Service { name, state } => {
                with(&text, "state", &state_value(*state), |file| file.service(name))?
            }
            Edit::Backend { service, address, state, weight } => {
                if state.is_none() && weight.is_none() {
                    // Even then it is said that there is no such backend.
                    File::parse(&text)?.backend(service, *address)?;
                }
                if let Some(state) = state {
                    text =
                        with(&text, "state", &state_value(*state), |file| file.backend(service, *address))?;
                }
                if let Some(weight) = weight {
                    let value = Value { text: weight.to_string(), default: *weight == 1, removable: false };
                    text = with(&text, "weight", &value, |file| file.backend(service, *address))?;
                }
                text
            }
        };
    }
    Ok(text)
}

/// What is to stand under a key.
struct Value {
    text: String,
    /// Whether the same is meant where nothing stands.
    default: bool,
    /// Whether nothing stands there rather than the default. Weights are wanted beside each other.
    removable: bool,
}

fn state_value(state: AdminState) -> Value {
    let text = format!("{:?}", words::STATE.name(state));
    Value { text, default: state == AdminState::default(), removable: true }
}

/// The text with one value in one table.
fn with(
    text: &str,
    key: &str,
    value: &Value,
    find: impl FnOnce(&File<'_>) -> Result<Entry, EditError>,
) -> Result<String, EditError> {
    let file = File::parse(text)?;
    let entry = find(&file)?;
    let (place, inserted) = match entry.value(key) {
        // Whoever wrote the default wants to see it.
        Some(place) if text[place.clone()] == value.text => return Ok(text.to_owned()),
        Some(place) => match file.own_line(&place).filter(|_| value.default && value.removable) {
            Some(line) => (line, String::new()),
            None => (place, value.text.clone()),
        },
        None if value.default => return Ok(text.to_owned()),
        None => file.after(&entry, &format!("{key} = {}", value.text)),
    };
    let mut edited = text.to_owned();
    edited.replace_range(place, &inserted);
    Ok(edited)
}
