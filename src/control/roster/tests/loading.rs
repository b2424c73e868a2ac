//! The file is read again.

use super::*;

#[test]
fn a_backend_that_is_no_longer_listed_leaves_when_it_has_no_connections() {
    let mut scene = Scene::of(|_| ());
    scene.unlist(0);
    assert_eq!(
        scene.in_force(),
        [(B.into(), 1, "enabled"), (C.into(), 1, "enabled"), (A.into(), 0, "drain")]
    );
    assert_eq!(scene.standing(A), DRAINS);
    assert_eq!(scene.shown(A), ("leaving".into(), "no longer listed".into()));
    assert_eq!(scene.roster.backends(&scene.key(A).service).len(), 3);
    assert!(!scene.roster.is_listed(&scene.key(A)));
    assert!(!scene.seconds(3600), "it still has one");
    scene.open = 0;
    assert!(scene.seconds(1));
    assert_eq!(scene.in_force().len(), 2);
    assert!(!scene.seconds(3600));
}

#[test]
fn a_handshake_under_way_is_waited_for() {
    let mut scene = Scene::of(|_| ());
    scene.open = 0;
    scene.unlist(0);
    assert!(!scene.pass(Duration::from_millis(999)));
    scene.open = 1;
    assert!(!scene.pass(Duration::from_millis(500)));
    scene.open = 0;
    assert!(scene.pass(Duration::from_millis(100)));
    assert_eq!(scene.in_force().len(), 2);
}

#[test]
fn after_the_drain_timeout_one_that_leaves_is_reset_and_gone() {
    let mut scene = Scene::of(|service| service.drain_timeout_s = 10);
    scene.unlist(0);
    assert!(scene.seconds(10));
    assert_eq!(scene.standing(A), Standing { fate: Fate::Reset, ..DRAINS });
    assert!(!scene.seconds(4));
    assert!(scene.seconds(1));
    assert_eq!(scene.in_force().len(), 2);
}

#[test]
fn one_that_comes_back_while_it_leaves_is_as_it_was() {
    let mut scene = Scene::of(|service| {
        service.drain_timeout_s = 10;
        service.slow_start_s = 10;
    });
    let was = scene.file.clone();
    scene.unlist(0);
    scene.seconds(9);
    scene.file = was;
    scene.load(|_| ());
    assert_eq!(scene.standing(A), Standing::UP, "it is warm");
    scene.open = 0;
    scene.seconds(60);
    assert_eq!(scene.roster.config(), scene.file);
}

#[test]
fn one_that_is_added_starts_slowly_and_a_new_service_does_not() {
    let mut scene = Scene::of(|service| {
        service.slow_start_s = 10;
        service.backends.truncate(2);
    });
    let added = testing::service("other", "198.18.0.101:80", &[1]);
    scene.file.services.push(Service { slow_start_s: 10, ..added });
    scene.load(|service| service.backends.push(Backend::new(C.parse().unwrap(), 1)));
    assert_eq!((scene.standing(A).share, scene.standing(C).share), (100, 10));
    assert_eq!(scene.roster.standings(scene.now).0.len(), 1, "nobody of the new service");
}

#[test]
fn a_service_that_is_no_longer_there_is_gone_at_once() {
    let mut scene = Scene::of(|service| service.health = Some(health()));
    scene.down(A);
    scene.load(|service| service.vip = "198.18.0.101:80".parse().unwrap());
    assert_eq!(scene.roster.config(), scene.file);
    assert_eq!(scene.roster.standings(scene.now), Standings::default());
    let key = service_key(&testing::service("web", "198.18.0.100:80", &[]));
    assert_eq!(scene.roster.summaries(scene.now).get(&key), None);
}

