//! `lc`, `wlc`, `lrt`, `p2c`: what backends have open decides.

use xswitch::config::valid::Scheduler;

use super::model::{Outcome, Server, alike, run};
use super::record::{is_near, record};

const LABELS: [&str; 5] = ["fast", "fast", "fast", "fast", "slow"];

/// Four backends, and one that takes ten times as long for each connection.
fn one_slow() -> Vec<Server> {
    let mut servers = alike(5);
    servers[4].holds *= 10;
    servers
}

/// What each should get for everybody to have as many open: in inverse proportion to how long it holds them.
const BY_SPEED: [f64; 5] = [10.0, 10.0, 10.0, 10.0, 1.0];

fn times_less(outcome: &Outcome) -> f64 {
    f64::from(outcome.taken[0]) / f64::from(outcome.taken[4])
}

#[test]
fn lc_gives_a_backend_that_takes_ten_times_as_long_a_tenth() {
    let outcome = run(Scheduler::LeastConnections, &one_slow());
    record(
        "lc",
        "five backends, one of which holds connections ten times as long",
        &outcome.bars(&LABELS, &BY_SPEED),
    );
    assert!(is_near(times_less(&outcome), 10.0, 0.1), "{:?}", outcome.taken);
    let (most, least) = (outcome.most_open.iter().max().unwrap(), outcome.most_open.iter().min().unwrap());
    assert!(most - least <= 2, "{:?}", outcome.most_open);
}

#[test]
fn p2c_comes_near_without_looking_at_everybody() {
    let outcome = run(Scheduler::TwoChoices, &one_slow());
    record(
        "p2c",
        "five backends, one of which holds connections ten times as long",
        &outcome.bars(&LABELS, &BY_SPEED),
    );
    assert!(is_near(times_less(&outcome), 10.0, 0.25), "{:?}", outcome.taken);
    let blind = run(Scheduler::RoundRobin, &one_slow());
    println!("rr: {:?} taken, {:?} open", blind.taken, blind.most_open);
    assert!(outcome.most_open[4] * 3 < blind.most_open[4], "{:?} {:?}", outcome.most_open, blind.most_open);
}

#[test]
fn wlc_fills_backends_in_proportion_to_their_weights() {
    let servers = [Server::new(1, 2), Server::new(2, 3), Server::new(3, 5)];
    let outcome = run(Scheduler::WeightedLeastConnections, &servers);
    let labels = ["weight 2", "weight 3", "weight 5"];
    record("wlc", "three backends of weights 2, 3 and 5", &outcome.bars(&labels, &[2.0, 3.0, 5.0]));
    for (server, expected) in [0.2, 0.3, 0.5].into_iter().enumerate() {
        assert!(is_near(outcome.share(server), expected, 0.05), "{:?}", outcome.taken);
    }
    let unweighted = run(Scheduler::LeastConnections, &servers);
    assert!((0..3).all(|server| is_near(unweighted.share(server), 1.0 / 3.0, 0.02)));
}

#[test]
fn lrt_prefers_the_faster() {
    let server = |(number, answers_us)| Server { answers_us, ..Server::new(number, 1) };
    let servers: Vec<_> = (1..).zip([100, 200, 400, 800]).map(server).collect();
    let outcome = run(Scheduler::LeastResponseTime, &servers);
    let labels = ["100 µs", "200 µs", "400 µs", "800 µs"];
    let expected = [8.0, 4.0, 2.0, 1.0];
    record("lrt", "four backends that answer after 100 to 800 µs", &outcome.bars(&labels, &expected));
    for (server, expected) in expected.into_iter().enumerate() {
        assert!(is_near(outcome.share(server), expected / 15.0, 0.15), "{:?}", outcome.taken);
    }
}
