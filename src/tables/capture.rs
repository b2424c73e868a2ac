//! Frames as a worker saw them come and go, for whoever asks: which are wanted, what is kept of each, and how it gets from
//! the worker to the control plane.
//!
//! All memory is made by the control plane and goes back to it. A worker takes an empty record, fills it and puts it among the
//! full ones; where none is empty it counts one more as lost, and forwards the frame all the same.
//!
//! ```text
//!   control ── tap ──▶ worker ── full records ──▶ control
//!      ▲                ▲  └───── tap, at the end ───┤
//!      │                └──────── empty records ◀────┤
//!      └─────────────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use super::connection::ClientPrefix;
use super::counters::Counter;
use super::{BackendId, DropReason, InterfaceId, ServiceId};

/// Records that a worker fills before it knows which of them are wanted: as many as frames can leave one call of the pipeline.
pub const SCRATCH: usize = 256;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It left through this interface.
    Forward(InterfaceId),
    /// The switch answered through this interface.
    Reply(InterfaceId),
    /// It is the kernel's.
    ToKernel,
    /// It was dropped.
    Drop(DropReason),
    /// It is a fragment, and waits for the first of its datagram.
    Held,
}

impl Outcome {
    /// Names, in the order of [`Outcome::bit`].
    pub const NAMES: [&'static str; 5] = ["forward", "reply", "to_kernel", "drop", "held"];

    /// Which of the five it is.
    pub const fn bit(self) -> u8 {
        match self {
            Self::Forward(_) => 0,
            Self::Reply(_) => 1,
            Self::ToKernel => 2,
            Self::Drop(_) => 3,
            Self::Held => 4,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.bit() as usize]
    }
}

/// A kind of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP over either version of IP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
    /// ARP.
    Arp,
    /// Anything else.
    Other,
}

/// Which frames are wanted: those for which all holds that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// To or from the backends of a service, or to the service itself.
    pub service: Option<ServiceId>,
    /// With an address in this prefix: of the frame, or of its connection on either side.
    pub host: Option<ClientPrefix>,
    /// With this port, likewise.
    pub port: Option<u16>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// That came in here.
    pub interface: Option<InterfaceId>,
    /// Of which this became: a bit of [`Outcome::bit`] each; none is all.
    pub outcomes: u8,
    /// That were dropped for this reason.
    pub reason: Option<DropReason>,
    /// Of those, one in so many; 0 is all.
    pub sample: u32,
}

impl Wanted {
    /// Whether it is wanted, as far as its outcome decides.
    #[inline]
    pub fn is_outcome(&self, outcome: Outcome) -> bool {
        (self.outcomes == 0 || self.outcomes >> outcome.bit() & 1 == 1)
            && self.reason.is_none_or(|reason| outcome == Outcome::Drop(reason))
    }
}

/// The bytes of a frame, as far as they fit. What lay there before counts for nothing.
#[derive(Clone)]
pub struct Cut {
    bytes: Box<[u8]>,
    kept: usize,
    len: usize,
}

impl PartialEq for Cut {
    fn eq(&self, other: &Self) -> bool {
        (self.bytes(), self.len) == (other.bytes(), other.len)
    }
}

impl Eq for Cut {}

impl std::fmt::Debug for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Cut").field(&self.bytes()).field(&self.len).finish()
    }
}

impl Cut {
    /// Nothing yet, with room for so many bytes.
    fn new(snaplen: usize) -> Self {
        Self { bytes: vec![0; snaplen].into(), kept: 0, len: 0 }
    }

    /// Keeps a frame.
    pub fn set(&mut self, frame: &[u8]) {
        let kept = frame.len().min(self.bytes.len());
        self.bytes[..kept].copy_from_slice(&frame[..kept]);
        (self.kept, self.len) = (kept, frame.len());
    }

    /// Keeps nothing.
    pub fn clear(&mut self) {
        (self.kept, self.len) = (0, 0);
    }

