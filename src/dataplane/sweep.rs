//! Clients that only listen must learn, too, that their connection is over.
//!
//! Whoever sends meets the fate of its connection by that (`answer::fates`). Of the others every worker seeks out its share,
//! once for every snapshot in which connections are to be reset, and pokes them: with a bare ACK whose sequence number lies
//! just before what the backend said last. No TCP takes such a segment; it answers with an ACK that says what it expects
//! (RFC 9293 §3.10.7.4), which the RST then bears (RFC 5961 §3.2 wants it exact).
//!
//! ```text
//!   backend ✕      switch ── ACK, sequence − 1 ─▶ client
//!                  switch ◀─ ACK of what it expects
//!                  switch ── RST, just that ────▶
//! ```

use crate::tables::{DropReason, Fate, InterfaceId, NextHop, Snapshot, Tick, WorkerCounters};
use crate::wire::ethernet;
use crate::wire::tcp::{self, Flags};
use crate::xsk::Frame;

use super::answer::version::Version;
use super::batch::{Batch, Meta};
use super::conntrack::limiter::Limiter;
use super::conntrack::{Direction, Flows, Hit, State};
use super::cookies::moving;
use super::family::{V4, V6};
use super::known;
use super::parse::TCP;
use super::rewrite::Hop;
use super::turn::Turn;
use super::verdict::Verdict;

/// Entries looked at per call of the pipeline: in a row, so 256 × ~10 ns ≈ 3 µs.
const LOOKS: usize = 256;
/// Clients poked per call.
const POKES: usize = 8;
/// Clients that a worker pokes per second.
const POKES_PER_SECOND: u32 = 10_000;

/// How far one worker has come.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Of the snapshot that it is about.
    epoch: u64,
    /// Entries still to be looked at.
    left: u32,
    /// Which of its share comes next.
    hand: u32,
    limiter: Limiter,
}

impl Sweep {
    /// Whether there is something left to do.
    #[inline]
    pub fn is_due(&self, tables: &Snapshot) -> bool {
        tables.fated && (self.left > 0 || self.epoch != tables.epoch)
    }
}

/// The end of every call of the pipeline: a part of the search, while there is one.
#[inline]
pub fn run(batch: &mut Batch, tables: &Snapshot, flows: &mut Flows, now: Tick, counters: &WorkerCounters) {
    if flows.sweep.is_due(tables) {
        let (_, extras) = batch.parts();
        go_on(&mut Turn { tables, flows, now, counters, extras });
    }
}

/// Part of a table: each worker has as much of it as every other.
fn share(capacity: u32, flows: &Flows) -> (u32, u32) {
    let bound = |worker: u16| (u64::from(capacity) * u64::from(worker) / u64::from(flows.workers)) as u32;
    let worker = flows.worker % flows.workers;
    (bound(worker), bound(worker + 1) - bound(worker))
}

#[cold]
fn go_on(turn: &mut Turn<'_>) {
    let v4 = share(turn.flows.v4.table().capacity(), turn.flows);
    let v6 = share(turn.flows.v6.table().capacity(), turn.flows);
    let all = v4.1 + v6.1;
    if turn.flows.sweep.epoch != turn.tables.epoch {
        // Those that were passed may have got another fate.
        (turn.flows.sweep.epoch, turn.flows.sweep.left) = (turn.tables.epoch, all);
    }
    let mut poked = 0;
    for _ in 0..LOOKS {
        let Sweep { left, hand, .. } = turn.flows.sweep;
        if left == 0 || poked == POKES {
            return;
        }
        let hand = if hand < all { hand } else { 0 };
        let said = match hand.checked_sub(v4.1) {
            None => look::<V4>(v4.0 + hand, turn),
            Some(hand) => look::<V6>(v6.0 + hand, turn),
        };
        match said {
            Said::Nothing => {}
            Said::Poke => poked += 1,
            Said::NotYet => return,
        }
        (turn.flows.sweep.left, turn.flows.sweep.hand) = (left - 1, hand + 1);
    }
}

/// What was said to a client.
enum Said {
    Nothing,
    Poke,
    /// It is to be told, but that would be too much for now.
    NotYet,
}

