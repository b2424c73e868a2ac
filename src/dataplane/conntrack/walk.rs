//! Looking through the whole table, a slice at a time, and ending what was found there. Who looks is no worker, writes
//! nothing and waits for nobody.

use std::net::SocketAddr;

use crate::dataplane::family::Pair;
use crate::tables::connection::{Tally, Wanted};
use crate::tables::{Coarse, ConnectionName, SeenConnection, WorkerCounters};

use super::entry::{Entry, Kind, Seen};
use super::key::FlowKey;
use super::side::{Side, timeout};
use super::table::FlowTable;
use super::tcp::Direction;
use super::{FlowTables, Flows};

impl FlowTables {
    /// Entries of both families.
    pub fn entries(&self) -> u64 {
        u64::from(self.v4.capacity()) + u64::from(self.v6.capacity())
    }

    /// Looks at `count` entries from `from` on. Counts the connections that are wanted, and hands them to `see`, should there be one.
    /// Where to go on; none at the end.
    pub fn look(
        &self,
        from: u64,
        count: u32,
        now: Coarse,
        wanted: &Wanted,
        tally: &mut Tally,
        mut see: Option<&mut dyn FnMut(SeenConnection)>,
    ) -> Option<u64> {
        let v4 = u64::from(self.v4.capacity());
        let look = Look { now, wanted };
        let end = if from < v4 {
            let end = (from + u64::from(count)).min(v4);
            look.slice(&self.v4, from..end, tally, &mut see);
            end
        } else {
            let end = (from + u64::from(count)).min(self.entries());
            look.slice(&self.v6, from - v4..end - v4, tally, &mut see);
            end
        };
        (end < self.entries()).then_some(end)
    }
}

/// What is the same for all entries of a walk.
struct Look<'a> {
    now: Coarse,
    wanted: &'a Wanted,
}

impl Look<'_> {
    fn slice<P: Pair>(
        &self,
        table: &FlowTable<P>,
        range: std::ops::Range<u64>,
        tally: &mut Tally,
        see: &mut Option<&mut dyn FnMut(SeenConnection)>,
    ) {
        let entries = table.entries().get(range.start as usize..range.end as usize).unwrap_or_default();
        for (position, entry) in (range.start as u32..).zip(entries) {
            let Some(seen) = entry.look().filter(|seen| self.is_wanted(seen)) else { continue };
            tally.count(seen.backend, seen.state as u8);
            if let Some(see) = see {
                see(shown(position, &seen, self.now, &self.wanted.timeouts));
            }
        }
    }

    #[inline]
    fn is_wanted<P: Pair>(&self, seen: &Seen<P>) -> bool {
        let Seen { kind, backend, state, request, .. } = seen;
        *kind != Kind::Mapping
            && self.wanted.may_be(*backend, *state as u8, request.protocol)
            && self
                .wanted
                .client
                .is_none_or(|prefix| prefix.contains(request.addresses.source(), request.source_port()))
    }
}

/// What an entry says, as others are told.
pub fn shown<P: Pair>(
    position: u32,
    seen: &Seen<P>,
    now: Coarse,
    timeouts: &crate::tables::Timeouts,
) -> SeenConnection {
    let leaves = seen.reply.reversed();
    // A worker's clock may be ahead of that of who looks.
    let idle = match now.since(seen.last_seen) {
        idle if idle > u32::MAX / 2 => 0,
        idle => idle,
    };
    let left = timeout(seen.kind, seen.state, timeouts).saturating_sub(idle);
    let milliseconds = |coarse: u32| u64::from(coarse) << Coarse::SHIFT;
    SeenConnection {
        name: ConnectionName { is_v6: !P::IS_V4, position, generation: seen.generation },
        owner: seen.owner,
        protocol: seen.request.protocol,
        state: seen.state as u8,
        is_outbound: seen.kind == Kind::Snat,
        backend: seen.backend,
        client: sender(&seen.request),
        destination: receiver(&seen.request),
        source: sender(&leaves),
        server: receiver(&leaves),
        idle_ms: milliseconds(idle),
        left_ms: milliseconds(left),
    }
}

/// From where frames of this flow come.
fn sender<P: Pair>(key: &FlowKey<P>) -> SocketAddr {
    SocketAddr::new(key.addresses.source(), key.source_port())
}

/// Where they go.
fn receiver<P: Pair>(key: &FlowKey<P>) -> SocketAddr {
    SocketAddr::new(key.addresses.destination(), key.destination_port())
}

impl Flows {
    /// Ends the connection of this name, if it still lives. Its owner frees the entry. Nobody is told.
    pub fn end_named(&self, name: ConnectionName, counters: &WorkerCounters) -> bool {
        match name.is_v6 {
            false => end(&self.v4, name, counters),
            true => end(&self.v6, name, counters),
        }
    }
}

