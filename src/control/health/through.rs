//! Checks that take the way of a service's packets: to the VIP, by the tunnel or the MAC address of one backend.
//!
//! ```text
//!  [link][outer][IP: source → VIP][SYN, datagram or ping] ──▶ the backend: takes the tunnel off, has the VIP on lo
//!                                                                       │
//!  reader ◀── packet sockets with a filter ◀── the kernel ◀── VIP → source, directly
//!     └──▶ whoever waits for that answer
//! ```
//!
//! A connection of the kernel's would not go there: its packets for the VIP take the kernel's routes. So everything is made
//! here by hand, and the answers, which the kernel gets but has nobody for, are read along by two packet sockets, one per
//! family. Raw sockets would be one per family and protocol, and the kernel copies every packet of the protocol for a raw
//! socket before that socket's filter sees it; a packet socket's filter comes first, and what it refuses, which on a busy
//! host is all but everything, costs the run of a dozen instructions.
//!
//! The kernel answers a SYN-ACK that it has nobody for with a reset, but along its routes, where the backend is not. So the
//! reset that has the backend forget the connection is sent from here, too.

mod waiting;

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use self::waiting::{Expected, Flow, Place, Probe, Waiting};
use super::Through;
use super::check::{Failed, failed, is_ours};
use crate::config::valid::Check;
use crate::sys::packet::{Filter, PacketReceiver, PacketSender};
use crate::wire::ethernet;
use crate::wire::ip::{self, Addresses};
use crate::wire::probe::{self, Question};

/// Source ports, and identifiers of pings: above those that Linux gives to its own connections (ip-sysctl,
/// `ip_local_port_range`), and outside those of full NAT unless they are configured otherwise.
const PORTS: RangeInclusive<u16> = 61_000..=64_999;
/// Random ports that are tried before there are too many checks at a time.
const ATTEMPTS: usize = 32;
/// A SYN without an answer is sent again after this long, as a client's kernel does (RFC 6298 §2).
const AGAIN: Duration = Duration::from_secs(1);
/// After an error of a socket.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest packet.
const LONGEST: usize = 65_535;

/// Sends checks and hears the answers.
#[derive(Debug)]
pub struct Prober {
    sender: PacketSender,
    waiting: Arc<Waiting>,
    reader: JoinHandle<()>,
}

impl Prober {
    /// Opens the sockets; needs CAP_NET_RAW. Within a Tokio runtime only. As long as this lives, the kernel runs a filter over
    /// every packet that it gets.
    pub fn open() -> io::Result<Self> {
        let sender = PacketSender::open()?;
        let v4 = PacketReceiver::open(ethernet::IPV4, &Filter::answers_v4(PORTS))?;
        let v6 = PacketReceiver::open(ethernet::IPV6, &Filter::answers_v6(PORTS))?;
        let waiting = Arc::new(Waiting::default());
        let reader = tokio::spawn(read(v4, v6, Arc::clone(&waiting)));
        Ok(Self { sender, waiting, reader })
    }

    /// Asks the VIP at `port` the way that `through` says, and waits for the answer: how long it took, or what is wrong, with
    /// the backend or with this host. For checks of TCP, UDP and ICMP.
    pub async fn probe(
        &self,
        through: &Through,
        check: &Check,
        port: u16,
        timeout: Duration,
    ) -> Result<Duration, Failed> {
        let began = tokio::time::Instant::now();
        let question = Asked::of(check)?;
        let addresses = Addresses::between(through.source, through.vip.ip()).ok_or_else(|| {
            failed("this host has no address of the VIP's family that the backend could answer to")
        })?;
        let secret = random()?;
        let probe = question.probe(addresses, port, secret)?;
        let mut place = self.place(&question, through.source, probe)?;
        let packet = question.packet(&place.flow, secret).ok_or_else(|| failed("too long for a packet"))?;
        let frame = frame(through, &packet, secret.sequence as u16)?;
        place.expect(probe::head(&packet).map(|(_, _, head)| head));
        let until = began + timeout;
        let mut heard = None;
        while heard.is_none() {
            self.send(through, &frame)?;
            let again =
                if matches!(question, Asked::Tcp) { tokio::time::Instant::now() + AGAIN } else { until };
            heard = timeout_at(until.min(again), place.answer()).await.ok();
            if again >= until {
                break;
            }
        }
        if matches!(question, Asked::Tcp) && !matches!(heard, Some(Err(_))) {
            self.forget(through, &place.flow, secret);
        }
        let silent = || Err(silence(through, timeout, place.was_answered_otherwise()));
        heard.unwrap_or_else(silent).map_err(Failed::Backend)
    }

