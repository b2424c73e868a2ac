//! One connection, from the client's side.
//!
//! ```text
//!                SYN ACK                    answer complete
//!   Opening ───────────────▶ Asking ─────────────────────────▶ Holding ──┐ time is up
//!      │  SYN                   │ request, ACKs                          ▼
//!      │                        └──────────────────────────────────▶ Closing ───▶ done
//!      ▼ reset, no answer       ▼ reset, no answer, ended early          │ FIN, ACK
//!    failed                   failed                                     ▼ no answer: failed
//! ```
//!
//! Segments are taken in order only; what comes out of order is acknowledged with what is expected, and comes again.

use std::ops::Range;

use super::segment::{PUSH, Segment};
use crate::wire::tcp::Flags;

/// When an answer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The server has closed, and said something before.
    Closed,
    /// So many bytes have come.
    Bytes(u64),
    /// The request is acknowledged; nothing need come.
    Acknowledged,
}

/// What all connections do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What is said, at most [`LONGEST_REQUEST`] bytes.
    pub request: Vec<u8>,
    /// Bytes of data per segment.
    pub segment: usize,
    /// When the answer is complete.
    pub until: Until,
    /// How long a connection stays open after that; not where the server has closed.
    pub hold_ns: u64,
    /// Whether it is closed with a reset rather than in good order.
    pub resets: bool,
}

/// As much as every server has room for before it answers.
pub const LONGEST_REQUEST: usize = 60_000;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The SYN is out.
    Opening,
    /// The request is out.
    Asking,
    /// The answer is there; the connection stays open for a while.
    Holding,
    /// Our FIN is out.
    Closing,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The SYN was answered with a reset.
    Refused,
    /// The SYN was not answered.
    HandshakeTimeout,
    /// A reset came later.
    Reset,
    /// The answer did not come, or not all of it.
    AnswerTimeout,
    /// The server closed before its answer was complete.
    ClosedEarly,
    /// The end was not acknowledged or not answered.
    CloseTimeout,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Refused,
        Self::HandshakeTimeout,
        Self::Reset,
        Self::AnswerTimeout,
        Self::ClosedEarly,
        Self::CloseTimeout,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Reset => "reset",
            Self::AnswerTimeout => "answer_timeout",
            Self::ClosedEarly => "closed_early",
            Self::CloseTimeout => "close_timeout",
        }
    }
}

/// A segment to be sent; its data are a range of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Out {
    /// Of which flow.
    pub flow: u32,
    /// Control bits.
    pub flags: Flags,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Data.
    pub data: Range<usize>,
}

/// What a segment or the time made of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing that anybody counts.
    None,
    /// It is open.
    Opened,
    /// The answer is complete; the connection is in [`State::Holding`] or [`State::Closing`] (or over, with a reset).
    Answered,
    /// It is over.
    Done,
    /// It is over, in a bad way.
    Failed(Failure),
}

/// One connection.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// Its flow.
    pub flow: u32,
    /// Where it is.
    pub state: State,
    /// When the SYN first went out.
    pub opened_ns: u64,
    /// When the request first went out.
    pub asked_ns: u64,
    initial: u32,
    /// The first number that is not acknowledged.
    unacknowledged: u32,
    /// The number that is expected next.
    expected: u32,
    received: u64,
    peer_closed: bool,
}

impl Connection {
    /// Opens a connection whose sequence numbers begin with `initial`.
    pub fn open(flow: u32, initial: u32, now_ns: u64, emit: &mut impl FnMut(Out)) -> Self {
        let connection = Self {
            flow,
            state: State::Opening,
            opened_ns: now_ns,
            asked_ns: now_ns,
            initial,
            unacknowledged: initial,
            expected: 0,
            received: 0,
            peer_closed: false,
        };
        connection.emit(emit, Flags::SYN, initial, 0..0);
        connection
    }

    fn emit(&self, emit: &mut impl FnMut(Out), flags: Flags, sequence: u32, data: Range<usize>) {
        let acknowledgment = if flags.any(Flags::ACK) { self.expected } else { 0 };
        emit(Out { flow: self.flow, flags, sequence, acknowledgment, data });
    }

    /// The number behind the request.
    fn end(&self, script: &Script) -> u32 {
        self.initial.wrapping_add(1).wrapping_add(script.request.len() as u32)
    }

    /// The number with which we go on.
    fn next(&self, script: &Script) -> u32 {
        match self.state {
            State::Opening => self.initial.wrapping_add(1),
            State::Closing => self.end(script).wrapping_add(1),
            State::Asking | State::Holding => self.end(script),
        }
    }

    /// Says what was not acknowledged (again), and what is expected.
    pub fn repeat(&self, script: &Script, emit: &mut impl FnMut(Out)) {
        if self.state == State::Opening {
            return self.emit(emit, Flags::SYN, self.initial, 0..0);
        }
        let first = self.initial.wrapping_add(1);
        let total = script.request.len();
        let mut at = (self.unacknowledged.wrapping_sub(first) as usize).min(total);
        let nothing_to_say = at == total;
        while at < total {
            let to = (at + script.segment.max(1)).min(total);
            let push = if to == total { PUSH } else { Flags::default() };
            self.emit(emit, Flags::ACK.with(push), first.wrapping_add(at as u32), at..to);
            at = to;
        }
        if self.state == State::Closing {
            self.emit(emit, Flags::ACK.with(Flags::FIN), self.end(script), 0..0);
        } else if nothing_to_say {
            self.acknowledge(script, emit);
        }
    }

