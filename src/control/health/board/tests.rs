use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::config::valid::{self, Via};
use crate::control::health::check::{Failed, Passed};
use crate::control::health::tests::{health, key};
use crate::control::health::{Agent, Wish};
use crate::tables::loads::Failure;

/// A board with a clock, on which checks take no time.
struct Bench {
    board: Board,
    reports: UnboundedReceiver<Report>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let (sender, reports) = unbounded_channel();
        Self { board: Board::new(Arc::new(Loads::new(1, 256)), sender, now), reports, now }
    }

    fn set(&mut self, targets: &[(BackendKey, &Arc<valid::Health>)]) {
        let target = |(row, (key, check)): (usize, &(BackendKey, &Arc<valid::Health>))| Target {
            key: *key,
            row: BackendId(row as u32),
            check: Arc::clone(check),
            through: None,
        };
        self.board.set(targets.iter().enumerate().map(target).collect(), self.now);
    }

    /// Passes the time until the next check and begins it.
    fn begin(&mut self) -> Start {
        self.now = self.now.max(self.board.next_due().expect("nothing is due"));
        let start = self.board.take_due(self.now).expect("nothing is due now");
        let abort = tokio::spawn(std::future::pending::<()>()).abort_handle();
        self.board.began(start.id, abort, self.now);
        start
    }

    fn check(&mut self, answer: Answer) -> Question {
        let start = self.begin();
        self.board.ended(start.id, answer, self.now);
        start.question
    }

    fn news(&mut self) -> Vec<(BackendKey, News)> {
        std::iter::from_fn(|| self.reports.try_recv().ok()).map(|report| (report.key, report.news)).collect()
    }
}

fn passed() -> Answer {
    Ok(Passed { took: Duration::from_micros(700), status: None, agent: None })
}

fn refused() -> Answer {
    Err(Failed::Backend("connection refused".to_owned()))
}

fn says(percent: Option<u8>, wish: Option<Wish>) -> Answer {
    let agent = Some((Agent { percent, wish }, "words".to_owned()));
    Ok(Passed { took: Duration::from_micros(300), status: None, agent })
}

fn down() -> News {
    News::Down("connection refused".to_owned())
}

#[tokio::test]
async fn a_backend_of_many_services_is_asked_once_and_all_hear_of_it() {
    let mut bench = Bench::new();
    let check = Arc::new(health(Check::Tcp));
    // Equal, but not the same.
    let other = Arc::new(valid::Health { passive_failures: 17, ..health(Check::Tcp) });
    bench.set(&[(key(1, 1), &check), (key(2, 1), &other), (key(3, 1), &check), (key(3, 2), &check)]);
    let pace = bench.board.pace(bench.now);
    assert_eq!((pace.targets, pace.probes), (4, 2));
    let (a, b) = (bench.check(passed()), bench.check(passed()));
    assert_ne!(a.address, b.address);
    assert_eq!(bench.news().len(), 4);
    for row in 0..4 {
        assert_eq!(bench.board.loads.response_us(BackendId(row)), 700);
    }
    assert_eq!(bench.board.checked(bench.now)[&key(2, 1)].last, "answered in 0.7 ms");
}

#[tokio::test]
async fn backends_that_are_asked_otherwise_do_not_share() {
    let mut bench = Bench::new();
    let tcp = health(Check::Tcp);
    let through = valid::Health { via: Via::Forwarding, ..tcp.clone() };
    let ways = [
        tcp.clone(),
        valid::Health { port: Some(9), ..tcp.clone() },
        valid::Health { interval_ms: 99, ..tcp.clone() },
        valid::Health { fall: 9, ..tcp.clone() },
        health(Check::Icmp),
        through.clone(),
        through,
    ];
    let ways = ways.map(Arc::new);
    let targets: Vec<_> = ways.iter().zip(1..).map(|(way, service)| (key(service, 1), way)).collect();
    bench.set(&targets);
    assert_eq!(
        bench.board.pace(bench.now).probes,
        7,
        "through the forwarding path every VIP is another question"
    );
}

