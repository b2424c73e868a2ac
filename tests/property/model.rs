//! NAT as one would explain it: maps of connections, and what may happen to each.

use std::collections::{HashMap, HashSet};

use xswitch::tables::DropReason;

use crate::frames::{ACK, FIN, Mac, RST, SYN, TCP, UDP};
use crate::world::*;

/// Source ports of full NAT begin here.
const FIRST_PORT: u16 = 20_000;
/// A timer fires within a slot of the wheel or, where it became shorter meanwhile, within its horizon: about 30 s.
pub const LATE_MS: u64 = 33_000;
/// Time is kept in units of 64 ms.
pub const COARSE_MS: u64 = 128;

/// A client and a service: what a connection is found by.
pub type Name = (usize, usize);

/// How a backend sees a connection: its own endpoint, the other one, the protocol.
pub type Seen = (&'static str, String, u8);

/// What must become of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// To this backend; the source is as seen from there, or for the model to learn where full NAT chooses it.
    ToBackend {
        backend: (&'static str, Mac),
        source: Option<String>,
    },
    /// To the client, as if from the VIP.
    ToClient(Name),
    Dropped(DropReason),
}

/// How far a TCP connection has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tcp {
    answered: bool,
    established: bool,
    client_done: bool,
    backend_done: bool,
    reset: bool,
}

impl Tcp {
    pub fn over(self) -> bool {
        self.reset || (self.client_done && self.backend_done)
    }

    /// The backend has answered, the client has not.
    fn handshake(self) -> bool {
        self.answered && !self.established && !self.client_done && !self.backend_done
    }

    pub fn timeout_s(self) -> u64 {
        match self {
            Self { reset: true, .. } => RESET_S,
            Self { client_done: true, backend_done: true, .. } => CLOSED_S,
            Self { client_done: true, .. } | Self { backend_done: true, .. } => HALF_CLOSED_S,
            Self { established: true, .. } => ESTABLISHED_S,
            _ => SYN_S,
        }
    }

    pub fn after(mut self, from_client: bool, flags: u8) -> Self {
        let (syn, fin, reset) = (flags & SYN != 0, flags & FIN != 0, flags & RST != 0);
        let known_to_both = self.answered || self.reset;
        if reset {
            // A reset that answers a SYN must acknowledge it.
            self.reset |= known_to_both || from_client || flags & ACK != 0;
        } else if self.reset || (from_client && self.handshake() && flags & ACK == 0) {
            // A reset stays; and only who acknowledges the backend's SYN has received it.
        } else if !self.answered {
            self.answered = !from_client && syn;
        } else if from_client {
            self.client_done |= fin;
            // What the handshake still lacked does not matter any more once one side is done.
            self.established |= !syn && !self.client_done && !self.backend_done;
        } else {
            self.backend_done |= fin;
        }
        self
    }

    /// The same where the backend answers directly: what it would have said is taken for granted.
    pub fn after_alone(mut self, flags: u8) -> Self {
        let (fin, reset) = (flags & FIN != 0, flags & RST != 0);
        if reset || self.reset {
            self.reset = true;
        } else if flags & SYN == 0 {
            (self.answered, self.established) = (true, true);
            self.client_done |= fin;
        }
        self
    }

    /// Whether the client is done, which is all there is to see of the end then.
    pub fn over_alone(self) -> bool {
        self.reset || self.client_done
    }
}

#[derive(Debug)]
struct Connection {
    backend: (&'static str, Mac),
    source: String,
    tcp: Tcp,
    last_seen_ms: u64,
    /// How many connections there had been before it.
    born: usize,
}

pub struct Model {
    always: bool,
    ports: u16,
    now_ms: u64,
    connections: HashMap<Name, Connection>,
    by_reply: HashMap<Seen, Name>,
    turns: [usize; SERVICES.len()],
    /// Every reply there could ever be, in the order its connection was made.
    pub history: Vec<(Seen, Mac)>,
}

impl Model {
    /// `always`: every checksum is verified. `ports`: how many full NAT has.
    pub fn new(always: bool, ports: u16) -> Self {
        Self {
            always,
            ports,
            now_ms: 0,
            connections: HashMap::new(),
            by_reply: HashMap::new(),
            turns: [0; SERVICES.len()],
            history: Vec::new(),
        }
    }

    /// A frame of a client.
    pub fn request(&mut self, name: Name, look: &Look) -> Expected {
        let is_tcp = SERVICES[name.1].protocol == TCP;
        let right = look.damage.is_none();
        let over = is_tcp && self.connections.get(&name).is_some_and(|connection| connection.tcp.over());
        if over && look.opens() && !look.absurd() && right && !look.last_hop {
            self.forget(name);
        }
        if self.connections.contains_key(&name) {
            return match self.travel(name, true, look) {
                Ok(connection) => Expected::ToBackend {
                    backend: connection.backend,
                    source: Some(connection.source.clone()),
                },
                Err(reason) => Expected::Dropped(reason),
            };
        }
        self.connect(name, look).unwrap_or_else(Expected::Dropped)
    }

