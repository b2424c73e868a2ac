use std::sync::Barrier;

use proptest::prelude::*;

use super::*;
use crate::dataplane::conntrack::Secret;
use crate::dataplane::family::{V4, V6};

const LIFETIME: u32 = 79;
const OVERLAP: Result<(), DropReason> = Err(DropReason::FragmentOverlap);
const START: Coarse = Coarse(1000);

fn at(now: u32) -> Clock {
    Clock { now: Coarse(START.0 + now), lifetime: LIFETIME }
}

fn name(id: u32) -> (FlowKey<V4>, u64) {
    let name = FlowKey { addresses: 0xC612_0007_C612_0064, ports: id, protocol: 17 };
    (name, Secret::from_seed(3).hash(name))
}

fn enter(table: &Datagrams, id: u32, now: u32) -> Option<Datagram> {
    let (name, hash) = name(id);
    table.enter(name, hash, at(now))
}

fn find(table: &Datagrams, id: u32, now: u32) -> Option<Datagram> {
    let (name, hash) = name(id);
    table.find(name, hash, at(now))
}

#[test]
fn a_datagram_is_found_by_its_whole_name_and_for_its_lifetime() {
    let table = Datagrams::new(8);
    assert_eq!(find(&table, 1, 0), None);
    let datagram = enter(&table, 1, 0).unwrap();
    assert_eq!(enter(&table, 1, 3), Some(datagram), "once");
    assert_eq!(find(&table, 1, LIFETIME), Some(datagram));
    assert_eq!(find(&table, 1, LIFETIME + 1), None);
    assert_eq!(find(&table, 2, 0), None);
    let (name, hash) = name(1);
    assert_eq!(table.find(FlowKey { protocol: 6, ..name }, hash, at(0)), None);
    assert_eq!(table.find(FlowKey { addresses: name.addresses + 1, ..name }, hash, at(0)), None);
    let twin = FlowKey::<V6> {
        addresses: [0xFFFF_C612_0007, 0xFFFF_C612_0064],
        ports: name.ports,
        protocol: name.protocol,
    };
    assert_eq!(table.find(twin, hash, at(0)), None, "IPv4 addresses in IPv6 are others");
    let earlier = Clock { now: Coarse(START.0 - 1), lifetime: LIFETIME };
    assert_eq!(table.find(name, hash, earlier), Some(datagram), "another worker's clock");
}

#[test]
fn what_becomes_of_it_is_said_once_and_spoilt_for_good() {
    let table = Datagrams::new(8);
    for fate in [Fate::Flow(0x9C40_0035, 17), Fate::Kernel, Fate::Dropped(DropReason::TableFull)]
        .into_iter()
        .enumerate()
    {
        let datagram = enter(&table, fate.0 as u32, 0).unwrap();
        assert_eq!(table.fate(datagram), Fate::Open);
        table.decide(datagram, fate.1);
        table.decide(datagram, Fate::Flow(1, 6));
        assert_eq!(table.fate(datagram), fate.1);
    }
    for reason in DropReason::ALL {
        assert_eq!(Fate::from_bits(Fate::Dropped(*reason).to_bits()), Fate::Dropped(*reason));
    }
    let datagram = enter(&table, 9, 0).unwrap();
    assert_eq!(table.pass(datagram, (0, 1480), false, START), Ok(()));
    assert_eq!(table.pass(datagram, (1472, 2960), false, START), OVERLAP);
    table.decide(datagram, Fate::Kernel);
    assert_eq!(table.fate(datagram), Fate::Dropped(DropReason::FragmentOverlap));
}

