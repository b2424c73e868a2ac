//! Clients by the second: so many new connections each second, every one recorded, and long downloads.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::actors::pattern;
use super::namespace::Namespace;

/// Before somebody who failed tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom they ask.
    pub server: SocketAddr,
    /// New connections per second.
    pub per_second: u32,
    /// How often each of them tries before it gives up.
    pub attempts: usize,
    /// How long it waits for one answer.
    pub patience: Duration,
}

impl Plan {
    /// A hundred per second that try eight times, waiting a second each time: chance sends nobody to the same one of three
    /// backends that often.
    pub fn steady(server: SocketAddr) -> Self {
        Self { server, per_second: 100, attempts: 8, patience: Duration::from_secs(1) }
    }
}

/// What became of one request.
#[derive(Debug, Clone)]
pub struct Request {
    /// When it was made, after the begin of the load.
    pub at: Duration,
    /// When it was over, after the begin of the load.
    pub done: Duration,
    /// Why attempts failed, one after the other.
    pub failed: Vec<ErrorKind>,
    /// Who answered in the end.
    pub answer: Option<String>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    begin: Instant,
    records: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    clock: Option<JoinHandle<()>>,
}

impl Load {
    /// They begin.
    pub fn start(client: &Namespace, plan: Plan) -> Self {
        let (begin, records) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, until) = (Arc::clone(&records), Arc::clone(&stop));
        let clock = client.enter(|| std::thread::spawn(move || tick(&plan, begin, &into, &until)));
        Self { begin, records, stop, clock: Some(clock) }
    }

    /// Time since the begin.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Ends it: those who are on their way arrive first. Every request, by the time that it was made.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(clock) = self.clock.take() {
            clock.join().expect("the clients do not panic");
        }
        let mut requests = std::mem::take(&mut *lock(&self.records));
        requests.sort_by_key(|request| request.at);
        Report { requests }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic was printed where it happened.
        let _ = self.clock.take().map(JoinHandle::join);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a client whenever it is time for one, and waits for all in the end.
fn tick(plan: &Plan, begin: Instant, records: &Mutex<Vec<Request>>, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        let due = |number: u32| begin + Duration::from_secs(1) * number / plan.per_second;
        for number in 0.. {
            while Instant::now() < due(number) && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
            scope.spawn(|| {
                let request = request(plan, begin);
                lock(records).push(request);
            });
        }
    });
}

fn request(plan: &Plan, begin: Instant) -> Request {
    let mut request = Request { at: begin.elapsed(), done: Duration::ZERO, failed: vec![], answer: None };
    while request.answer.is_none() && request.failed.len() < plan.attempts {
        match ask(None, plan.server, plan.patience) {
            Ok(name) => request.answer = Some(name),
            Err(error) => {
                request.failed.push(error.kind());
                std::thread::sleep(PAUSE);
            }
        }
    }
    request.done = begin.elapsed();
    request
}

/// One HTTP request over a connection of its own from the namespace of this thread; the answer is the name of the
/// backend.
fn ask(source: Option<IpAddr>, server: SocketAddr, patience: Duration) -> std::io::Result<String> {
    let mut stream = connect(source, server, patience)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    if head.split_whitespace().nth(1) != Some("200") {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(body.trim().to_owned())
}

fn connect(source: Option<IpAddr>, server: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&server.into(), patience)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(patience))?;
    Ok(stream)
}

/// One request from one of the client's addresses.
pub fn ask_from(client: &Namespace, source: IpAddr, server: SocketAddr) -> Option<String> {
    client.enter(|| ask(Some(source), server, Duration::from_secs(5)).ok())
}

/// What became of a load.
#[derive(Debug)]
pub struct Report {
    /// By the time that they were made.
    pub requests: Vec<Request>,
}

impl Report {
    /// Panics unless every request was answered at last.
    pub fn assert_all_answered(&self) {
        let lost: Vec<_> = self.requests.iter().filter(|request| request.answer.is_none()).take(10).collect();
        assert!(lost.is_empty(), "of {} requests, these were never answered: {lost:?}", self.requests.len());
    }

    /// Panics unless every request was answered at its first attempt.
    pub fn assert_nothing_failed(&self) {
        let failed = |request: &&Request| !request.failed.is_empty() || request.answer.is_none();
        let failed: Vec<_> = self.requests.iter().filter(failed).take(10).collect();
        assert!(failed.is_empty(), "of {} requests, these failed: {failed:?}", self.requests.len());
    }

    /// Failed attempts of requests that were made at `from` or later.
    pub fn failures_since(&self, from: Duration) -> usize {
        self.since(from).map(|request| request.failed.len()).sum()
    }

    /// Answers to requests that were made at `from` or later, by who gave them.
    pub fn answers_since(&self, from: Duration) -> BTreeMap<&str, usize> {
        let mut answers = BTreeMap::new();
        for name in self.since(from).filter_map(|request| request.answer.as_deref()) {
            *answers.entry(name).or_default() += 1;
        }
        answers
    }

    /// Answers of `name` in each whole second from `from` on.
    pub fn by_second(&self, name: &str, from: Duration) -> Vec<usize> {
        let last = self.requests.last().map_or(Duration::ZERO, |request| request.at);
        let mut seconds = vec![0; last.saturating_sub(from).as_secs() as usize];
        for request in self.since(from).filter(|request| request.answer.as_deref() == Some(name)) {
            if let Some(count) = seconds.get_mut((request.at - from).as_secs() as usize) {
                *count += 1;
            }
        }
        seconds
    }

    fn since(&self, from: Duration) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| request.at >= from)
    }
}

/// A client that reads on and on.
#[derive(Debug)]
pub struct Download {
    thread: JoinHandle<std::io::Result<Vec<u8>>>,
    begun: Arc<AtomicBool>,
}

impl Download {
    /// Asks for the body of an actor that drips, and reads until it ends.
    pub fn start(client: &Namespace, server: SocketAddr) -> Self {
        let begun = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&begun);
        let thread = client.enter(|| std::thread::spawn(move || download(server, &seen)));
        Self { thread, begun }
    }

    /// Whether the first bytes are there.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether it is over, well or badly.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end. Whether the body is `bytes` long and as it should be.
    pub fn finish(self, bytes: usize) -> std::io::Result<()> {
        let answer = self.thread.join().expect("a download does not panic")?;
        let head =
            answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        match answer[head + 4..] == pattern(bytes) {
            true => Ok(()),
            false => Err(std::io::Error::other(format!("{} bytes came", answer.len() - head - 4))),
        }
    }
}

fn download(server: SocketAddr, begun: &AtomicBool) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(None, server, Duration::from_secs(20))?;
    stream.write_all(b"GET /long HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 16_384]);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(answer),
            length => answer.extend_from_slice(&buffer[..length]),
        }
        begun.store(true, Ordering::Relaxed);
    }
}
