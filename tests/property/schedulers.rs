//! Schedulers against what they are defined as, written down as plainly as possible.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use xswitch::dataplane::schedule::{Candidate, Scheduler as _};
use xswitch::tables::scheduler::{greatest_common_divisor, smooth_sequence};
use xswitch::tables::{BackendId, Loads, Maglev, MaglevMember, RoundRobin, SchedulerTable, Weighted};

const SLOTS: u32 = 1009;

/// Smooth weighted round robin as it is told: everybody gains its weight, the first of the highest pays the sum.
fn smooth(weights: &[u32]) -> Vec<BackendId> {
    let sum: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut credit = vec![0i64; weights.len()];
    let turn = |_| {
        credit.iter_mut().zip(weights).for_each(|(credit, weight)| *credit += i64::from(*weight));
        let highest = *credit.iter().max().unwrap();
        let first = credit.iter().position(|credit| *credit == highest).unwrap();
        credit[first] -= sum;
        BackendId(first as u32)
    };
    (0..sum).map(turn).collect()
}

fn members(weights: &[u32]) -> Vec<(BackendId, u32)> {
    (0..).map(BackendId).zip(weights.iter().copied()).collect()
}

fn maglev(weights: &[u32], reversed: bool) -> Maglev {
    let member = |(id, weight): (BackendId, u32)| MaglevMember {
        id,
        identity: format!("198.18.1.{}:80", id.0),
        weight,
    };
    let mut members: Vec<_> = members(weights).into_iter().map(member).collect();
    if reversed {
        members.reverse();
    }
    Maglev::build(SLOTS, members)
}

fn slots(table: &Maglev) -> HashMap<BackendId, usize> {
    let mut slots = HashMap::new();
    table.owners().for_each(|owner| *slots.entry(owner).or_default() += 1);
    slots
}

fn every_table(weights: &[u32]) -> Vec<SchedulerTable> {
    let (members, round) = (members(weights), RoundRobin::weighted(&members(weights)));
    vec![
        SchedulerTable::RoundRobin(round.clone()),
        SchedulerTable::FlowHash(round),
        SchedulerTable::Maglev(maglev(weights, false)),
        SchedulerTable::SourceHash(maglev(weights, false)),
        SchedulerTable::LeastConnections(Weighted::of(&members)),
        SchedulerTable::LeastResponseTime(Weighted::of(&members)),
        SchedulerTable::TwoChoices(Weighted::of(&members)),
    ]
}

/// So many connections open, and such a response time, at each backend.
fn loads(state: &[(u8, u32)]) -> Loads {
    let loads = Loads::new(2, state.len());
    for (id, (open, response_us)) in (0..).map(BackendId).zip(state) {
        (0..*open).for_each(|n| loads.opened(u16::from(n % 2), id));
        if *response_us > 0 {
            loads.answered(id, *response_us);
        }
    }
    loads
}

/// What one more connection would cost at each backend, as a fraction: load and weight.
fn least<'a>(costs: impl Iterator<Item = (BackendId, u128, u32)> + Clone + 'a) -> HashSet<BackendId> {
    let is_least = |(_, cost, weight): &(BackendId, u128, u32)| {
        costs
            .clone()
            .all(|(_, other, its_weight)| cost * u128::from(its_weight) <= other * u128::from(*weight))
    };
    costs.clone().filter(is_least).map(|(id, ..)| id).collect()
}

