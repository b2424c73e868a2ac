//! `xswitch connections`, as a command that asks a socket: what is listed, counted and ended.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use xswitch::control::client::{self, ClientError};
use xswitch::control::connections::{Filter, Kill, Killed, Listing, Question, Sort};
use xswitch::control::dataplane::DataPlane;
use xswitch::dataplane::conntrack::{Connection, FlowKey, Kind, Marks, State};
use xswitch::dataplane::family::{Pair, V4, V6};
use xswitch::tables::{BackendId, NextHopId, Tick, Timeouts};

use super::endpoints::Lab;
use super::fake::{NOW, ip};

/// Makes a connection of this backend row that was seen `idle_ms` ago.
pub fn make<P: Pair>(
    lab: &Lab,
    client: (&str, u16),
    to: (&str, u16),
    backend: u32,
    state: State,
    idle_ms: u64,
) {
    let pair = P::of(ip(client.0), ip(to.0)).unwrap();
    let protocol = if state == State::Udp { 17 } else { 6 };
    let request = FlowKey { addresses: pair, ports: u32::from(client.1) << 16 | u32::from(to.1), protocol };
    // As if the backend had a port of its own for each.
    let reply = FlowKey { ports: request.reversed().ports ^ (backend + 1) << 24, ..request.reversed() };
    let connection = Connection {
        kind: Kind::Nat,
        request,
        reply,
        marks: Marks::NONE,
        backend: BackendId(backend),
        client_next_hop: NextHopId(0),
        routes_epoch: 0,
        state,
        sequence: 1,
    };
    let mut flows = lab.dataplane.flows.lock().unwrap();
    let counters = &lab.dataplane.workers()[0].counters;
    flows.create(&connection, Tick(NOW.0 - idle_ms), &Timeouts::default(), counters).unwrap();
}

/// Rows 0 and 1 are backends of "web", row 2 is the one of "web6".
fn lab() -> Lab {
    let lab = Lab::new();
    for port in 0..150 {
        let state = if port < 50 { State::SynReceived } else { State::Established };
        let host = format!("203.0.113.{}", port % 3);
        make::<V4>(
            &lab,
            (&host, 40_000 + port),
            ("198.18.0.100", 80),
            u32::from(port % 2),
            state,
            u64::from(port) * 1024,
        );
    }
    make::<V6>(&lab, ("2001:db8::7", 40_000), ("2001:db8::100", 80), 2, State::Established, 0);
    lab.serve();
    lab
}

fn xswitch(lab: &Lab, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xswitch"));
    command.arg("connections").args(words.split_whitespace()).arg("--socket").arg(&lab.socket);
    command.output().unwrap()
}

fn shown(lab: &Lab, words: &str) -> String {
    let output = xswitch(lab, words);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn listed(lab: &Lab, filter: Value, sort: Sort, limit: usize) -> Listing {
    let question = Question { filter: serde_json::from_value(filter).unwrap(), sort, limit };
    client::post(&lab.socket, "/v1/connections", &question).unwrap()
}

#[test]
fn a_terminal_survives_and_learns_how_many_more_there_are() {
    let lab = lab();
    let text = shown(&lab, "");
    assert_eq!(text.lines().count(), 1 + 100 + 2, "{text}");
    assert!(text.ends_with("\n100 of 151 connections; 51 more: --limit, --count, or say which\n"), "{text}");
    let text = shown(&lab, "--service web6");
    let line = text.lines().nth(1).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        words[..6],
        ["tcp", "[2001:db8::7]:40000", "[2001:db8::100]:80", "web6", "gue", "[2001:db8:1::11]:80"]
    );
    assert_eq!(words[7..], ["established", "0", "s", "7440", "s"], "{text}");
    assert!(text.ends_with("\n1 connection\n"), "{text}");
}

#[test]
fn each_condition_takes_away_what_it_does_not_name() {
    let lab = lab();
    let total = |filter: Value| listed(&lab, filter, Sort::Any, 0).total;
    assert_eq!(total(json!({})), 151);
    assert_eq!(total(json!({"service": "web"})), 150);
    assert_eq!(total(json!({"backend": "198.18.1.11:8080"})), 75);
    assert_eq!(total(json!({"backend": "198.18.1.12"})), 75);
    assert_eq!(total(json!({"state": "syn_received"})), 50);
    assert_eq!(total(json!({"client": "203.0.113.0/31"})), 100);
    assert_eq!(total(json!({"client": "203.0.113.1"})), 50);
    assert_eq!(total(json!({"client": "203.0.113.1:40001"})), 1);
    assert_eq!(total(json!({"client": "2001:db8::/32"})), 1);
    assert_eq!((total(json!({"protocol": "tcp"})), total(json!({"protocol": "udp"}))), (151, 0));
    assert_eq!(
        total(json!({"client": "203.0.113.1", "state": "established", "backend": "198.18.1.11:8080"})),
        17
    );
}

