//! Who serves: what the file says, what operators changed at run time, what was discovered, what checks and agents say,
//! and what time does to it (drains end, returning backends grow), brought together.
//!
//! Pure: time is passed in, nothing is asked of anybody. What comes out is an effective configuration (backends that were
//! discovered or are leaving included, weights as they are now) and the [`Standings`] of all backends.

use std::time::Instant;

use super::discover::Found;
use super::health::Report;
use super::orders::Order;
use super::standing::{BackendKey, ServiceKey, Standings, service_key};
use crate::config::valid::Config;

/// Who serves.
#[derive(Debug, Clone)]
pub struct Roster {
    file: Config,
}

/// How one backend stands, for showing.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shown {
    /// `up`, `down`, `drain`, `drained`, `disabled`, `leaving` or `starting`.
    pub state: String,
    /// Why, for a person; empty where there is nothing to say.
    pub why: String,
    /// Percent of the weight that counts.
    pub share: u8,
    /// Whether it was discovered, not listed.
    pub discovered: bool,
    /// Seconds until the connections of a drained backend end; none: as long as they last.
    pub drain_left_s: Option<u64>,
}

impl Roster {
    /// What the file says, and nothing else yet.
    pub fn new(file: Config, _now: Instant) -> Self {
        Self { file }
    }

    /// The file, as it was read last.
    pub fn file(&self) -> &Config {
        &self.file
    }

    /// The file was read again. Run-time changes stay unless the file now says something else about the same thing;
    /// backends that are no longer listed leave: they are drained, and gone once they have no connections.
    pub fn load(&mut self, file: Config, _now: Instant) {
        self.file = file;
    }

    /// An operator's order. What it changes, or why it cannot be.
    pub fn order(&mut self, _order: &Order, _now: Instant) -> Result<String, String> {
        Err("not yet".to_owned())
    }

    /// A change in health. Whether anything follows from it.
    pub fn report(&mut self, _report: &Report, _now: Instant) -> bool {
        false
    }

    /// A discovered set. Whether it differs from what was known.
    pub fn found(&mut self, _found: Found, _now: Instant) -> bool {
        false
    }

    /// Time passed: whether drains ended, backends that left are without connections (`open` says how many a backend has),
    /// or those that start slowly have grown by a step.
    pub fn turn(&mut self, _open: &dyn Fn(&BackendKey) -> u64, _now: Instant) -> bool {
        false
    }

    /// The configuration in force.
    pub fn config(&self) -> Config {
        self.file.clone()
    }

    /// How all backends stand that do not stand as the configuration in force says.
    pub fn standings(&self, _now: Instant) -> Standings {
        Standings::default()
    }

    /// For showing.
    pub fn shown(&self, _key: &BackendKey, _now: Instant) -> Option<Shown> {
        None
    }

    /// An order was written into the file: from now on the file says it.
    pub fn saved(&mut self, _order: &Order) {}

    /// Whether this backend is to be checked: not one that was taken out, or that leaves.
    pub fn is_checked(&self, _key: &BackendKey) -> bool {
        true
    }

    /// Failures in a row in the traffic that make a backend of this service suspect, where the traffic is heeded.
    pub fn passive_failures(&self, key: &ServiceKey) -> Option<u32> {
        let service = self.file.services.iter().find(|service| service_key(service) == *key)?;
        service.health.as_ref().map(|health| health.passive_failures).filter(|failures| *failures > 0)
    }
}
