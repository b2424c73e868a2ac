//! Active checks: which backends can serve.
//!
//! The loop in [`super::follow`] says what is to be checked and which backends are suspect; what comes back are
//! [`Report`]s, one for each change. Checks run on the control plane's runtime, thousands at a time.
//!
//! ```text
//!  set, suspect ──► board ◄──── schedule ────► check/{tcp,http,tls,udp,icmp,agent}, through
//!                    │  what is due? │ a task per check under way
//!  reports, checked ◄┘  what came out?
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`machine`] | what a row of results says: pure |
//! | `durations` | how long checks took: pure |
//! | [`pace`] | when a check is due, how late it was: pure |
//! | [`board`] | who is checked how, and what is known: behind a lock that nobody holds for long |
//! | [`schedule`] | the task that starts what is due |
//! | [`check`] | how a backend is asked |
//! | [`through`] | the same through the forwarding path |

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::standing::{BackendKey, ServiceKey};
use crate::config::valid;
use crate::sys::limits;
use crate::tables::{BackendId, Loads, Protocol};
use board::Board;
pub use durations::{CheckDurations, DurationBucket};
pub use machine::Suspicion;
pub use pace::Pace;

pub mod board;
pub mod check;
mod durations;
pub mod machine;
pub mod pace;
pub mod schedule;
pub mod through;

/// Checks under way at once, where the limit on open files allows it: 100,000 backends that are silent for 3 s of every 5.
const MOST_IN_FLIGHT: usize = 65_536;

/// Targets that are gone through under one hold of the lock: some milliseconds.
const PIECE: usize = 512;
/// Until the next ones are. Two hundred times makes less than a tenth of what 100,000 targets take anyway.
const BREATH: Duration = Duration::from_micros(50);

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
    board: Arc<Mutex<Board>>,
    bell: Arc<Notify>,
    schedule: JoinHandle<()>,
}

impl Health {
    /// Nothing to be checked yet. Within a Tokio runtime only. Response times go to `loads`; checks end with this value.
    pub fn start(loads: Arc<Loads>) -> (Self, UnboundedReceiver<Report>) {
        let files = limits::raise_open_files().unwrap_or_else(|error| {
            tracing::warn!(%error, "the limit on open files stays as it is: few health checks at a time");
            1024
        });
        // The other half is for everybody else.
        let most = usize::try_from(files / 2).unwrap_or(MOST_IN_FLIGHT).clamp(1, MOST_IN_FLIGHT);
        let (reports, receiver) = unbounded_channel();
        let board = Arc::new(Mutex::new(Board::new(loads, reports, Instant::now())));
        let bell = Arc::new(Notify::new());
        let schedule = tokio::spawn(schedule::run(Arc::clone(&board), Arc::clone(&bell), most));
        (Self { board, bell, schedule }, receiver)
    }

    /// From now on these are checked, and no others. What is known of those that are checked as before stays.
    pub fn set(&self, targets: Vec<Target>) {
        let services: HashSet<ServiceKey> = targets.iter().map(|target| target.key.service).collect();
        let mut change = locked(&self.board).begin();
        let mut targets = targets.into_iter();
        while targets.len() > 0 {
            let some = targets.by_ref().take(PIECE);
            locked(&self.board).take(&mut change, some, Instant::now());
            breathe(targets.len());
        }
        let gone = locked(&self.board).gone();
        for (some, left) in pieces(&gone) {
            locked(&self.board).let_go(some);
            breathe(left);
        }
        locked(&self.board).finish(&change, Instant::now());
        locked(&self.board).durations.retain(|service, _| services.contains(service));
        self.bell.notify_one();
    }

    /// The traffic gives cause for suspicion: check now, and at the fast interval until it is clear.
    pub fn suspect(&self, key: BackendKey, suspicion: Suspicion) {
        if locked(&self.board).suspect(key, suspicion, Instant::now()) {
            self.bell.notify_one();
        }
    }

    /// How the checks stand.
    pub fn checked(&self) -> HashMap<BackendKey, Checked> {
        let targets = locked(&self.board).targets();
        let mut checked = HashMap::with_capacity(targets.len());
        for (some, left) in pieces(&targets) {
            checked.extend(locked(&self.board).shown(some, Instant::now()));
            breathe(left);
        }
        checked
    }

    /// How long the checks of each service took.
    pub fn durations(&self) -> HashMap<ServiceKey, CheckDurations> {
        let board = locked(&self.board);
        board.durations.iter().map(|(service, durations)| (*service, durations.shown())).collect()
    }

    /// How checking keeps up.
    pub fn pace(&self) -> Pace {
        locked(&self.board).pace(Instant::now())
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        // Everything under way belongs to that task.
        self.schedule.abort();
    }
}

/// Pieces of a list, each with how many follow it.
fn pieces<T>(all: &[T]) -> impl Iterator<Item = (&[T], usize)> {
    all.chunks(PIECE).scan(all.len(), |left, some| {
        *left -= some.len();
        Some((some, *left))
    })
}

/// Between two pieces, where any are `left`: a mutex goes to who asks first, and whoever gave it up is the first to ask again.
fn breathe(left: usize) {
    if left > 0 {
        std::thread::sleep(BREATH);
    }
}

fn locked(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