    /// What was kept; none where there was no frame.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.get(..self.kept).filter(|_| self.len > 0)
    }

    /// Bytes that the frame had.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there was no frame.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds of the workers' clock when the batch that it was in was taken up.
    pub in_ns: u64,
    /// The same when that batch was done.
    pub out_ns: u64,
    /// Where it came in; of one that the switch made, where it leaves.
    pub ingress: InterfaceId,
    /// What became of it.
    pub outcome: Outcome,
    /// The service that it belongs to or is addressed to.
    pub service: Option<ServiceId>,
    /// The backend of its connection; [`BackendId::NONE`] where it has none.
    pub backend: BackendId,
    /// As it came in; nothing of one that the switch made, or that had waited.
    pub before: Cut,
    /// As it left; nothing where it did not.
    pub after: Cut,
}

impl Record {
    /// An empty one, for frames of which `snaplen` bytes are kept.
    pub fn new(snaplen: usize) -> Self {
        Self {
            in_ns: 0,
            out_ns: 0,
            ingress: InterfaceId(0),
            outcome: Outcome::Held,
            service: None,
            backend: BackendId::NONE,
            before: Cut::new(snaplen),
            after: Cut::new(snaplen),
        }
    }
}

/// The records between one worker and the control plane.
#[derive(Debug)]
pub struct Ring {
    empty: ArrayQueue<Record>,
    full: ArrayQueue<Record>,
    /// Frames that were wanted, kept or not.
    pub matched: Counter,
    /// Those of them that were not kept because no record was empty.
    pub lost: Counter,
}

impl Ring {
    /// A ring of so many records.
    pub fn new(records: usize, snaplen: usize) -> Self {
        let empty = ArrayQueue::new(records.max(1));
        while empty.push(Record::new(snaplen)).is_ok() {}
        Self {
            full: ArrayQueue::new(empty.capacity()),
            empty,
            matched: Counter::default(),
            lost: Counter::default(),
        }
    }

    /// Worker: hands over what `record` holds, and gets an empty one for it. It stays, and counts as lost, where none is empty.
    pub fn put(&self, record: &mut Record) {
        let Some(empty) = self.empty.pop() else { return self.lost.add(1) };
        let filled = std::mem::replace(record, empty);
        if let Err(filled) = self.full.push(filled) {
            // Unreachable: there are as many places as records. A worker does not free.
            std::mem::forget(filled);
        }
    }

    /// Control: the next one, to be given back.
    pub fn take(&self) -> Option<Record> {
        self.full.pop()
    }

    /// Control: gives one back.
    pub fn give_back(&self, record: Record) {
        drop(self.empty.push(record));
    }
}

/// What a worker that captures is handed. Nothing of it grows.
#[derive(Debug)]
pub struct Tap {
    /// What is wanted.
    pub wanted: Wanted,
    /// Where it goes.
    pub ring: Arc<Ring>,
    /// The frames of the batch at hand.
    pub scratch: Vec<Record>,
    /// Where in packet memory the frames of the batch lie.
    pub places: Vec<usize>,
    /// Which of the scratch each frame that leaves the batch has, in their order.
    pub order: Vec<Option<u16>>,
    /// How many of the order are dealt with.
    pub settled: usize,
    /// How many wanted frames are left out before the next is kept.
    pub skip: u32,
}

impl Tap {
    /// All that a worker needs.
    pub fn new(wanted: Wanted, ring: Arc<Ring>, snaplen: usize) -> Self {
        Self {
            wanted,
            ring,
            scratch: (0..SCRATCH).map(|_| Record::new(snaplen)).collect(),
            places: Vec::with_capacity(SCRATCH),
            order: Vec::with_capacity(SCRATCH),
            settled: 0,
            skip: 0,
        }
    }
}

/// How one worker gets its tap and gives it back.
#[derive(Debug)]
pub struct Taps {
    epoch: AtomicU64,
    inbox: ArrayQueue<Box<Tap>>,
    outbox: ArrayQueue<Box<Tap>>,
}

impl Default for Taps {
    fn default() -> Self {
        Self { epoch: AtomicU64::new(0), inbox: ArrayQueue::new(1), outbox: ArrayQueue::new(2) }
    }
}

