//! What is left out of a status that is too large for a page.

use serde_json::{Value, json};

use super::*;

fn backend(number: usize, state: &str) -> Value {
    json!({
        "address": format!("10.{}.{}.{}:80", number >> 16 & 255, number >> 8 & 255, number & 255), "weight": 1,
        "state": state, "takes_new": state == "up", "packets_in": 0, "packets_out": 0, "bytes_in": 0, "bytes_out": 0,
        "connections_new": 0, "connections_active": 0, "next_hop": null,
    })
}

fn status(services: &[usize]) -> Status {
    let service = |(number, backends): (usize, &usize)| {
        let state = |number: usize| if number + 1 == *backends { "down" } else { "up" };
        let backends: Vec<_> = (0..*backends).map(|number| backend(number, state(number))).collect();
        json!({
            "name": format!("s{number}"), "vip": "198.18.0.100:80", "protocol": "tcp", "forwarding": "nat", "scheduler": "rr",
            "packets_in": 0, "packets_out": 0, "bytes_in": 0, "bytes_out": 0, "connections_new": 0,
            "connections_active": 0, "refused": 0, "backends": backends,
        })
    };
    let services: Vec<_> = services.iter().enumerate().map(service).collect();
    serde_json::from_value(json!({
        "version": "", "pid": 1, "uptime_s": 1, "epoch": 1, "dropped": {}, "services": services, "workers": [], "ports": [],
        "totals": {
            "received": 0, "forwarded": 0, "replied": 0, "to_kernel": 0, "dropped_total": 0, "unexplained": 0
        },
        "connections": {"active": 0, "max": 1, "new": 0, "closed": 0, "reclaimed": 0},
    }))
    .unwrap()
}

fn shown(brief: &Brief) -> Vec<usize> {
    brief.status.services.iter().map(|service| service.backends.len()).collect()
}

#[test]
fn a_small_status_is_whole() {
    let brief = Brief::from(status(&[3, 400, 2]));
    assert_eq!(shown(&brief), [3, 400, 2]);
    assert_eq!((brief.services_left_out, brief.backends_left_out), (0, 0));
}

#[test]
fn of_a_large_one_the_backends_that_are_down_are_left_in() {
    let brief = Brief::from(status(&[30_000, 30_000, 5]));
    assert_eq!(shown(&brief), [500, 333, 5]);
    assert_eq!(brief.backends_left_out, 60_000 - 833);
    let first = |service: usize| brief.status.services[service].backends[0].state.as_str();
    assert_eq!((first(0), first(1)), ("down", "down"));
    let brief = Brief::from(status(&[10; 500]));
    assert_eq!((brief.services_left_out, brief.status.services.len()), (300, 200));
    assert!(shown(&brief).iter().sum::<usize>() <= 2 * MOST_BACKENDS, "{:?}", shown(&brief));
}