#[test]
fn orders_stay_while_the_file_says_nothing_new_about_them() {
    let mut scene = Scene::of(|_| ());
    scene.order(Some(A), Change::Drain).unwrap();
    scene.order(Some(A), Change::Weight(9)).unwrap();
    scene.order(None, Change::Drain).unwrap();
    scene.load(|service| service.backends[1].weight = 4);
    assert_eq!(scene.in_force()[0], (A.into(), 9, "drain"));
    scene.load(|service| service.backends[0].weight = 2);
    assert_eq!(scene.in_force()[0], (A.into(), 2, "drain"), "about the weight it did");
    scene.load(|service| service.backends[0].state = AdminState::Disabled);
    assert_eq!(scene.in_force()[0], (A.into(), 2, "disabled"));
    assert_eq!(scene.roster.config().services[0].state, AdminState::Drain);
    scene.load(|service| service.state = AdminState::Disabled);
    assert_eq!(scene.roster.config().services[0].state, AdminState::Disabled);
    scene.load(|service| service.state = AdminState::Enabled);
    assert_eq!(scene.roster.config(), scene.file);
}

/// What becomes of the orders that there are if the file is edited so: each sentence, without the name of the service.
fn orders_after(scene: &mut Scene, edit: impl FnOnce(&mut Service)) -> (Vec<String>, Vec<String>) {
    let former = scene.roster.clone();
    scene.load(edit);
    let Orders { overruled, kept } = scene.roster.orders_since(&former);
    let short = |said: String| said.trim_start_matches("service \"web\": ").to_owned();
    (overruled.into_iter().map(short).collect(), kept.into_iter().map(short).collect())
}

#[test]
fn of_every_order_is_said_whether_it_stays() {
    let mut scene = Scene::of(|_| ());
    assert_eq!(orders_after(&mut scene, |service| service.slow_start_s = 1), (vec![], vec![]));
    scene.order(None, Change::Drain).unwrap();
    scene.order(Some(A), Change::Disable).unwrap();
    scene.order(Some(A), Change::Weight(7)).unwrap();
    scene.order(Some(B), Change::Weight(7)).unwrap();
    let (overruled, kept) = orders_after(&mut scene, |service| {
        service.backends[0].weight = 5;
        service.backends[1].weight = 7;
    });
    assert_eq!(
        overruled,
        [
            format!("backend {A}: the order \"weight 7\" is overruled: the file says 5"),
            format!("backend {B}: the order \"weight 7\" is overruled: the file says 7"),
        ]
    );
    let service = "the order \"drain\" stays: the file says enabled".to_owned();
    let backend = format!("backend {A}: the order \"disabled\" stays: the file says enabled");
    assert_eq!(kept, [service, backend.clone()]);
    let (overruled, kept) = orders_after(&mut scene, |service| service.state = AdminState::Disabled);
    assert_eq!(overruled, ["the order \"drain\" is overruled: the file says disabled"]);
    assert_eq!(kept, [backend]);
    let (overruled, kept) =
        orders_after(&mut scene, |service| service.backends = service.backends.split_off(1));
    let ends = format!("backend {A}: the order \"disabled\" ends: the file no longer lists it");
    assert_eq!((overruled, kept), (vec![ends], vec![]));
}

#[test]
fn orders_end_with_their_service() {
    let mut scene = Scene::of(|_| ());
    scene.order(None, Change::Drain).unwrap();
    scene.order(Some(C), Change::Weight(2)).unwrap();
    let vip = "198.18.0.101:80".parse().unwrap();
    let (overruled, kept) = orders_after(&mut scene, |service| service.vip = vip);
    assert_eq!(
        overruled,
        [
            "the order \"drain\" ends: the file no longer has the service".to_owned(),
            format!("backend {C}: the order \"weight 2\" ends: the file no longer has the service"),
        ]
    );
    assert!(kept.is_empty(), "{kept:?}");
}

#[test]
fn orders_about_discovered_backends_stay_as_long_as_the_service_discovers() {
    let mut scene = Scene::of(|service| service.discover = Some(discover()));
    let found = "198.18.1.99:80";
    scene.found(&[found]);
    scene.order(Some(found), Change::Weight(2)).unwrap();
    let (overruled, kept) = orders_after(&mut scene, |service| service.slow_start_s = 1);
    let stays = format!("backend {found}: the order \"weight 2\" stays: it is discovered, not listed");
    assert_eq!((overruled, kept), (vec![], vec![stays]));
    let (overruled, kept) = orders_after(&mut scene, |service| service.discover = None);
    let ends = format!("backend {found}: the order \"weight 2\" ends: the service no longer discovers");
    assert_eq!((overruled, kept), (vec![ends], vec![]));
}

