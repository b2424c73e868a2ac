//! The table under every interleaving of two workers, and every value that its memory orderings permit a load to see.
//!
//! `cargo nextest run --features models --lib conntrack::models`, as `tools/test` does. The code is the real one; what is
//! small is the number of connections. Interleavings are cut off at a number of preemptions: see [`check`].

use loom::sync::Arc;
use loom::thread;

use super::entry::Moment;
use super::*;
use crate::dataplane::conntrack::index::Index;
use crate::tables::{BackendId, Coarse, NextHopId};

const NOW: Moment = Moment { coarse: Coarse(100), clock_us: 5 };

/// Runs `model` in every way in which its threads are preempted so often at the most. Most errors need one or two.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

fn key(number: u32) -> FlowKey {
    FlowKey { addresses: u64::from(number) << 32 | 7, ports: number << 16 | 80, protocol: 17 }
}

/// A connection of which every part says which it is. In direct return it has one key only.
fn connection(number: u32, kind: Kind) -> Connection {
    let reply = FlowKey { addresses: 9 << 32 | u64::from(number), ports: 80 << 16 | number, protocol: 17 };
    Connection {
        kind,
        request: key(number),
        reply: if kind.one_way() { key(number).reversed() } else { reply },
        marks: Marks::NONE,
        backend: BackendId(number),
        client_next_hop: NextHopId(number),
        routes_epoch: 1,
        state: State::Udp,
        sequence: number,
    }
}

fn table() -> Arc<FlowTable> {
    Arc::new(FlowTable::new(4, 2, Secret::from_seed(1)))
}

fn enter(table: &FlowTable, position: u32, number: u32, kind: Kind) -> bool {
    let (connection, hash) = (connection(number, kind), table.secret().hash(key(number)));
    table
        .enter((position, table.entry(position)), 0, (&connection, hash, connection.deltas()), NOW, || {})
        .is_ok()
}

fn find(table: &FlowTable, number: u32) -> Option<Hit> {
    table.find(key(number), table.secret().hash(key(number)))
}

/// What was found must be all of one connection.
fn assert_whole(hit: &Hit, number: u32) {
    let Connection { reply, .. } = connection(number, hit.kind);
    let leaves = reply.reversed();
    assert_eq!((hit.addresses, hit.ports), (leaves.addresses, leaves.ports));
    assert_eq!((hit.backend, hit.client_next_hop), (BackendId(number), NextHopId(number)));
}

/// An entry is read while its owner uses it for another connection.
#[test]
fn a_reader_sees_one_connection_whole_or_none() {
    check(3, || {
        let entry = Arc::new(Entry::<V4>::default());
        entry.fill(0, &connection(1, Kind::Nat), 0, NOW);
        let owner = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                assert!(entry.kill(entry.held(), |_| true).is_some());
                entry.bury();
                entry.fill(0, &connection(2, Kind::Nat), 0, NOW);
            })
        };
        for number in [1, 2] {
            if let Some(hit) = entry.read(0, key(number), Direction::Request) {
                assert_whole(&hit, number);
            }
        }
        owner.join().unwrap();
        let hit = entry.read(0, key(2), Direction::Request).unwrap();
        assert_whole(&hit, 2);
    });
}

/// A lookup through the index meets an entry that is taken out and used again for another connection.
#[test]
fn a_lookup_during_reuse_finds_what_it_sought_or_nothing() {
    check(2, || {
        let table = table();
        assert!(enter(&table, 0, 1, Kind::Dsr));
        let owner = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                assert!(table.take_out(0, table.entry(0).held()).is_some());
                assert!(enter(&table, 0, 2, Kind::Dsr));
            })
        };
        for number in [2, 1] {
            if let Some(hit) = find(&table, number) {
                assert_whole(&hit, number);
            }
        }
        owner.join().unwrap();
        assert!(find(&table, 1).is_none() && find(&table, 2).is_some());
        assert_eq!(table.references(), 1);
    });
}

/// Both workers see the first frame of the same connection.
#[test]
fn of_two_that_enter_the_same_connection_one_stays_at_the_most() {
    check(2, || {
        let table = table();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || enter(&table, 1, 1, Kind::Dsr))
        };
        let mine = enter(&table, 0, 1, Kind::Dsr);
        let theirs = other.join().unwrap();
        assert!(!(mine && theirs), "two connections have one key");
        assert_eq!(find(&table, 1).is_some(), mine || theirs);
        assert_eq!(table.references(), usize::from(mine || theirs));
    });
}