#[tokio::test]
async fn what_is_checked_as_before_keeps_what_is_known_and_what_joins_hears_it() {
    let mut bench = Bench::new();
    let check = Arc::new(health(Check::Tcp));
    bench.set(&[(key(1, 1), &check)]);
    bench.check(refused());
    assert_eq!(bench.news(), [(key(1, 1), down())]);
    let reloaded = Arc::new(health(Check::Tcp));
    bench.set(&[(key(2, 1), &reloaded), (key(1, 1), &reloaded)]);
    assert_eq!(bench.news(), [(key(2, 1), down())]);
    bench.check(passed());
    bench.check(passed());
    assert_eq!(bench.news().len(), 2);
    assert_eq!(
        (bench.board.loads.response_us(BackendId(0)), bench.board.loads.response_us(BackendId(1))),
        (700, 700)
    );
    // Another check is another question.
    let changed = Arc::new(health(Check::Icmp));
    bench.set(&[(key(1, 1), &changed)]);
    let checked = bench.board.checked(bench.now);
    assert_eq!((checked.len(), checked[&key(1, 1)].state.as_str()), (1, "unknown"));
    assert_eq!(bench.board.pace(bench.now).probes, 1);
}

#[tokio::test]
async fn who_is_no_longer_checked_is_no_longer_asked() {
    let mut bench = Bench::new();
    let check = Arc::new(health(Check::Tcp));
    bench.set(&[(key(1, 1), &check), (key(1, 2), &check)]);
    let start = bench.begin();
    let task = tokio::spawn(std::future::pending::<()>());
    bench.board.began(start.id, task.abort_handle(), bench.now);
    bench.set(&[]);
    assert!(task.await.unwrap_err().is_cancelled(), "what is under way ends");
    bench.board.ended(start.id, passed(), bench.now);
    assert_eq!((bench.news(), bench.board.next_due()), (vec![], None));
    assert_eq!(bench.board.pace(bench.now).probes, 0);
}

#[tokio::test]
async fn a_suspicion_has_the_backend_checked_at_once_but_not_again_and_again() {
    let mut bench = Bench::new();
    let check = Arc::new(health(Check::Tcp));
    bench.set(&[(key(1, 1), &check)]);
    bench.check(passed());
    bench.now += Duration::from_millis(600);
    assert!(bench.board.suspect(key(1, 1), Suspicion::Silent, bench.now));
    assert_eq!(bench.board.next_due(), Some(bench.now));
    bench.check(passed());
    assert!(!bench.board.checked(bench.now)[&key(1, 1)].suspect, "it answers");
    bench.board.suspect(key(1, 1), Suspicion::Told, bench.now + Duration::from_millis(1));
    assert_eq!(bench.board.next_due(), Some(bench.now + Duration::from_millis(500)));
    assert!(!bench.board.suspect(key(9, 9), Suspicion::Told, bench.now), "nobody knows that one");
    bench.check(refused());
    assert_eq!(bench.news(), [(key(1, 1), News::Up), (key(1, 1), down())], "one failure is enough");
}

#[tokio::test]
async fn clients_that_ask_in_vain_have_a_backend_checked_soon_and_do_not_take_it_down() {
    let mut bench = Bench::new();
    let check = Arc::new(health(Check::Tcp));
    bench.set(&[(key(1, 1), &check)]);
    bench.check(passed());
    bench.news();
    for _ in 0..2 {
        let before = bench.now;
        bench.board.suspect(key(1, 1), Suspicion::Silent, bench.now);
        bench.check(refused());
        assert_eq!(bench.now - before, Duration::from_millis(500));
    }
    assert_eq!(bench.news(), [], "one failure is as good as ever");
    bench.board.suspect(key(1, 1), Suspicion::Silent, bench.now);
    bench.check(refused());
    assert_eq!(bench.news(), [(key(1, 1), down())]);
}

#[tokio::test]
async fn a_check_that_passes_ends_the_row_of_failures_whatever_it_asks() {
    for (check, answer) in [(Check::Tcp, passed()), (Check::Agent, says(Some(75), None))] {
        let mut bench = Bench::new();
        let check = Arc::new(health(check));
        bench.set(&[(key(1, 1), &check)]);
        let loads = Arc::clone(&bench.board.loads);
        loads.failed(BackendId(0), Failure::Refused);
        bench.check(refused());
        assert_eq!(loads.failures(BackendId(0)).in_a_row, 1);
        bench.check(answer);
        let failures = loads.failures(BackendId(0));
        assert_eq!((failures.in_a_row, failures.told_in_a_row), (0, 0), "{:?}", check.check);
    }
}

