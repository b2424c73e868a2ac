//! What the control plane asks of whoever runs the workers.
//!
//! Control never sees the data plane: `boot` implements this trait over rings and XDP programs, `replay` and tests
//! need no more than a mailbox.

use std::sync::Arc;
use std::time::Duration;

use super::trace::{Question, Trace};
use crate::tables::connection::{Tally, Wanted};
use crate::tables::{InterfaceId, Loads, Mailbox, SeenConnection, Snapshot, Steering, WorkerCounters};

/// One worker as the control plane sees it.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    /// Snapshots in, snapshots and events out.
    pub mailbox: Arc<Mailbox>,
    /// Its counters.
    pub counters: Arc<WorkerCounters>,
    /// The core it is pinned to.
    pub core: Option<usize>,
}

/// How one queue of one interface is attached, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortStatus {
    /// Name of the interface.
    pub interface: String,
    /// RX queue.
    pub queue: u32,
    /// Worker that owns it.
    pub worker: usize,
    /// `native` or `generic`; empty while not attached.
    pub xdp_mode: String,
    /// `zero-copy` or `copy`; empty while there is no socket.
    pub copy_mode: String,
    /// `up`, `down` (no carrier or administratively) or `gone`.
    pub link: String,
}

/// Frames of one interface, by where the XDP program sent them since the switch started. Only those to sockets become the
/// workers' `received`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SteeredStatus {
    /// Name of the interface.
    pub interface: String,
    /// To the kernel: not the switch's.
    pub to_kernel: u64,
    /// To the socket of their queue.
    pub to_socket: u64,
    /// In a bridge: to the other interface.
    pub to_peer: u64,
    /// The switch's, but their queue has no socket: the kernel got them.
    pub no_socket: u64,
}

/// The workers, their rings and the XDP programs.
pub trait DataPlane: Send + Sync + 'static {
    /// The workers, by number.
    fn workers(&self) -> &[WorkerHandle];

    /// What is known of the backends, by row.
    fn loads(&self) -> &Arc<Loads>;

    /// Wakes workers that sleep, so that they look into their mailboxes.
    fn wake(&self);

    /// Makes the maps of every attached XDP program say exactly this. Errors are sentences for the log.
    fn steer(&self, steering: &Steering) -> Vec<String>;

    /// An interface left the kernel: its rings are closed, the rest goes on.
    fn interface_gone(&self, interface: InterfaceId);

    /// An interface (re)appeared: rings are opened and the program attached with this steering.
    fn interface_appeared(&self, interface: InterfaceId, steering: &Steering) -> Result<(), String>;

    /// Carrier or administrative state changed; an interface whose rings were just opened counts as up until then.
    fn interface_link(&self, interface: InterfaceId, up: bool);

    /// How every queue is attached.
    fn ports(&self) -> Vec<PortStatus>;

    /// Where the frames of each interface that has an XDP program went.
    fn steered(&self) -> Vec<SteeredStatus>;

    /// Entries of the connection tables.
    fn entries(&self) -> u64 {
        0
    }

    /// Looks at a slice of them: from a position on, so many. Counts the connections that are wanted, and hands them to `see`,
    /// should there be one. Where to go on; none at the end. No worker notices.
    fn look(
        &self,
        _slice: (u64, u32),
        _wanted: &Wanted,
        _tally: &mut Tally,
        _see: Option<&mut dyn FnMut(SeenConnection)>,
    ) -> Option<u64> {
        None
    }

    /// The time as the workers have it: since they were started.
    fn clock(&self) -> Duration {
        Duration::ZERO
    }

    /// What would become of a packet. Errors are sentences. No worker notices.
    fn trace(&self, _question: &Question, _snapshot: &Snapshot) -> Result<Trace, String> {
        Err("there is no data path to be asked".to_owned())
    }
}