/// Pokes the client of the entry at `position`, if it must learn something.
fn look<P: Version>(position: u32, turn: &mut Turn<'_>) -> Said {
    let Some(hit) = awaits_reset::<P>(position, turn) else { return Said::Nothing };
    let Ok(next_hop) = towards_client(&hit, turn) else { return Said::Nothing };
    if !turn.flows.sweep.limiter.take(POKES_PER_SECOND, turn.now) {
        return Said::NotYet;
    }
    let Some(spare) = turn.extras.spare() else { return Said::NotYet };
    let [client, backend] = turn.flows.entry::<P>(position).sequences();
    let backend = backend.wrapping_add(moving::offset(&hit, turn));
    let mut segment = poke(&hit, [client, backend]);
    match send(spare, (&hit, &next_hop), &mut segment, turn) {
        Some(()) => Said::Poke,
        None => Said::Nothing,
    }
}

/// Sends a segment, whose checksum is still to be computed, to the client of `hit` in a frame of its own. None, and the spare frame is there
/// still, where that has no room.
pub(super) fn send<P: Version>(
    mut spare: Frame,
    (hit, next_hop): (&Hit<P>, &NextHop),
    segment: &mut [u8],
    turn: &mut Turn<'_>,
) -> Option<()> {
    if write(&mut spare, hit, next_hop, segment).is_none() {
        turn.extras.spares.push(spare);
        return None;
    }
    let mut meta = Meta::new(next_hop.interface);
    meta.verdict = Some(Verdict::Reply(next_hop.interface));
    turn.extras.add(spare, meta);
    turn.counters.created.add(1);
    Some(())
}

/// The connection of an entry, towards its client, if it is one that is to be reset and whose client does not know yet.
fn awaits_reset<P: Version>(position: u32, turn: &Turn<'_>) -> Option<Hit<P>> {
    let entry = turn.flows.entry::<P>(position);
    let key = entry.key_of_client()?;
    let hit = entry.read(position, key, Direction::Reply)?;
    // One that asks for a connection asks again, and gets another backend.
    let is_open = key.protocol == TCP
        && !hit.state().is_stateless()
        && hit.state() != State::SynReceived
        && !hit.is_finished();
    let fate = turn.tables.backend(hit.backend).map(|backend| backend.fate);
    (is_open && fate == Some(Fate::Reset)).then_some(hit)
}

/// The way to the client of `hit`.
pub(super) fn towards_client<P: Version>(hit: &Hit<P>, turn: &mut Turn<'_>) -> Result<NextHop, DropReason> {
    let egress = if turn.tables.bridge {
        // Frames cross a bridge with the addresses that they have; this one has none yet.
        known::by_route(hit.addresses.destination(), turn)?
    } else {
        known::egress(hit, &Meta::new(InterfaceId(0)), turn)?
    };
    match egress.next_hop {
        Hop::Row(next_hop) => Ok(*next_hop),
        Hop::Seen(next_hop) => Ok(next_hop),
        Hop::Across { .. } => Err(DropReason::NoEgress),
    }
}

/// The segment that no client takes but every one answers, but for its checksum.
fn poke<P>(hit: &Hit<P>, [client, backend]: [u32; 2]) -> [u8; tcp::HEADER] {
    let mut header = [0; tcp::HEADER];
    header[..4].copy_from_slice(&hit.ports.to_be_bytes());
    header[4..8].copy_from_slice(&backend.wrapping_sub(1).to_be_bytes());
    header[8..12].copy_from_slice(&client.to_be_bytes());
    (header[12], header[13]) = (5 << 4, Flags::ACK.0);
    header
}

fn write<P: Version>(frame: &mut Frame, hit: &Hit<P>, next_hop: &NextHop, segment: &mut [u8]) -> Option<()> {
    let link = next_hop.tags.header_len();
    let fits = frame.fill(&[]) && frame.resize(link + P::HEADER + segment.len());
    let packet = frame.bytes_mut().get_mut(link..).filter(|_| fits)?;
    hit.addresses.write_tcp(packet, segment)?;
    ethernet::write_header(frame.bytes_mut(), &next_hop.macs, &next_hop.tags, P::ETHERTYPE);
    Some(())
}
