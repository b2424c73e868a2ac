//! Active checks: which backends can serve.
//!
//! The loop in [`super::follow`] says what is to be checked and which backends are suspect; what comes back are
//! [`Report`]s, one for each change. Checks run on the control plane's runtime, thousands at a time.

pub mod through;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::standing::BackendKey;
use crate::config::valid;
use crate::tables::{BackendId, Loads, Protocol};

/// One backend to be checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Whose backend it is.
    pub key: BackendKey,
    /// Its row: response times go to [`Loads`].
    pub row: BackendId,
    /// How. Backends of a service share it.
    pub check: Arc<valid::Health>,
    /// The way that the service's packets take, where the check is to take it, too. None: it is not known at present.
    pub through: Option<Through>,
}

/// How a packet for the VIP reaches one backend: what the data plane would put in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// Interface that it leaves by.
    pub ifindex: u32,
    /// Ethernet header, with tags, as written in front of an IP packet of the family that leaves.
    pub link: Vec<u8>,
    /// The outer headers; none where the backend is on the link (`dsr`).
    pub outer: Option<crate::wire::tunnel::Outer>,
    /// Address of ours that the backend will answer to.
    pub source: std::net::IpAddr,
    /// What the packet is addressed to.
    pub vip: std::net::SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Of which backend.
    pub key: BackendKey,
    /// What it is.
    pub news: News,
}

/// What is new of a backend.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Its checks succeed: `rise` times in a row, or the very first one.
    Up,
    /// Its checks fail: `fall` times in a row, or the very first one. Why, for a person.
    Down(String),
    /// What its agent says.
    Agent(Agent),
}

/// What an agent says of its backend. None of a field: nothing about that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agent {
    /// Percent of its weight that it wants.
    pub percent: Option<u8>,
    /// What it wants to be.
    pub wish: Option<Wish>,
}

/// What an agent wants its backend to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// `up` or `ready`: nothing stands against it.
    Up,
    /// `down`, `fail` or `stopped`.
    Down,
    /// `drain`: no new connections.
    Drain,
    /// `maint`: taken out.
    Maint,
}

/// How the checks of one backend stand, for showing.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Checked {
    /// `unknown` (not checked yet), `up`, `rising`, `down` or `falling`.
    pub state: String,
    /// Seconds since it was last up or down, whichever it is now.
    pub since_s: u64,
    /// What the last check found: `200 OK in 1.2 ms`, `connection refused`.
    pub last: String,
    /// Checks so far.
    pub checks: u64,
    /// Of those, failed ones.
    pub failed: u64,
    /// What the agent said last.
    #[serde(default)]
    pub agent: Option<String>,
    /// The traffic gave cause for suspicion, and the checks have not cleared it yet.
    #[serde(default)]
    pub suspect: bool,
}

/// The checks.
#[derive(Debug)]
pub struct Health {
    reports: UnboundedSender<Report>,
}

impl Health {
    /// Nothing to be checked yet. Within a Tokio runtime only. Response times go to `loads`; checks end with this value.
    pub fn start(_loads: Arc<Loads>) -> (Self, UnboundedReceiver<Report>) {
        let (reports, receiver) = unbounded_channel();
        (Self { reports }, receiver)
    }

    /// From now on these are checked, and no others. What is known of those that are checked as before stays.
    pub fn set(&self, _targets: Vec<Target>) {}

    /// The traffic gives cause for suspicion: check now, and at the fast interval until it is clear.
    pub fn suspect(&self, _key: BackendKey) {
        let _ = &self.reports;
    }

    /// How the checks stand.
    pub fn checked(&self) -> HashMap<BackendKey, Checked> {
        HashMap::new()
    }
}
