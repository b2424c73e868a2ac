//! What the traffic shows of the backends' health: how fast they answer, and that they do not.
//!
//! | seen | noted |
//! |---|---|
//! | SYN+ACK | the time since the first SYN; failures are counted anew, as they are when a check is passed |
//! | a RST that answers the SYN | [`Failure::Refused`] |
//! | the SYN again, as late as a client repeats one that was not answered | [`Failure::Unanswered`] |
//! | an ICMP error from the backend's side: it cannot be reached | [`Failure::Unreachable`] |
//!
//! A SYN that was answered is not waited for any more, whether or not the client goes on. Clients can still have a SYN go
//! unanswered by a backend that serves: with a TTL that ends behind the switch, or from an address to which the backend's
//! answer takes another way. So that alone has a backend checked sooner, and no more: see
//! [`Failure::is_told`]. No failure takes a backend down by itself, and a check that passes ends the row. Where the backend's
//! frames are not seen (`dsr`, tunnels) nothing tells whether it has answered, so a repeated SYN says nothing. The first
//! failures are an event each, and the control plane looks for itself.

use crate::tables::loads::Failure;
use crate::tables::{BackendId, Event, InterfaceId};

use super::conntrack::{Direction, Hit, State};
use super::family::Pair;
use super::turn::Turn;

/// A SYN that comes again sooner was not repeated for want of an answer: half of the shortest time that clients wait at
/// first (1 s, RFC 6298 §2.1), in microseconds.
const PATIENCE_US: u32 = 500_000;

/// Failures in a row that are events each; afterwards it is one in so many.
const ONE_BY_ONE: u32 = 64;

/// Microseconds since `then`. Another worker's clock may be a little ahead of this one's.
fn elapsed(turn: &Turn<'_>, then: u32) -> u32 {
    let elapsed = turn.flows.clock_us.wrapping_sub(then);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

/// Heeds that a connection moved from one state to another. `asked_us` is when its client first asked.
#[inline]
pub fn heed<P: Pair>(hit: &Hit<P>, states: (State, State), asked_us: u32, turn: &mut Turn<'_>) {
    match states {
        (State::SynReceived, State::SynAnswered) => {
            // A driver without a clock has every backend answer in no time, which counts as 1 µs.
            turn.flows.tables().loads.answered(hit.backend, elapsed(turn, asked_us));
        }
        (State::SynReceived, State::Reset) if hit.direction == Direction::Reply => {
            failed(hit.backend, Failure::Refused, turn);
        }
        _ => {}
    }
}

/// Heeds a SYN of a connection that still waits for the backend's answer.
#[cold]
pub fn asked_again<P: Pair>(hit: &Hit<P>, turn: &mut Turn<'_>) {
    let may_tell = hit.direction == Direction::Request && !hit.kind.one_way();
    if may_tell && elapsed(turn, turn.flows.entry::<P>(hit.entry).asked_us()) >= PATIENCE_US {
        failed(hit.backend, Failure::Unanswered, turn);
    }
}

/// Heeds an ICMP error which came in through `ingress` and says that what was sent to a backend does not reach it.
#[cold]
pub fn unreachable(backend: BackendId, ingress: InterfaceId, turn: &mut Turn<'_>) {
    let tables = turn.tables;
    let side = tables.backend(backend).and_then(|backend| tables.next_hop(backend.next_hop));
    if side.is_some_and(|side| side.interface == ingress) {
        failed(backend, Failure::Unreachable, turn);
    }
}

/// Whether the control plane must hear of this failure. Later ones in a long row need not be heard each: a backend that refuses
/// everybody is not to crowd out the other events of its worker.
fn is_worth_an_event(in_a_row: u32) -> bool {
    in_a_row <= ONE_BY_ONE || in_a_row.is_multiple_of(ONE_BY_ONE)
}

#[cold]
fn failed(backend: BackendId, failure: Failure, turn: &mut Turn<'_>) {
    if turn.tables.backend(backend).is_some() {
        let in_a_row = turn.flows.tables().loads.failed(backend, failure);
        if is_worth_an_event(in_a_row) {
            turn.extras.raise(Event::Failing(backend));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_row_of_failures_is_told_now_and_then() {
        assert!((1..=ONE_BY_ONE).all(is_worth_an_event));
        let told: Vec<u32> = (ONE_BY_ONE + 1..1000).filter(|failures| is_worth_an_event(*failures)).collect();
        assert!(told.len() == 14 && told[..2] == [128, 192], "{told:?}");
    }
}
