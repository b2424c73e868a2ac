//! Anything in any order: the roster agrees with a plain model, and nothing changes without its saying so.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The backends that there can be: the first three may be listed, the last three discovered.
const ADDRESSES: [&str; 5] = [A, B, C, "198.18.2.1:80", "198.18.2.2:80"];

#[derive(Debug, Clone)]
enum Event {
    /// For each of the first three: weight and state, if listed.
    Load(Vec<Option<(u32, AdminState)>>, u32),
    /// Which of the last three.
    Found(Vec<bool>),
    Report(usize, News),
    Order(Option<usize>, Change),
    Pass(u64),
    Open(u64),
}

fn state() -> impl Strategy<Value = AdminState> {
    prop_oneof![
        3 => Just(AdminState::Enabled),
        1 => Just(AdminState::Drain),
        1 => Just(AdminState::Disabled)
    ]
}

fn news() -> impl Strategy<Value = News> {
    let wish = prop_oneof![Just(Wish::Up), Just(Wish::Down), Just(Wish::Drain), Just(Wish::Maint)];
    prop_oneof![
        Just(News::Up),
        Just(News::Down("refused".into())),
        (any::<Option<u8>>(), prop::option::of(wish))
            .prop_map(|(percent, wish)| News::Agent(Agent { percent, wish })),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let change = prop_oneof![
        Just(Change::Enable),
        Just(Change::Drain),
        Just(Change::Disable),
        (0..4u32).prop_map(Change::Weight)
    ];
    prop_oneof![
        2 => (prop::collection::vec(prop::option::of((0..4u32, state())), 3), 0..20u32)
            .prop_map(|(listed, timeout)| Event::Load(listed, timeout)),
        2 => prop::collection::vec(any::<bool>(), 3).prop_map(Event::Found),
        4 => (0..5usize, news()).prop_map(|(which, news)| Event::Report(which, news)),
        4 => (prop::option::of(0..5usize), change).prop_map(|(which, change)| Event::Order(which, change)),
        6 => (0..12_000u64).prop_map(Event::Pass),
        1 => (0..2u64).prop_map(Event::Open),
    ]
}

/// What must be true of a backend, told without looking at the passing of time.
#[derive(Debug, Clone, Default)]
struct Model {
    listed: BTreeMap<usize, (u32, AdminState)>,
    discovered: Vec<usize>,
    state: AdminState,
    states: BTreeMap<usize, AdminState>,
    weights: BTreeMap<usize, u32>,
    down: BTreeMap<usize, bool>,
    wishes: BTreeMap<usize, Wish>,
}

impl Model {
    fn has(&self, which: usize) -> bool {
        self.listed.contains_key(&which) || self.discovered.contains(&which)
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Load(listed, _) => {
                let fresh: BTreeMap<_, _> =
                    listed.iter().enumerate().filter_map(|(which, said)| Some((which, (*said)?))).collect();
                for (which, (weight, state)) in &fresh {
                    let before = self.listed.get(which);
                    if before.map_or(AdminState::Enabled, |before| before.1) != *state {
                        self.states.remove(which);
                    }
                    if before.map(|before| before.0) != Some(*weight) {
                        self.weights.remove(which);
                    }
                }
                let gone: Vec<usize> =
                    self.listed.keys().copied().filter(|w| !fresh.contains_key(w)).collect();
                self.listed = fresh;
                for which in gone.into_iter().filter(|which| !self.discovered.contains(which)) {
                    self.states.remove(&which);
                    self.weights.remove(&which);
                }
            }
            Event::Found(which) => {
                self.discovered = (2..5).filter(|number| which[number - 2]).collect();
            }
            Event::Report(which, news) if self.has(*which) => match news {
                News::Up => drop(self.down.remove(which)),
                News::Down(_) => drop(self.down.insert(*which, true)),
                News::Agent(agent) => self.wishes.extend(agent.wish.map(|wish| (*which, wish))),
            },
            Event::Order(None, change) => match change {
                Change::Enable => self.state = AdminState::Enabled,
                Change::Drain => self.state = AdminState::Drain,
                Change::Disable => self.state = AdminState::Disabled,
                Change::Weight(_) => {}
            },
            Event::Order(Some(which), change) if self.has(*which) => match change {
                Change::Enable => self.order(*which, AdminState::Enabled),
                Change::Drain => self.order(*which, AdminState::Drain),
                Change::Disable => self.order(*which, AdminState::Disabled),
                Change::Weight(weight) => {
                    self.weights.insert(*which, *weight);
                    if self.listed.get(which).map_or(1, |listed| listed.0) == *weight {
                        self.weights.remove(which);
                    }
                }
            },
            _ => {}
        }
    }

    /// An order for what is so anyway is none.
    fn order(&mut self, which: usize, state: AdminState) {
        self.states.insert(which, state);
        if self.listed.get(&which).map_or(AdminState::Enabled, |listed| listed.1) == state {
            self.states.remove(&which);
        }
    }

    /// Weight in force, whether it takes new connections, whether it is down.
    fn expected(&self, which: usize) -> (u32, bool, bool) {
        let (weight, state) = self.listed.get(&which).copied().unwrap_or((1, AdminState::Enabled));
        let weight = self.weights.get(&which).copied().unwrap_or(weight);
        let state = self.states.get(&which).copied().unwrap_or(state).max(self.state);
        let wish = self.wishes.get(&which).copied().unwrap_or(Wish::Up);
        let down = state == AdminState::Disabled
            || self.down.contains_key(&which)
            || matches!(wish, Wish::Down | Wish::Maint);
        (weight, !down && state == AdminState::Enabled && wish == Wish::Up, down)
    }
}

