//! The datagrams of which fragments were seen, shared by all workers: RSS may bring the fragments of one to several.
//!
//! Only a first fragment makes an entry, so that a flood of later ones cannot fill the table. An entry is found by its full
//! name and says where the datagram goes; one bit for every eight bytes says what of it has passed.
//!
//! A slot is claimed by compare-and-swap, with part of the hash in the word that is swapped, so that nobody claims a second
//! one for the same datagram unknowingly. Readers are optimistic, as in the connection table: a generation in `status`
//! changes with every reuse.

use std::hint;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::dataplane::conntrack::FlowKey;
use crate::dataplane::family::Pair;
use crate::tables::exact::address_bits;
use crate::tables::{Coarse, DropReason};
use crate::wire::ethernet;

/// Slots in which a datagram may lie.
const WINDOW: usize = 8;
/// Longest datagram in units of eight bytes, by 64 bits.
const WORDS: usize = 65_536 / 8 / 64;
/// Looks at a slot that another worker is filling: longer than it takes, unless that worker lost its core.
const PATIENCE: usize = 128;
/// Tries where two workers claim slots for the same datagram at once.
const TRIES: usize = 4;
/// How much longer than it is used a slot stays as it is, for workers whose clock is behind: 8 × 64 ms ≈ 0.5 s.
const GRACE: u32 = 8;
/// How long a datagram that passed whole is remembered, for repetitions: 2 × 64 ms. Not longer, because senders have but
/// 65,536 identifications and may use one again soon (RFC 6864).
const REMEMBERED: u32 = 2;

/// `status`: generation (32 bits) | part of the hash (30 bits) | phase (2 bits).
const PHASE: u64 = 3;
const FREE: u64 = 0;
const FILLING: u64 = 1;
const LIVE: u64 = 2;
/// All of it has passed.
const WHOLE: u64 = 3;
const TAG: u64 = 0xFFFF_FFFC;
const GENERATION: u64 = 0xFFFF_FFFF_0000_0000;

/// What is to become of a datagram's fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Being decided.
    Open,
    /// They go the way of this flow: ports as in [`FlowKey`], protocol.
    Flow(u32, u8),
    /// They belong to no service.
    Kernel,
    /// They are dropped, as the first was.
    Dropped(DropReason),
}

impl Fate {
    const fn to_bits(self) -> u64 {
        match self {
            Self::Open => 0,
            Self::Flow(ports, protocol) => 1 | (ports as u64) << 32 | (protocol as u64) << 16,
            Self::Kernel => 2,
            Self::Dropped(reason) => 3 | (reason as u64) << 16,
        }
    }

    fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Open,
            1 => Self::Flow((bits >> 32) as u32, (bits >> 16) as u8),
            2 => Self::Kernel,
            _ => {
                let reason = DropReason::ALL.get(usize::from((bits >> 16) as u8));
                Self::Dropped(reason.copied().unwrap_or(DropReason::FragmentOverlap))
            }
        }
    }
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Slot {
    status: AtomicU64,
    /// Addresses; identification, protocol and family.
    name: [AtomicU64; 5],
    fate: AtomicU64,
    /// Coarse time of the first fragment; of the last to pass, once all have.
    since: AtomicU32,
    /// Bytes of the whole, once the last fragment has said so; until then 0.
    length: AtomicU32,
    /// Where the farthest fragment that has passed ends, in bytes.
    reach: AtomicU32,
    /// How many units have passed.
    passed: AtomicU32,
    /// Which.
    units: [AtomicU64; WORDS],
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            status: AtomicU64::new(FREE),
            name: Default::default(),
            fate: AtomicU64::default(),
            since: AtomicU32::default(),
            length: AtomicU32::default(),
            reach: AtomicU32::default(),
            passed: AtomicU32::default(),
            units: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

/// The datagrams in pieces.
#[derive(Debug)]
pub struct Datagrams {
    slots: Box<[Slot]>,
}

/// One datagram in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    position: usize,
    generation: u64,
}

/// The time, and how long a datagram is remembered whose fragments do not all come.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Now.
    pub now: Coarse,
    /// In units of [`Coarse`].
    pub lifetime: u32,
}

impl Clock {
    /// How long ago that was. Another worker's clock may be ahead of this one's: then it was just now.
    fn age(self, since: &AtomicU32) -> u32 {
        let age = self.now.since(Coarse(since.load(Ordering::Relaxed)));
        if age > u32::MAX / 2 { 0 } else { age }
    }
}

impl Datagrams {
    /// A table for so many datagrams (rounded up to a power of two, at least 8). Allocates everything: about 1.1 KiB each.
    pub fn new(datagrams: u32) -> Self {
        let slots = (datagrams as usize).max(WINDOW).next_power_of_two();
        Self { slots: (0..slots).map(|_| Slot::default()).collect() }
    }

