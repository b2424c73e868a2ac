//! Two hundred hostile requests, at the control socket and at the page: each is refused, and whoever means well is
//! answered all the while.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use xswitch::control::client;
use xswitch::control::status::Status;
use xswitch::control::{api, serve};

use super::page::{Scene, TOKEN};

/// Longer than any limit of the switch, twice.
const LIMIT: Duration = Duration::from_secs(30);

/// Between two questions of somebody who means well.
const PAUSE: Duration = Duration::from_millis(5);

/// What is sent, whole, and the answer until its end.
pub fn exchange(address: SocketAddr, request: &[u8]) -> String {
    talk(&Door::Tcp(address), request)
}

/// Where to knock.
#[derive(Clone)]
enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

impl Door {
    fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                Box::new(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                Box::new(stream)
            }
        }
    }
}

/// Whoever is shown out finds the connection reset: what was said until then counts.
fn listen(stream: &mut dyn Stream) -> String {
    let (mut answer, mut part) = (vec![], [0; 4096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("not in {LIMIT:?}"),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn talk(door: &Door, request: &[u8]) -> String {
    let mut stream = door.connect();
    let _ = stream.write_all(request);
    listen(&mut *stream)
}

/// What a hostile client sends, and what it may be told; empty: nothing, the connection just ends.
struct Attack {
    name: &'static str,
    request: Vec<u8>,
    answers: &'static [&'static str],
}

fn post(host: &str, path: &str, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n{body}"
    )
    .into_bytes()
}

/// Numbers that look random, and are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[5]
    };
    (0..length).map(|_| next()).collect()
}

