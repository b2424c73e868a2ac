//! Status and metrics say the same.

use std::time::Duration;

use crate::common::lab::{Lab, NAMES, Setup, WEB};
use crate::common::switch::{METRICS, Switch, number};
use crate::common::traffic;
use crate::common::wait::wait_until;

scenes! {
    metrics_and_status_tell_the_same_numbers in two_setups;
    status_counts_every_connection_at_its_backend in every_setup;
}

fn metrics_and_status_tell_the_same_numbers(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    traffic::requests(&lab.client, WEB, 50).assert_shared_by([2, 3, 5], usize::from(setup.queues));
    switch.assert_counters_add_up();
    // Late segments of closing connections may still move the numbers between the two questions.
    wait_until("status and metrics agree", Duration::from_secs(5), || {
        let page = lab.switch.run(&format!("curl --silent --fail http://{METRICS}/metrics"));
        let totals = &switch.status()["totals"];
        ["received", "forwarded", "replied", "to_kernel"]
            .iter()
            .all(|key| metric(&page, &format!("xswitch_frames_{key}_total")) == Some(number(totals, key)))
    });
    switch.finish();
}

fn status_counts_every_connection_at_its_backend(setup: Setup) {
    let lab = Lab::new(setup);
    let switch = Switch::start(&lab);
    let web = traffic::requests(&lab.client, WEB, 50);
    let names = traffic::datagrams(&lab.client, NAMES, 20);
    let status = switch.status();
    let services = status["services"].as_array().expect("status has services");
    for (service, answers) in services.iter().zip([web, names]) {
        let backends = service["backends"].as_array().expect("a service has backends");
        let counted: Vec<u64> = backends.iter().map(|backend| number(backend, "connections_new")).collect();
        let answered: Vec<u64> = answers.counts().iter().map(|&count| count as u64).collect();
        assert_eq!(counted, answered, "{service:#}");
        assert!(
            backends
                .iter()
                .all(|backend| number(backend, "packets_in") > 0 && number(backend, "bytes_out") > 0)
        );
    }
    switch.finish();
}

/// The value of a metric without labels.
fn metric(page: &str, name: &str) -> Option<u64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok())
}