#[test]
fn the_first_of_an_order_are_kept_whatever_comes_when() {
    let lab = lab();
    let idle = |sort| -> Vec<u64> {
        listed(&lab, json!({"service": "web"}), sort, 3).connections.iter().map(|row| row.idle_s).collect()
    };
    assert_eq!(idle(Sort::Idle), [152, 151, 150]);
    assert_eq!(idle(Sort::Recent), [0, 1, 2]);
    let clients = listed(&lab, json!({}), Sort::Client, 2).connections;
    let clients: Vec<_> = clients.iter().map(|row| row.client.to_string()).collect();
    assert_eq!(clients, ["203.0.113.0:40000", "203.0.113.0:40003"]);
    let backends = listed(&lab, json!({}), Sort::Backend, 151).connections;
    assert!(backends.is_sorted_by_key(|row| row.backend));
}

#[test]
fn what_is_counted_adds_up_by_service_backend_and_state() {
    let lab = lab();
    let listing = listed(&lab, json!({}), Sort::Any, 0);
    assert_eq!((listing.total, listing.looked_at, listing.entries), (151, 4096 + 1024, 4096 + 1024));
    assert_eq!(listing.by_state["established"], 101);
    assert_eq!(listing.by_service.iter().map(|service| service.total).sum::<u64>(), 151);
    let web = &listing.by_service[0];
    assert_eq!((web.service.as_str(), web.by_state["syn_received"], web.backends[0].total), ("web", 50, 75));
    let text = shown(&lab, "--count");
    let last = text.lines().rev().nth(2).unwrap();
    assert_eq!(last.split_whitespace().collect::<Vec<_>>(), ["all", "all", "151", "101", "50"], "{text}");
    let json: Value = serde_json::from_str(&shown(&lab, "--count --json --state established")).unwrap();
    assert_eq!((json["total"].as_u64(), &json["connections"]), (Some(101), &json!([])));
}

#[test]
fn exactly_those_that_are_named_end_and_are_counted() {
    let lab = lab();
    assert_eq!(shown(&lab, "--kill --client 203.0.113.1:40001"), "1 connection ended\n");
    assert_eq!(shown(&lab, "--kill --state syn_received --backend 198.18.1.11"), "25 connections ended\n");
    assert_eq!(listed(&lab, json!({}), Sort::Any, 0).total, 151 - 26);
    assert_eq!(
        listed(&lab, json!({"state": "syn_received", "backend": "198.18.1.11"}), Sort::Any, 0).total,
        0
    );
    assert_eq!(
        shown(&lab, "--kill --service web6 --json").trim(),
        "{\n  \"found\": 1,\n  \"killed\": 1,\n  \"complete\": true\n}"
    );
    let counters = lab.dataplane.workers();
    assert_eq!(counters.iter().map(|worker| worker.counters.connections_closed.get()).sum::<u64>(), 27);
    let open = |row| lab.dataplane.flows.lock().unwrap().tables().loads.open(BackendId(row));
    assert_eq!((open(0), open(1), open(2)), (75 - 25, 74, 0), "the odd port is of the second backend");
    assert_eq!(shown(&lab, "--kill --all"), "124 connections ended\n");
    assert_eq!(listed(&lab, json!({}), Sort::Any, 0).total, 0);
}

#[test]
fn nothing_ends_without_a_condition_and_mistakes_are_named() {
    let lab = lab();
    let refused = |words: &str| {
        let output = xswitch(&lab, words);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = refused("--kill");
    assert!(code == Some(2) && text.contains("--all"), "{text}");
    let error = client::post::<Killed>(&lab.socket, "/v1/connections/kill", &Kill::default()).unwrap_err();
    assert!(matches!(error, ClientError::Invalid(_)), "{error}");
    for (words, said) in [
        ("--client 203.0.113.0/33", "is no client"),
        ("--client home", "is no client"),
        ("--state open", "established"),
        ("--protocol icmp", "tcp"),
        ("--all", "--kill"),
    ] {
        let (code, text) = refused(words);
        assert!(code == Some(2) && text.contains(said), "{words}: {text}");
    }
    for (words, said) in [
        ("--service wep", "did you mean \"web\"?"),
        ("--backend 198.18.1.99", "there are 198.18.1.11:8080"),
        ("--service web6 --backend 198.18.1.11", "there are [2001:db8:1::11]:80"),
    ] {
        let (code, text) = refused(words);
        assert!(code == Some(1) && text.contains(said), "{words}: {text}");
    }
    let misspelt = json!({"filter": {"cleint": "203.0.113.1"}, "all": true});
    let error = client::post::<Killed>(&lab.socket, "/v1/connections/kill", &misspelt).unwrap_err();
    assert!(matches!(error, ClientError::Status { status: 400, .. }), "{error}");
    assert_eq!(listed(&lab, json!({}), Sort::Any, 0).total, 151);
}

#[test]
fn only_one_looks_at_a_time() {
    let lab = lab();
    let walker = lab.source.walker.clone();
    let (begin, began) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let walk = lab.runtime.spawn(async move {
        let walk = move |_: &_| {
            begin.send(()).unwrap();
            let _ = ended.recv_timeout(Duration::from_secs(10));
        };
        walker.walk(walk).await
    });
    began.recv().unwrap();
    let output = xswitch(&lab, "--count");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ask again"), "{output:?}");
    end.send(()).unwrap();
    lab.runtime.block_on(walk).unwrap().unwrap();
    assert!(shown(&lab, "--count").ends_with("\n151 connections\n"));
    assert!(Filter::default().is_empty());
}
