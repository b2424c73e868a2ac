//! Whether a backend answers a ping. One raw socket per family asks for all: told apart by the sequence number, and by a
//! token that nobody can guess.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Answer, Failed, Limit, Passed, failed, spoken};
use crate::tables::hash::mix;
use crate::wire::checksum;

/// ICMP header: type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
/// The token follows it.
const MESSAGE: usize = HEADER + 8;
/// An answer, with the headers in front: IPv4 with options, an error, the IP header quoted in it.
const LONGEST_ANSWER: usize = 256;
/// Bytes for answers that nobody had time to read: 100,000 pings may come back within a second.
const RECEIVE_BUFFER: usize = 4 << 20;

/// One that waits for its answer.
#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    token: u64,
    answer: oneshot::Sender<Result<(), Failed>>,
}

#[derive(Debug)]
struct State {
    domain: Domain,
    // A raw socket in the clothes of a UDP socket: the standard library knows no other that receives datagrams without
    // `unsafe`. Ports mean nothing there.
    socket: UdpSocket,
    identifier: u16,
    secret: u64,
    next: AtomicU16,
    waiting: Mutex<HashMap<u16, Waiting>>,
}

/// Sends pings of one family.
#[derive(Debug)]
pub struct Pinger {
    state: Arc<State>,
    reader: AbortHandle,
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Pinger {
    /// Opens the socket; needs CAP_NET_RAW. Within a Tokio runtime only.
    pub fn open(domain: Domain) -> io::Result<Self> {
        let protocol = if domain == Domain::IPV4 { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let [a, b, secret @ ..] = random;
        let identifier = u16::from_be_bytes([a, b]);
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.attach_filter(&filter(domain, identifier))?;
        socket.set_nonblocking(true)?;
        // As much as the system allows.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let state = Arc::new(State {
            domain,
            socket: UdpSocket::from_std(socket.into())?,
            identifier,
            secret: u64::from_be_bytes(secret),
            next: AtomicU16::new(0),
            waiting: Mutex::new(HashMap::new()),
        });
        let reader = tokio::spawn(read(Arc::clone(&state))).abort_handle();
        Ok(Self { state, reader })
    }

    /// Sends one ping and waits for its answer.
    pub async fn check(&self, address: IpAddr, limit: Limit) -> Answer {
        let asked = Instant::now();
        let (place, answer) = self.state.wait(address)?;
        let message = self.state.question(place.sequence, place.token);
        let sent = self.state.socket.send_to(&message, SocketAddr::new(address, 0)).await;
        sent.map_err(|error| spoken(&error))?;
        let answered =
            async { answer.await.unwrap_or_else(|_| Err(Failed::Ours("the socket is gone".to_owned()))) };
        limit.within("", answered).await?;
        Ok(Passed::since(asked))
    }
}

/// A place among those that wait; given up when this is dropped.
struct Place<'a> {
    state: &'a State,
    sequence: u16,
    token: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.state.waiting().remove(&self.sequence);
    }
}

impl State {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u16, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a free sequence number. At the most 65,536 wait.
    fn wait(&self, address: IpAddr) -> Result<(Place<'_>, oneshot::Receiver<Result<(), Failed>>), Failed> {
        let mut waiting = self.waiting();
        for _ in 0..=u16::MAX {
            let sequence = self.next.fetch_add(1, Ordering::Relaxed);
            if let Entry::Vacant(entry) = waiting.entry(sequence) {
                let (answer, answered) = oneshot::channel();
                let token = mix(self.secret, u64::from(sequence));
                entry.insert(Waiting { address, token, answer });
                return Ok((Place { state: self, sequence, token }, answered));
            }
        }
        Err(Failed::Ours("too many pings at once".to_owned()))
    }

