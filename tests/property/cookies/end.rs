//! One end of a TCP connection, as plain as can be: go back to what is not acknowledged, keep what comes too early, probe windows
//! that are closed. It fails where the other end says what no TCP could have said.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::frames::segments::{Said, Segment};
use crate::frames::{ACK, Mac, RST, SYN};

const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
/// Steps until what was not acknowledged is sent again, and closed windows are probed.
const PATIENCE: u64 = 25;
/// Bytes that an end takes beyond what it has.
const WINDOW: u32 = 6000;
/// Segments per step.
const BURST: usize = 3;

/// What an end understands, and where its numbers begin.
#[derive(Debug, Clone, Copy)]
pub struct Offers {
    pub first: u32,
    pub mss: Option<u16>,
    pub scale: Option<u8>,
    pub sack: bool,
    pub timestamps: bool,
    pub ecn: bool,
    /// Its clock at the beginning.
    pub clock: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Listen,
    SynSent,
    SynReceived,
    Open,
}

#[derive(Debug)]
pub struct End {
    macs: [Mac; 2],
    own: SocketAddr,
    peer: SocketAddr,
    offers: Offers,
    state: State,
    /// What is to be sent, and how much of it was sent, and acknowledged.
    pub data: Vec<u8>,
    sent: usize,
    acknowledged: usize,
    /// What came, in order.
    pub received: Vec<u8>,
    early: BTreeMap<usize, Vec<u8>>,
    /// The peer's first number, and what it understands.
    first: u32,
    peer_mss: usize,
    scales: Option<(u8, u8)>,
    sacks: bool,
    stamps: bool,
    /// Its window in bytes, and its clock.
    window: usize,
    clock: Option<u32>,
    told: bool,
    waited: u64,
    /// Whether it is the one that asks.
    asks: bool,
}

impl End {
    fn new(macs: [Mac; 2], (own, peer): (SocketAddr, SocketAddr), offers: Offers, data: Vec<u8>) -> Self {
        Self {
            macs,
            own,
            peer,
            offers,
            state: State::Listen,
            data,
            sent: 0,
            acknowledged: 0,
            received: Vec::new(),
            early: BTreeMap::new(),
            first: 0,
            peer_mss: 536,
            scales: None,
            sacks: false,
            stamps: false,
            window: 0,
            clock: None,
            told: true,
            waited: 0,
            asks: false,
        }
    }

    /// The one that asks.
    pub fn client(macs: [Mac; 2], ends: (SocketAddr, SocketAddr), offers: Offers, data: Vec<u8>) -> Self {
        Self { state: State::SynSent, waited: PATIENCE, asks: true, ..Self::new(macs, ends, offers, data) }
    }

    /// The one that is asked.
    pub fn server(macs: [Mac; 2], own: SocketAddr, offers: Offers, data: Vec<u8>) -> Self {
        Self::new(macs, (own, own), offers, data)
    }

    /// Whether all was acknowledged, and so much received.
    pub fn is_done(&self, expected: usize) -> bool {
        self.state == State::Open && self.acknowledged == self.data.len() && self.received.len() == expected
    }

    fn now(&self, step: u64) -> u32 {
        self.offers.clock.wrapping_add(step as u32 * 10)
    }

    /// What it sends in this step.
    pub fn run(&mut self, step: u64) -> Vec<Segment> {
        self.waited += 1;
        let again = self.waited > PATIENCE;
        if again {
            self.waited = 0;
        }
        match self.state {
            State::Listen => vec![],
            State::SynSent if again => vec![self.syn(step, SYN)],
            State::SynSent => vec![],
            State::SynReceived if again || !std::mem::replace(&mut self.told, true) => {
                vec![self.syn(step, SYN | ACK)]
            }
            State::SynReceived => vec![],
            State::Open => self.go_on(step, again),
        }
    }

    fn syn(&self, step: u64, flags: u8) -> Segment {
        let Offers { first, mss, scale, sack, timestamps, ecn, .. } = self.offers;
        let answers = flags & ACK != 0;
        let (scale, sack) =
            (scale.filter(|_| !answers || self.scales.is_some()), sack && (!answers || self.sacks));
        let stamps = if answers { self.stamps } else { timestamps };
        let ecn = match (ecn, answers) {
            (true, true) => ECE,
            (true, false) => ECE | CWR,
            (false, _) => 0,
        };
        Segment {
            sequence: first,
            window: WINDOW as u16,
            said: Said {
                mss,
                scale,
                sack_permitted: sack,
                stamps: stamps.then(|| (self.now(step), self.clock.unwrap_or(0))),
                ..Said::default()
            },
            ..self.bare(flags | ecn)
        }
    }

    fn bare(&self, flags: u8) -> Segment {
        Segment {
            macs: self.macs,
            from: self.own,
            to: self.peer,
            sequence: 0,
            acknowledgment: self.first.wrapping_add(1 + self.received.len() as u32),
            flags,
            window: 0,
            ecn: 0,
            said: Said::default(),
            data: Vec::new(),
        }
    }

    /// A segment of an open connection that begins here.
    fn segment(&self, from: usize, data: &[u8], step: u64) -> Segment {
        let at = |offset: usize| self.first.wrapping_add(1 + offset as u32);
        let early = self.early.iter().map(|(from, data)| (at(*from), at(from + data.len())));
        Segment {
            sequence: self.offers.first.wrapping_add(1 + from as u32),
            window: (WINDOW >> self.scales.map_or(0, |(own, _)| own)).max(1) as u16,
            said: Said {
                stamps: self.stamps.then(|| (self.now(step), self.clock.unwrap_or(0))),
                sack: early.filter(|_| self.sacks).take(2).collect(),
                ..Said::default()
            },
            data: data.to_vec(),
            ..self.bare(ACK)
        }
    }

