//! Clients who mean well: each asks again and again, is patient, and remembers every request that was not answered.

use std::fmt::{Display, Formatter};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::windows::{Concerns, Windows};
use crate::common::namespace::Namespace;
use crate::common::traffic::{Connection, any_port};
use crate::common::wait::wait_until;

/// A lost SYN is sent again after 1, 3, 7, 15 and 31 s: what fails nevertheless was refused, or met nobody for all that time.
const PATIENCE: Duration = Duration::from_secs(45);
/// From one request of a client to the next.
const PACE: Duration = Duration::from_millis(50);
/// A kept connection is asked so often.
const KEPT_PACE: Duration = Duration::from_millis(200);
/// A slow download takes so much, so often.
const PIECE: usize = 8 << 10;
/// Questions over one UDP socket, how long each waits for its answer before it is asked again, and how often it is.
const QUESTIONS: u64 = 5;
const ANSWER: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 90;

/// What a client does, over and over.
#[derive(Debug, Clone)]
pub enum Habit {
    /// A connection for each request.
    New,
    /// One connection for all of them.
    Kept,
    /// Downloads this file, with a pause after each piece.
    Download(Arc<Vec<u8>>, Duration),
    /// Asks over UDP.
    Questions,
}

/// A request that was not answered.
#[derive(Debug, Clone)]
pub struct Failure {
    habit: &'static str,
    service: &'static str,
    /// Since when all may have gone wrong: a kept connection may have been lost at any time since it was last used.
    from: Instant,
    to: Instant,
    /// Whether the server had not said anything yet.
    opening: bool,
    why: String,
}

impl Failure {
    /// Whether something was broken that it needed.
    fn is_excused(&self, windows: &Windows) -> bool {
        let while_broken = |concerns| windows.excuse(concerns, self.from, self.to);
        while_broken(Concerns::All) || while_broken(Concerns::Service(self.service))
    }

    /// Whether a flood may have pushed it out of the table: the client's last word of the handshake was late, or lost at a ring.
    fn may_be_displaced(&self, windows: &Windows) -> bool {
        self.opening && windows.excuse(Concerns::Handshakes, self.from, self.to)
    }
}

/// Requests that failed with a reason.
#[derive(Debug, Default, Clone, Copy)]
pub struct Excused {
    /// Something was broken on purpose.
    pub broken: usize,
    /// A flood filled the table, and the connection was not complete.
    pub displaced: usize,
}

impl Display for Failure {
    fn fmt(&self, text: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { habit, service, from, to, opening, why } = self;
        let heard = if *opening { "nothing" } else { "something" };
        write!(
            text,
            "{habit} of {service}: {why}, {heard} was heard, after {:?}, {:?} ago",
            *to - *from,
            to.elapsed()
        )
    }
}

/// What all clients share.
#[derive(Debug, Default)]
struct Shared {
    pause: AtomicBool,
    stop: AtomicBool,
    parked: AtomicUsize,
    answered: [AtomicU64; 4],
    failures: Mutex<Vec<Failure>>,
}

impl Shared {
    /// Waits while there is a pause. Whether it goes on.
    fn goes_on(&self) -> bool {
        if self.pause.load(Ordering::SeqCst) {
            self.parked.fetch_add(1, Ordering::SeqCst);
            while self.pause.load(Ordering::SeqCst) && !self.stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.parked.fetch_sub(1, Ordering::SeqCst);
        }
        !self.stop.load(Ordering::SeqCst)
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Vec<Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All clients.
#[derive(Debug, Default)]
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// One more, who begins at once.
    pub fn join(&mut self, client: &Namespace, habit: Habit, service: &'static str, server: SocketAddr) {
        let shared = Arc::clone(&self.shared);
        let one = One { shared, service, server };
        self.threads.push(client.enter(|| std::thread::spawn(move || one.live(&habit))));
    }

    /// Waits until everybody has their answer and asks no more.
    pub fn pause(&self) {
        self.shared.pause.store(true, Ordering::SeqCst);
        wait_until("all clients pause", PATIENCE + Duration::from_secs(30), || {
            self.shared.parked.load(Ordering::SeqCst) == self.threads.len()
        });
    }

    /// They go on.
    pub fn resume(&self) {
        self.shared.pause.store(false, Ordering::SeqCst);
        wait_until("all clients go on", PATIENCE, || self.shared.parked.load(Ordering::SeqCst) == 0);
    }

    /// Requests that were answered: over new connections, over kept ones, downloads, datagrams.
    pub fn answered(&self) -> [u64; 4] {
        std::array::from_fn(|habit| self.shared.answered[habit].load(Ordering::Relaxed))
    }

    /// Panics if a request failed while there was no reason for it. How many failed with one since the last time.
    pub fn assert_only_excused(&self, windows: &Windows) -> Excused {
        let failures = std::mem::take(&mut *self.shared.failures());
        let (broken, rest): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|failure| failure.is_excused(windows));
        let (displaced, wrong): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|failure| failure.may_be_displaced(windows));
        let wrong: Vec<_> = wrong.iter().map(Failure::to_string).collect();
        assert!(wrong.is_empty(), "{} requests failed without a reason: {wrong:#?}", wrong.len());
        Excused { broken: broken.len(), displaced: displaced.len() }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

/// One client.
struct One {
    shared: Arc<Shared>,
    service: &'static str,
    server: SocketAddr,
}

impl One {
    fn live(&self, habit: &Habit) {
        match habit {
            Habit::New => self.repeat(0, "a new connection", || {
                Connection::open_here(self.server, PATIENCE).and_then(|mut connection| connection.ask())
            }),
            Habit::Kept => self.keep(),
            Habit::Download(file, pause) => {
                self.repeat(2, "a download", || self.download(file, *pause).map(|()| String::new()));
            }
            Habit::Questions => self.repeat(3, "questions", || self.question().map(|()| String::new())),
        }
    }

