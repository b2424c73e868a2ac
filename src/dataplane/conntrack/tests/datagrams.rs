//! Which UDP flows give way in a full table.

use super::*;

/// Who speaks in a flow, and when in milliseconds; the client begins it at 0. Whether it stays in a full table then.
fn stays(kind: Kind, spoken: &[(Direction, u64)]) -> bool {
    let mut bench = Bench::new(64);
    for port in 0..64 {
        let begun = Connection { kind, ..connection(port, State::Udp) };
        bench.create(&begun, 0).unwrap();
        for &(direction, when) in spoken {
            let key = if direction == Direction::Request { begun.request } else { begun.reply };
            let hit = bench.find(key).unwrap();
            bench.flows.v4.table().entry(hit.entry).touch(&hit, 0, Tick(when).coarse());
        }
    }
    let refused = bench.create(&connection(64, State::Udp), 9999).is_err_and(|why| why == Refused::TableFull);
    assert_eq!(bench.counters.connections_displaced.get(), u64::from(!refused));
    refused
}

#[test]
fn a_udp_flow_gives_way_until_its_client_goes_on_with_what_was_answered() {
    use Direction::{Reply, Request};
    for answered in [0, 63, 64, 1500] {
        let (soon, later) = (answered + 1600, answered + 2200);
        assert!(!stays(Kind::Nat, &[(Reply, answered)]), "a forged question is answered, too");
        assert!(
            !stays(Kind::Nat, &[(Reply, answered), (Request, soon)]),
            "and may be repeated by who forged it"
        );
        assert!(stays(Kind::Nat, &[(Reply, answered), (Request, later)]));
        assert!(stays(Kind::Nat, &[(Reply, answered), (Request, soon), (Request, later), (Reply, 9000)]));
        assert!(!stays(Kind::Nat, &[(Reply, answered), (Reply, later)]), "only the client shows who it is");
    }
    assert!(!stays(Kind::Nat, &[(Request, 0), (Request, 1000), (Request, 5000)]), "nobody answers");
    for asked in [0, 100, 3000] {
        // However quick the answer is, and however often it was asked for.
        assert!(stays(Kind::Nat, &[(Request, asked), (Reply, asked), (Request, asked + 2200)]));
    }
    // Within one unit of time, too: who is asked answers at once, and who is sent much is seldom the first to speak.
    let talk: Vec<_> = (1..400).flat_map(|i| [(Reply, i * 10), (Reply, i * 10)]).collect();
    assert!(!stays(Kind::Nat, &talk));
    assert!(stays(Kind::Nat, &[&talk[..], &[(Request, 3990)]].concat()));
    assert!(stays(Kind::Nat, &[(Reply, 0), (Reply, 6400), (Request, 6401)]));
    for unseen in [Kind::Dsr, Kind::Tunnel] {
        assert!(!stays(unseen, &[(Request, 5000)]) && !stays(unseen, &[(Request, 0), (Request, 1600)]));
        assert!(stays(unseen, &[(Request, 0), (Request, 2200)]));
    }
}

/// By the coarse clock's first and last units, too.
#[test]
fn how_old_a_udp_flow_is_survives_the_wrap_of_its_clock() {
    for begin in [0, 1, 2, 63, u32::MAX - 40, u32::MAX - 1, u32::MAX] {
        let mut bench = Bench::new(64);
        let tick = |units: u32| Tick(u64::from(begin.wrapping_add(units)) << Coarse::SHIFT);
        bench.create(&connection(1, State::Udp), tick(0).0).unwrap();
        let entry = |bench: &Bench, key, units| {
            let hit = bench.find(key).unwrap();
            let entry = bench.flows.v4.table().entry(hit.entry);
            entry.touch(&hit, 0, tick(units).coarse());
            entry.is_unconfirmed(State::Udp)
        };
        let flow = connection(1, State::Udp);
        assert!(entry(&bench, flow.reply, 0) && entry(&bench, flow.request, 30), "{begin}");
        assert!(!entry(&bench, flow.request, 33), "{begin}");
    }
}

/// Another worker, whose clock is a unit ahead, noted the answer.
#[test]
fn a_worker_whose_clock_is_behind_confirms_nothing() {
    assert!(!stays(Kind::Nat, &[(Direction::Reply, 64), (Direction::Request, 0)]));
    assert!(stays(Kind::Nat, &[(Direction::Reply, 64), (Direction::Request, 0), (Direction::Request, 2300)]));
}