    fn go_on(&mut self, step: u64, again: bool) -> Vec<Segment> {
        if again {
            self.sent = self.acknowledged;
        }
        let mut segments = Vec::new();
        let reach = self.data.len().min(self.acknowledged + self.window);
        while self.sent < reach && segments.len() < BURST {
            let end = reach.min(self.sent + self.peer_mss);
            segments.push(self.segment(self.sent, &self.data[self.sent..end], step));
            self.sent = end;
        }
        if segments.is_empty() && again && self.acknowledged < self.data.len() {
            // One behind, which asks for an answer.
            let probe = self.segment(self.acknowledged, b"", step);
            segments.push(Segment { sequence: probe.sequence.wrapping_sub(1), ..probe });
        }
        if !std::mem::replace(&mut self.told, true) && segments.is_empty() {
            segments.push(self.segment(self.sent, b"", step));
        }
        segments
    }

    /// What it makes of a segment.
    pub fn hear(&mut self, segment: &Segment, step: u64) {
        assert!(!segment.is(RST), "{segment:?} {self:?}");
        match self.state {
            State::Listen => self.begin(segment),
            State::SynSent => self.agree(segment, step),
            State::SynReceived if segment.is(SYN) => self.told = false,
            State::SynReceived => {
                if segment.acknowledgment == self.offers.first.wrapping_add(1) || !segment.data.is_empty() {
                    self.state = State::Open;
                    self.take(segment, step);
                }
            }
            State::Open if segment.is(SYN) => self.told = false,
            State::Open => self.take(segment, step),
        }
    }

    fn begin(&mut self, segment: &Segment) {
        assert!(segment.is(SYN) && !segment.is(ACK) && segment.data.is_empty(), "{segment:?}");
        self.peer = segment.from;
        self.meet(segment);
        (self.state, self.told) = (State::SynReceived, false);
    }

    fn agree(&mut self, segment: &Segment, step: u64) {
        if !segment.is(SYN | ACK) {
            return;
        }
        assert_eq!(segment.acknowledgment, self.offers.first.wrapping_add(1), "{segment:?}");
        self.check_echo(segment, step);
        self.meet(segment);
        (self.state, self.told, self.waited) = (State::Open, false, 0);
    }

    /// What both understand.
    fn meet(&mut self, segment: &Segment) {
        let said = &segment.said;
        self.first = segment.sequence;
        self.peer_mss = said.mss.map_or(536, usize::from).min(1400);
        self.scales = self.offers.scale.zip(said.scale);
        self.sacks = self.offers.sack && said.sack_permitted;
        self.stamps = self.offers.timestamps && said.stamps.is_some();
        self.window = usize::from(segment.window);
        self.clock = said.stamps.map(|(value, _)| value);
    }

    fn check_echo(&self, segment: &Segment, step: u64) {
        if let Some((_, echo)) = segment.said.stamps.filter(|_| self.stamps || segment.is(SYN)) {
            let age = self.now(step).wrapping_sub(echo);
            assert!(age <= step as u32 * 10, "an echo of what was never sent: {segment:?} {self:?}");
        }
    }

    fn take(&mut self, segment: &Segment, step: u64) {
        self.check_echo(segment, step);
        let (bytes, window) = (segment.data.len(), usize::from(segment.window));
        let offset = segment.sequence.wrapping_sub(self.first).wrapping_sub(1) as i32;
        let scale = self.scales.map_or(0, |(own, _)| own);
        let told = ((WINDOW >> scale).max(1) << scale).max(WINDOW);
        let reach = self.received.len() as i64 + i64::from(told) + 128;
        let largest = self.offers.mss.map_or(536, usize::from);
        let may_be_told = self.own.is_ipv4() || largest >= 1220;
        assert!(bytes <= largest || !self.asks || !may_be_told, "larger than it takes: {segment:?} {self:?}");
        assert!(i64::from(offset) + bytes as i64 <= reach, "beyond the window: {segment:?} {self:?}");
        assert!(offset >= -1, "{segment:?} {self:?}");
        let acknowledged = segment.acknowledgment.wrapping_sub(self.offers.first).wrapping_sub(1) as usize;
        assert!(acknowledged <= self.data.len(), "an ACK of what was never sent: {segment:?} {self:?}");
        for (left, right) in &segment.said.sack {
            let [left, right] = [left, right].map(|edge| edge.wrapping_sub(self.offers.first) as usize - 1);
            assert!(left < right && right <= self.data.len(), "{segment:?} {self:?}");
        }
        if acknowledged >= self.acknowledged {
            if acknowledged > self.acknowledged {
                self.waited = 0;
            }
            self.acknowledged = acknowledged;
            self.sent = self.sent.max(acknowledged);
            self.window = window << self.scales.map_or(0, |(_, peer)| peer);
        }
        if let Some((value, _)) = segment.said.stamps.filter(|_| self.stamps) {
            let ahead = value.wrapping_sub(self.clock.unwrap_or(value)) as i32;
            assert!(ahead.unsigned_abs() < 1 << 24, "a clock that jumps: {segment:?} {self:?}");
            if ahead >= 0 {
                self.clock = Some(value);
            }
        }
        if bytes > 0 || offset < self.received.len() as i32 {
            self.told = false;
        }
        if bytes > 0 && offset >= 0 {
            self.early.insert(offset as usize, segment.data.clone());
        }
        while let Some((from, data)) = self.early.pop_first() {
            if from > self.received.len() {
                self.early.insert(from, data);
                break;
            }
            let known = self.received.len() - from;
            self.received.extend(data.get(known..).unwrap_or_default());
        }
    }
}
