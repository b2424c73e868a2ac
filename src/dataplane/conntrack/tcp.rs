//! The life of a connection, as far as a middlebox must follow it.
//!
//! ```text
//!            SYN                  SYN+ACK from backend        ACK of that
//!   (none) ───────▶ SynReceived ───────────────▶ SynAnswered ────────────▶ Established
//!                                                                               │
//!                        FIN from client ▼            ▼ FIN from backend        │ RST, from any state
//!                                   ClientClosed   BackendClosed                ▼
//!                              FIN from backend ▼    ▼ FIN from client        Reset
//!                                          Closed (TIME-WAIT)
//! ```
//!
//! What a segment only pretends (a RST or FIN far from where the connection stands, an ACK of a SYN that was never
//! received) leads nowhere: [`super::belief`]. Such segments are
//! forwarded all the same, for the endpoints to judge: they know sequence numbers, the switch does not. Segments that
//! follow a RST keep the connection for another timeout (RFC 7857 §2.2), so one that lives on in spite of it goes on
//! while it is used. UDP flows have the one state `Udp`.

use crate::tables::Timeouts;
use crate::wire::tcp::Flags;

use super::entry::Kind;

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// From the client.
    Request = 0,
    /// From the backend.
    Reply = 1,
}

/// State of a connection. Those in which data flows have a bit of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The client sent SYN.
    SynReceived = 1,
    /// The backend answered SYN+ACK.
    SynAnswered = 2,
    /// The client sent FIN.
    ClientClosed = 3,
    /// The backend sent FIN.
    BackendClosed = 4,
    /// Both sent FIN.
    Closed = 5,
    /// Somebody sent RST.
    Reset = 6,
    /// ICMP queries under one identifier.
    Icmp = 7,
    /// Data may flow.
    Established = 8,
    /// A UDP flow.
    Udp = 9,
}

impl State {
    /// The bit of [`State::Established`] and [`State::Udp`].
    pub(super) const FLOWING: u32 = 8;

    /// The state with this number in the low four bits.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 15 {
            1 => Self::SynReceived,
            2 => Self::SynAnswered,
            3 => Self::ClientClosed,
            4 => Self::BackendClosed,
            5 => Self::Closed,
            6 => Self::Reset,
            7 => Self::Icmp,
            8 => Self::Established,
            _ => Self::Udp,
        }
    }

    /// The state after a segment with `flags` in `direction`.
    #[inline]
    pub fn after(self, direction: Direction, flags: Flags) -> Self {
        use Direction::{Reply, Request};
        if self.is_stateless() {
            return self;
        }
        if flags.any(Flags::RST) {
            return Self::Reset;
        }
        let fin = flags.any(Flags::FIN);
        let syn = flags.any(Flags::SYN);
        match (self, direction) {
            (Self::SynReceived, Reply) if syn => Self::SynAnswered,
            (Self::SynAnswered, Request) if fin => Self::ClientClosed,
            (Self::SynAnswered, Request) if !syn => Self::Established,
            (Self::Established | Self::SynAnswered, Reply) if fin => Self::BackendClosed,
            (Self::Established, Request) if fin => Self::ClientClosed,
            (Self::BackendClosed, Request) | (Self::ClientClosed, Reply) if fin => Self::Closed,
            _ => self,
        }
    }

    /// How long the connection may stay idle, in [`crate::tables::Coarse`] units.
    #[inline]
    pub fn timeout(self, timeouts: &Timeouts) -> u32 {
        match self {
            Self::Udp => timeouts.udp,
            Self::Icmp => timeouts.icmp,
            Self::SynReceived | Self::SynAnswered => timeouts.tcp_syn,
            Self::Established => timeouts.tcp_established,
            Self::ClientClosed | Self::BackendClosed => timeouts.tcp_half_closed,
            Self::Closed => timeouts.tcp_closed,
            Self::Reset => timeouts.tcp_reset,
        }
    }

    /// Whether the handshake is not complete.
    #[inline]
    pub fn is_half_open(self) -> bool {
        matches!(self, Self::SynReceived | Self::SynAnswered)
    }

    /// Whether nothing moves it.
    #[inline]
    pub fn is_stateless(self) -> bool {
        matches!(self, Self::Udp | Self::Icmp)
    }

    /// The state after a client's segment where the backend's are not seen, because it answers directly: what it would
    /// have said is taken for granted.
    #[inline]
    pub fn after_unseen_replies(self, flags: Flags) -> Self {
        match self {
            Self::SynReceived if flags.carries_on() => Self::Established,
            Self::SynReceived if flags.any(Flags::FIN) => Self::ClientClosed,
            _ => self.after(Direction::Request, flags),
        }
    }

    /// Whether both sides are done with it: a SYN may start over, and a full table may take the entry back early.
    #[inline]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Reset)
    }

    /// The same as far as can be seen: where replies are not, the client's FIN is all there is to see of the end.
    #[inline]
    pub fn is_finished(self, kind: Kind) -> bool {
        self.is_over() || (kind.one_way() && self == Self::ClientClosed)
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{Reply, Request};
    use super::*;

    const SYN_ACK: Flags = Flags::SYN.with(Flags::ACK);
    const FIN_ACK: Flags = Flags::FIN.with(Flags::ACK);

    fn play(segments: &[(Direction, Flags)]) -> State {
        segments.iter().fold(State::SynReceived, |state, (direction, flags)| state.after(*direction, *flags))
    }

    const HANDSHAKE: [(Direction, Flags); 2] = [(Reply, SYN_ACK), (Request, Flags::ACK)];

    #[test]
    fn a_handshake_establishes() {
        assert_eq!(play(&HANDSHAKE[..1]), State::SynAnswered);
        assert_eq!(play(&HANDSHAKE), State::Established);
    }

    #[test]
    fn a_client_that_only_acks_establishes_nothing() {
        assert_eq!(play(&[(Request, Flags::ACK), (Request, Flags::ACK)]), State::SynReceived);
    }

    #[test]
    fn two_fins_close_in_either_order() {
        for (first, second, half) in
            [(Request, Reply, State::ClientClosed), (Reply, Request, State::BackendClosed)]
        {
            let mut segments = HANDSHAKE.to_vec();
            segments.push((first, FIN_ACK));
            assert_eq!(play(&segments), half);
            segments.push((second, Flags::ACK));
            segments.push((first, FIN_ACK));
            assert_eq!(play(&segments), half, "a repeated FIN is no second FIN");
            segments.push((second, FIN_ACK));
            assert_eq!(play(&segments), State::Closed);
            segments.push((first, Flags::ACK));
            assert_eq!(play(&segments), State::Closed);
        }
    }

    #[test]
    fn a_reset_ends_it_for_good() {
        let mut segments = HANDSHAKE.to_vec();
        segments.push((Request, Flags::RST));
        assert_eq!(play(&segments), State::Reset);
        segments.push((Reply, Flags::ACK));
        segments.push((Reply, FIN_ACK));
        assert_eq!(play(&segments), State::Reset, "data that was under way does not bring it back");
    }

    #[test]
    fn a_refused_connection_is_over() {
        assert!(play(&[(Reply, Flags::RST.with(Flags::ACK))]).is_over());
    }

    #[test]
    fn bits_round_trip() {
        for bits in 1..10 {
            assert_eq!(State::from_bits(bits) as u32, bits);
        }
    }

    #[test]
    fn udp_ignores_flags() {
        assert_eq!(State::Udp.after(Request, Flags::RST), State::Udp);
    }
}
