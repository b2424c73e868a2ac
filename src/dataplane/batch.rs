//! Up to 64 frames and what is known of each while they pass through the pipeline together.

use crate::tables::{DropReason, Event, InterfaceId, Tick};
use crate::xsk::Frame;

use super::conntrack::{FlowKey, Reference};
use super::family::{V4, V6};
use super::parse::Parsed;
use super::turn::{Extras, SPARES};
use super::verdict::Verdict;

/// Frames per batch: enough for the memory accesses of one stage to overlap, few enough to stay in the L1 cache.
pub const BATCH: usize = 64;

/// How the headers of a frame were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Lane {
    /// All that there may be: [`Meta::parsed`] says what there is.
    Full,
    /// As plain IPv4: the flow is named, and nothing else is in `parsed` until somebody asks for it.
    V4,
    /// As plain IPv6, likewise.
    V6,
}

/// What is known of one frame.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Meta {
    /// Where the frame came in.
    pub ingress: InterfaceId,
    /// Its headers.
    pub parsed: Parsed,
    /// Its flow, where it has one and is IPv4.
    pub v4: FlowKey<V4>,
    /// Its flow, where it has one and is IPv6.
    pub v6: FlowKey<V6>,
    /// How its headers were read.
    pub lane: Lane,
    /// Hash of the flow under the table's secret.
    pub hash: u64,
    /// Number of the bucket that `hash` leads to; of plain frames alone.
    pub bucket: u32,
    /// The connection that it most likely belongs to, unverified; of plain IPv4 alone.
    pub candidate_v4: Reference,
    /// The same of plain IPv6.
    pub candidate_v6: Reference,
    /// Where it is too big for its way: the largest packet that fits, in bytes.
    pub mtu: u16,
    /// Whether it is a fragment that must wait for the first of its datagram. `hash` is that of the datagram then.
    pub waits: bool,
    /// Its fate, once known.
    pub verdict: Option<Verdict>,
}

impl Meta {
    /// Of a frame that came in through `ingress` and was not looked at yet.
    pub fn new(ingress: InterfaceId) -> Self {
        Self {
            ingress,
            parsed: Parsed::NOTHING,
            v4: FlowKey::default(),
            v6: FlowKey::default(),
            lane: Lane::Full,
            hash: 0,
            bucket: 0,
            candidate_v4: Reference::NONE,
            candidate_v6: Reference::NONE,
            mtu: 0,
            waits: false,
            verdict: None,
        }
    }
}

/// A frame and what is known of it, side by side: one step from each to the next.
#[derive(Debug)]
pub(super) struct Slot {
    /// What is known of it.
    pub meta: Meta,
    /// The frame.
    pub frame: Frame,
}

/// A batch. It owns its frames until its driver drains them.
#[derive(Debug)]
pub struct Batch {
    slots: Vec<Slot>,
    extras: Extras,
    kernel_reachable: bool,
}

impl Batch {
    /// An empty batch. All its memory is allocated here.
    ///
    /// `kernel_reachable` says whether `ToKernel` can be honoured. AF_XDP has no way back into the kernel; a capture
    /// file does.
    pub fn new(kernel_reachable: bool) -> Self {
        Self { slots: Vec::with_capacity(BATCH), extras: Extras::default(), kernel_reachable }
    }

    /// Adds a frame that came in through `ingress`; handed back when the batch is full.
    #[inline]
    pub fn push(&mut self, frame: Frame, ingress: InterfaceId) -> Result<(), Frame> {
        if self.room() == 0 {
            return Err(frame);
        }
        self.slots.push(Slot { meta: Meta::new(ingress), frame });
        Ok(())
    }

    /// How many more frames fit.
    #[inline]
    pub fn room(&self) -> usize {
        BATCH - self.slots.len()
    }

    /// Number of frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether `ToKernel` can be honoured.
    #[inline]
    pub fn kernel_reachable(&self) -> bool {
        self.kernel_reachable
    }

    /// All frames, each with what is known of it, and where to put what comes out besides.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut [Slot], &mut Extras) {
        (&mut self.slots, &mut self.extras)
    }

    /// Lends spare frames, as many as `take` gives, for packets that leave in several pieces. The batch keeps them until
    /// they are used or taken back.
    #[inline]
    pub fn lend(&mut self, mut take: impl FnMut() -> Option<Frame>) {
        while self.extras.spares.len() < SPARES {
            let Some(frame) = take() else { return };
            self.extras.spares.push(frame);
        }
    }

    /// Takes the spare frames back.
    pub fn take_back(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.extras.spares.drain(..)
    }

    /// Takes out the fragments that wait, without a verdict: they waited in vain.
    pub fn take_waiting(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.extras.waiting.drain()
    }

    /// How many fragments wait for the first of their datagram. While there are any, the pipeline is to be called now and
    /// then, frames or not.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.extras.waiting.count()
    }

    /// Whether any waits or is about to.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        !self.extras.waiting.is_idle()
    }

    /// Chunks of packet memory that the batch holds between two calls of the pipeline.
    pub fn in_hand(&self) -> usize {
        self.extras.spares.len() + self.extras.waiting.in_chunks()
    }

    /// Moves the fragments that must wait to where they do, as far as there is room.
    pub(super) fn put_aside(&mut self, now: Tick) {
        let waiting = &mut self.extras.waiting;
        let mut position = 0;
        while waiting.wanted > 0
            && let Some(Slot { meta, frame }) = self.slots.get_mut(position)
        {
            waiting.wanted -= usize::from(meta.waits);
            if meta.waits && waiting.has_room(frame, meta.hash) {
                let Slot { meta, frame } = self.slots.remove(position);
                waiting.put(frame, meta, now);
                continue;
            }
            if std::mem::take(&mut meta.waits) {
                meta.verdict = Some(Verdict::Drop(DropReason::FragmentTableFull));
            }
            position += 1;
        }
        waiting.wanted = 0;
    }

    /// Empties the batch: every frame with its verdict, in the order they came, then those that were made. The driver
    /// finds each a place. Once the pipeline has run, all have one.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = (Frame, Option<Verdict>)> + '_ {
        let came = self.slots.drain(..).map(|slot| (slot.frame, slot.meta.verdict));
        came.chain(self.extras.made.drain(..).map(|(frame, meta)| (frame, meta.verdict)))
    }

    /// Empties the list of what the control plane should hear of.
    #[inline]
    pub fn drain_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.extras.drain_events()
    }
}