fn number_of(address: SocketAddr) -> usize {
    ADDRESSES.iter().position(|known| known.parse() == Ok(address)).unwrap()
}

fn agrees(scene: &Scene, model: &mut Model) {
    let config = scene.roster.config();
    let service = &config.services[0];
    let standings = scene.roster.standings(scene.now);
    let mut present = Vec::new();
    for backend in &service.backends {
        let number = number_of(backend.address);
        let standing = standings.of(service, backend);
        present.push(number);
        if scene.roster.shown(&scene.key(ADDRESSES[number]), scene.now).unwrap().state == "leaving" {
            assert!(!model.has(number) && backend.weight == 0 && !standing.takes_new, "{number} leaves");
            continue;
        }
        assert!(model.has(number), "{number} is there");
        let stands = (backend.weight, standing.takes_new, standing.down);
        assert_eq!(stands, model.expected(number), "{number}: {model:?}");
        assert!(standing.fate != Fate::Reset || !standing.takes_new, "{number}");
    }
    for number in 0..ADDRESSES.len() {
        assert!(!model.has(number) || present.contains(&number), "{number} is missing");
        if !present.contains(&number) {
            // Gone: what checks said of it is forgotten.
            model.down.remove(&number);
            model.wishes.remove(&number);
        }
    }
    let listed: Vec<usize> =
        present.iter().copied().filter(|number| model.listed.contains_key(number)).collect();
    assert_eq!(present[..listed.len()], listed, "listed ones come first");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn anything_may_happen(events in prop::collection::vec(event(), 1..60), slow_start_s in 0..10u32) {
        let mut scene = Scene::of(|service| {
            service.health = Some(health());
            service.discover = Some(discover());
            service.slow_start_s = slow_start_s;
        });
        let mut model = Model {
            listed: (0..3).map(|which| (which, (1, AdminState::Enabled))).collect(),
            ..Model::default()
        };
        // What the caller of the roster compiled last.
        let mut compiled = (scene.roster.config(), scene.roster.standings(scene.now));
        for event in &events {
            let says_so = match event {
                Event::Load(listed, timeout) => {
                    let said = listed.iter().zip(ADDRESSES);
                    let backends: Vec<Backend> = said
                        .filter_map(|(said, address)| {
                            let (weight, state) = (*said)?;
                            Some(Backend { state, ..Backend::new(address.parse().unwrap(), weight) })
                        })
                        .collect();
                    scene.load(|service| {
                        service.backends = backends;
                        service.drain_timeout_s = *timeout;
                    });
                    true
                }
                Event::Found(which) => {
                    let found = (2..5).filter(|number| which[number - 2]).map(|number| ADDRESSES[number]);
                    scene.found(&found.collect::<Vec<_>>())
                }
                Event::Report(which, news) => scene.report(ADDRESSES[*which], news.clone()),
                Event::Order(which, change) => {
                    scene.order(which.map(|which| ADDRESSES[which]), *change).is_ok()
                }
                Event::Pass(milliseconds) => scene.pass(Duration::from_millis(*milliseconds)),
                Event::Open(number) => {
                    scene.open = *number;
                    false
                }
            };
            model.apply(event);
            agrees(&scene, &mut model);
            let now = (scene.roster.config(), scene.roster.standings(scene.now));
            if says_so {
                compiled = now;
            } else {
                prop_assert!(compiled == now, "{event:?} changed something silently");
            }
        }
    }
}
