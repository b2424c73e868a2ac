//! How the planes talk: snapshots in, used ones back out to be freed, connections to be ended, and a few events the other way.
//!
//! A worker must neither wait nor free memory. So a new snapshot lies in a box of one until the worker looks,
//! and the one it replaces goes back through a second box: the control plane drops it, on its own time.

use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::capture::Taps;
use super::connection::Ends;
use super::{InterfaceId, Snapshot};

/// Snapshots that may wait for the control plane to free them. It looks whenever it publishes, so two suffice.
const RETURNS: usize = 8;
/// Events that may wait. Beyond that they are dropped: whoever raised one will raise it again.
const EVENTS: usize = 1024;

/// Something a worker noticed and the control plane must act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Frames wait for the MAC address of this neighbour.
    Resolve {
        /// On whose link it is.
        interface: InterfaceId,
        /// The neighbour.
        address: IpAddr,
    },
    /// A neighbour told its MAC address by asking for ours (ARP).
    Learned {
        /// On whose link it is.
        interface: InterfaceId,
        /// The neighbour.
        address: IpAddr,
        /// What it said.
        mac: [u8; 6],
    },
    /// The traffic showed that a backend failed to take a connection; how often, [`super::Loads`] knows.
    Failing(super::BackendId),
}

/// One worker's end of the talk.
#[derive(Debug)]
pub struct Mailbox {
    inbox: ArrayQueue<Arc<Snapshot>>,
    returns: ArrayQueue<Arc<Snapshot>>,
    events: ArrayQueue<Event>,
    /// Connections that the worker is to end.
    pub ends: Ends,
    /// What the worker is to capture.
    pub taps: Taps,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            inbox: ArrayQueue::new(1),
            returns: ArrayQueue::new(RETURNS),
            events: ArrayQueue::new(EVENTS),
            ends: Ends::default(),
            taps: Taps::default(),
        }
    }
}

impl Mailbox {
    /// Control: leaves a snapshot, replacing one that was not collected, and frees those that came back.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        while self.returns.pop().is_some() {}
        drop(self.inbox.force_push(snapshot));
    }

    /// Control: frees what came back. Worth calling now and then between publications.
    pub fn collect(&self) {
        while self.returns.pop().is_some() {}
    }

    /// Worker: exchanges `current` for a newer snapshot, if one waits. Never frees, never waits.
    #[inline]
    pub fn refresh(&self, current: &mut Arc<Snapshot>) -> bool {
        if self.inbox.is_empty() || self.returns.is_full() {
            return false;
        }
        let Some(newer) = self.inbox.pop() else { return false };
        let used = std::mem::replace(current, newer);
        if let Err(used) = self.returns.push(used) {
            // Unreachable while this worker is the only one that pushes; leaking is the safe answer.
            std::mem::forget(used);
        }
        true
    }

    /// Worker: raises an event. Whether it could be queued.
    #[inline]
    pub fn raise(&self, event: Event) -> bool {
        self.events.push(event).is_ok()
    }

    /// Control: the next event.
    pub fn event(&self) -> Option<Event> {
        self.events.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(epoch: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot { epoch, ..Snapshot::default() })
    }

    #[test]
    fn the_newest_snapshot_is_the_one_collected_and_the_old_one_is_freed_by_control() {
        let mailbox = Mailbox::default();
        let mut current = snapshot(1);
        let watched = Arc::downgrade(&current);
        mailbox.publish(snapshot(2));
        mailbox.publish(snapshot(3));
        assert!(mailbox.refresh(&mut current));
        assert_eq!(current.epoch, 3);
        assert!(!mailbox.refresh(&mut current));
        assert!(watched.upgrade().is_some(), "the worker must not free it");
        mailbox.collect();
        assert!(watched.upgrade().is_none());
    }

    #[test]
    fn a_worker_keeps_its_snapshot_while_nobody_collects() {
        let mailbox = Mailbox::default();
        let mut current = snapshot(0);
        for epoch in 1..=RETURNS as u64 + 3 {
            drop(mailbox.inbox.force_push(snapshot(epoch)));
            mailbox.refresh(&mut current);
        }
        assert_eq!(current.epoch, RETURNS as u64);
    }

    #[test]
    fn events_beyond_the_limit_are_refused() {
        let mailbox = Mailbox::default();
        let event = Event::Resolve { interface: InterfaceId(0), address: "10.0.0.1".parse().unwrap() };
        assert!((0..EVENTS).all(|_| mailbox.raise(event)));
        assert!(!mailbox.raise(event));
        assert_eq!(mailbox.event(), Some(event));
    }
}