/// A connection expires at its owner while another worker ends it, or what came after it.
#[test]
fn it_ends_once_and_what_follows_it_lives_on() {
    check(2, || {
        let table = table();
        assert!(enter(&table, 0, 1, Kind::Nat));
        let seen = find(&table, 1).unwrap();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.take_out(0, seen.held()).is_some())
        };
        let mine = table.take_out(0, table.entry(0).held()).is_some();
        // Whoever takes it out, its owner uses it again once it is free.
        let again = table.entry(0).is_free() && enter(&table, 0, 2, Kind::Nat);
        let theirs = other.join().unwrap();
        assert!(mine != theirs, "it ended {} times", u32::from(mine) + u32::from(theirs));
        assert!(find(&table, 1).is_none());
        assert_eq!(find(&table, 2).is_some(), again);
        assert_eq!(table.references(), if again { 2 } else { 0 });
    });
}

/// A connection is found by its first key, and ended, before it has its second.
#[test]
fn one_that_ends_while_it_is_entered_leaves_nothing_behind() {
    check(2, || {
        let table = table();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                find(&table, 1).is_some_and(|hit| table.take_out(hit.entry, hit.held()).is_some())
            })
        };
        assert!(enter(&table, 0, 1, Kind::Nat));
        let ended = other.join().unwrap();
        assert_eq!(find(&table, 1).is_some(), !ended);
        assert_eq!(table.references(), if ended { 0 } else { 2 });
    });
}

/// A connection expires at its owner while another worker gives its place to another connection.
#[test]
fn a_successor_takes_the_place_or_the_owner_has_it_back() {
    check(2, || {
        let table = table();
        assert!(enter(&table, 0, 1, Kind::Nat));
        let held = table.entry(0).held();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.vacate(0, held, |_| true).is_some() && enter(&table, 0, 2, Kind::Nat))
        };
        let mine = table.take_out(0, held).is_some();
        let free = table.entry(0).is_free();
        // What the owner has back it uses for something else.
        let again = free && enter(&table, 0, 3, Kind::Nat);
        let theirs = other.join().unwrap();
        assert!(mine != theirs && mine == free, "the entry is in two places, or in none");
        let found = [1, 2, 3].map(|number| find(&table, number).is_some());
        assert_eq!(found, [false, theirs, again]);
        assert_eq!(table.references(), 2);
    });
}

/// The successor of a connection that is not confirmed is refused, or gives way, while its owner looks.
#[test]
fn a_successor_that_is_refused_leaves_the_entry_to_its_owner() {
    check(2, || {
        let table = table();
        assert!(enter(&table, 0, 1, Kind::Nat) && enter(&table, 1, 2, Kind::Nat));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let held = table.entry(0).held();
                // Its keys are those of one that lives.
                table.vacate(0, held, |_| true).is_some() && enter(&table, 0, 2, Kind::Nat)
            })
        };
        let early = table.entry(0).is_free();
        assert!(!early || find(&table, 1).is_none());
        assert!(!other.join().unwrap(), "two connections have one key");
        assert!(table.entry(0).is_free() && table.entry(1).is_live() && table.references() == 2);
    });
}

/// Two workers move its state: neither is lost.
#[test]
fn moves_of_the_state_by_both_add_up() {
    check(3, || {
        let entry = Arc::new(Entry::<V4>::default());
        entry.fill(0, &connection(1, Kind::Nat), 0, NOW);
        let hit = entry.read(0, key(1), Direction::Request).unwrap();
        let next = |state: State| if state == State::Udp { State::SynReceived } else { State::Established };
        let other = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || entry.transition(&hit, next, Segment::default()).is_some())
        };
        assert!(entry.transition(&hit, next, Segment::default()).is_some() && other.join().unwrap());
        assert_eq!(entry.held().state(), State::Established);
    });
}

/// A hash that belongs to these two buckets of two.
fn hash(first: u64, second: u64, tag: u64) -> u64 {
    first << 31 | second << 63 | tag << 32 | tag
}

