//! What is believed of segments that pretend to move a connection: that which fits the numbers noted of it.

use crate::dataplane::family::Pair;

use super::entry::{Entry, Hit, Segment};
use super::tcp::{Direction, State};
use crate::wire::tcp::Flags;

/// How far a plausible RST or FIN may lie behind the last sequence number noted (a repeated segment) …
const BEHIND: i32 = -(1 << 16);
/// … and ahead of it: 64 ms, the age that a noted number can have, at 4 Gbit/s.
const AHEAD: i32 = 1 << 25;
/// Bytes that the answer to a SYN may acknowledge: the SYN, and data sent with it (RFC 7413).
const ANSWERED: u32 = 1 + 1460;
/// Bytes that the client's answer to the backend's SYN may acknowledge: the largest window before scaling (RFC 7323).
const WINDOW: u32 = 1 << 16;

impl<P: Pair> Entry<P> {
    /// Whether a client's segment acknowledges the backend's SYN, and so comes from one that has received it.
    pub fn confirms(&self, acknowledgment: u32) -> bool {
        let beyond = acknowledgment.wrapping_sub(self.sequences()[1]);
        (1..=WINDOW).contains(&beyond)
    }

    /// Whether a RST or FIN is one that its sender may have sent: its number lies near the last one noted.
    ///
    /// A blind attacker guesses right once in about 128 tries, and an endpoint that ignores the guess (RFC 5961) undoes
    /// a RST with its next segment. A RST that answers a SYN carries no number of its own but acknowledges the SYN (RFC 9293
    /// §3.10.7.3). One without ACK answers something else that the client sent, which refuses no connection.
    pub fn plausible(&self, hit: &Hit<P>, flags: Flags, segment: Segment) -> bool {
        let Segment { sequence, acknowledgment } = segment;
        if hit.state() == State::SynAnswered && hit.direction == Direction::Reply {
            // It answers whatever the client claimed to have received.
            return true;
        }
        if hit.state() == State::SynReceived && hit.direction == Direction::Reply {
            let beyond = acknowledgment.wrapping_sub(self.sequences()[0]);
            return flags.any(Flags::ACK) && (1..=ANSWERED).contains(&beyond);
        }
        let last = self.sequences()[hit.direction as usize];
        (BEHIND..=AHEAD).contains(&(sequence.wrapping_sub(last) as i32))
    }

    /// Whether a segment quoted in an ICMP error is one that passed in `direction` not long ago (RFC 5927 §4.1).
    ///
    /// Half as strict as [`Entry::plausible`], since what is quoted may be older than what was noted: the window of a fast
    /// transfer lies between them.
    pub fn has_passed(&self, direction: Direction, sequence: u32) -> bool {
        let last = self.sequences()[direction as usize];
        (-AHEAD..=AHEAD).contains(&(sequence.wrapping_sub(last) as i32))
    }
}
