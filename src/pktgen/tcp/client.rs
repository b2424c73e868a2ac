//! Clients: many connections, opened in the order of their flows, and what became of them.

use std::collections::VecDeque;

use serde::Serialize;

use super::super::histogram::Histogram;
use super::super::tuples::Tuples;
use super::connection::{Connection, Failure, Out, Script, State, Step};
use super::segment::Segment;
use crate::wire::tcp::Flags;

/// Time after which what was not acknowledged is said again.
pub const REPEAT_NS: u64 = 250_000_000;
/// No connection.
const NONE: u32 = u32::MAX;

/// What clients do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPlan {
    /// From where to where: each flow has one connection at a time.
    pub tuples: Tuples,
    /// What each connection does.
    pub script: Script,
    /// Connections that are open at one time, at the most.
    pub concurrent: u32,
    /// How long the next thing that a connection waits for may take.
    pub timeout_ns: u64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Connections that were begun.
    pub opened: u64,
    /// Of those, connections whose handshake is done.
    pub established: u64,
    /// Of those, connections whose answer was complete.
    pub answered: u64,
    /// Of those, connections that are closed on both sides.
    pub completed: u64,
    /// The most that were open at one time.
    pub peak: u64,
    /// Segments that were said again.
    pub repeated: u64,
    /// Segments of no connection of ours.
    pub strange: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    connection: Connection,
    /// Tells apart who had the place before.
    generation: u32,
    repeats: u32,
    due_ns: u64,
}

/// All connections of a run. Time is handed in; segments to be sent are handed out.
#[derive(Debug)]
pub struct Client {
    plan: ClientPlan,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The place of the connection of each flow.
    by_flow: Vec<u32>,
    next_flow: u32,
    generation: u32,
    /// Times at which a place is looked at, earliest first: all waits are equally long.
    repeats: VecDeque<(u64, u32, u32)>,
    holds: VecDeque<(u64, u32, u32)>,
    counts: Counts,
    failures: [u64; Failure::ALL.len()],
    /// From SYN to SYN ACK.
    pub handshakes: Histogram,
    /// From request to complete answer.
    pub answers: Histogram,
}

impl Client {
    /// Without connections yet.
    pub fn new(plan: ClientPlan) -> Self {
        let flows = plan.tuples.flows;
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_flow: vec![NONE; flows as usize],
            next_flow: 0,
            generation: 0,
            repeats: VecDeque::new(),
            holds: VecDeque::new(),
            counts: Counts::default(),
            failures: [0; Failure::ALL.len()],
            handshakes: Histogram::default(),
            answers: Histogram::default(),
            plan,
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Connections that failed, by kind.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.into_iter().zip(self.failures)
    }

    /// All that failed.
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// Connections that are there now.
    pub fn open_now(&self) -> u32 {
        (self.slots.len() - self.free.len()) as u32
    }

    /// How many more may be opened now.
    pub fn room(&self) -> u32 {
        self.plan.concurrent.min(self.plan.tuples.flows).saturating_sub(self.open_now())
    }

    /// Opens the next connection; false where there is no room.
    pub fn open(&mut self, now_ns: u64, emit: &mut impl FnMut(Out)) -> bool {
        if self.room() == 0 {
            return false;
        }
        // There is room, so some flow is free.
        while self.by_flow.get(self.next_flow as usize).is_some_and(|slot| *slot != NONE) {
            self.next_flow = (self.next_flow + 1) % self.plan.tuples.flows;
        }
        let flow = self.next_flow;
        self.next_flow = (flow + 1) % self.plan.tuples.flows;
        // Grows with time, so that a server takes a SYN for ports whose last connection it still remembers (RFC 9293 §3.4.1).
        let initial = ((now_ns >> 6) as u32).wrapping_add(flow.wrapping_mul(0x9E37_79B1) >> 8);
        let connection = Connection::open(flow, initial, now_ns, emit);
        self.generation = self.generation.wrapping_add(1);
        let slot = Slot { connection, generation: self.generation, repeats: 0, due_ns: now_ns + REPEAT_NS };
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.slots[place as usize] = slot;
        self.by_flow[flow as usize] = place;
        self.repeats.push_back((slot.due_ns, place, slot.generation));
        self.counts.opened += 1;
        self.counts.peak = self.counts.peak.max(u64::from(self.open_now()));
        true
    }

    /// A segment came.
    pub fn receive(&mut self, segment: &Segment<'_>, now_ns: u64, emit: &mut impl FnMut(Out)) {
        let Some(flow) = self.plan.tuples.find(segment.destination, segment.source) else {
            self.counts.strange += 1;
            return;
        };
        let place = self.by_flow.get(flow as usize).copied().unwrap_or(NONE);
        let Some(slot) = self.slots.get_mut(place as usize) else {
            self.counts.strange += u64::from(!segment.flags.any(Flags::FIN));
            return forgotten(flow, segment, emit);
        };
        let before = slot.connection.state;
        let step = slot.connection.receive(segment, &self.plan.script, now_ns, emit);
        slot.repeats = 0;
        slot.due_ns = now_ns + REPEAT_NS;
        self.account(place, step, before, now_ns, emit);
    }