fn end<P: Pair>(side: &Side<P>, name: ConnectionName, counters: &WorkerCounters) -> bool {
    let entry: Option<&Entry<P>> = side.table().entries().get(name.position as usize);
    let hit = entry.and_then(|entry| {
        let seen = entry.look().filter(|seen| seen.generation == name.generation)?;
        entry.read(name.position, seen.request, Direction::Request)
    });
    // What is killed is what has the generation that was read, and nothing else.
    hit.is_some_and(|hit| hit.generation() == name.generation && side.end(&hit, counters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::dataplane::conntrack::{Connection, Marks, Secret, State};
    use crate::dataplane::family::{V4, V6};
    use crate::tables::{BackendId, NextHopId, Tick, Timeouts};

    const NOW: Tick = Tick(1 << 20);

    fn connection<P: Pair>(client: &str, port: u16, server: &str, kind: Kind) -> Connection<P> {
        let addresses = P::of(client.parse().unwrap(), server.parse().unwrap()).unwrap();
        let request = FlowKey { addresses, ports: u32::from(port) << 16 | 80, protocol: 6 };
        Connection {
            kind,
            request,
            reply: FlowKey { ports: 8080 << 16 | u32::from(port), ..request.reversed() },
            marks: Marks::NONE,
            backend: if kind == Kind::Mapping { BackendId::NONE } else { BackendId(u32::from(port % 2)) },
            client_next_hop: NextHopId::NONE,
            routes_epoch: 0,
            state: State::Established,
            sequence: 1,
        }
    }

    /// A hundred of IPv4, ten of IPv6, and a mapping.
    fn flows(counters: &WorkerCounters) -> Flows {
        let tables = FlowTables::new(256, 64, 8, 1, Secret::from_seed(1));
        let mut flows = Flows::join(Arc::new(tables), 1, Tick(0));
        let mut make = |port, kind| {
            let connection: Connection<V4> = connection("203.0.113.7", port, "198.18.0.100", kind);
            flows.create(&connection, NOW, &Timeouts::default(), counters).unwrap();
        };
        (0..100).for_each(|port| make(port, Kind::Nat));
        make(100, Kind::Mapping);
        for port in 0..10 {
            let connection: Connection<V6> = connection("2001:db8::7", port, "2001:db8::100", Kind::Nat);
            flows.create(&connection, NOW, &Timeouts::default(), counters).unwrap();
        }
        flows
    }

    fn look(flows: &Flows, slice: u32, wanted: &Wanted) -> (Tally, Vec<SeenConnection>) {
        let (mut tally, mut seen) = (Tally::new(2), Vec::new());
        let mut from = Some(0);
        while let Some(at) = from {
            let mut see = |connection| seen.push(connection);
            let now = NOW.after(6400).coarse();
            from = flows.tables().look(at, slice, now, wanted, &mut tally, Some(&mut see));
        }
        (tally, seen)
    }

    #[test]
    fn every_connection_is_seen_once_however_large_the_slices() {
        let counters = WorkerCounters::with_capacity(4, 4);
        let flows = flows(&counters);
        let wanted = Wanted::all(Timeouts::default());
        for slice in [1, 7, 64, 256, 257, 1000] {
            let (tally, seen) = look(&flows, slice, &wanted);
            assert_eq!((tally.total(), seen.len()), (110, 110), "slices of {slice}");
            let mut clients: Vec<_> = seen.iter().map(|seen| seen.client).collect();
            clients.sort_unstable();
            clients.dedup();
            assert_eq!(clients.len(), 110);
        }
        let (_, seen) = look(&flows, 64, &wanted);
        let one = seen.iter().find(|seen| seen.client == "203.0.113.7:5".parse().unwrap()).unwrap();
        assert_eq!((one.destination, one.source), ("198.18.0.100:80".parse().unwrap(), one.client));
        assert_eq!((one.idle_ms, one.left_ms), (6400, 7_440_000 - 6400));
    }

    #[test]
    fn only_what_is_wanted_is_counted_and_seen() {
        let counters = WorkerCounters::with_capacity(4, 4);
        let flows = flows(&counters);
        let all = Wanted::all(Timeouts::default());
        let odd = Wanted { backends: Some(Box::new([false, true])), ..all.clone() };
        let (tally, seen) = look(&flows, 64, &odd);
        assert_eq!((tally.total(), tally.of(BackendId(0)), seen.len()), (55, [0; 10], 55));
        let other_state = Wanted { states: !(1 << State::Established as u16), ..all.clone() };
        assert_eq!(look(&flows, 64, &other_state).0.total(), 0);
        assert_eq!(look(&flows, 64, &Wanted { protocol: Some(17), ..all }).0.total(), 0);
    }

    #[test]
    fn who_is_named_ends_once_and_its_successor_does_not() {
        let counters = WorkerCounters::with_capacity(4, 4);
        let mut flows = flows(&counters);
        let (_, seen) = look(&flows, 64, &Wanted::all(Timeouts::default()));
        for seen in &seen {
            assert!(flows.end_named(seen.name, &counters));
            assert!(!flows.end_named(seen.name, &counters), "it ended twice");
        }
        assert_eq!(counters.connections_closed.get(), 110);
        assert_eq!(flows.tables().references(), 2, "the mapping's");
        let loads = |flows: &Flows| [0, 1].map(|row| flows.tables().loads.open(BackendId(row)));
        assert_eq!(loads(&flows), [0, 0]);
        // Until their entries are used again.
        let later = NOW.after(60_000);
        while flows.expire(later, &Timeouts::default(), &counters, 1000) == 1000 {}
        for port in 0..200 {
            let successor: Connection<V4> = connection("203.0.113.8", port, "198.18.0.100", Kind::Nat);
            flows.create(&successor, later, &Timeouts::default(), &counters).unwrap();
        }
        let before = loads(&flows);
        assert!(seen.iter().all(|seen| !flows.end_named(seen.name, &counters)));
        assert_eq!(loads(&flows), before);
    }

    #[test]
    fn names_of_states_are_those_of_their_numbers() {
        use crate::tables::connection::STATES;
        for (state, name) in [
            (State::SynReceived, "syn_received"),
            (State::SynAnswered, "syn_answered"),
            (State::ClientClosed, "client_closed"),
            (State::BackendClosed, "backend_closed"),
            (State::Closed, "closed"),
            (State::Reset, "reset"),
            (State::Icmp, "icmp"),
            (State::Established, "established"),
            (State::Udp, "udp"),
        ] {
            assert_eq!(STATES[state as usize], name);
        }
    }
}
