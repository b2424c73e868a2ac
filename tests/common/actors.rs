//! Servers that behave as a scene tells them, from one moment to the next.
//!
//! ```text
//!            ┌── Answer, Refuse, Silent, …: told by the scene at any time
//!            ▼
//!  acceptor thread ──► one thread per connection ──► the manner at the moment of its request
//!   (listens, or not)
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::namespace::Namespace;
use super::wait::wait_until;

/// How soon a thread notices that it was told something.
const TICK: Duration = Duration::from_millis(2);
/// Longest request.
const REQUEST_BYTES: usize = 8192;
/// How long a client may take to ask.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Pieces of a body that is sent slowly, per second.
const PIECES_PER_SECOND: usize = 20;

/// How an actor treats a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// `200 OK` and its name.
    Answer,
    /// Another status, and its name.
    Status(u16),
    /// `200 OK` and its name, so late.
    Late(Duration),
    /// [`Manner::Answer`] and [`Manner::Status`] 500, in turns.
    Turns,
    /// Takes the connection, reads, and says nothing.
    Silent,
    /// Takes the connection and closes it.
    Close,
    /// Does not listen: connections are refused.
    Refuse,
    /// Speaks first: this line, then closes.
    Say(String),
    /// `200 OK` and a body of so many bytes, spread over so long.
    Drip(usize, Duration),
    /// Sends back what it gets.
    Echo,
}

/// A server whose manners change.
#[derive(Debug)]
pub struct Actor {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    /// Where it listens.
    pub address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    name: String,
    manner: Mutex<Manner>,
    listens: AtomicBool,
    stop: AtomicBool,
    taken: AtomicUsize,
    asked: AtomicUsize,
}

impl Actor {
    /// Starts one in `host` at `port` of all addresses, which says that it is `name`.
    pub fn start(host: &Namespace, name: &str, port: u16) -> Self {
        Self::start_at(host, name, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
    }

    /// The same for IPv6.
    pub fn start_ipv6(host: &Namespace, name: &str, port: u16) -> Self {
        Self::start_at(host, name, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
    }

    /// Starts one at one address.
    pub fn start_at(host: &Namespace, name: &str, address: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            manner: Mutex::new(Manner::Answer),
            listens: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            taken: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        });
        let of_acceptor = Arc::clone(&shared);
        // A thread that starts in the namespace stays in it and listens there again whenever it is told to.
        let acceptor = host.enter(|| std::thread::spawn(move || accept(&of_acceptor, address)));
        let actor = Self { shared, acceptor: Some(acceptor), address };
        actor.wait_for_listener(true);
        actor
    }

    /// From now on it treats requests like this. Connections that wait for an answer are treated so, too.
    pub fn behave(&self, manner: Manner) {
        let listens = manner != Manner::Refuse;
        *self.shared.manner() = manner;
        self.wait_for_listener(listens);
    }

    /// Connections that it took so far.
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::Relaxed)
    }

    fn wait_for_listener(&self, listens: bool) {
        let what = if listens { "an actor listens" } else { "an actor no longer listens" };
        wait_until(what, Duration::from_secs(5), || self.shared.listens.load(Ordering::Relaxed) == listens);
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // An actor that panicked has said so already.
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn manner(&self) -> MutexGuard<'_, Manner> {
        self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps until then, or until the end. Whether it goes on.
    fn sleep_until(&self, then: Instant) -> bool {
        while Instant::now() < then && !self.is_over() {
            std::thread::sleep(TICK.min(then.saturating_duration_since(Instant::now())));
        }
        !self.is_over()
    }
}

fn accept(shared: &Arc<Shared>, address: SocketAddr) {
    let mut listener = None;
    while !shared.is_over() {
        let refuses = *shared.manner() == Manner::Refuse;
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(address));
        }
        shared.listens.store(listener.is_some(), Ordering::Relaxed);
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((connection, _))) => {
                shared.taken.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(shared);
                // A client that goes away in the middle is none of the actor's business.
                std::thread::spawn(move || drop(serve(&shared, connection)));
            }
            _ => std::thread::sleep(TICK),
        }
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).expect("the port of an actor is free");
    listener.set_nonblocking(true).expect("a listener can be non-blocking");
    listener
}

/// One connection, to its end.
fn serve(shared: &Shared, mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nonblocking(false)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_millis(20)))?;
    let manner = shared.manner().clone();
    match manner {
        Manner::Close => return Ok(()),
        Manner::Say(line) => return connection.write_all(format!("{line}\n").as_bytes()),
        Manner::Echo => return echo(shared, &mut connection),
        _ => {}
    }
    if !read_request(shared, &mut connection)? {
        return Ok(());
    }
    let number = shared.asked.fetch_add(1, Ordering::Relaxed);
    let begin = Instant::now();
    while !shared.is_over() {
        // Looked at again and again: a silent actor that finds its voice answers those who still wait.
        let manner = shared.manner().clone();
        match manner {
            Manner::Silent => std::thread::sleep(TICK),
            Manner::Late(delay) if shared.sleep_until(begin + delay) => {
                return answer(shared, &mut connection, 200);
            }
            Manner::Status(status) => return answer(shared, &mut connection, status),
            Manner::Turns => {
                let status = if number.is_multiple_of(2) { 200 } else { 500 };
                return answer(shared, &mut connection, status);
            }
            Manner::Drip(bytes, over) => return drip(shared, &mut connection, bytes, over),
            Manner::Close | Manner::Refuse => return Ok(()),
            _ => return answer(shared, &mut connection, 200),
        }
    }
    Ok(())
}

/// Reads up to the empty line. False: nobody asks any more.
fn read_request(shared: &Shared, connection: &mut TcpStream) -> std::io::Result<bool> {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    let limit = Instant::now() + REQUEST_LIMIT;
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if shared.is_over() || Instant::now() > limit || request.len() > REQUEST_BYTES {
            return Ok(false);
        }
        match connection.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => request.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn answer(shared: &Shared, connection: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let name = &shared.name;
    let length = name.len() + 1;
    write!(
        connection,
        "HTTP/1.1 {status} So\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}\n"
    )
}

fn drip(shared: &Shared, connection: &mut TcpStream, bytes: usize, over: Duration) -> std::io::Result<()> {
    write!(connection, "HTTP/1.1 200 So\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n")?;
    let pieces = (over.as_millis() as usize * PIECES_PER_SECOND / 1000).max(1);
    let (begin, body) = (Instant::now(), pattern(bytes));
    for (number, piece) in (1u32..).zip(body.chunks(bytes.div_ceil(pieces).max(1))) {
        connection.write_all(piece)?;
        if !shared.sleep_until(begin + over * number / pieces as u32) {
            break;
        }
    }
    Ok(())
}

/// The body of [`Manner::Drip`]: every byte says where it belongs, as far as a byte can.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place % 251) as u8).collect()
}

fn echo(shared: &Shared, connection: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 2048];
    while !shared.is_over() {
        match connection.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => connection.write_all(&buffer[..length])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