    /// A place to wait at for the answer to a question from a port of its own.
    fn place(&self, question: &Asked<'_>, source: IpAddr, probe: Probe) -> Result<Place<'_>, Failed> {
        let mut probe = Some(probe);
        for _ in 0..ATTEMPTS {
            let local = PORTS.start() + (random()?.port % PORTS.len() as u16);
            // The kernel complains about datagrams that it has nobody for, and to the VIP. Where the address is no longer
            // this host's, or is not usable yet, it may.
            let quiet = match question {
                Asked::Udp { .. } => match UdpSocket::bind((source, local)) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                    socket => socket.ok(),
                },
                Asked::Tcp | Asked::Icmp => None,
            };
            let Some(taken) = probe.take() else { break };
            match self.waiting.place(taken.answering_from(local), quiet) {
                Ok(place) => return Ok(place),
                Err(back) => probe = Some(back),
            }
        }
        Err(Failed::Ours("too many checks of this VIP at a time".to_owned()))
    }

    fn send(&self, through: &Through, frame: &[u8]) -> Result<(), Failed> {
        self.sender.send(through.ifindex, frame).map_err(|error| unsent(&error))
    }

    /// Has the backend forget the connection. That nothing came back does not mean that nothing went there.
    fn forget(&self, through: &Through, flow: &Flow, secret: Secret) {
        let reset = Question::Reset { ports: flow.ports, sequence: secret.sequence.wrapping_add(1) };
        let frame = reset
            .packet(flow.addresses)
            .and_then(|packet| frame(through, &packet, secret.sequence as u16).ok());
        if let Some(frame) = frame {
            // Without it the backend forgets after some vain answers.
            let _ = self.send(through, &frame);
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum Asked<'a> {
    Tcp,
    Udp { send: &'a [u8], expect: &'a [u8] },
    Icmp,
}

impl<'a> Asked<'a> {
    fn of(check: &'a Check) -> Result<Self, Failed> {
        match check {
            Check::Tcp => Ok(Self::Tcp),
            Check::Udp { send, expect } => Ok(Self::Udp { send, expect }),
            Check::Icmp => Ok(Self::Icmp),
            Check::Http(_) | Check::Https(..) | Check::Agent => Err(failed(format!(
                "a check of {} cannot take the way of the service's packets",
                check.name()
            ))),
        }
    }

    /// What waits for the answer. Its own port is not known yet.
    fn probe(&self, addresses: Addresses, port: u16, secret: Secret) -> Result<Probe, Failed> {
        let v6 = matches!(addresses, Addresses::V6(_));
        let (protocol, port, expected) = match self {
            Self::Tcp => (ip::TCP, port, Expected::Handshake { sequence: secret.sequence }),
            Self::Udp { expect, .. } => (ip::UDP, port, Expected::Datagram { holding: expect.to_vec() }),
            Self::Icmp => {
                let protocol = if v6 { ip::ICMPV6 } else { ip::ICMP };
                (protocol, 0, Expected::Echo { data: secret.data() })
            }
        };
        let flow = Flow { addresses, protocol, ports: port.into() };
        Ok(Probe { flow, expected, sent: Instant::now() })
    }

    fn packet(&self, flow: &Flow, secret: Secret) -> Option<Vec<u8>> {
        let ports = flow.ports;
        let question = match self {
            Self::Tcp => Question::Syn { ports, sequence: secret.sequence },
            Self::Udp { send, .. } => Question::Datagram { ports, payload: send },
            Self::Icmp => {
                let data = secret.data();
                return Question::Echo { id: (ports >> 16) as u16, sequence: 1, data: &data }
                    .packet(flow.addresses);
            }
        };
        question.packet(flow.addresses)
    }
}

/// What only who has seen the question can know.
#[derive(Debug, Clone, Copy)]
struct Secret {
    sequence: u32,
    port: u16,
}

impl Secret {
    /// What a ping carries.
    fn data(self) -> [u8; 8] {
        let [a, b, c, d] = self.sequence.to_be_bytes();
        let [e, f] = self.port.to_be_bytes();
        [a, b, c, d, e, f, a ^ e, b ^ f]
    }
}

fn random() -> Result<Secret, Failed> {
    let random = getrandom::u64().map_err(|error| Failed::Ours(format!("no random numbers: {error}")))?;
    Ok(Secret { sequence: random as u32, port: (random >> 32) as u16 })
}

/// What goes out: the packet with all that the data plane would put in front of it. `flow` spreads tunnels over paths.
fn frame(through: &Through, packet: &[u8], flow: u16) -> Result<Vec<u8>, Failed> {
    let room = through.outer.as_ref().map_or(0, |outer| outer.len());
    let mut frame = [through.link.as_slice(), &vec![0; room], packet].concat();
    if let Some(outer) = &through.outer {
        let (_, rest) = frame.split_at_mut(through.link.len());
        let (room, inner) = rest.split_at_mut(room);
        // Nothing of ours may be cut into pieces, so that the IP identification means nothing.
        if !outer.write(room, inner, inner.len() as u16, 0, flow) {
            return Err(failed("too long for the tunnel, or not of the family that it is for"));
        }
    }
    Ok(frame)
}

/// Why nothing was sent. A queue that is full, or memory that is short, says nothing of the backend.
fn unsent(error: &io::Error) -> Failed {
    if error.kind() == io::ErrorKind::WouldBlock || is_ours(error) {
        return Failed::Ours(error.to_string());
    }
    failed(format!("cannot be sent: {error}"))
}

/// What to say of a backend that said nothing.
fn silence(through: &Through, timeout: Duration, otherwise: bool) -> String {
    let seconds = timeout.as_secs_f64();
    if otherwise {
        return format!("no answer within {seconds} s that holds what is expected");
    }
    let tunnel = if through.outer.is_some() { ", and the tunnel device" } else { "" };
    format!("no answer within {seconds} s: does the backend have the VIP on its loopback{tunnel}?")
}

/// Hands what comes to who waits for it.
async fn read(v4: PacketReceiver, v6: PacketReceiver, waiting: Arc<Waiting>) {
    let mut buffers = [vec![0; LONGEST], vec![0; LONGEST]];
    let [for_v4, for_v6] = &mut buffers;
    loop {
        let (received, buffer) = tokio::select! {
            received = v4.receive(for_v4) => (received, &*for_v4),
            received = v6.receive(for_v6) => (received, &*for_v6),
        };
        match received {
            Ok(length) => waiting.hear(buffer.get(..length).unwrap_or_default()),
            // The kernel tells of an interface that went down in this way.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_of_ours_is_no_failure_of_the_backend() {
        for code in [libc::EAGAIN, libc::ENOBUFS, libc::EPERM] {
            assert!(matches!(unsent(&io::Error::from_raw_os_error(code)), Failed::Ours(_)), "{code}");
        }
        assert!(matches!(unsent(&io::Error::from_raw_os_error(libc::ENXIO)), Failed::Backend(_)));
    }
}
