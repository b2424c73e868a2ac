//! UDP.

use crate::common::lab::{Lab, NAMES, Setup};
use crate::common::switch::Switch;
use crate::common::traffic::{self, Datagrams};

scenes! {
    every_datagram_is_answered_and_shared_by_weight in every_setup;
    a_socket_stays_with_its_backend in every_setup;
    full_sized_datagrams_pass in two_setups;
}

fn every_datagram_is_answered_and_shared_by_weight(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    traffic::datagrams(&lab.client, NAMES, 100).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    switch.finish();
}

fn a_socket_stays_with_its_backend(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    for flow in (0..10).map(|_| Datagrams::open(&lab.client, NAMES)) {
        let answers: Vec<_> = (0..20).map(|turn| flow.ask(&format!("turn {turn}"))).collect();
        assert!(answers[0].is_some(), "a datagram was not answered");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "a flow was torn apart: {answers:?}");
    }
    switch.finish();
}

fn full_sized_datagrams_pass(setup: Setup) {
    /// The payload that fills an MTU of 1500, less the name that the answer adds.
    const LARGEST: usize = 1500 - 20 - 8 - "b1 ".len();
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    for length in [0, 1, 2, 17, LARGEST - 1, LARGEST] {
        let answer = Datagrams::open(&lab.client, NAMES).ask(&"x".repeat(length));
        assert!(answer.is_some(), "a datagram of {length} bytes was not answered");
    }
    switch.finish();
}