    fn acknowledge(&self, script: &Script, emit: &mut impl FnMut(Out)) {
        self.emit(emit, Flags::ACK, self.next(script), 0..0);
    }

    /// Gives the connection up: the server may forget it.
    pub fn abort(&self, script: &Script, emit: &mut impl FnMut(Out)) {
        self.emit(emit, Flags::RST.with(Flags::ACK), self.next(script), 0..0);
    }

    /// Begins to close.
    pub fn close(&mut self, script: &Script, emit: &mut impl FnMut(Out)) -> Step {
        if script.resets {
            self.abort(script, emit);
            return Step::Done;
        }
        self.state = State::Closing;
        self.emit(emit, Flags::ACK.with(Flags::FIN), self.end(script), 0..0);
        Step::None
    }

    /// What time it is up for.
    pub const fn timeout(&self) -> Failure {
        match self.state {
            State::Opening => Failure::HandshakeTimeout,
            State::Asking | State::Holding => Failure::AnswerTimeout,
            State::Closing => Failure::CloseTimeout,
        }
    }

    /// A segment came.
    pub fn receive(
        &mut self,
        segment: &Segment<'_>,
        script: &Script,
        now_ns: u64,
        emit: &mut impl FnMut(Out),
    ) -> Step {
        if self.state == State::Opening {
            return self.receive_opening(segment, script, now_ns, emit);
        }
        if segment.flags.any(Flags::RST) {
            // RFC 5961 §3.2: only what is exactly expected ends a connection.
            return if segment.sequence == self.expected { Step::Failed(Failure::Reset) } else { Step::None };
        }
        if segment.flags.any(Flags::ACK) {
            let new = segment.acknowledgment.wrapping_sub(self.unacknowledged);
            if new <= self.next(script).wrapping_sub(self.unacknowledged) {
                self.unacknowledged = segment.acknowledgment;
            }
        }
        let answer_due = self.take(segment);
        match self.state {
            State::Asking => {
                let step = self.judge(script, emit);
                // What closes acknowledges, too.
                if answer_due && self.state != State::Closing && step != Step::Done {
                    self.acknowledge(script, emit);
                }
                step
            }
            State::Closing if self.peer_closed && self.unacknowledged == self.next(script) => {
                if answer_due {
                    self.acknowledge(script, emit);
                }
                Step::Done
            }
            _ => {
                if answer_due {
                    self.acknowledge(script, emit);
                }
                if self.peer_closed && self.state == State::Holding {
                    self.close(script, emit)
                } else {
                    Step::None
                }
            }
        }
    }

    fn receive_opening(
        &mut self,
        segment: &Segment<'_>,
        script: &Script,
        now_ns: u64,
        emit: &mut impl FnMut(Out),
    ) -> Step {
        let ours = self.initial.wrapping_add(1);
        let acknowledges = segment.flags.any(Flags::ACK) && segment.acknowledgment == ours;
        if segment.flags.any(Flags::RST) {
            return if acknowledges { Step::Failed(Failure::Refused) } else { Step::None };
        }
        if !acknowledges {
            // Something of an older connection of these ports: its server is told, and the SYN comes again (RFC 9293 §3.10.7.3).
            if segment.flags.any(Flags::ACK) {
                let sequence = segment.acknowledgment;
                emit(Out { flow: self.flow, flags: Flags::RST, sequence, acknowledgment: 0, data: 0..0 });
            }
            return Step::None;
        }
        if !segment.flags.any(Flags::SYN) {
            return Step::None;
        }
        self.expected = segment.sequence.wrapping_add(1);
        self.unacknowledged = ours;
        self.state = State::Asking;
        self.asked_ns = now_ns;
        self.repeat(script, emit);
        Step::Opened
    }

    /// Takes what is new of the data and the end; whether the segment wants to be acknowledged.
    fn take(&mut self, segment: &Segment<'_>) -> bool {
        if segment.length() == 0 {
            return false;
        }
        let known = self.expected.wrapping_sub(segment.sequence);
        let syn = u32::from(segment.flags.any(Flags::SYN));
        let data = segment.payload.len() as u32;
        // Not what is old, and not what comes too early.
        if known <= data + syn && !self.peer_closed {
            let new = data + syn - known;
            self.received += u64::from(new);
            self.expected = self.expected.wrapping_add(new);
            if segment.flags.any(Flags::FIN) {
                self.peer_closed = true;
                self.expected = self.expected.wrapping_add(1);
            }
        }
        true
    }

    /// Whether the answer is complete, and what follows from it.
    pub(super) fn judge(&mut self, script: &Script, emit: &mut impl FnMut(Out)) -> Step {
        let is_complete = match script.until {
            Until::Closed => self.peer_closed && self.received > 0,
            Until::Bytes(bytes) => self.received >= bytes,
            Until::Acknowledged => self.unacknowledged == self.end(script),
        };
        if is_complete {
            if script.hold_ns > 0 && !self.peer_closed {
                self.state = State::Holding;
            } else if self.close(script, emit) == Step::Done {
                return Step::Done;
            }
            return Step::Answered;
        }
        if self.peer_closed { Step::Failed(Failure::ClosedEarly) } else { Step::None }
    }
}