/// Both buckets of a key are full but for one place of which a resident of the other can make use.
fn crowded() -> (Index, impl Fn(Reference) -> Option<u64>) {
    // Residents 0 to 7 fill bucket 1, of which 0 may also lie in bucket 0; 8 to 14 lie in bucket 0.
    let hash_of = |resident: Reference| match resident.position() {
        0 => Some(hash(0, 1, 100)),
        position @ 1..8 => Some(hash(1, 1, u64::from(position))),
        position @ 8..16 => Some(hash(0, 0, u64::from(position))),
        _ => None,
    };
    let index = Index::new(1, 25);
    for position in [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7] {
        let reference = Reference::new(position, 0);
        assert!(index.insert(hash_of(reference).unwrap(), reference, |_| None));
    }
    let last = Reference::new(15, 0);
    index.remove(hash_of(last).unwrap(), last);
    (index, hash_of)
}

/// A resident makes room for a new key while it is looked up: it may be in the bucket that was looked at already.
#[test]
fn a_resident_that_moves_is_found_at_every_moment() {
    check(2, || {
        let (index, hash_of) = crowded();
        let index = Arc::new(index);
        let mover = {
            let index = Arc::clone(&index);
            thread::spawn(move || assert!(index.insert(hash(1, 1, 50), Reference::new(50, 0), hash_of)))
        };
        let sought = Reference::new(0, 0);
        let found = index.find(hash(0, 1, 100), |reference| (reference == sought).then_some(()));
        assert!(found.is_some(), "lost on its way");
        mover.join().unwrap();
        assert_eq!(index.len(), 16);
    });
}

/// A resident ends while it makes room: nothing of it is left.
#[test]
fn a_resident_that_ends_on_its_way_leaves_nothing_behind() {
    check(2, || {
        let (index, hash_of) = crowded();
        let (index, alive) = (Arc::new(index), Arc::new(sync::AtomicU32::new(1)));
        let mover = {
            let (index, alive) = (Arc::clone(&index), Arc::clone(&alive));
            thread::spawn(move || {
                let living = move |resident: Reference| {
                    let gone = resident.position() == 0 && alive.load(sync::Ordering::Acquire) == 0;
                    if gone { None } else { hash_of(resident) }
                };
                index.insert(hash(1, 1, 50), Reference::new(50, 0), living)
            })
        };
        let ending = Reference::new(0, 0);
        alive.store(0, sync::Ordering::Release);
        index.remove(hash(0, 1, 100), ending);
        let entered = mover.join().unwrap();
        assert!(index.find(hash(0, 1, 100), |reference| (reference == ending).then_some(())).is_none());
        assert_eq!(index.len(), 14 + usize::from(entered));
    });
}

/// Keys come to and leave a bucket at two workers at once: none is lost, none is left.
#[test]
fn a_bucket_that_two_workers_change_keeps_every_key() {
    check(3, || {
        let index = Arc::new(Index::new(1, 25));
        let other = {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                assert!(index.insert(hash(0, 1, 1), Reference::new(1, 0), |_| None));
                index.remove(hash(0, 1, 1), Reference::new(1, 0));
            })
        };
        assert!(index.insert(hash(0, 1, 2), Reference::new(2, 0), |_| None));
        let sought = Reference::new(2, 0);
        let found = || index.find(hash(0, 1, 2), |reference| (reference == sought).then_some(()));
        assert!(found().is_some());
        other.join().unwrap();
        assert!(found().is_some() && index.len() == 1);
    });
}

/// Free entries change hands as a chain.
#[test]
fn a_chain_reaches_the_other_worker_whole() {
    check(3, || {
        let table = table();
        let mut free: Vec<u32> = std::iter::from_fn(|| table.take_chain())
            .flat_map(|head| {
                let (first, rest) = table.split_chain(head).unwrap();
                [first, table.split_chain(rest).unwrap().0]
            })
            .collect();
        free.sort_unstable();
        assert_eq!(free, [0, 1, 2, 3]);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let head = table.take_chain()?;
                let (first, rest) = table.split_chain(head)?;
                Some([first, table.split_chain(rest)?.0])
            })
        };
        table.give_chain(&mut free);
        assert_eq!(free, [0, 1]);
        if let Some(mut taken) = other.join().unwrap() {
            taken.sort_unstable();
            assert_eq!(taken, [2, 3]);
        }
    });
}
