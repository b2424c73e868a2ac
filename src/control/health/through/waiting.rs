//! Who waits for which answer, and what is believed: only what nobody can know who has not seen the question.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::wire::icmp::Kind;
use crate::wire::ip::{self, Addresses};
use crate::wire::probe::{Answer, HEAD, Said, head};
use crate::wire::tcp::{self, Flags};
use crate::wire::tunnel::decapsulate;

/// Probes at a time; more have to wait for their next turn.
const MOST: usize = 65_536;

/// Names a probe: no two at a time are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// From us to the VIP.
    pub addresses: Addresses,
    /// Its protocol.
    pub protocol: u8,
    /// Our port, or identifier, in the high half; that of the service, or 0, in the low half.
    pub ports: u32,
}

/// What answers a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// SYN-ACK, or a reset, of the SYN with this sequence number.
    Handshake {
        /// Of the SYN.
        sequence: u32,
    },
    /// A datagram that holds this.
    Datagram {
        /// Anywhere in it; nothing: any will do.
        holding: Vec<u8>,
    },
    /// The reply to a ping with this.
    Echo {
        /// What comes back.
        data: [u8; 8],
    },
}

/// A question on its way.
#[derive(Debug)]
pub struct Probe {
    /// Its name; our port comes with [`Probe::answering_from`].
    pub flow: Flow,
    /// What answers it.
    pub expected: Expected,
    /// When it was sent.
    pub sent: Instant,
}

impl Probe {
    /// The same from this port.
    pub fn answering_from(mut self, port: u16) -> Self {
        self.flow.ports = u32::from(port) << 16 | self.flow.ports & 0xFFFF;
        self
    }
}

/// What became of a probe: how long it took, or what is wrong.
type Outcome = Result<Duration, String>;

#[derive(Debug)]
struct Waiter {
    probe: Probe,
    /// How the packet begins behind its IP header, once it is known: errors quote that.
    head: Option<[u8; HEAD]>,
    tell: Option<oneshot::Sender<Outcome>>,
    /// There was an answer, but not the expected one.
    otherwise: bool,
}

/// All that wait.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<HashMap<Flow, Waiter>>);