proptest! {
    #[test]
    fn a_round_is_smooth_weighted_round_robin(weights in prop::collection::vec(0u32..30, 1..20)) {
        let common = weights.iter().fold(0, |common, weight| greatest_common_divisor(common, u64::from(*weight)));
        let common = common.max(1) as u32;
        let least: Vec<_> = weights.iter().map(|weight| weight / common).collect();
        let round = smooth_sequence(&members(&weights));
        prop_assert_eq!(round.to_vec(), smooth(&least));
    }

    #[test]
    fn only_backends_with_a_weight_are_picked_and_one_is_if_there_is_one(
        weights in prop::collection::vec(prop_oneof![Just(0), 1u32..5, Just(65_535u32)], 1..12),
        mut cursor: u32, flow_hash: u64, source_hash: u64,
    ) {
        let loads = Loads::new(1, weights.len());
        for table in every_table(&weights) {
            for _ in 0..20 {
                let candidate = Candidate { flow_hash, source_hash, cursor: &mut cursor, loads: &loads };
                let picked = table.pick(candidate);
                prop_assert_eq!(picked.is_some(), weights.iter().any(|weight| *weight > 0));
                prop_assert!(picked.is_none_or(|id| weights[id.index()] > 0));
            }
        }
    }

    #[test]
    fn nobody_has_less_for_its_weight_than_the_one_that_is_picked(
        state in prop::collection::vec((0u8..20, prop_oneof![Just(0), 1u32..1000], 1u32..10), 1..12),
        mut cursor: u32, flow_hash: u64,
    ) {
        let weights: Vec<_> = state.iter().map(|(.., weight)| *weight).collect();
        let known: Vec<_> = state.iter().map(|(open, response_us, _)| (*open, *response_us)).collect();
        let (loads, members) = (loads(&known), Weighted::of(&members(&weights)));
        let mut pick = |table: SchedulerTable| {
            let candidate = Candidate { flow_hash, source_hash: 0, cursor: &mut cursor, loads: &loads };
            table.pick(candidate).unwrap()
        };
        let costs = (0..).map(BackendId).zip(&state);
        let connections = costs.clone().map(|(id, (open, _, weight))| (id, u128::from(*open) + 1, *weight));
        prop_assert!(least(connections).contains(&pick(SchedulerTable::LeastConnections(members.clone()))));

        let fastest = known.iter().map(|(_, us)| *us).filter(|us| *us > 0).min().unwrap_or(1);
        let times = costs.map(|(id, (open, us, weight))| {
            (id, (u128::from(*open) + 1) * u128::from(if *us == 0 { fastest } else { *us }), *weight)
        });
        prop_assert!(least(times).contains(&pick(SchedulerTable::LeastResponseTime(members.clone()))));
    }

    #[test]
    fn p2c_never_takes_the_one_that_is_worse_than_all_others(
        open in prop::collection::vec(0u8..20, 2..10), worst: prop::sample::Index, mut cursor: u32, flows: [u64; 16],
    ) {
        let worst = worst.index(open.len());
        let mut state: Vec<_> = open.iter().map(|open| (*open, 0)).collect();
        state[worst].0 = 21;
        let (loads, table) = (loads(&state), SchedulerTable::TwoChoices(Weighted::of(&members(&vec![3; open.len()]))));
        for flow_hash in flows {
            let candidate = Candidate { flow_hash, source_hash: 0, cursor: &mut cursor, loads: &loads };
            prop_assert_ne!(table.pick(candidate), Some(BackendId(worst as u32)));
        }
    }

    #[test]
    fn slots_are_shared_by_weight_in_whatever_order(weights in prop::collection::vec(0u32..100, 1..20)) {
        let table = maglev(&weights, false);
        prop_assert!(table.owners().eq(maglev(&weights, true).owners()));
        let (slots, sum) = (slots(&table), weights.iter().sum::<u32>());
        for (id, weight) in members(&weights) {
            let fair = f64::from(weight) * f64::from(SLOTS) / f64::from(sum.max(1));
            let got = slots.get(&id).copied().unwrap_or_default() as f64;
            // Each is at most one slot short, so that those who are not share what is left.
            prop_assert!(got >= fair.floor() - 1.0 && got <= fair + weights.len() as f64, "{got} of {fair}");
        }
    }

    #[test]
    fn a_backend_that_leaves_takes_hardly_anybody_with_it(
        weights in prop::collection::vec(1u32..6, 5..40), leaver: prop::sample::Index,
    ) {
        let leaver = BackendId(leaver.index(weights.len()) as u32);
        let before = maglev(&weights, false);
        let mut rest = weights.clone();
        rest[leaver.index()] = 0;
        let after = maglev(&rest, false);
        let owners = before.owners().zip(after.owners());
        let moved = owners.filter(|(before, after)| *before != leaver && before != after).count();
        // A table this small has room for a few more unlucky ones than the 65,537 slots of the default.
        prop_assert!(moved <= SLOTS as usize / 10, "{moved} of {SLOTS}");
    }
}
