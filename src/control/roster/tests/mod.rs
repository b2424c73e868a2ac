//! One service and what befalls its backends, as sentences.

use std::time::Duration;

use super::*;
use crate::config::valid::{Check, Discover, Health, Source};
use crate::control::health::{Agent, Wish};
use crate::control::orders::{Change, Order};
use crate::control::testing;
use crate::tables::Fate;

mod discovery;
mod loading;
mod property;

/// A service "web" whose backends A, B and C have weight 1.
pub(super) struct Scene {
    pub file: Config,
    pub roster: Roster,
    pub now: Instant,
    /// Connections that every backend has.
    pub open: u64,
}

pub(super) const A: &str = "198.18.1.11:8080";
pub(super) const B: &str = "198.18.1.12:8080";
pub(super) const C: &str = "198.18.1.13:8080";

pub(super) fn health() -> Health {
    Health { agent_port: Some(9000), ..testing::health(Check::Tcp) }
}

pub(super) fn discover() -> Discover {
    let source = Source::Srv { name: "_http._tcp.example.net".into() };
    Discover { source, weight: 1, min_backends: 1, interval_s: (5, 300) }
}

impl Scene {
    pub fn of(edit: impl FnOnce(&mut Service)) -> Self {
        let mut file = testing::config();
        file.services = vec![testing::service("web", "198.18.0.100:80", &[1, 1, 1])];
        edit(&mut file.services[0]);
        let now = Instant::now();
        let mut scene = Self { roster: Roster::new(file.clone(), now), file, now, open: 1 };
        scene.pass(Duration::ZERO);
        scene
    }

    pub fn key(&self, address: &str) -> BackendKey {
        BackendKey { service: service_key(&self.file.services[0]), address: address.parse().unwrap() }
    }

    /// Lets time pass and says whether anything follows from it.
    pub fn pass(&mut self, time: Duration) -> bool {
        self.now += time;
        let open = self.open;
        self.roster.turn(&|_| open, self.now)
    }

    pub fn seconds(&mut self, seconds: u64) -> bool {
        self.pass(Duration::from_secs(seconds))
    }

    pub fn load(&mut self, edit: impl FnOnce(&mut Service)) {
        edit(&mut self.file.services[0]);
        self.roster.load(self.file.clone(), self.now);
    }

    /// Loads the file without one of its backends.
    pub fn unlist(&mut self, position: usize) {
        self.load(|service| {
            service.backends.remove(position);
        });
    }

    pub fn report(&mut self, address: &str, news: News) -> bool {
        let report = Report { key: self.key(address), news };
        self.roster.report(&report, self.now)
    }

    pub fn down(&mut self, address: &str) -> bool {
        self.report(address, News::Down("connection refused".into()))
    }

    pub fn agent(&mut self, address: &str, percent: Option<u8>, wish: Option<Wish>) -> bool {
        self.report(address, News::Agent(Agent { percent, wish }))
    }

    pub fn order(&mut self, backend: Option<&str>, change: Change) -> Result<String, String> {
        let backend = backend.map(|address| address.parse().unwrap());
        let order = Order { service: "web".into(), backend, change, save: false };
        self.roster.order(&order, self.now)
    }

    pub fn found(&mut self, addresses: &[&str]) -> bool {
        let backends = addresses.iter().map(|address| Backend::new(address.parse().unwrap(), 1)).collect();
        self.roster.found(Found { service: self.key(A).service, backends }, self.now)
    }

    /// How a backend stands, as the compiler would see it.
    pub fn standing(&self, address: &str) -> Standing {
        let config = self.roster.config();
        let service = &config.services[0];
        let address: SocketAddr = address.parse().unwrap();
        let backend = service.backends.iter().find(|backend| backend.address == address).unwrap();
        self.roster.standings(self.now).of(service, backend)
    }

    /// Addresses, weights and states in force.
    pub fn in_force(&self) -> Vec<(String, u32, &'static str)> {
        let config = self.roster.config();
        let shown = config.services[0].backends.iter();
        shown.map(|backend| (backend.address.to_string(), backend.weight, backend.state.name())).collect()
    }

    /// State and reason, as they are shown.
    pub fn shown(&self, address: &str) -> (String, String) {
        let shown = self.roster.shown(&self.key(address), self.now).unwrap();
        (shown.state, shown.why)
    }

    pub fn summary(&self) -> Summary {
        self.roster.summaries(self.now)[&self.key(A).service].clone()
    }

    pub fn state(&self, address: &str) -> String {
        self.shown(address).0
    }
}

const DRAINS: Standing = Standing { takes_new: false, ..Standing::UP };

fn out(fate: Fate) -> Standing {
    Standing { takes_new: false, down: true, fate, share: 100 }
}

#[test]
fn at_first_all_serve_and_the_file_is_in_force() {
    let mut scene = Scene::of(|service| service.health = Some(health()));
    assert_eq!(scene.roster.config(), scene.file);
    assert_eq!(scene.roster.standings(scene.now), Standings::default());
    assert!(!scene.report(A, News::Up), "that it can serve was taken for granted");
    assert_eq!(scene.shown(A), ("up".into(), String::new()));
    assert_eq!(scene.roster.shown(&scene.key("198.18.1.99:1"), scene.now), None);
}