impl Waiting {
    /// A place to wait at; the probe back where there is one like it, or there are too many. `quiet` is kept as long.
    pub fn place(&self, probe: Probe, quiet: Option<UdpSocket>) -> Result<Place<'_>, Probe> {
        let mut waiters = self.lock();
        if waiters.len() >= MOST {
            return Err(probe);
        }
        let flow = probe.flow;
        let Entry::Vacant(entry) = waiters.entry(flow) else { return Err(probe) };
        let (tell, told) = oneshot::channel();
        entry.insert(Waiter { probe, head: None, tell: Some(tell), otherwise: false });
        Ok(Place { flow, waiting: self, told, _quiet: quiet })
    }

    /// A packet came.
    pub fn hear(&self, packet: &[u8]) {
        let Some(answer) = Answer::read(packet) else { return };
        let addresses = answer.addresses.reversed();
        let v6 = matches!(addresses, Addresses::V6(_));
        let (protocol, ports) = match answer.said {
            Said::Segment(header) => (ip::TCP, header.ports.rotate_left(16)),
            Said::Datagram { ports, .. } => (ip::UDP, ports.rotate_left(16)),
            Said::Echo { id, .. } => (if v6 { ip::ICMPV6 } else { ip::ICMP }, u32::from(id) << 16),
            Said::Error { kind, quote } => return self.hear_error(answer.addresses, kind, quote),
        };
        let mut waiters = self.lock();
        let Some(waiter) = waiters.get_mut(&Flow { addresses, protocol, ports }) else { return };
        match (&waiter.probe.expected, answer.said) {
            (Expected::Handshake { sequence }, Said::Segment(header)) => {
                if let Some(outcome) = handshake(*sequence, &header) {
                    waiter.tell(outcome);
                }
            }
            (Expected::Datagram { holding }, Said::Datagram { payload, .. }) => {
                // Whoever guesses a port can send something else: it proves nothing.
                if holding.is_empty() || payload.windows(holding.len()).any(|part| part == holding) {
                    waiter.tell(Ok(()));
                } else {
                    waiter.otherwise = true;
                }
            }
            (Expected::Echo { data }, Said::Echo { data: came, .. }) if data == came => waiter.tell(Ok(())),
            _ => {}
        }
    }

    /// An error, which quotes the probe or the tunnel packet that it is in.
    fn hear_error(&self, from: Addresses, kind: Kind, quote: &[u8]) {
        let inside = decapsulate(quote).and_then(|inner| quote.get(usize::from(inner.offset)..));
        for packet in [Some(quote), inside].into_iter().flatten() {
            let Some((addresses, protocol, first)) = head(packet) else { continue };
            let ports = match protocol {
                ip::TCP | ip::UDP => u32::from_be_bytes([first[0], first[1], first[2], first[3]]),
                ip::ICMP | ip::ICMPV6 => u32::from_be_bytes([first[4], first[5], 0, 0]),
                _ => continue,
            };
            if let Some(waiter) = self.lock().get_mut(&Flow { addresses, protocol, ports })
                && waiter.head == Some(first)
            {
                waiter.tell(Err(complaint(from.source(), kind)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Flow, Waiter>> {
        // No code panics between two states of the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn tell(&mut self, outcome: Result<(), String>) {
        if let Some(tell) = self.tell.take() {
            // Who no longer waits has given up just now.
            let _ = tell.send(outcome.map(|()| self.probe.sent.elapsed()));
        }
    }
}

/// What a segment says of a SYN; none where it does not acknowledge it (RFC 9293 §3.10.7.3).
fn handshake(sequence: u32, header: &tcp::Header) -> Option<Result<(), String>> {
    if !header.flags.any(Flags::ACK) || header.acknowledgment != sequence.wrapping_add(1) {
        return None;
    }
    if header.flags.any(Flags::RST) {
        return Some(Err("connection refused".into()));
    }
    (header.flags.any(Flags::SYN) && !header.flags.absurd()).then_some(Ok(()))
}

/// An error in words.
fn complaint(from: IpAddr, kind: Kind) -> String {
    let what = match (kind, from.is_ipv4()) {
        (Kind::Unreachable { code: 0 }, true) => "network unreachable".into(),
        (Kind::Unreachable { code: 1 }, true) => "host unreachable".into(),
        (Kind::Unreachable { code: 2 }, true) => "protocol unreachable".into(),
        (Kind::Unreachable { code: 3 }, true) => "port unreachable".into(),
        (Kind::Unreachable { code: 9 | 10 | 13 }, true) => "prohibited".into(),
        (Kind::Unreachable { code: 0 }, false) => "no route".into(),
        (Kind::Unreachable { code: 1 | 5 | 6 }, false) => "prohibited".into(),
        (Kind::Unreachable { code: 3 }, false) => "address unreachable".into(),
        (Kind::Unreachable { code: 4 }, false) => "port unreachable".into(),
        (Kind::Unreachable { code }, _) => format!("unreachable (code {code})"),
        (Kind::TooBig { mtu }, _) => format!("packet too big for an MTU of {mtu}"),
        (Kind::TimeExceeded { .. }, _) => "time exceeded".into(),
        // A backend that does not know the protocol of the tunnel.
        (Kind::ParameterProblem { code: 1 }, false) => "protocol unreachable".into(),
        (Kind::ParameterProblem { code }, _) => format!("parameter problem (code {code})"),
    };
    format!("{what}, says {from}")
}

/// Where one waits; it is free again when this goes out of scope.
#[derive(Debug)]
pub struct Place<'a> {
    /// The probe's name.
    pub flow: Flow,
    waiting: &'a Waiting,
    told: oneshot::Receiver<Outcome>,
    /// Keeps the kernel from complaining about answers.
    _quiet: Option<UdpSocket>,
}

impl Place<'_> {
    /// From now on errors that quote this are believed, and time counts.
    pub fn expect(&mut self, head: Option<[u8; HEAD]>) {
        if let Some(waiter) = self.waiting.lock().get_mut(&self.flow) {
            waiter.head = head;
            waiter.probe.sent = Instant::now();
        }
    }

    /// Waits. To be asked no more once it was told.
    pub async fn answer(&mut self) -> Outcome {
        let told = (&mut self.told).await;
        told.unwrap_or_else(|_| Err("the check was given up".into()))
    }

    /// Whether there were answers other than the expected one.
    pub fn was_answered_otherwise(&self) -> bool {
        self.waiting.lock().get(&self.flow).is_some_and(|waiter| waiter.otherwise)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.flow);
    }
}

#[cfg(test)]
mod tests;
