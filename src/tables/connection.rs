//! Connections as others see them than the workers: to be shown, counted, and ended by name.
//!
//! The data plane fills this in slices, see `dataplane::conntrack::walk`; the control plane asks for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use super::exact::address_bits;
use super::{BackendId, Timeouts};

/// Names of the states, by their number in an entry; number 0 is none.
pub const STATES: [&str; 10] = [
    "",
    "syn_received",
    "syn_answered",
    "client_closed",
    "backend_closed",
    "closed",
    "reset",
    "icmp",
    "established",
    "udp",
];

/// Connections that may wait in one mailbox to be ended.
const ENDS: usize = 1024;

/// One connection, for as long as it lives: its successor in the same entry has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionName {
    /// In which table.
    pub is_v6: bool,
    /// Where in it.
    pub position: u32,
    /// Which of those that were there.
    pub generation: u16,
}

/// One connection as it was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenConnection {
    /// What it is ended by.
    pub name: ConnectionName,
    /// The worker that created it.
    pub owner: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Position in [`STATES`].
    pub state: u8,
    /// Whether it is one of outbound source NAT.
    pub is_outbound: bool,
    /// Whose it is; [`BackendId::NONE`] where it is outbound.
    pub backend: BackendId,
    /// Who opened it.
    pub client: SocketAddr,
    /// What that was addressed to.
    pub destination: SocketAddr,
    /// With which source its packets leave.
    pub source: SocketAddr,
    /// With which destination they leave.
    pub server: SocketAddr,
    /// Milliseconds since the last frame, to 64 ms.
    pub idle_ms: u64,
    /// Milliseconds of idling that are left.
    pub left_ms: u64,
}

/// Clients in a prefix, or one of them with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientPrefix {
    /// An address in it.
    pub address: IpAddr,
    /// Its length in bits.
    pub length: u8,
    /// Only this source port.
    pub port: Option<u16>,
}

impl ClientPrefix {
    /// Whether it is one of them.
    #[inline]
    pub fn contains(&self, address: IpAddr, port: u16) -> bool {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let differs = address_bits(address) ^ address_bits(self.address);
        address.is_ipv4() == self.address.is_ipv4()
            && differs.checked_shr(bits - u32::from(self.length).min(bits)).unwrap_or(0) == 0
            && self.port.is_none_or(|wanted| wanted == port)
    }
}

/// Which connections are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// By backend row; none where those of all are meant, and those of outbound NAT.
    pub backends: Option<Box<[bool]>>,
    /// Which states, a bit each.
    pub states: u16,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Whose.
    pub client: Option<ClientPrefix>,
    /// How long they may idle, for saying what is left of that.
    pub timeouts: Timeouts,
}

impl Wanted {
    /// All there are.
    pub fn all(timeouts: Timeouts) -> Self {
        Self { backends: None, states: u16::MAX, protocol: None, client: None, timeouts }
    }

    /// Whether it may be one of them, as far as can be told without its addresses.
    #[inline]
    pub fn may_be(&self, backend: BackendId, state: u8, protocol: u8) -> bool {
        self.states >> (state & 15) & 1 == 1
            && self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.backends.as_ref().is_none_or(|rows| rows.get(backend.index()) == Some(&true))
    }
}

/// Numbers of connections, by backend row and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    backends: Vec<[u64; STATES.len()]>,
    outbound: [u64; STATES.len()],
}

impl Tally {
    /// None yet, of so many backend rows.
    pub fn new(backends: usize) -> Self {
        Self { backends: vec![[0; STATES.len()]; backends], outbound: [0; STATES.len()] }
    }

    /// One more.
    #[inline]
    pub fn count(&mut self, backend: BackendId, state: u8) {
        let row = self.backends.get_mut(backend.index()).unwrap_or(&mut self.outbound);
        if let Some(cell) = row.get_mut(usize::from(state)) {
            *cell += 1;
        }
    }