#[test]
fn repetitions_spoil_nothing_and_disagreement_does() {
    type Piece = ((u32, u32), bool);
    let spoilt = |pieces: &[Piece]| {
        let table = Datagrams::new(8);
        let datagram = enter(&table, 1, 0).unwrap();
        let passed: Vec<_> =
            pieces.iter().map(|(range, last)| table.pass(datagram, *range, *last, START).is_ok()).collect();
        (passed, table.fate(datagram) != Fate::Open)
    };
    let first = ((0, 1480), false);
    let last = ((1480, 2001), true);
    assert_eq!(spoilt(&[first, first, last, last]), (vec![true, false, true, false], false));
    assert_eq!(spoilt(&[first, ((0, 1488), false)]), (vec![true, false], true), "longer than before");
    assert_eq!(spoilt(&[first, ((8, 16), false)]), (vec![true, false], false), "nothing new");
    assert_eq!(
        spoilt(&[first, last, ((2008, 2016), false)]),
        (vec![true, true, false], true),
        "behind the end"
    );
    assert_eq!(
        spoilt(&[((2008, 2016), false), last]),
        (vec![true, false], true),
        "an end before the others'"
    );
    assert_eq!(spoilt(&[last, ((2008, 2016), true)]), (vec![true, false], true), "two ends");
    assert_eq!(spoilt(&[((0, 65_528), false), ((65_528, 65_535), true)]), (vec![true, true], false));
}

#[test]
fn a_full_table_gives_way_to_what_is_forgotten_or_has_passed() {
    let table = Datagrams::new(8);
    for id in 0..8 {
        assert!(enter(&table, id, 0).is_some());
    }
    assert_eq!(enter(&table, 8, 0), None);
    assert_eq!(enter(&table, 8, LIFETIME + GRACE), None, "other workers may not know yet");
    assert_eq!(table.pass(find(&table, 3, 0).unwrap(), (0, 12), true, START), Ok(()));
    let successor = enter(&table, 8, 0).unwrap();
    assert_eq!((find(&table, 3, 0), find(&table, 8, 0)), (None, Some(successor)));
    assert_eq!(table.pass(successor, (0, 12), false, START), Ok(()), "nothing is left of the predecessor");
    for id in 10..17 {
        assert!(enter(&table, id, LIFETIME + GRACE + 1).is_some());
    }
}

#[test]
fn an_identification_may_be_used_again_soon_after_all_has_passed() {
    let table = Datagrams::new(64);
    let datagram = enter(&table, 1, 0).unwrap();
    for (range, last) in [((0, 800), false), ((1600, 1601), true), ((800, 1600), false)] {
        assert_eq!(table.pass(datagram, range, last, START), Ok(()));
    }
    assert_eq!(find(&table, 1, REMEMBERED), Some(datagram), "for repetitions");
    assert_eq!(find(&table, 1, REMEMBERED + 1), None);
    let again = enter(&table, 1, REMEMBERED + 1).unwrap();
    assert_ne!(again, datagram);
    assert_eq!(table.fate(datagram), Fate::Open, "who held on to the old one learns nothing of the new");
    let late = table.pass(datagram, (0, 8), false, START);
    assert!(late == Err(DropReason::FragmentTimeout) || again.position != datagram.position);
}

/// Many workers enter the same datagrams at once: each byte of each passes once.
#[test]
fn whoever_enters_it_each_byte_passes_once() {
    const WORKERS: usize = 4;
    const DATAGRAMS: u32 = 2000;
    let (table, barrier) = (Datagrams::new(4096), Barrier::new(WORKERS));
    let passed: usize = std::thread::scope(|scope| {
        let work = || {
            barrier.wait();
            let mut passed = 0;
            for id in 0..DATAGRAMS {
                // Two workers that keep giving way to each other refuse the frame: rare, and not wrong.
                let Some(datagram) = enter(&table, id, 0) else { continue };
                passed += usize::from(table.pass(datagram, (0, 8), false, START).is_ok());
            }
            passed
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(passed <= DATAGRAMS as usize, "{passed} of {DATAGRAMS} passed");
    assert!(passed > DATAGRAMS as usize * 9 / 10, "{passed} of {DATAGRAMS} passed");
}

proptest! {
    #[test]
    fn marks_are_what_a_plain_list_says(pieces in prop::collection::vec((0u32..8192, 1u32..300), 1..40)) {
        let slot = Slot::default();
        let mut plain = vec![false; 8192];
        for (first, length) in pieces {
            let behind = (first + length).min(8192);
            let units = &mut plain[first as usize..behind as usize];
            let old = units.iter().filter(|unit| **unit).count() as u32;
            units.fill(true);
            prop_assert_eq!(slot.mark(first, behind), (old, behind - first - old));
        }
    }
}