    fn question(&self, sequence: u16, token: u64) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        message[0] = self.types().request;
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        message[HEADER..].copy_from_slice(&token.to_be_bytes());
        // The kernel computes that of ICMPv6, which covers addresses.
        if self.domain == Domain::IPV4 {
            let sum = !checksum::sum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    fn types(&self) -> Types {
        if self.domain == Domain::IPV4 { Types::V4 } else { Types::V6 }
    }

    /// Gives an answer to the one that waits for it.
    fn answered(&self, from: IpAddr, packet: &[u8]) -> Option<()> {
        let ipv4 = self.domain == Domain::IPV4;
        // Only raw IPv4 sockets are shown the IP header.
        let message = if ipv4 { packet.get(header_length(packet)?..)? } else { packet };
        let kind = *message.first()?;
        if kind == self.types().reply {
            let token = u64::from_be_bytes(*message.get(HEADER..)?.first_chunk()?);
            return self.give(from, message, |waiting| waiting.token == token, Ok(()));
        }
        // An error: the packet that it is about follows, as far as it was sent back.
        let quoted = message.get(HEADER..)?;
        let (to, inner) = if ipv4 {
            let to: [u8; 4] = *quoted.get(16..)?.first_chunk()?;
            (IpAddr::from(to), quoted.get(header_length(quoted)?..)?)
        } else {
            let to: [u8; 16] = *quoted.get(24..)?.first_chunk()?;
            (IpAddr::from(to), quoted.get(40..)?)
        };
        if kind != self.types().unreachable || *inner.first()? != self.types().request {
            return None;
        }
        self.give(to, inner, |_| true, Err(failed(format!("{from} says that it is unreachable"))))
    }

    fn give(
        &self,
        address: IpAddr,
        message: &[u8],
        is_it: impl FnOnce(&Waiting) -> bool,
        answer: Result<(), Failed>,
    ) -> Option<()> {
        if message.get(4..6)? != self.identifier.to_be_bytes() {
            return None;
        }
        let sequence = u16::from_be_bytes(*message.get(6..)?.first_chunk()?);
        let mut waiting = self.waiting();
        if waiting.get(&sequence).is_some_and(|waiting| waiting.address == address && is_it(waiting)) {
            // Whoever waits may have given up just now.
            let _ = waiting.remove(&sequence)?.answer.send(answer);
        }
        Some(())
    }
}

/// Hands out answers until it is aborted.
async fn read(state: Arc<State>) {
    let mut packet = [0; LONGEST_ANSWER];
    loop {
        match state.socket.recv_from(&mut packet).await {
            Ok((length, from)) => {
                state.answered(from.ip(), packet.get(..length).unwrap_or_default());
            }
            // Errors of single packets; a socket that fails for ever must not take a core.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}

fn header_length(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0x0F) * 4)
}

struct Types {
    request: u8,
    reply: u8,
    unreachable: u8,
}

impl Types {
    const V4: Self = Self { request: 8, reply: 0, unreachable: 3 };
    const V6: Self = Self { request: 128, reply: 129, unreachable: 1 };
}

/// Lets in replies with our identifier and errors: a raw socket gets the ICMP packets of everybody else, too, and the
/// kernel would wake us for each (classic BPF, Documentation/networking/filter.rst).
fn filter(domain: Domain, identifier: u16) -> Vec<SockFilter> {
    const LOAD_HEADER_LENGTH: u16 = 0xB1; // x = 4 * (packet[k] & 15)
    const LOAD_BYTE_BEHIND: u16 = 0x50; // a = packet[x + k]
    const LOAD_HALF_BEHIND: u16 = 0x48;
    const LOAD_X: u16 = 0x01; // x = k
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let (begin, types) = if domain == Domain::IPV4 {
        (SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0), Types::V4)
    } else {
        (SockFilter::new(LOAD_X, 0, 0, 0), Types::V6)
    };
    vec![
        begin,
        SockFilter::new(LOAD_BYTE_BEHIND, 0, 0, 0),
        SockFilter::new(JUMP_EQUAL, 3, 0, types.unreachable.into()),
        SockFilter::new(JUMP_EQUAL, 0, 3, types.reply.into()),
        SockFilter::new(LOAD_HALF_BEHIND, 0, 0, 4),
        SockFilter::new(JUMP_EQUAL, 0, 1, identifier.into()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
