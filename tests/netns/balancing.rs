//! Who gets how many requests.

use std::collections::BTreeMap;

use crate::common::lab::{Lab, NAMES, Setup, WEB};
use crate::common::switch::{Configuration, Switch};
use crate::common::traffic::{self, Datagrams};

scenes! {
    wrr_shares_requests_by_weight in every_setup;
    rr_gives_every_backend_the_same in two_setups;
    maglev_uses_every_backend_and_keeps_a_flow_where_it_is in two_setups;
    weight_zero_takes_no_new_connection in two_setups;
}

fn wrr_shares_requests_by_weight(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    // Every worker keeps its own exact turn, so each may be one off at the end.
    let tolerance = usize::from(setup.queues);
    traffic::requests(&lab.client, WEB, 300).assert_shared_by([2, 3, 5], tolerance);
    switch.finish();
}

fn rr_gives_every_backend_the_same(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start_with(&lab, &Configuration { scheduler: "rr", ..Configuration::of(&lab) });
    traffic::requests(&lab.client, WEB, 300).assert_shared_by([1, 1, 1], usize::from(setup.queues));
    switch.finish();
}

fn maglev_uses_every_backend_and_keeps_a_flow_where_it_is(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start_with(&lab, &Configuration { scheduler: "maglev", ..Configuration::of(&lab) });

    // A hash deals like dice: 300 throws with shares of 20, 30 and 50 % lie within 45 of them, at five sigma.
    traffic::requests(&lab.client, WEB, 300).assert_shared_by([2, 3, 5], 45);

    let flows: Vec<_> = (0..20).map(|_| Datagrams::open(&lab.client, NAMES)).collect();
    let ask_all = || flows.iter().map(|flow| flow.ask("who")).collect::<Vec<_>>();
    let first = ask_all();
    assert!(first.iter().all(Option::is_some), "a datagram was not answered: {first:?}");
    assert_eq!(first, ask_all(), "a flow moved to another backend");
    switch.finish();
}

fn weight_zero_takes_no_new_connection(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start_with(&lab, &Configuration { weights: [1, 0, 1], ..Configuration::of(&lab) });
    let answers = traffic::requests(&lab.client, WEB, 20);
    assert_eq!(answers.failures, 0);
    let expected: BTreeMap<_, _> = [("b1".to_owned(), 10), ("b3".to_owned(), 10)].into();
    assert!(answers.by_backend.keys().eq(expected.keys()), "{answers:?}");
    switch.finish();
}