    /// The slots in which a datagram with this hash may lie.
    fn window(&self, hash: u64) -> impl Iterator<Item = (usize, &Slot)> {
        let mask = self.slots.len() - 1;
        (0..WINDOW).filter_map(move |step| {
            let position = (hash as usize).wrapping_add(step) & mask;
            Some((position, self.slots.get(position)?))
        })
    }

    /// The datagram of this name. `name` holds the identification in place of the ports; `hash` is its hash.
    pub fn find<P: Pair>(&self, name: FlowKey<P>, hash: u64, clock: Clock) -> Option<Datagram> {
        let words = words(name);
        self.window(hash).find_map(|(position, slot)| {
            let status = slot.filled(hash)?;
            let (counts, generation) = (slot.holds(words, status, clock), status & GENERATION);
            (counts && slot.is(generation)).then_some(Datagram { position, generation })
        })
    }

    /// The datagram of this name, entered if it was not there; none where there is no room.
    pub fn enter<P: Pair>(&self, name: FlowKey<P>, hash: u64, clock: Clock) -> Option<Datagram> {
        for _ in 0..TRIES {
            if let Some(datagram) = self.find(name, hash, clock) {
                return Some(datagram);
            }
            let (position, slot, status) = self.vacant(hash, clock)?;
            let generation = (status & GENERATION).wrapping_add(1 << 32);
            let mine = generation | tag(hash);
            let claimed =
                slot.status.compare_exchange(status, mine | FILLING, Ordering::SeqCst, Ordering::Relaxed);
            if claimed.is_err() {
                continue;
            }
            fence(Ordering::SeqCst);
            // Of two that claim slots for one datagram at least one sees the other's claim, and whoever does gives way.
            if self.is_contested(words(name), hash, clock, position) {
                slot.status.store(generation | FREE, Ordering::Release);
                continue;
            }
            slot.fill(words(name), clock.now);
            slot.status.store(mine | LIVE, Ordering::Release);
            return Some(Datagram { position, generation });
        }
        None
    }

    /// Whether another slot than `own` is of this datagram, or is about to be.
    fn is_contested(&self, name: [u64; 5], hash: u64, clock: Clock, own: usize) -> bool {
        self.window(hash).filter(|(position, _)| *position != own).any(|(_, slot)| {
            let status = slot.status.load(Ordering::Acquire);
            let similar = status & TAG == tag(hash);
            similar
                && match status & PHASE {
                    FREE => false,
                    FILLING => true,
                    _ => slot.holds(name, status, clock),
                }
        })
    }

    /// A slot to be claimed: one that is free or forgotten, else one whose datagram has passed whole.
    fn vacant(&self, hash: u64, clock: Clock) -> Option<(usize, &Slot, u64)> {
        let mut whole = None;
        for (position, slot) in self.window(hash) {
            let status = slot.status.load(Ordering::Acquire);
            let age = clock.age(&slot.since);
            match status & PHASE {
                FREE => return Some((position, slot, status)),
                LIVE if age > clock.lifetime.saturating_add(GRACE) => return Some((position, slot, status)),
                WHOLE if age > REMEMBERED => return Some((position, slot, status)),
                WHOLE => whole = Some((position, slot, status)),
                _ => {}
            }
        }
        whole
    }

    /// What is to become of its fragments.
    pub fn fate(&self, datagram: Datagram) -> Fate {
        let Some(slot) = self.slots.get(datagram.position) else { return Fate::Open };
        let fate = Fate::from_bits(slot.fate.load(Ordering::Acquire));
        if slot.is(datagram.generation) { fate } else { Fate::Open }
    }