    fn connect(&mut self, name: Name, look: &Look) -> Result<Expected, DropReason> {
        let service = &SERVICES[name.1];
        if service.protocol == TCP {
            check(!look.absurd(), DropReason::TcpFlags)?;
            check(look.opens(), DropReason::NoConnection)?;
        }
        check(look.damage.is_none(), DropReason::L4Checksum)?;
        check(!look.last_hop, DropReason::TtlExpired)?;
        let backend = service.backends[self.turns[name.1] % service.backends.len()];
        self.turns[name.1] += 1;
        if service.full {
            let used = self.by_reply.keys().filter(|(address, source, protocol)| {
                (*address, *protocol) == (backend.0, service.protocol) && source.starts_with("198.18.1.2:")
            });
            check(used.count() < usize::from(self.ports), DropReason::SnatPortsExhausted)?;
            return Ok(Expected::ToBackend { backend, source: None });
        }
        let client = CLIENTS[name.0].0.to_owned();
        let taken = self.by_reply.contains_key(&(backend.0, client.clone(), service.protocol));
        check(!taken, DropReason::TupleConflict)?;
        self.remember(name, backend, client.clone());
        Ok(Expected::ToBackend { backend, source: Some(client) })
    }

    /// Full NAT chose this source for the connection that was just made.
    pub fn learn(&mut self, name: Name, backend: (&'static str, Mac), source: String) {
        let port: u16 = source.strip_prefix("198.18.1.2:").expect("the SNAT address").parse().unwrap();
        assert!((FIRST_PORT..FIRST_PORT + self.ports).contains(&port), "{port} is not in the pool");
        self.remember(name, backend, source);
    }

    fn remember(&mut self, name: Name, backend: (&'static str, Mac), source: String) {
        let seen = (backend.0, source.clone(), SERVICES[name.1].protocol);
        let connection = Connection {
            backend,
            source,
            tcp: Tcp::default(),
            last_seen_ms: self.now_ms,
            born: self.history.len(),
        };
        assert_eq!(self.by_reply.insert(seen.clone(), name), None, "{seen:?} belongs to somebody else");
        self.connections.insert(name, connection);
        self.history.push((seen, backend.1));
    }

    fn forget(&mut self, name: Name) {
        let Some(connection) = self.connections.remove(&name) else { return };
        self.by_reply.remove(&(connection.backend.0, connection.source, SERVICES[name.1].protocol));
    }

    /// Whether replies like this one belong to a connection that was made when there had been `known` already.
    pub fn is_younger(&self, seen: &Seen, known: usize) -> bool {
        self.by_reply.get(seen).is_some_and(|name| self.connections[name].born >= known)
    }

    /// A frame of a backend.
    pub fn reply(&mut self, seen: &Seen, look: &Look) -> Expected {
        let Some(name) = self.by_reply.get(seen).copied() else {
            return Expected::Dropped(DropReason::NoConnection);
        };
        match self.travel(name, false, look) {
            Ok(_) => Expected::ToClient(name),
            Err(reason) => Expected::Dropped(reason),
        }
    }

    /// One more frame of a connection.
    fn travel(&mut self, name: Name, from_client: bool, look: &Look) -> Result<&Connection, DropReason> {
        let connection = self.connections.get_mut(&name).unwrap();
        let mut next = connection.tcp;
        if SERVICES[name.1].protocol == TCP {
            check(!look.absurd(), DropReason::TcpFlags)?;
            next = next.after(from_client, look.flags);
        }
        // A second FIN of one side and the like are no change; what counts is what the timers see.
        let verified = self.always || next != connection.tcp;
        check(!verified || look.damage.is_none(), DropReason::L4Checksum)?;
        check(!look.last_hop, DropReason::TtlExpired)?;
        connection.tcp = next;
        connection.last_seen_ms = self.now_ms;
        Ok(connection)
    }

    /// Time passes. Of connections that may or may not have been forgotten by now, `exists` decides.
    pub fn pass(&mut self, milliseconds: u64, exists: impl Fn(Name) -> bool) {
        self.now_ms += milliseconds;
        let mut gone = HashSet::new();
        for (name, connection) in &self.connections {
            let timeout_s = match SERVICES[name.1].protocol {
                UDP => UDP_S,
                _ => connection.tcp.timeout_s(),
            };
            let (idle_ms, timeout_ms) = (self.now_ms - connection.last_seen_ms, timeout_s * 1000);
            let exists = exists(*name);
            assert!(exists || idle_ms + COARSE_MS >= timeout_ms, "{connection:?} is gone after {idle_ms} ms");
            assert!(!exists || idle_ms <= timeout_ms + LATE_MS, "{connection:?} is there after {idle_ms} ms");
            if !exists {
                gone.insert(*name);
            }
        }
        gone.into_iter().for_each(|name| self.forget(name));
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }
}

fn check(fine: bool, reason: DropReason) -> Result<(), DropReason> {
    if fine { Ok(()) } else { Err(reason) }
}