    /// Those of a backend, by state.
    pub fn of(&self, backend: BackendId) -> [u64; STATES.len()] {
        self.backends.get(backend.index()).copied().unwrap_or_default()
    }

    /// Those of outbound NAT, and of backends whose row came later than the walk began.
    pub fn outbound(&self) -> [u64; STATES.len()] {
        self.outbound
    }

    /// All of them, by state.
    pub fn by_state(&self) -> [u64; STATES.len()] {
        let add = |sum: [u64; STATES.len()], row: &[u64; STATES.len()]| {
            std::array::from_fn(|state| sum[state] + row[state])
        };
        self.backends.iter().fold(self.outbound, add)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_state().iter().sum()
    }
}

/// Connections that one worker is asked to end, and what it says of them.
#[derive(Debug)]
pub struct Ends {
    asked: ArrayQueue<ConnectionName>,
    taken: AtomicU64,
    ended: AtomicU64,
}

impl Default for Ends {
    fn default() -> Self {
        Self { asked: ArrayQueue::new(ENDS), taken: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }
}

impl Ends {
    /// Control: asks for one. False where too many wait already.
    pub fn ask(&self, name: ConnectionName) -> bool {
        self.asked.push(name).is_ok()
    }

    /// Worker: the next one.
    #[inline]
    pub fn next(&self) -> Option<ConnectionName> {
        self.asked.pop()
    }

    /// Worker: says whether it was still there. One writer.
    pub fn done(&self, was_there: bool) {
        let add = |cell: &AtomicU64, more| {
            cell.store(cell.load(Ordering::Relaxed) + more, Ordering::Release);
        };
        add(&self.ended, u64::from(was_there));
        add(&self.taken, 1);
    }

    /// Control: how many were taken up so far, and how many of those were still there.
    pub fn so_far(&self) -> (u64, u64) {
        let taken = self.taken.load(Ordering::Acquire);
        (taken, self.ended.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_of_one_family() {
        let prefix =
            |address: &str, length| ClientPrefix { address: address.parse().unwrap(), length, port: None };
        let contains = |prefix: ClientPrefix, address: &str| prefix.contains(address.parse().unwrap(), 7);
        assert!(
            contains(prefix("10.0.0.0", 8), "10.255.0.1") && !contains(prefix("10.0.0.0", 8), "11.0.0.1")
        );
        assert!(contains(prefix("0.0.0.0", 0), "203.0.113.1") && !contains(prefix("0.0.0.0", 0), "::1"));
        assert!(contains(prefix("2001:db8::", 32), "2001:db8::1") && !contains(prefix("::", 0), "10.0.0.1"));
        assert!(contains(prefix("::1", 128), "::1") && !contains(prefix("::1", 128), "::2"));
        let one = ClientPrefix { port: Some(8), ..prefix("10.0.0.1", 32) };
        assert!(!contains(one, "10.0.0.1") && contains(ClientPrefix { port: Some(7), ..one }, "10.0.0.1"));
    }

    #[test]
    fn what_is_counted_adds_up() {
        let mut tally = Tally::new(2);
        for (backend, state) in [(0, 8), (1, 8), (1, 9), (u32::MAX, 7)] {
            tally.count(BackendId(backend), state);
        }
        assert_eq!((tally.total(), tally.by_state()[8], tally.outbound()[7]), (4, 2, 1));
        assert_eq!(tally.of(BackendId(1))[9], 1);
    }

    #[test]
    fn more_than_fit_are_refused_and_what_was_done_is_told() {
        let ends = Ends::default();
        let name = ConnectionName { is_v6: false, position: 1, generation: 2 };
        assert!((0..ENDS).all(|_| ends.ask(name)) && !ends.ask(name));
        assert_eq!(ends.next(), Some(name));
        ends.done(true);
        ends.done(false);
        assert_eq!(ends.so_far(), (2, 1));
    }
}
