//! A server that keeps no state: everything it must know of a connection stands in the segment that it answers.
//!
//! ```text
//!   client                                    server
//!   SYN            seq=c              ──▶
//!                                     ◀──     SYN ACK      seq=s, a hash of the endpoints    ack=c+1
//!   data, PSH      ack=s+1            ──▶
//!                                     ◀──     reply (FIN)  seq=the ack of the data           ack=behind the data
//!   FIN            ack=a              ──▶
//!                                     ◀──     FIN or ACK   seq=a                             ack=behind the FIN
//! ```
//!
//! What is lost on the way back is made up for by the client, which repeats what was not acknowledged and gets the same
//! answer. So there is neither a limit on open connections nor a timer. The price: a reply is one segment, and data that
//! arrive out of order are acknowledged as if what is missing had come.

use super::segment::{PUSH, Segment};
use crate::wire::tcp::Flags;

/// The longest reply: one segment on every ordinary path.
pub const LONGEST_REPLY: usize = 1400;

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Sent for each segment with PSH; may be empty.
    pub reply: Vec<u8>,
    /// Whether the reply ends the connection, as HTTP/1.0 has it; else the client ends it.
    pub closes: bool,
    /// What sequence numbers are made from.
    pub secret: u64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Served {
    /// Connections that were to be opened, repetitions included.
    pub syns: u64,
    /// Segments with data.
    pub segments: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// Replies sent.
    pub replies: u64,
    /// Ends of connections that the client said.
    pub fins: u64,
    /// Resets.
    pub resets: u64,
}