impl Taps {
    /// Control: has the worker use this one, or none. What it had comes back.
    pub fn hand(&self, tap: Option<Box<Tap>>) {
        while self.outbox.pop().is_some() {}
        drop(self.inbox.pop());
        if let Some(tap) = tap {
            drop(self.inbox.force_push(tap));
        }
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Control: whether the worker has taken what it was handed.
    pub fn is_taken(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Control: frees what came back. Whether there was any.
    pub fn collect(&self) -> bool {
        self.outbox.pop().is_some()
    }

    /// Worker: whether it uses what it should; `epoch` is what it saw last.
    #[inline(always)]
    pub fn is_current(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch
    }

    /// Worker: exchanges `current` for what it should use from now on.
    #[cold]
    pub fn exchange(&self, current: &mut Option<Box<Tap>>, epoch: &mut u64) {
        *epoch = self.epoch.load(Ordering::Acquire);
        if let Some(used) = std::mem::replace(current, self.inbox.pop())
            && let Err(used) = self.outbox.push(used)
        {
            // Only if three captures end within one turn: a worker does not free.
            std::mem::forget(used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap() -> Box<Tap> {
        Box::new(Tap::new(Wanted::default(), Arc::new(Ring::new(2, 8)), 8))
    }

    #[test]
    fn a_frame_is_cut_and_its_length_remembered() {
        let mut cut = Cut::new(4);
        assert!(cut.is_empty() && cut.bytes().is_none());
        cut.set(b"abcdef");
        assert_eq!((cut.bytes(), cut.len()), (Some(&b"abcd"[..]), 6));
        cut.set(b"x");
        assert_eq!((cut.bytes(), cut.len()), (Some(&b"x"[..]), 1));
        cut.clear();
        assert!(cut.bytes().is_none());
    }

    #[test]
    fn what_finds_no_empty_record_is_lost_and_counted() {
        let ring = Ring::new(2, 8);
        let mut record = Record::new(8);
        for byte in 1..=3 {
            record.before.set(&[byte]);
            ring.put(&mut record);
        }
        assert_eq!(ring.lost.get(), 1);
        let first = ring.take().unwrap();
        assert_eq!(first.before.bytes(), Some(&[1][..]));
        ring.give_back(first);
        ring.put(&mut record);
        let rest: Vec<_> = std::iter::from_fn(|| ring.take()).map(|record| record.before.bytes[0]).collect();
        assert_eq!((rest, ring.lost.get()), (vec![2, 3], 1));
    }

    #[test]
    fn a_worker_gets_a_tap_once_and_gives_it_back() {
        let (taps, mut current, mut epoch) = (Taps::default(), None, 0);
        assert!(taps.is_current(epoch));
        taps.hand(Some(tap()));
        assert!(!taps.is_current(epoch) && !taps.is_taken());
        taps.exchange(&mut current, &mut epoch);
        assert!(taps.is_taken() && current.is_some() && taps.is_current(epoch) && !taps.collect());
        taps.hand(None);
        taps.exchange(&mut current, &mut epoch);
        assert!(current.is_none() && taps.collect() && !taps.collect());
    }

    #[test]
    fn one_that_nobody_collected_is_replaced() {
        let (taps, mut current, mut epoch) = (Taps::default(), None, 0);
        let old = tap();
        let watched = Arc::downgrade(&old.ring);
        taps.hand(Some(old));
        taps.hand(Some(tap()));
        assert!(watched.upgrade().is_none());
        taps.exchange(&mut current, &mut epoch);
        taps.hand(None);
        taps.hand(None);
        taps.exchange(&mut current, &mut epoch);
        assert!(current.is_none() && taps.is_current(epoch));
    }

    #[test]
    fn outcomes_are_asked_for_by_kind_and_reason() {
        let dropped = |reason| Outcome::Drop(reason);
        let any = Wanted::default();
        assert!(any.is_outcome(Outcome::Held) && any.is_outcome(dropped(DropReason::Malformed)));
        let drops = Wanted { outcomes: 1 << 3, ..Wanted::default() };
        assert!(drops.is_outcome(dropped(DropReason::NoRoute)) && !drops.is_outcome(Outcome::ToKernel));
        let one = Wanted { reason: Some(DropReason::NoRoute), ..Wanted::default() };
        assert!(one.is_outcome(dropped(DropReason::NoRoute)));
        assert!(!one.is_outcome(dropped(DropReason::TooBig)) && !one.is_outcome(Outcome::ToKernel));
    }
}