    fn account(&mut self, place: u32, step: Step, before: State, now_ns: u64, emit: &mut impl FnMut(Out)) {
        let Some(slot) = self.slots.get(place as usize) else { return };
        let (connection, generation) = (slot.connection, slot.generation);
        match step {
            Step::None => {}
            Step::Opened => {
                self.counts.established += 1;
                self.handshakes.add(now_ns - connection.opened_ns);
                if self.plan.script.request.is_empty() {
                    // Nothing will be acknowledged that could complete it.
                    self.complete_at_once(place, now_ns, emit);
                }
            }
            Step::Answered => {
                self.answered(&connection, now_ns);
                if connection.state == State::Holding {
                    self.holds.push_back((now_ns + self.plan.script.hold_ns, place, generation));
                }
            }
            Step::Done => {
                // With a reset, the answer ends the connection, too.
                if before == State::Asking {
                    self.answered(&connection, now_ns);
                }
                self.counts.completed += 1;
                self.remove(place);
            }
            Step::Failed(failure) => {
                self.failures[failure as usize] += 1;
                if !matches!(failure, Failure::Refused | Failure::Reset) {
                    connection.abort(&self.plan.script, emit);
                }
                self.remove(place);
            }
        }
    }

    fn answered(&mut self, connection: &Connection, now_ns: u64) {
        self.counts.answered += 1;
        self.answers.add(now_ns - connection.asked_ns);
    }

    fn complete_at_once(&mut self, place: u32, now_ns: u64, emit: &mut impl FnMut(Out)) {
        use super::connection::Until;
        if !matches!(self.plan.script.until, Until::Acknowledged | Until::Bytes(0)) {
            return;
        }
        let Some(slot) = self.slots.get_mut(place as usize) else { return };
        let before = slot.connection.state;
        let step = slot.connection.judge(&self.plan.script, emit);
        self.account(place, step, before, now_ns, emit);
    }

    fn remove(&mut self, place: u32) {
        if let Some(slot) = self.slots.get_mut(place as usize) {
            slot.generation = 0;
            self.by_flow[slot.connection.flow as usize] = NONE;
            self.free.push(place);
        }
    }

    /// Says again what is due, gives up what takes too long, closes what was held long enough. Looks at no more than `most`
    /// connections.
    pub fn tick(&mut self, now_ns: u64, most: usize, emit: &mut impl FnMut(Out)) {
        for _ in 0..most {
            let Some((due_ns, place, generation)) = self.repeats.front().copied() else { break };
            if due_ns > now_ns {
                break;
            }
            self.repeats.pop_front();
            self.look(place, generation, now_ns, emit);
        }
        for _ in 0..most {
            let Some((due_ns, place, generation)) = self.holds.front().copied() else { break };
            if due_ns > now_ns {
                break;
            }
            self.holds.pop_front();
            let Some(slot) = self.slots.get_mut(place as usize) else { continue };
            if slot.generation == generation && slot.connection.state == State::Holding {
                slot.due_ns = now_ns + REPEAT_NS;
                slot.repeats = 0;
                let step = slot.connection.close(&self.plan.script, emit);
                self.account(place, step, State::Holding, now_ns, emit);
            }
        }
    }

    fn look(&mut self, place: u32, generation: u32, now_ns: u64, emit: &mut impl FnMut(Out)) {
        let Some(slot) = self.slots.get_mut(place as usize) else { return };
        if slot.generation != generation {
            return;
        }
        if slot.due_ns <= now_ns {
            slot.due_ns = now_ns + REPEAT_NS;
            if slot.connection.state != State::Holding {
                slot.repeats += 1;
                if u64::from(slot.repeats) * REPEAT_NS >= self.plan.timeout_ns {
                    let (state, failure) = (slot.connection.state, slot.connection.timeout());
                    return self.account(place, Step::Failed(failure), state, now_ns, emit);
                }
                self.counts.repeated += 1;
                slot.connection.repeat(&self.plan.script, emit);
            }
        }
        let again = (slot.due_ns, place, generation);
        self.repeats.push_back(again);
    }

    /// Gives up all that are open, at the end of a run; they count as neither completed nor failed.
    pub fn abort_all(&mut self, emit: &mut impl FnMut(Out)) {
        for slot in self.slots.iter().filter(|slot| slot.generation != 0) {
            slot.connection.abort(&self.plan.script, emit);
        }
    }

    /// When something is due next; none where nothing is.
    pub fn next_due_ns(&self) -> Option<u64> {
        let due = [self.repeats.front(), self.holds.front()];
        due.into_iter().flatten().map(|(due_ns, ..)| *due_ns).min()
    }
}

/// What a connection that is over still says: its last acknowledgment, as TIME-WAIT would (RFC 9293 §3.10.7.4), and that
/// there is none to everything else.
fn forgotten(flow: u32, segment: &Segment<'_>, emit: &mut impl FnMut(Out)) {
    let acknowledgment = segment.sequence.wrapping_add(segment.length());
    if segment.flags.any(Flags::RST) || !segment.flags.any(Flags::ACK) {
        return;
    }
    let (flags, sequence) =
        (if segment.flags.any(Flags::FIN) { Flags::ACK } else { Flags::RST }, segment.acknowledgment);
    let acknowledgment = if flags == Flags::ACK { acknowledgment } else { 0 };
    emit(Out { flow, flags, sequence, acknowledgment, data: 0..0 });
}

#[cfg(test)]
mod tests;