impl Server {
    /// The answer, if the segment gets one.
    pub fn answer<'a>(&'a self, segment: &Segment<'_>, served: &mut Served) -> Option<Segment<'a>> {
        let back = |flags: Flags, sequence: u32, payload: &'a [u8]| Segment {
            source: segment.destination,
            destination: segment.source,
            flags: flags.with(Flags::ACK),
            sequence,
            acknowledgment: segment.sequence.wrapping_add(segment.length()),
            payload,
        };
        let initial = self.initial(segment);
        if segment.flags.any(Flags::RST) {
            served.resets += 1;
            return None;
        }
        if segment.flags.opens() {
            served.syns += 1;
            return Some(back(Flags::SYN, initial, &[]));
        }
        if !segment.flags.any(Flags::ACK) || segment.flags.any(Flags::SYN) || segment.length() == 0 {
            return None;
        }
        // How much of what we said has come.
        let heard = segment.acknowledgment.wrapping_sub(initial).wrapping_sub(1) as usize;
        let ends = segment.flags.any(Flags::FIN);
        served.fins += u64::from(ends);
        served.segments += u64::from(!segment.payload.is_empty());
        served.bytes += segment.payload.len() as u64;
        let asks = !segment.payload.is_empty() && segment.flags.any(PUSH);
        let is_answered = self.closes && heard > 0;
        let replies = asks && !is_answered;
        served.replies += u64::from(replies);
        let payload = if replies { self.reply.as_slice() } else { &[] };
        let said_all = self.closes && heard > self.reply.len();
        let closes = (ends || replies && self.closes) && !said_all;
        let push = if payload.is_empty() { Flags::default() } else { PUSH };
        let fin = if closes { Flags::FIN } else { Flags::default() };
        Some(back(push.with(fin), segment.acknowledgment, payload))
    }

    /// The sequence number with which a connection begins.
    fn initial(&self, segment: &Segment<'_>) -> u32 {
        let mut hash = self.secret;
        for end in [segment.source, segment.destination] {
            let address = match end.ip() {
                std::net::IpAddr::V4(address) => u128::from(address.to_bits()),
                std::net::IpAddr::V6(address) => address.to_bits(),
            };
            for word in [(address >> 64) as u64, address as u64, u64::from(end.port())] {
                hash = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                hash ^= hash >> 29;
            }
        }
        (hash >> 16) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(closes: bool) -> Server {
        Server { reply: b"reply".to_vec(), closes, secret: 99 }
    }

    fn from_client<'a>(flags: Flags, sequence: u32, acknowledgment: u32, payload: &'a [u8]) -> Segment<'a> {
        Segment {
            source: "198.19.0.1:1024".parse().unwrap(),
            destination: "198.18.0.100:80".parse().unwrap(),
            flags,
            sequence,
            acknowledgment,
            payload,
        }
    }

    #[test]
    fn a_connection_that_the_server_closes() {
        let (server, mut served) = (server(true), Served::default());
        let opened = server.answer(&from_client(Flags::SYN, 100, 0, b""), &mut served).unwrap();
        assert_eq!((opened.flags, opened.acknowledgment), (Flags::SYN.with(Flags::ACK), 101));
        let first = opened.sequence.wrapping_add(1);
        assert_eq!(server.answer(&from_client(Flags::ACK, 101, first, b""), &mut served), None);
        let request = from_client(Flags::ACK.with(PUSH), 101, first, b"ask");
        for _ in 0..2 {
            let reply = server.answer(&request, &mut served).unwrap();
            assert_eq!((reply.sequence, reply.acknowledgment, reply.payload), (first, 104, &b"reply"[..]));
            assert!(reply.flags.any(Flags::FIN), "and again, when the request comes again");
        }
        let fin = from_client(Flags::ACK.with(Flags::FIN), 104, first.wrapping_add(6), b"");
        let last = server.answer(&fin, &mut served).unwrap();
        assert_eq!(
            (last.flags, last.sequence, last.acknowledgment),
            (Flags::ACK, first.wrapping_add(6), 105)
        );
        assert_eq!((served.syns, served.replies, served.fins, served.bytes), (1, 2, 1, 6));
    }

    #[test]
    fn a_connection_that_the_client_closes() {
        let (server, mut served) = (server(false), Served::default());
        let first = server
            .answer(&from_client(Flags::SYN, 100, 0, b""), &mut served)
            .unwrap()
            .sequence
            .wrapping_add(1);
        for turn in 0..3 {
            let (ours, theirs) = (101 + turn * 3, first.wrapping_add(turn * 5));
            let reply = server
                .answer(&from_client(Flags::ACK.with(PUSH), ours, theirs, b"ask"), &mut served)
                .unwrap();
            assert_eq!((reply.sequence, reply.payload), (theirs, &b"reply"[..]));
            assert!(!reply.flags.any(Flags::FIN));
        }
        let heard = first.wrapping_add(15);
        let fin = from_client(Flags::ACK.with(Flags::FIN), 110, heard, b"");
        let last = server.answer(&fin, &mut served).unwrap();
        assert_eq!(
            (last.flags, last.sequence, last.acknowledgment),
            (Flags::ACK.with(Flags::FIN), heard, 111)
        );
        assert_eq!(
            server.answer(&from_client(Flags::ACK, 111, heard.wrapping_add(1), b""), &mut served),
            None
        );
    }

    #[test]
    fn data_without_push_are_acknowledged_only() {
        let (server, mut served) = (server(true), Served::default());
        let first = server
            .answer(&from_client(Flags::SYN, 100, 0, b""), &mut served)
            .unwrap()
            .sequence
            .wrapping_add(1);
        let answer = server.answer(&from_client(Flags::ACK, 101, first, b"more"), &mut served).unwrap();
        assert_eq!((answer.flags, answer.acknowledgment, answer.payload), (Flags::ACK, 105, &b""[..]));
    }

    #[test]
    fn resets_and_nonsense_get_no_answer() {
        let (server, mut served) = (server(true), Served::default());
        for flags in [Flags::RST, Flags::RST.with(Flags::ACK), Flags(0), Flags::SYN.with(Flags::ACK)] {
            assert_eq!(server.answer(&from_client(flags, 1, 2, b""), &mut served), None);
        }
        assert_eq!(served.resets, 2);
    }

    #[test]
    fn connections_begin_with_numbers_of_their_own() {
        let (server, mut served) = (server(true), Served::default());
        let mut numbers = std::collections::BTreeSet::new();
        for port in 1..1000 {
            let mut syn = from_client(Flags::SYN, 100, 0, b"");
            syn.source.set_port(port);
            numbers.insert(server.answer(&syn, &mut served).unwrap().sequence);
        }
        assert!(numbers.len() > 990);
    }
}