#[test]
fn a_backend_whose_checks_fail_is_out_with_the_services_fate() {
    let mut scene = Scene::of(|service| {
        service.health = Some(health());
        service.on_down = Fate::Reschedule;
    });
    assert!(scene.down(A));
    assert!(!scene.down(A), "nothing new");
    assert_eq!(scene.standing(A), out(Fate::Reschedule));
    assert_eq!(scene.shown(A), ("down".into(), "connection refused".into()));
    assert_eq!(scene.standing(B), Standing::UP);
    assert!(scene.report(A, News::Up));
    assert_eq!(scene.standing(A), Standing::UP, "without slow start it is back at once");
}

#[test]
fn reports_about_others_mean_nothing() {
    let mut scene = Scene::of(|_| ());
    assert!(!scene.down(A), "the service has no checks");
    scene.load(|service| service.health = Some(health()));
    assert!(!scene.down("198.18.1.99:80"));
    assert!(scene.down(A));
    scene.load(|service| service.health = None);
    assert_eq!(scene.standing(A), Standing::UP, "who is not checked is up");
    scene.load(|service| service.health = Some(health()));
    assert_eq!(scene.standing(A), Standing::UP, "and the old verdict is forgotten");
}

#[test]
fn an_agents_percent_is_the_share_by_fives() {
    let mut scene = Scene::of(|service| service.health = Some(health()));
    for (percent, share) in
        [(0, 0), (1, 5), (7, 5), (8, 10), (50, 50), (52, 50), (97, 95), (98, 100), (255, 100)]
    {
        scene.agent(A, Some(percent), None);
        assert_eq!(scene.standing(A).share, share, "{percent} %");
    }
    assert!(scene.agent(A, Some(40), None));
    assert!(!scene.agent(A, Some(41), None), "too little to follow from");
    assert_eq!(scene.shown(A), ("up".into(), "its agent says 41%".into()));
}

#[test]
fn of_checks_and_agents_the_worst_counts() {
    let mut scene = Scene::of(|service| service.health = Some(health()));
    scene.agent(A, None, Some(Wish::Drain));
    assert_eq!((scene.standing(A), scene.state(A)), (DRAINS, "drain".into()));
    scene.agent(A, Some(30), None);
    assert_eq!(scene.standing(A), Standing { share: 30, ..DRAINS }, "it did not take back that it drains");
    scene.down(A);
    assert_eq!((scene.standing(A), scene.state(A)), (out(Fate::Keep), "down".into()));
    scene.agent(A, None, Some(Wish::Up));
    assert_eq!(scene.state(A), "down", "an agent does not make up for a failed check");
    scene.report(A, News::Up);
    assert_eq!(scene.standing(A), Standing { share: 30, ..Standing::UP });
    scene.agent(A, None, Some(Wish::Maint));
    assert_eq!(scene.shown(A), ("disabled".into(), "its agent says maint".into()));
    scene.agent(A, None, Some(Wish::Down));
    assert_eq!(scene.shown(A), ("down".into(), "its agent says down".into()));
    scene.load(|service| service.health = Some(Health { agent_port: None, ..health() }));
    assert_eq!(scene.standing(A), Standing::UP, "no agent is asked any longer");
    assert!(!scene.agent(A, Some(10), None));
}

#[test]
fn a_drained_backend_keeps_its_connections_until_the_timeout() {
    let mut scene = Scene::of(|service| service.drain_timeout_s = 10);
    assert_eq!(
        scene.order(Some(A), Change::Drain).unwrap(),
        format!("service \"web\": backend {A}: enabled → drain")
    );
    assert_eq!((scene.standing(A), scene.state(A)), (DRAINS, "drain".into()));
    assert!(!scene.seconds(9));
    assert_eq!(scene.roster.shown(&scene.key(A), scene.now).unwrap().drain_left_s, Some(1));
    assert!(scene.seconds(1));
    assert_eq!(
        (scene.standing(A), scene.state(A)),
        (Standing { fate: Fate::Reset, ..DRAINS }, "drained".into())
    );
    assert!(!scene.seconds(100), "that was all");
    scene.order(Some(A), Change::Enable).unwrap();
    assert_eq!((scene.standing(A), scene.state(A)), (Standing::UP, "up".into()));
    scene.order(Some(A), Change::Drain).unwrap();
    assert_eq!(scene.standing(A), DRAINS, "a new drain has all its time");
}

#[test]
fn without_a_timeout_a_drain_lasts() {
    let mut scene = Scene::of(|service| service.backends[0].state = AdminState::Drain);
    assert!(!scene.seconds(1_000_000));
    assert_eq!((scene.standing(A), scene.state(A)), (DRAINS, "drain".into()));
    assert_eq!(scene.shown(A).1, "the configuration says so");
}