    fn repeat(&self, kind: usize, habit: &'static str, request: impl Fn() -> std::io::Result<String>) {
        while self.shared.goes_on() {
            let from = Instant::now();
            // Of a download that broke off the error says that something was heard.
            let result = request();
            let opening = !result.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
            self.note((kind, habit), (from, opening), result);
            std::thread::sleep(PACE);
        }
    }

    fn note<T>(
        &self,
        (kind, habit): (usize, &'static str),
        (from, opening): (Instant, bool),
        result: std::io::Result<T>,
    ) {
        let (service, to) = (self.service, Instant::now());
        match result {
            Ok(_) => drop(self.shared.answered[kind].fetch_add(1, Ordering::Relaxed)),
            // The end of the scene interrupts downloads.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                let why = error.to_string();
                self.shared.failures().push(Failure { habit, service, from, to, opening, why });
            }
        }
    }

    fn keep(&self) {
        let (mut kept, mut known) = (None, Instant::now());
        while self.shared.goes_on() {
            let begin = Instant::now();
            let (from, opening) = if kept.is_some() { (known, false) } else { (begin, true) };
            let answer = match kept.take() {
                Some(connection) => Ok(connection),
                None => Connection::open_here(self.server, PATIENCE),
            }
            .and_then(|mut connection| connection.ask().map(|_| connection));
            let answer = answer.map(|connection| kept = Some(connection));
            known = begin;
            self.note((1, "a kept connection"), (from, opening), answer);
            std::thread::sleep(KEPT_PACE);
        }
    }

    fn download(&self, original: &[u8], pause: Duration) -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /files/original HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
        let (mut answer, mut buffer) = (Vec::with_capacity(original.len() + 1024), vec![0; PIECE]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if answer.is_empty() => return Err(error),
                Err(error) => return Err(broken_off(&answer, &error)),
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            }
            std::thread::sleep(pause);
            if !self.shared.goes_on() {
                return Err(ErrorKind::Interrupted.into());
            }
        }
        match answer.ends_with(original) && answer.starts_with(b"HTTP/1.1 200 ") {
            true => Ok(()),
            false => Err(broken_off(&answer, &Error::other("these are not those of the file"))),
        }
    }

    fn question(&self) -> std::io::Result<()> {
        let socket = UdpSocket::bind(any_port(self.server))?;
        socket.set_read_timeout(Some(ANSWER))?;
        let mut buffer = [0; 128];
        for number in 0..QUESTIONS {
            let question = format!("question {number}");
            let mut heard = |attempt: usize| {
                // What cannot be sent now may be in a moment: the next attempt shows it.
                let sent = socket.send_to(question.as_bytes(), self.server);
                let answer = sent.and_then(|_| socket.recv(&mut buffer));
                if answer.is_err() && attempt > 0 {
                    std::thread::sleep(ANSWER / 5);
                }
                answer.is_ok_and(|length| buffer[..length].ends_with(question.as_bytes()))
            };
            if !(0..ATTEMPTS).any(&mut heard) {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }
}

/// A download that did not come to its end, or not to the right one.
fn broken_off(answer: &[u8], error: &Error) -> Error {
    Error::new(ErrorKind::BrokenPipe, format!("{} bytes came: {error}", answer.len()))
}