/// Those that both doors get.
fn attacks(host: &str, number: u64) -> Vec<Attack> {
    let order = json!({"service": "web", "backend": "198.18.1.11:8080", "change": "drain"}).to_string();
    let long = "x".repeat(20_000);
    let attack = |name, request: Vec<u8>, answers| Attack { name, request, answers };
    let bad: &[&str] = &["400"];
    vec![
        attack("random bytes", noise(number + 1, 600), &["400", "431", ""]),
        attack("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), bad),
        attack("a long address", format!("GET /{long} HTTP/1.1\r\nhost: {host}\r\n\r\n").into(), &["414", "431", "400"]),
        attack("a long header", format!("GET /v1/status HTTP/1.1\r\nhost: {host}\r\nx: {long}\r\n\r\n").into(), &["431"]),
        attack(
            "many headers",
            format!("GET /v1/status HTTP/1.1\r\nhost: {host}\r\n{}\r\n", "a: b\r\n".repeat(500)).into(),
            &["431"],
        ),
        attack("a long body", post(host, "/v1/connections", "", &"[".repeat(100_000)), &["413"]),
        attack("a body without end", format!("POST /v1/connections HTTP/1.1\r\nhost: {host}\r\ncontent-length: 9999999999999\r\n\r\n[").into(), &["413"]),
        attack("a negative length", format!("POST /v1/connections HTTP/1.1\r\nhost: {host}\r\ncontent-length: -1\r\n\r\n").into(), bad),
        attack(
            "two lengths",
            format!("POST /v1/connections HTTP/1.1\r\nhost: {host}\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n{{}}xx").into(),
            bad,
        ),
        attack(
            "chunks that are none",
            format!("POST /v1/connections HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n").into(),
            bad,
        ),
        attack("no JSON", post(host, "/v1/connections", "", "{\"filter\": "), bad),
        attack("deep JSON", post(host, "/v1/connections", "", &format!("{{\"filter\": {}", "[".repeat(60_000))), bad),
        attack("unknown fields", post(host, "/v1/connections", "", "{\"filters\": {}}"), bad),
        attack("what cannot be meant", post(host, "/v1/connections", "", "{\"filter\": {\"client\": \"x\"}}"), &["422"]),
        attack("another path", format!("GET /../../etc/passwd HTTP/1.1\r\nhost: {host}\r\n\r\n").into(), &["404", "400"]),
        attack("another method", format!("DELETE /v1/status HTTP/1.1\r\nhost: {host}\r\n\r\n").into(), &["405"]),
        attack("no HTTP", order.into_bytes(), &["400", ""]),
        attack("a header that is cut", format!("GET /v1/status HTTP/1.1\r\nhost: {host}\r\nx").into(), &["", "408"]),
        attack("a body that is cut", post(host, "/v1/connections", "", "{}").into_iter().rev().skip(1).rev().collect(), &["408"]),
        attack("silence", vec![], &["", "408"]),
    ]
}

/// Those that only the page gets.
fn unauthorised(host: &str, number: u64) -> Vec<Attack> {
    let order = json!({"service": "web", "backend": "198.18.1.11:8080", "change": "drain"}).to_string();
    let attack = |name, request: Vec<u8>, answers| Attack { name, request, answers };
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    let guess = format!("authorization: Bearer {:032x}\r\n", number + 1);
    let save =
        json!({"service": "web", "backend": "198.18.1.11:8080", "change": "drain", "save": true}).to_string();
    vec![
        attack("no token", post(host, "/v1/orders", "", &order), &["401"]),
        attack("a guess", post(host, "/v1/orders", &guess, &order), &["401"]),
        attack("half a token", post(host, "/v1/orders", &format!("authorization: Bearer {}\r\n", &TOKEN[..16]), &order), &["401"]),
        attack("another scheme", post(host, "/v1/orders", &format!("authorization: Basic {TOKEN}\r\n"), &order), &["401"]),
        attack("a cookie", post(host, "/v1/orders", &format!("cookie: token={TOKEN}\r\n"), &order), &["401"]),
        attack("another origin", post(host, "/v1/orders", &format!("{token}origin: http://evil.example\r\n"), &order), &["403"]),
        attack("no origin", post(host, "/v1/orders", &format!("{token}origin: null\r\n"), &order), &["403"]),
        attack("across sites", post(host, "/v1/orders", &format!("{token}sec-fetch-site: cross-site\r\n"), &order), &["403"]),
        attack("another name", post("evil.example", "/v1/orders", &token, &order), &["421"]),
        attack("another name for looking", b"GET /v1/status HTTP/1.1\r\nhost: evil.example:9501\r\n\r\n".to_vec(), &["421"]),
        attack("no name", b"GET /v1/status HTTP/1.1\r\n\r\n".to_vec(), &["400"]),
        attack("a form", format!("POST /v1/orders HTTP/1.1\r\nhost: {host}\r\n{token}content-type: text/plain\r\ncontent-length: {}\r\n\r\n{order}", order.len()).into(), &["400"]),
        attack("into the file", post(host, "/v1/orders", &token, &save), &["403"]),
        attack("a reload", post(host, "/v1/reload", &token, "{}"), &["404"]),
        attack("the end of all", post(host, "/v1/connections/kill", &token, "{\"all\": true}"), &["404"]),
    ]
}

/// Asks again and again until told to stop: every question must be answered.
fn mean_well(
    door: Door,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
) -> std::thread::JoinHandle<Duration> {
    std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            let answer = talk(&door, b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?} after {:?}", start.elapsed());
            longest = longest.max(start.elapsed());
            answered.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(PAUSE);
        }
        longest
    })
}