#[test]
fn a_whole_service_drains_and_is_taken_out() {
    let mut scene = Scene::of(|service| {
        service.drain_timeout_s = 10;
        service.on_down = Fate::Reset;
    });
    assert_eq!(scene.order(None, Change::Drain).unwrap(), "service \"web\": enabled → drain");
    assert_eq!((scene.standing(B), scene.shown(B)), (DRAINS, ("drain".into(), "its whole service".into())));
    assert_eq!(scene.summary().drain_left_s, Some(10));
    assert!(scene.seconds(10));
    assert_eq!(scene.standing(B).fate, Fate::Reset);
    assert!(!scene.seconds(10));
    let drained = Summary { state: "drain".into(), ordered: true, drain_left_s: Some(0), misfits: vec![] };
    assert_eq!(scene.summary(), drained);
    assert_eq!(scene.order(None, Change::Disable).unwrap(), "service \"web\": drain → disabled");
    assert_eq!(scene.standing(B), out(Fate::Reset));
    assert_eq!(scene.roster.targets().count(), 0);
    assert_eq!(scene.order(None, Change::Enable).unwrap(), "service \"web\": disabled → enabled");
    assert_eq!(scene.order(None, Change::Enable).unwrap(), "service \"web\": enabled already");
    assert_eq!(scene.roster.standings(scene.now), Standings::default());
}

#[test]
fn an_order_that_cannot_be_says_what_there_is() {
    let mut scene = Scene::of(|_| ());
    let order = Order { service: "wep".into(), backend: None, change: Change::Drain, save: false };
    let said = scene.roster.order(&order, scene.now).unwrap_err();
    assert_eq!(said, "there is no service \"wep\": did you mean \"web\"? there are \"web\"");
    let said = scene.order(Some("10.0.0.1:80"), Change::Drain).unwrap_err();
    assert_eq!(said, format!("service \"web\" has no backend 10.0.0.1:80; it has {A}, {B}, {C}"));
    let said = scene.order(None, Change::Weight(3)).unwrap_err();
    assert_eq!(said, "service \"web\" has no weight of its own: name one of its backends");
    assert!(scene.order(Some(A), Change::Weight(65_536)).unwrap_err().contains("0 to 65535"));
    scene.unlist(0);
    assert!(scene.order(Some(A), Change::Enable).unwrap_err().contains("it is leaving"));
}

#[test]
fn a_weight_is_in_force_at_once() {
    let mut scene = Scene::of(|_| ());
    let said = scene.order(Some(B), Change::Weight(5)).unwrap();
    assert_eq!(said, format!("service \"web\": backend {B}: weight 1 → 5"));
    assert_eq!(scene.in_force()[1], (B.into(), 5, "enabled"));
    assert_eq!(scene.roster.standings(scene.now), Standings::default());
    assert_eq!(scene.roster.file(), &scene.file, "the file is as it was");
}

#[test]
fn a_backend_that_comes_back_grows_by_tenths() {
    let mut scene = Scene::of(|service| {
        service.health = Some(health());
        service.slow_start_s = 9;
    });
    scene.down(A);
    scene.seconds(60);
    assert!(scene.report(A, News::Up));
    let mut shares = vec![scene.standing(A).share];
    assert_eq!(scene.state(A), "starting");
    while scene.seconds(1) {
        shares.push(scene.standing(A).share);
    }
    assert_eq!(shares, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    assert_eq!((scene.standing(A), scene.state(A)), (Standing::UP, "up".into()));
    scene.order(Some(B), Change::Disable).unwrap();
    scene.order(Some(B), Change::Enable).unwrap();
    scene.agent(B, Some(50), None);
    assert_eq!(scene.standing(B).share, 5, "half of a tenth");
    scene.order(Some(C), Change::Drain).unwrap();
    scene.order(Some(C), Change::Enable).unwrap();
    assert_eq!(scene.standing(C).share, 100, "who drained is warm");
}

#[test]
fn a_growing_backend_that_fails_again_begins_anew() {
    let mut scene = Scene::of(|service| {
        service.health = Some(health());
        service.slow_start_s = 90;
    });
    scene.down(A);
    scene.report(A, News::Up);
    scene.seconds(50);
    assert_eq!(scene.standing(A).share, 60);
    scene.down(A);
    scene.report(A, News::Up);
    assert_eq!(scene.standing(A).share, 10);
    scene.load(|service| service.slow_start_s = 0);
    assert_eq!(scene.standing(A), Standing::UP, "nothing starts slowly any longer");
}

#[test]
fn who_is_taken_out_or_leaves_is_not_checked() {
    let mut scene = Scene::of(|service| service.health = Some(health()));
    scene.order(Some(A), Change::Disable).unwrap();
    scene.order(Some(B), Change::Drain).unwrap();
    scene.unlist(2);
    let targets: Vec<String> =
        scene.roster.targets().map(|(_, backend)| backend.address.to_string()).collect();
    assert_eq!(targets, [B]);
    scene.agent(B, None, Some(Wish::Maint));
    assert_eq!(scene.roster.targets().count(), 1, "who else would hear that the maintenance is over");
}
