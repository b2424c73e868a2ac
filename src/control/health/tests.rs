use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;

use super::*;
use crate::config::valid::{Check, Via};
pub use crate::control::testing::health;

/// A backend of a service, both numbered.
pub fn key(service: u16, backend: u16) -> BackendKey {
    let vip = SocketAddr::from((Ipv4Addr::new(198, 18, 0, 100), service));
    let [high, low] = backend.to_be_bytes();
    BackendKey { service: (vip, Protocol::Tcp), address: (Ipv4Addr::new(10, 0, high, low), 80).into() }
}

fn target(address: SocketAddr, row: u32, check: &Arc<valid::Health>) -> Target {
    let key = BackendKey { address, ..key(80, 0) };
    Target { key, row: BackendId(row), check: Arc::clone(check), through: None }
}

fn start() -> (Health, UnboundedReceiver<Report>, Arc<Loads>) {
    let loads = Arc::new(Loads::new(1, 64));
    let (health, reports) = Health::start(Arc::clone(&loads));
    (health, reports, loads)
}

async fn next(reports: &mut UnboundedReceiver<Report>) -> News {
    tokio::time::timeout(Duration::from_secs(20), reports.recv()).await.expect("no news").unwrap().news
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_stops_is_found_and_one_that_returns_too() {
    let (checks, mut reports, loads) = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rhythm = valid::Health { interval_ms: 200, fast_interval_ms: 50, ..health(Check::Tcp) };
    let target = target(address, 5, &Arc::new(rhythm));
    checks.set(vec![target.clone()]);
    assert_eq!(next(&mut reports).await, News::Up);
    assert!(loads.response_us(BackendId(5)) > 0);
    drop(listener);
    assert_eq!(next(&mut reports).await, News::Down("connection refused".to_owned()));
    let checked = checks.checked().remove(&target.key).unwrap();
    assert_eq!((checked.state.as_str(), checked.last.as_str()), ("down", "connection refused"));
    let _listener = TcpListener::bind(address).await.unwrap();
    assert_eq!(next(&mut reports).await, News::Up);
    let pace = checks.pace();
    assert!(pace.checks >= 6 && (pace.targets, pace.probes) == (1, 1), "{pace:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspicion_finds_a_dead_backend_long_before_its_next_check() {
    let (checks, mut reports, _) = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rhythm = valid::Health { interval_ms: 3_600_000, fast_interval_ms: 50, ..health(Check::Tcp) };
    let target = target(listener.local_addr().unwrap(), 0, &Arc::new(rhythm));
    checks.set(vec![target.clone()]);
    assert_eq!(next(&mut reports).await, News::Up);
    drop(listener);
    checks.suspect(target.key, Suspicion::Told);
    assert_eq!(next(&mut reports).await, News::Down("connection refused".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_way_a_check_through_the_forwarding_path_fails_in_the_end() {
    let (checks, mut reports, _) = start();
    let rhythm =
        valid::Health { interval_ms: 50, fast_interval_ms: 10, via: Via::Forwarding, ..health(Check::Tcp) };
    let target = target("198.18.1.1:80".parse().unwrap(), 0, &Arc::new(rhythm));
    checks.set(vec![target.clone()]);
    assert_eq!(next(&mut reports).await, News::Down("no way to the backend known yet".to_owned()));
    assert_eq!(checks.checked()[&target.key].checks, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_under_way_end_with_their_target_and_with_the_whole() {
    // Accepts and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (checks, _reports, _) = start();
    let slow = valid::Health { timeout_ms: 600_000, ..health(Check::Agent) };
    let target = target(listener.local_addr().unwrap(), 0, &Arc::new(slow));
    for end in [0, 1] {
        checks.set(vec![target.clone()]);
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(checks.pace().in_flight, 1);
        if end == 0 {
            checks.set(Vec::new());
            assert_eq!(checks.pace().in_flight, 0);
        } else {
            checks.bell.notify_one();
            checks.schedule.abort();
        }
        let ended = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 8]).await;
        assert!(ended.is_err() || ended.is_ok_and(|length| length == 0));
    }
}

/// 20,000 backends each second on one machine's loopback: nobody is forgotten, and nobody is asked much more often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_backends_are_all_checked_in_every_interval() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (checks, mut reports, _) = start();
    let rhythm = Arc::new(valid::Health { interval_ms: 4000, timeout_ms: 3000, ..health(Check::Tcp) });
    let address = |n: u32| SocketAddr::from((Ipv4Addr::from(0x7F01_0000 + n), port));
    checks.set((0..20_000).map(|n| target(address(n), n, &rhythm)).collect());
    let mut up = 0;
    while up < 20_000 {
        assert_eq!(next(&mut reports).await, News::Up);
        up += 1;
    }
    println!("first round: {:?}", checks.pace());
    let rounds = |checks: &Health| {
        let counts: Vec<_> = checks.checked().values().map(|checked| checked.checks).collect();
        (counts.iter().min().copied().unwrap(), counts.iter().max().copied().unwrap())
    };
    // As long as it takes on a busy machine; the spread is what counts.
    while rounds(&checks).0 < 4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (least, most) = rounds(&checks);
    println!("{least} to {most} checks each: {:?}", checks.pace());
    assert!(most <= least + 2, "between {least} and {most} checks");
    assert!(checks.checked().values().all(|checked| checked.state == "up" && checked.failed == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_targets_than_a_piece_are_all_checked_and_all_let_go() {
    let (checks, mut reports, _) = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = Arc::new(health(Check::Tcp));
    let address = listener.local_addr().unwrap();
    // One backend of very many services: asked once for all of them.
    let target = |service: u16| Target {
        key: BackendKey { address, ..key(service, 0) },
        ..target(address, 5, &check)
    };
    let many = PIECE as u16 * 2 + 7;
    checks.set((0..many).map(target).collect());
    for _ in 0..many {
        assert_eq!(next(&mut reports).await, News::Up);
    }
    assert_eq!((checks.checked().len(), checks.pace().probes), (usize::from(many), 1));
    checks.set(vec![target(3)]);
    assert_eq!(checks.checked().into_keys().collect::<Vec<_>>(), [target(3).key]);
    checks.set(vec![]);
    assert_eq!(checks.pace().targets, 0);
}
