//! Backends come and go by themselves.

use super::*;

const X: &str = "198.18.2.1:80";
const Y: &str = "198.18.2.2:80";

fn discovering() -> Scene {
    Scene::of(|service| {
        service.backends.truncate(1);
        service.discover = Some(discover());
        service.slow_start_s = 90;
    })
}

fn addresses(scene: &Scene) -> Vec<String> {
    scene.in_force().into_iter().map(|(address, ..)| address).collect()
}

#[test]
fn discovered_backends_come_after_those_of_the_file() {
    let mut scene = discovering();
    assert!(scene.found(&[X, Y, A]));
    assert!(!scene.found(&[X, Y, A]), "the same as before");
    assert_eq!(addresses(&scene), [A, X, Y], "what the file lists is listed once");
    assert_eq!(scene.roster.standings(scene.now), Standings::default(), "at the start nothing starts slowly");
    assert!(scene.roster.is_listed(&scene.key(A)) && !scene.roster.is_listed(&scene.key(X)));
    let discovered = |address| scene.roster.shown(&scene.key(address), scene.now).unwrap().discovered;
    assert_eq!([A, X].map(discovered), [false, true]);
}

#[test]
fn a_newcomer_starts_slowly_and_one_that_vanishes_drains() {
    let mut scene = discovering();
    scene.found(&[X]);
    scene.found(&[Y]);
    assert_eq!(addresses(&scene), [A, Y, X]);
    assert_eq!((scene.standing(Y).share, scene.standing(X)), (10, DRAINS));
    assert_eq!(scene.shown(X), ("leaving".into(), "no longer discovered".into()));
    assert!(scene.found(&[X, Y]), "it came back");
    assert_eq!(scene.standing(X), Standing::UP);
    scene.found(&[Y]);
    scene.open = 0;
    scene.seconds(1);
    assert_eq!(addresses(&scene), [A, Y]);
}

#[test]
fn what_an_operator_did_outlives_a_name_that_is_gone_for_a_while() {
    let mut scene = discovering();
    scene.open = 0;
    scene.found(&[X, Y]);
    scene.order(Some(X), Change::Drain).unwrap();
    scene.found(&[Y]);
    scene.seconds(5);
    assert_eq!(addresses(&scene), [A, Y]);
    assert!(scene.order(Some(X), Change::Drain).is_err());
    scene.found(&[X, Y]);
    assert_eq!(scene.in_force()[1], (X.into(), 1, "drain"));
    scene.load(|service| service.discover = None);
    scene.seconds(5);
    assert_eq!(addresses(&scene), [A]);
    assert!(!scene.found(&[X, Y]), "a late word of a source that is no longer asked");
    scene.load(|service| service.discover = Some(discover()));
    scene.found(&[X, Y]);
    assert_eq!(scene.in_force()[1], (X.into(), 1, "enabled"));
    assert_eq!(scene.standing(X).share, 10, "the service runs: these are newcomers");
}

#[test]
fn from_the_file_to_discovery_and_back_a_backend_stays() {
    let mut scene = discovering();
    scene.found(&[A, X]);
    scene.order(Some(A), Change::Drain).unwrap();
    scene.load(|service| service.backends.clear());
    assert_eq!(scene.in_force(), [(A.into(), 1, "drain"), (X.into(), 1, "enabled")]);
    scene.load(|service| service.backends.push(Backend::new(X.parse().unwrap(), 6)));
    assert_eq!(scene.in_force(), [(X.into(), 6, "enabled"), (A.into(), 1, "drain")]);
    assert_eq!(scene.standing(X), Standing::UP, "nobody arrived");
}

#[test]
fn what_does_not_fit_is_left_out_and_shown() {
    let mut scene = discovering();
    scene.found(&["198.18.0.100:80", "224.0.0.1:80", "[2001:db8::1]:80", "10.0.0.1:81"]);
    assert_eq!(addresses(&scene), [A, "10.0.0.1:81"]);
    let misfits = scene.summary().misfits;
    assert_eq!(misfits.len(), 3, "{misfits:?}");
    assert_eq!(misfits[0], "198.18.0.100:80: it is an address of the switch");
    scene.load(|service| service.forwarding = crate::tables::Forwarding::Gue);
    assert_eq!(addresses(&scene)[..2], [A, "[2001:db8::1]:80"], "a tunnel crosses families");
    assert_eq!(scene.state("10.0.0.1:81"), "leaving", "and leaves ports as they are");
}

#[test]
fn a_set_of_which_too_few_fit_is_not_believed() {
    let mut scene = discovering();
    let key = scene.key(A).service;
    scene.found(&[X, Y]);
    assert_eq!(scene.roster.remark(&key), None);
    assert!(!scene.found(&["127.0.0.1:80"]), "what some resolvers say of names they block");
    assert_eq!(addresses(&scene), [A, X, Y]);
    assert_eq!(
        scene.roster.remark(&key).unwrap(),
        "1 of 1 left out, 127.0.0.1:80 as no host can have this address: last good set of 2 kept"
    );
    scene.load(|service| service.slow_start_s += 1);
    assert_eq!(addresses(&scene), [A, X, Y], "nor after a reload");
    assert!(scene.found(&["127.0.0.1:80", X]));
    assert_eq!(scene.in_force()[2], (Y.into(), 0, "drain"));
    assert_eq!(
        scene.roster.remarks(),
        [(key, "1 of 2 left out, 127.0.0.1:80 as no host can have this address".to_owned())]
    );
}

#[test]
fn a_hundred_thousand_backends_at_rest_cost_a_turn_nothing() {
    let mut file = testing::config();
    file.services = (0..1000u16)
        .map(|number| {
            let vip = format!("198.18.{}.{}:80", 128 + number / 250, number % 250 + 1);
            testing::service(&format!("s{number}"), &vip, &[1; 100])
        })
        .collect();
    let mut now = Instant::now();
    let mut roster = Roster::new(file.clone(), now);
    roster.turn(&|_| 0, now);
    let began = Instant::now();
    for _ in 0..100_000 {
        now += Duration::from_millis(5);
        assert!(!roster.turn(&|_| 0, now));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(roster.config(), file);
    let began = Instant::now();
    file.services[500].backends.pop();
    roster.load(file, now);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(roster.config().services[500].backends.len(), 100);
}

#[test]
fn what_cannot_be_saved_is_refused_before_it_is_in_force() {
    let mut scene = discovering();
    scene.found(&[X]);
    let order = |address: &str| Order {
        service: "web".into(),
        backend: Some(address.parse().unwrap()),
        change: Change::Drain,
        save: true,
    };
    let error = scene.roster.order(&order(X), scene.now).unwrap_err();
    assert!(error.contains("the file does not list it"), "{error}");
    assert_eq!(scene.standing(X), Standing::UP);
    scene.roster.order(&order(A), scene.now).unwrap();
    assert_eq!(scene.standing(A), DRAINS);
}
