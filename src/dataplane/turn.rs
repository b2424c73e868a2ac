//! What every stage is handed besides the frame: the tables, the connections, the time, the counters, and where to put
//! what comes out besides verdicts.

use crate::tables::{Event, Snapshot, Tick, WorkerCounters};
use crate::xsk::Frame;

use super::batch::{BATCH, Meta};
use super::conntrack::Flows;
use super::fragments::LOOKS;
use super::fragments::waiting::Waiting;

/// One call of [`super::process`].
#[derive(Debug)]
pub struct Turn<'a> {
    /// What the switch is to do.
    pub tables: &'a Snapshot,
    /// The connections.
    pub flows: &'a mut Flows,
    /// The time.
    pub now: Tick,
    /// What is counted.
    pub counters: &'a WorkerCounters,
    /// What comes out besides verdicts.
    pub extras: &'a mut Extras,
}

impl Turn<'_> {
    /// Whether the switch may say something of its own accord: so much per second, and no more.
    pub fn may_speak(&mut self) -> bool {
        let may = self.flows.limiter.take(self.tables.icmp_rate, self.now);
        if !may {
            self.counters.icmp_limited.add(1);
        }
        may
    }
}

/// Spare frames at hand, for packets that leave in several pieces: a whole batch of them may leave in two each.
pub const SPARES: usize = BATCH;

/// What a batch carries besides its frames.
#[derive(Debug)]
pub struct Extras {
    /// What the control plane should hear of.
    events: Vec<Event>,
    /// Free frames that the driver lends.
    pub(super) spares: Vec<Frame>,
    /// Frames that leave besides those of the batch: made from spares, or done with waiting. Each with its fate.
    pub(super) made: Vec<(Frame, Meta)>,
    /// Fragments that wait for the first of their datagram.
    pub(super) waiting: Waiting,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            events: Vec::with_capacity(BATCH),
            spares: Vec::with_capacity(SPARES),
            made: Vec::with_capacity(SPARES + LOOKS),
            waiting: Waiting::default(),
        }
    }
}

impl Extras {
    /// Raises `event`, unless the list is full: whoever raises one will raise it again. Not the same twice in a row.
    #[inline]
    pub fn raise(&mut self, event: Event) {
        if self.events.len() < BATCH && self.events.last() != Some(&event) {
            self.events.push(event);
        }
    }

    /// Empties the list of events.
    #[inline]
    pub(super) fn drain_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }

    /// A free frame, if the driver lent one.
    pub fn spare(&mut self) -> Option<Frame> {
        self.spares.pop()
    }

    /// Adds a frame that has its verdict. There is room: it was made from a spare, or has waited.
    pub fn add(&mut self, frame: Frame, meta: Meta) {
        self.made.push((frame, meta));
    }
}