#[test]
fn what_a_reload_changes_is_told_from_what_is_in_force() {
    let mut scene = Scene::of(|_| ());
    scene.order(Some(A), Change::Weight(7)).unwrap();
    scene.order(None, Change::Drain).unwrap();
    let former = scene.roster.listed();
    assert_eq!((former.services[0].backends[0].weight, former.services[0].state), (7, AdminState::Drain));
    scene.load(|service| service.backends[0].weight = 5);
    let changes = crate::config::diff::difference(&former, &scene.roster.listed());
    assert_eq!(changes, [format!("service \"web\": backend {A}: weight 7 → 5")]);
    scene.unlist(1);
    assert_eq!(scene.roster.listed().services[0].backends.len(), 2, "what leaves is not listed");
}

#[test]
fn what_was_saved_reads_back_to_the_same() {
    let mut scene = Scene::of(|_| ());
    scene.order(Some(A), Change::Drain).unwrap();
    scene.order(Some(B), Change::Weight(7)).unwrap();
    let (config, standings) = (scene.roster.config(), scene.roster.standings(scene.now));
    scene.file = config.clone();
    scene.load(|_| ());
    assert_eq!((scene.roster.config(), scene.roster.standings(scene.now)), (config, standings));
    assert_eq!(scene.shown(A), ("drain".into(), "the configuration says so".into()));
}

#[test]
fn an_order_does_not_survive_its_backend() {
    let mut scene = Scene::of(|_| ());
    let was = scene.file.clone();
    scene.order(Some(A), Change::Disable).unwrap();
    scene.order(Some(A), Change::Weight(9)).unwrap();
    scene.unlist(0);
    scene.file = was;
    scene.load(|_| ());
    assert_eq!(scene.in_force()[0], (A.into(), 1, "enabled"));
}

#[test]
fn verdicts_survive_a_reload_that_leaves_the_checks() {
    let mut scene = Scene::of(|service| service.health = Some(health()));
    scene.down(A);
    scene.load(|service| service.backends[1].weight = 4);
    assert_eq!(scene.state(A), "down");
    scene.load(|service| service.health = Some(Health { check: Check::Icmp, ..health() }));
    assert_eq!(scene.state(A), "down", "until the new check says otherwise");
}

#[test]
fn what_an_agent_said_counts_as_long_as_that_agent_is_asked() {
    let mut scene = Scene::of(|service| service.health = Some(health()));
    scene.agent(A, Some(30), Some(Wish::Drain));
    let said = Standing { share: 30, ..DRAINS };
    scene.load(|service| service.health = Some(Health { interval_ms: 900, ..health() }));
    assert_eq!(scene.standing(A), said, "asked more often, it is the same agent");
    let alone = Health { check: Check::Agent, port: Some(9000), agent_port: None, ..health() };
    scene.load(|service| service.health = Some(alone.clone()));
    assert_eq!(scene.standing(A), said, "asked alone, it is the same agent");
    scene.load(|service| service.health = Some(Health { port: None, ..alone }));
    assert_eq!(scene.standing(A), Standing::UP, "another port, another agent");
    scene.agent(A, None, Some(Wish::Maint));
    scene.load(|service| service.health = Some(Health { agent_port: Some(9001), ..health() }));
    assert_eq!(scene.standing(A), Standing::UP);
}

#[test]
fn a_shorter_drain_timeout_counts_from_when_the_drain_began() {
    let mut scene = Scene::of(|_| ());
    scene.order(Some(A), Change::Drain).unwrap();
    scene.seconds(100);
    scene.load(|service| service.drain_timeout_s = 50);
    assert_eq!(scene.state(A), "drained");
}