    /// Says what is to become of the others, once that is known of the first. A datagram that was spoilt meanwhile stays so.
    pub fn decide(&self, datagram: Datagram, fate: Fate) {
        if let Some(slot) = self.slots.get(datagram.position).filter(|slot| slot.is(datagram.generation)) {
            let (open, fate) = (Fate::Open.to_bits(), fate.to_bits());
            let _ = slot.fate.compare_exchange(open, fate, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// Lets the bytes from `start` to `end` pass, unless some of them have passed before. `last` says that the datagram
    /// ends there.
    ///
    /// Where all have passed before, the frame is a repetition and nothing but itself is dropped. Where some have, or two
    /// fragments disagree about where the datagram ends, no other fragment of it passes any more (RFC 5722 §4).
    pub fn pass(
        &self,
        datagram: Datagram,
        (start, end): (u32, u32),
        last: bool,
        now: Coarse,
    ) -> Result<(), DropReason> {
        let slot = self.slots.get(datagram.position).filter(|slot| slot.is(datagram.generation));
        let slot = slot.ok_or(DropReason::FragmentTimeout)?;
        let (old, new) = slot.mark(start / 8, end.div_ceil(8));
        if old > 0 && new == 0 {
            return Err(DropReason::FragmentOverlap);
        }
        if old > 0 || !slot.fits(end, last) {
            slot.fate.store(Fate::Dropped(DropReason::FragmentOverlap).to_bits(), Ordering::Release);
            return Err(DropReason::FragmentOverlap);
        }
        slot.count(new, datagram.generation, now);
        Ok(())
    }
}

impl Slot {
    /// The status, where the slot may be of a datagram with this hash. Waits a little for a worker that is filling it.
    fn filled(&self, hash: u64) -> Option<u64> {
        for _ in 0..PATIENCE {
            let status = self.status.load(Ordering::Acquire);
            if status & TAG != tag(hash) || status & PHASE == FREE {
                return None;
            }
            if status & PHASE != FILLING {
                return Some(status);
            }
            hint::spin_loop();
        }
        None
    }

    /// Whether it is of the datagram of this name, and that is still of interest.
    fn holds(&self, name: [u64; 5], status: u64, clock: Clock) -> bool {
        let same = self.name.iter().zip(name).all(|(cell, word)| cell.load(Ordering::Relaxed) == word);
        same && clock.age(&self.since) <= if status & PHASE == WHOLE { REMEMBERED } else { clock.lifetime }
    }

    fn fill(&self, name: [u64; 5], now: Coarse) {
        for (cell, word) in self.name.iter().zip(name) {
            cell.store(word, Ordering::Relaxed);
        }
        self.fate.store(Fate::Open.to_bits(), Ordering::Relaxed);
        self.since.store(now.0, Ordering::Relaxed);
        self.length.store(0, Ordering::Relaxed);
        self.reach.store(0, Ordering::Relaxed);
        self.passed.store(0, Ordering::Relaxed);
        for word in &self.units {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn is(&self, generation: u64) -> bool {
        fence(Ordering::Acquire);
        self.status.load(Ordering::Relaxed) & GENERATION == generation
    }

    /// Marks the units from `first` to before `behind`. How many were marked already, and how many were not.
    fn mark(&self, first: u32, behind: u32) -> (u32, u32) {
        let (mut old, mut new) = (0, 0);
        for (word, cell) in (first / 64..).zip(self.units.iter().skip(first as usize / 64)) {
            let mask = bits(first, word * 64) & !bits(behind, word * 64);
            if mask == 0 {
                break;
            }
            let before = cell.fetch_or(mask, Ordering::AcqRel);
            old += (mask & before).count_ones();
            new += (mask & !before).count_ones();
        }
        (old, new)
    }

    /// Whether all fragments agree about where the datagram ends. Of two workers that look at once, at least one sees what
    /// the other says.
    fn fits(&self, end: u32, last: bool) -> bool {
        self.reach.fetch_max(end, Ordering::SeqCst);
        if last {
            let said = self.length.compare_exchange(0, end, Ordering::SeqCst, Ordering::SeqCst);
            said.is_ok() && self.reach.load(Ordering::SeqCst) <= end
        } else {
            let length = self.length.load(Ordering::SeqCst);
            length == 0 || end < length
        }
    }

    /// Counts units that have passed. The slot of a datagram of which all have may be used for another.
    fn count(&self, units: u32, generation: u64, now: Coarse) {
        let passed = self.passed.fetch_add(units, Ordering::AcqRel) + units;
        let length = self.length.load(Ordering::Acquire);
        let status = self.status.load(Ordering::Relaxed);
        let is_live = status & (GENERATION | PHASE) == generation | LIVE;
        if is_live && length > 0 && passed >= length.div_ceil(8) {
            self.since.store(now.0, Ordering::Relaxed);
            let whole = status & !PHASE | WHOLE;
            let _ = self.status.compare_exchange(status, whole, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// The bits of the units from `unit` on, in the word whose first unit is `base`.
fn bits(unit: u32, base: u32) -> u64 {
    u64::MAX.checked_shl(unit.saturating_sub(base)).unwrap_or(0)
}

fn tag(hash: u64) -> u64 {
    hash >> 32 & TAG
}

fn words<P: Pair>(name: FlowKey<P>) -> [u64; 5] {
    let (source, destination) =
        (address_bits(name.addresses.source()), address_bits(name.addresses.destination()));
    let family = u64::from(P::ETHERTYPE == ethernet::IPV6);
    let rest = u64::from(name.ports) | u64::from(name.protocol) << 32 | family << 40;
    [(source >> 64) as u64, source as u64, (destination >> 64) as u64, destination as u64, rest]
}

#[cfg(test)]
mod tests;
