//! Up to 64 frames and what is known of each while they pass through the pipeline together.

use crate::tables::{Event, InterfaceId};
use crate::xsk::Frame;

use super::conntrack::FlowKey;
use super::parse::Parsed;
use super::verdict::Verdict;

/// Frames per batch: enough for the memory accesses of one stage to overlap, few enough to stay in the L1 cache.
pub const BATCH: usize = 64;

/// What is known of one frame.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    /// Where the frame came in.
    pub ingress: InterfaceId,
    /// Its headers.
    pub parsed: Parsed,
    /// Its flow, where it has one.
    pub key: FlowKey,
    /// Hash of the flow under the table's secret.
    pub hash: u64,
    /// Its fate, once known.
    pub verdict: Option<Verdict>,
}

/// A batch. It owns its frames until its driver drains them.
#[derive(Debug)]
pub struct Batch {
    frames: Vec<Frame>,
    metas: Vec<Meta>,
    events: Events,
    kernel_reachable: bool,
}

impl Batch {
    /// An empty batch. All its memory is allocated here.
    ///
    /// `kernel_reachable` says whether `ToKernel` can be honoured. AF_XDP has no way back into the kernel; a capture
    /// file does.
    pub fn new(kernel_reachable: bool) -> Self {
        Self {
            frames: Vec::with_capacity(BATCH),
            metas: Vec::with_capacity(BATCH),
            events: Events(Vec::with_capacity(BATCH)),
            kernel_reachable,
        }
    }

    /// Adds a frame that came in through `ingress`; handed back when the batch is full.
    #[inline]
    pub fn push(&mut self, frame: Frame, ingress: InterfaceId) -> Result<(), Frame> {
        if self.room() == 0 {
            return Err(frame);
        }
        self.frames.push(frame);
        self.metas.push(Meta {
            ingress,
            parsed: Parsed::NOTHING,
            key: FlowKey::default(),
            hash: 0,
            verdict: None,
        });
        Ok(())
    }

    /// How many more frames fit.
    #[inline]
    pub fn room(&self) -> usize {
        BATCH - self.frames.len()
    }

    /// Number of frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether `ToKernel` can be honoured.
    #[inline]
    pub fn kernel_reachable(&self) -> bool {
        self.kernel_reachable
    }

    /// What is known of each frame.
    #[inline]
    pub fn metas(&self) -> &[Meta] {
        &self.metas
    }

    /// Each frame with what is known of it, and where to raise events.
    #[inline]
    pub fn parts(&mut self) -> (impl Iterator<Item = (&mut Frame, &mut Meta)>, &mut Events) {
        (self.frames.iter_mut().zip(self.metas.iter_mut()), &mut self.events)
    }

    /// Empties the batch: every frame with its metadata, in the order they came. The driver finds each a place.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = (Frame, Meta)> + '_ {
        self.frames.drain(..).zip(self.metas.drain(..))
    }

    /// Empties the list of what the control plane should hear of.
    #[inline]
    pub fn drain_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.0.drain(..)
    }
}

/// Where stages raise events for the control plane: bounded, and without saying the same twice in a row.
#[derive(Debug)]
pub struct Events(Vec<Event>);

impl Events {
    /// Raises `event`, unless the list is full: whoever raises one will raise it again.
    #[inline]
    pub fn raise(&mut self, event: Event) {
        if self.0.len() < BATCH && self.0.last() != Some(&event) {
            self.0.push(event);
        }
    }
}
