//! What a running switch says of its connections and of packets, and that what it says is so.

use std::time::Duration;

use serde_json::Value;

use crate::common::actors::{Actor, Manner};
use crate::common::lab::{Lab, nat};
use crate::common::load::Download;
use crate::common::services::{self, Service, at};
use crate::common::switch::{Switch, number};
use crate::common::traffic;
use crate::common::wait::wait_until;

const PORT: u16 = 31032;
const LIMIT: Duration = Duration::from_secs(20);
const BYTES: usize = 400_000;

fn service(lab: &Lab) -> Service {
    (1..=3).fold(Service::new(lab, "web", PORT).lines("scheduler = \"rr\""), |service, number| {
        service.with(at(lab, number, PORT))
    })
}

fn json(switch: &Switch<'_>, words: &str) -> Value {
    serde_json::from_str(&switch.order(words)).expect("it is JSON")
}

#[test]
fn connections_are_listed_counted_and_ended() {
    let lab = Lab::new(nat(2));
    let actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, PORT)).collect();
    let service = service(&lab);
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    switch.warm_up(service.vip);
    actors.iter().for_each(|actor| actor.behave(Manner::Drip(BYTES, Duration::from_secs(60))));
    let downloads: Vec<_> = (0..9).map(|_| Download::start(&lab.client, service.vip)).collect();
    wait_until("all downloads have begun", LIMIT, || downloads.iter().all(Download::has_begun));

    let counted = json(&switch, "connections --count --json --service web --state established");
    assert_eq!(counted["total"], 9, "{counted:#}");
    let first = at(&lab, 1, PORT);
    let listed = json(&switch, &format!("connections --json --state established --backend {first}"));
    let rows = listed["connections"].as_array().expect("there are rows");
    let open = switch.connections_open("web", first);
    assert_eq!(rows.len() as u64, open, "{listed:#}");
    let client = rows[0]["client"].as_str().expect("it has a client").to_owned();
    assert!(switch.order(&format!("connections --client {client}")).contains(&first.to_string()));

    let ended = switch.order(&format!("connections --kill --client {client}"));
    assert_eq!(ended, "1 connection ended\n");
    assert_eq!(switch.connections_open("web", first), open - 1);
    let ended = json(&switch, &format!("connections --kill --json --backend {first}"));
    assert_eq!(ended["complete"], true, "{ended:#}");
    assert_eq!(switch.connections_open("web", first), 0);
    let counted = json(&switch, "connections --count --json --state established");
    assert_eq!(number(&counted, "total"), 9 - open, "others were ended: {counted:#}");
    let before = switch.dropped("no_connection");
    wait_until("the ended ones go on in vain", LIMIT, || switch.dropped("no_connection") > before);
    drop(downloads);
    drop(actors);
    switch.finish();
}

#[test]
fn what_trace_says_is_where_the_next_connection_goes() {
    let lab = Lab::new(nat(1));
    let _actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, PORT)).collect();
    let service = service(&lab);
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    switch.warm_up(service.vip);
    let question = format!("trace 198.18.0.1:1024 {}/tcp --json", service.vip);
    for _ in 0..7 {
        let answer = json(&switch, &question);
        let again = json(&switch, &question);
        let choice = answer["choice"]["backend"].as_str().expect("there is a choice").to_owned();
        assert_eq!(again["choice"]["backend"], choice.as_str(), "to ask has moved the round");
        assert_eq!(answer["verdict"]["verdict"], "forward", "{answer:#}");
        let before = switch.connections_new("web", choice.parse().expect("it is an address"));
        assert!(traffic::is_served(&lab.client, service.vip, LIMIT));
        let after = switch.connections_new("web", choice.parse().expect("it is an address"));
        assert_eq!(after, before + 1, "it went elsewhere than {choice}: {answer:#}");
    }
    // From a client that exists, and along a connection that does.
    let listed = json(&switch, "connections --json --limit 1");
    let row = &listed["connections"][0];
    let (client, backend) = (row["client"].as_str().expect("a client"), &row["backend"]);
    let told = json(&switch, &format!("trace {client} {}/tcp --json", service.vip));
    assert_eq!(&told["connection"]["backend"], backend, "{told:#}");
    let text = switch.order(&format!("trace {client} {}/tcp", service.vip));
    assert!(text.contains("service    web at"), "{text}");
    let down = at(&lab, 1, PORT);
    switch.order(&format!("backend disable web {down}"));
    switch.settle();
    let told = json(&switch, &question);
    let of = |address: &str| {
        let backends = told["backends"].as_array().expect("there are backends");
        backends.iter().find(|backend| backend["address"] == address).cloned().expect("it is there")
    };
    let taken_out = of(&down.to_string());
    assert_eq!(
        (taken_out["state"].as_str(), taken_out["takes_new"].as_bool()),
        (Some("disabled"), Some(false))
    );
    switch.finish();
}
