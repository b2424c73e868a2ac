//! What is said of services and backends beyond their counters.

use std::time::Instant;

use super::*;
use crate::config::valid::{AdminState, Check, Config, Health, StaticNeighbor};
use crate::control::compile::{Compiler, Usage};
use crate::control::health::{News, Report};
use crate::control::network::NetworkView;
use crate::control::orders::{Change, Order};
use crate::control::roster::Roster;
use crate::control::standing::service_key;
use crate::control::testing::{config, health, interfaces, ip, service};
use crate::control::topology::Topology;

const A: &str = "198.18.1.11:8080";
const B: &str = "198.18.1.12:8080";
const C: &str = "198.18.1.13:8080";

/// A service "web" with backends A and B and the backup C, and neighbours on eth1 that answer.
struct Scene {
    roster: Roster,
    now: Instant,
    answering: Vec<&'static str>,
}

impl Scene {
    fn new() -> Self {
        let mut file = config();
        file.services = vec![service("web", "198.18.0.100:80", &[1, 1, 1])];
        file.services[0].backends[2].backup = true;
        file.services[0].health =
            Some(Health { passive_failures: 0, agent_port: Some(9000), ..health(Check::Tcp) });
        file.interfaces = interfaces();
        file.interfaces[1].addresses = vec![(ip("198.18.1.2"), 24)];
        let now = Instant::now();
        Self { roster: Roster::new(file, now), now, answering: vec![A, B, C] }
    }

    fn order(&mut self, backend: Option<&str>, change: Change) {
        let backend = backend.map(|address| address.parse().unwrap());
        let order = Order { service: "web".into(), backend, change, save: false };
        self.roster.order(&order, self.now).unwrap();
    }

    fn down(&mut self, address: &str) {
        let service = service_key(&self.roster.file().services[0]);
        let key = BackendKey { service, address: address.parse().unwrap() };
        self.roster.report(&Report { key, news: News::Down("connection refused".into()) }, self.now);
    }

    fn load(&mut self, edit: impl FnOnce(&mut Config)) {
        let mut file = self.roster.file().clone();
        edit(&mut file);
        self.roster.load(file, self.now);
    }

    /// The status of the service once workers run.
    fn status(&self) -> ServiceStatus {
        let mut config = self.roster.config();
        let neighbors = self.answering.iter().map(|address| StaticNeighbor {
            interface: "eth1".into(),
            address: address.parse::<std::net::SocketAddr>().unwrap().ip(),
            mac: [2, 0, 0, 0, 1, 1],
        });
        config.neighbors = neighbors.collect();
        let topology = Topology::new(&config, &NetworkView::default());
        let usage = Usage { adopted: 1, active: &|_| 0, open: &|_| 0 };
        let standings = self.roster.standings(self.now);
        let snapshot = Compiler::default().compile(&config, &topology, &standings, &usage).unwrap().snapshot;
        let key = service_key(&config.services[0]);
        let backends = config.services[0].backends.iter().map(|backend| backend.address);
        let keys = backends.map(|address| BackendKey { service: key, address });
        let view = View {
            shown: keys.map(|key| (key, self.roster.shown(&key, self.now).unwrap())).collect(),
            services: self.roster.summaries(self.now),
            ..View::default()
        };
        let facts = Facts {
            snapshot: &snapshot,
            uptime: Duration::ZERO,
            limits: Limits { v4: 1, v6: 1 },
            view: &view,
            view_age: Some(Duration::ZERO),
            before: None,
        };
        let service = snapshot.services.iter().flatten().next().unwrap();
        service_status(service, facts, (&[], &Loads::new(1, 8)))
    }

    /// Of a backend: whether it takes new connections, its state, and why.
    fn backend(&self, address: &str) -> (bool, String, String) {
        let address = address.parse().unwrap();
        let backends = self.status().backends;
        let backend = backends.into_iter().find(|backend| backend.address == address).unwrap();
        (backend.takes_new, backend.state, backend.why)
    }
}

fn said(takes_new: bool, state: &str, why: &str) -> (bool, String, String) {
    (takes_new, state.to_owned(), why.to_owned())
}

#[test]
fn backups_are_counted_apart_and_serve_when_no_other_can() {
    let mut scene = Scene::new();
    let counts = ServingStatus { backends: 2, serving: 2, backups: 1, backups_able: 1, ..Default::default() };
    assert_eq!(scene.status().serving, counts);
    assert_eq!(scene.backend(A), said(true, "up", ""));
    assert_eq!(scene.backend(C), said(false, "up", "no new connections: a backup, others serve"));
    scene.down(A);
    scene.order(Some(B), Change::Weight(0));
    let counts = ServingStatus { serving: 0, backups_serving: 1, ..counts };
    assert_eq!(scene.status().serving, counts);
    assert_eq!(scene.backend(A), said(false, "down", "connection refused"));
    assert_eq!(scene.backend(B), said(false, "up", "no new connections: weight 0"));
    assert_eq!(scene.backend(C), said(true, "up", ""));
    scene.down(C);
    let counts = ServingStatus { backups_able: 0, backups_serving: 0, ..counts };
    assert_eq!(scene.status().serving, counts);
}

#[test]
fn those_that_leave_are_counted_apart() {
    let mut scene = Scene::new();
    scene.load(|file| file.services[0].backends = file.services[0].backends.split_off(1));
    let ServingStatus { backends, serving, backups, leaving, .. } = scene.status().serving;
    assert_eq!((backends, serving, backups, leaving), (1, 1, 1, 1));
    assert_eq!(scene.backend(A), said(false, "leaving", "no longer listed"));
}

#[test]
fn who_is_up_and_cannot_be_reached_is_said_to_be_so() {
    let mut scene = Scene::new();
    let unknown = "the MAC address of its next hop 198.18.1.12 is not known";
    scene.answering = vec![A, C];
    assert_eq!(scene.backend(B), said(false, "up", &format!("no new connections: {unknown}")));
    assert_eq!(scene.status().serving.serving, 1);
    scene.answering = vec![C];
    assert_eq!(scene.backend(B), said(true, "up", unknown), "nobody else can be reached either");
    scene.load(|file| file.services[0].backends[1].address = "192.0.2.1:80".parse().unwrap());
    scene.answering = vec![A];
    let lost = "no new connections: no route leads to it";
    assert_eq!(scene.backend("192.0.2.1:80"), said(false, "up", lost));
}

#[test]
fn a_service_says_its_state_and_whose_word_that_is() {
    let mut scene = Scene::new();
    let stands = |scene: &Scene| {
        let ServiceStatus { state, ordered, drain_left_s, .. } = scene.status();
        (state, ordered, drain_left_s)
    };
    assert_eq!(stands(&scene), ("enabled".into(), false, None));
    scene.load(|file| file.services[0].drain_timeout_s = 10);
    scene.order(None, Change::Drain);
    assert_eq!(stands(&scene), ("drain".into(), true, Some(10)));
    assert_eq!(scene.status().serving.serving, 0);
    scene.load(|file| file.services[0].state = AdminState::Disabled);
    assert_eq!(stands(&scene), ("disabled".into(), false, None));
}