fn attack_all(door: &Door, all: Vec<Attack>) {
    let threads: Vec<_> = all
        .into_iter()
        .map(|Attack { name, request, answers }| {
            let door = door.clone();
            std::thread::spawn(move || {
                let answer = talk(&door, &request);
                let status = answer.strip_prefix("HTTP/1.1 ").map_or("", |rest| &rest[..3]);
                assert!(answers.contains(&status), "{name}: {answer:?}");
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// 200 at this door, 20 and more at a time, while somebody means well.
fn besiege(door: &Door, attacks: impl Fn(u64) -> Vec<Attack>) {
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let honest = mean_well(door.clone(), Arc::clone(&stop), Arc::clone(&answered));
    let mut sent = 0;
    for round in 0.. {
        let all = attacks(round);
        sent += all.len();
        attack_all(door, all);
        if sent >= 200 {
            break;
        }
    }
    let before = answered.load(Ordering::Relaxed);
    while answered.load(Ordering::Relaxed) < before + 3 {
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    let longest = honest.join().unwrap();
    println!(
        "{sent} hostile requests, {} honest ones, the longest took {longest:?}",
        answered.load(Ordering::Relaxed)
    );
}

#[test]
fn the_control_socket_withstands_two_hundred() {
    let scene = Scene::new(None);
    scene.lab.serve();
    besiege(&Door::Unix(scene.lab.socket.clone()), |round| attacks("x", round));
    let status: Status = client::get(&scene.lab.socket, "/v1/status").unwrap();
    assert_eq!(status.services.len(), 2);
    assert_eq!(scene.orders.lock().unwrap().len(), 0);
}

#[test]
fn the_page_withstands_two_hundred() {
    let scene = Scene::new(Some(TOKEN));
    let host = scene.address.to_string();
    let all = |round| attacks(&host, round).into_iter().chain(unauthorised(&host, round)).collect();
    besiege(&Door::Tcp(scene.address), all);
    assert_eq!(scene.orders.lock().unwrap().len(), 0, "nobody may order anything");
    let order = json!({"service": "web", "backend": "198.18.1.11:8080", "change": "drain"}).to_string();
    let token = format!("authorization: Bearer {TOKEN}\r\norigin: http://{host}\r\n");
    let answer = exchange(scene.address, &post(&host, "/v1/orders", &token, &order));
    assert!(answer.starts_with("HTTP/1.1 200 "), "whoever has the token may: {answer}");
    assert_eq!(scene.orders.lock().unwrap().len(), 1);
}

#[test]
fn the_metrics_withstand_them_too() {
    let scene = Scene::new(None);
    let listener = api::bind("metrics_listen", "127.0.0.1:0".parse().unwrap());
    let listener = scene.lab.runtime.block_on(listener).unwrap();
    let address = listener.local_addr().unwrap();
    scene.lab.runtime.spawn(serve::serve(listener, api::metrics_routes(scene.lab.source.clone())));
    for seed in 0..20 {
        let answer = exchange(address, &noise(seed, 300));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let answer = exchange(address, b"GET /metrics HTTP/1.1\r\nhost: prometheus\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Connections that say nothing take all places; who asks at once is answered at once nevertheless.
#[test]
fn two_hundred_silent_connections_keep_nobody_out() {
    let scene = Scene::new(None);
    scene.lab.serve();
    for door in [Door::Tcp(scene.address), Door::Unix(scene.lab.socket.clone())] {
        let silent: Vec<_> = (0..200).map(|_| door.connect()).collect();
        let halves: Vec<_> = (0..200)
            .map(|_| {
                let mut stream = door.connect();
                let _ = stream.write_all(
                    b"POST /v1/connections HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
                );
                stream
            })
            .collect();
        for _ in 0..20 {
            let answer = talk(&door, b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
        }
        drop((silent, halves));
    }
}

/// Followers that never read, and more of them than there are places.
#[test]
fn followers_that_do_not_read_keep_nobody_out() {
    let scene = Scene::new(None);
    let follow = b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut followers = vec![];
    for _ in 0..40 {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        stream.write_all(follow).unwrap();
        followers.push(stream);
    }
    let mut kinds = followers.iter_mut().map(|stream| {
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    });
    let followed = kinds.by_ref().filter(|status| status.ends_with("200")).count();
    assert_eq!(followed, 16, "the others are asked to come again");
    let answer = exchange(scene.address, b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // A place is free again as soon as somebody leaves.
    for follower in followers {
        follower.shutdown(Shutdown::Both).unwrap();
    }
    let start = Instant::now();
    loop {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        stream.write_all(follow).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        if status.ends_with(b"200") {
            break;
        }
        assert!(start.elapsed() < LIMIT, "places are not given back");
    }
}

/// Nothing of the token is in the log, whatever is sent.
#[test]
fn the_token_is_not_logged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(Arc::new(std::fs::File::create(&log).unwrap()))
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let scene = Scene::new(Some(TOKEN));
    let host = scene.address.to_string();
    for path in ["/v1/token", "/v1/orders"] {
        let token = format!("authorization: Bearer {TOKEN}\r\n");
        exchange(scene.address, &post(&host, path, &token, "{\"service\": \"web\", \"change\": \"drain\"}"));
    }
    let text = read(&log);
    assert!(text.contains("an order came from the page"), "{text}");
    assert!(!text.contains(TOKEN) && !text.contains(&TOKEN[..16]), "{text}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