#[tokio::test]
async fn an_agent_besides_changes_nothing_but_what_it_says() {
    let mut bench = Bench::new();
    let check = Arc::new(valid::Health { agent_port: Some(9999), ..health(Check::Tcp) });
    bench.set(&[(key(1, 1), &check)]);
    let answer = |bench: &mut Bench, agent: Answer| {
        for _ in 0..2 {
            let start = bench.begin();
            let is_agent = start.question.how.check == Check::Agent;
            assert_eq!(is_agent, start.question.address.port() == 9999);
            let answer = if is_agent { agent.clone() } else { passed() };
            bench.board.ended(start.id, answer, bench.now);
        }
        bench.news().into_iter().map(|(_, news)| news).filter(|news| *news != News::Up).collect::<Vec<_>>()
    };
    let agent = |percent, wish| News::Agent(Agent { percent, wish });
    // Both are asked once per interval, in this order or the other.
    let first = answer(&mut bench, says(Some(75), None));
    assert_eq!(first, [agent(Some(75), None)]);
    for id in [0, 1] {
        bench.board.ended(id, refused(), bench.now);
    }
    assert_eq!(bench.news(), [], "nothing was under way");
    assert_eq!(bench.board.loads.response_us(BackendId(0)), 700, "how fast the agent is means nothing");
    let checked = bench.board.checked(bench.now);
    assert_eq!(
        (checked[&key(1, 1)].state.as_str(), checked[&key(1, 1)].agent.as_deref()),
        ("up", Some("words"))
    );
}

#[tokio::test]
async fn what_an_agent_says_nothing_about_stays() {
    let mut bench = Bench::new();
    let check = Arc::new(health(Check::Agent));
    bench.set(&[(key(1, 1), &check)]);
    let mut heard = Vec::new();
    for answer in [says(Some(75), None), says(None, Some(Wish::Drain)), says(Some(75), None), refused()] {
        bench.check(answer);
        heard.extend(bench.news().into_iter().map(|(_, news)| news));
    }
    let agent = |wish| News::Agent(Agent { percent: Some(75), wish });
    assert_eq!(heard, [News::Up, agent(None), agent(Some(Wish::Drain))]);
    assert_eq!(bench.board.checked(bench.now)[&key(1, 1)].state, "falling", "as the only check, it counts");
}

#[tokio::test]
async fn what_this_host_cannot_ask_says_nothing_of_the_backend() {
    let mut bench = Bench::new();
    let check = Arc::new(health(Check::Icmp));
    bench.set(&[(key(1, 1), &check)]);
    for _ in 0..5 {
        bench.check(Err(Failed::Ours("no raw socket".to_owned())));
    }
    let checked = bench.board.checked(bench.now).remove(&key(1, 1)).unwrap();
    assert_eq!((checked.state.as_str(), checked.last.as_str()), ("unknown", "cannot check: no raw socket"));
    assert_eq!((checked.checks, checked.failed, bench.news()), (5, 5, vec![]));
}

#[tokio::test]
async fn a_hundred_thousand_backends_are_each_checked_once_per_interval() {
    let mut bench = Bench::new();
    let check = Arc::new(health(Check::Tcp));
    let keys: Vec<_> = (0..1000u16)
        .flat_map(|service| (0..100).map(move |backend| key(service, service / 10 * 100 + backend)))
        .collect();
    // Every backend is in ten services.
    let targets: Vec<_> = keys.iter().map(|key| (*key, &check)).collect();
    let began = Instant::now();
    bench.set(&targets);
    let first = began.elapsed();
    bench.set(&targets);
    println!("100,000 targets: set {first:?}, set again {:?}", began.elapsed() - first);
    assert_eq!(bench.board.pace(bench.now).targets, 100_000);
    let probes = bench.board.pace(bench.now).probes;
    assert_eq!(probes, 10_000);
    let began = bench.now;
    for _ in 0..3 * probes {
        bench.check(passed());
    }
    let took = bench.now - began;
    assert!((10_000..15_500).contains(&took.as_millis()), "{took:?} for three rounds of 5 s");
    let checked = bench.board.checked(bench.now);
    assert!(checked.values().all(|checked| (2..=4).contains(&checked.checks)));
}
