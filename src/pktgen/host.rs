//! Hosts that live in user space: addresses that no kernel owns, answered for over AF_XDP.
//!
//! Frames for those addresses never reach the kernel, so it has no occasion to reset connections that it knows nothing of.
//! ARP requests and neighbour solicitations for them are answered here; everything else goes to the kernel as ever.

use std::time::Duration;

use super::divert::{Divert, Wanted};
use super::error::Error;
use super::generator::{drain, index};
use super::pacer::Pacer;
use super::rings::Rings;
use super::tcp::client::{Client, ClientPlan};
use super::tcp::connection::Out;
use super::tcp::segment::{NoSegment, Segment};
use super::tcp::server::{Served, Server};
use super::tuples::Range;
use crate::sys::{clock, interface};
use crate::wire::{arp, ethernet, ipv6, ndp};
use crate::xsk::Frame;

/// Connections that are opened, and looked at, at a time: between two looks at what came.
const AT_A_TIME: u32 = 32;
/// Longest sleep, so that an order to stop is heard.
const SLEEP_NS: u64 = 20_000_000;
const SHORTEST_SLEEP_NS: u64 = 10_000;

/// What was counted beside connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct HostCounts {
    /// Segments that came.
    pub segments_received: u64,
    /// Segments that were sent.
    pub segments_sent: u64,
    /// Packets that came with a wrong checksum or length.
    pub damaged: u64,
    /// Questions for MAC addresses that were answered.
    pub neighbors_answered: u64,
    /// Frames that the interface did not take.
    pub lost: u64,
    /// Frames that came and found no room.
    pub overrun: u64,
}

/// Addresses on an interface.
pub struct Host {
    // Off before the sockets are closed.
    _divert: Divert,
    rings: Rings,
    addresses: Range,
    mac: [u8; 6],
    mtu: u16,
    batch: Vec<Frame>,
    frame: Vec<u8>,
    counts: HostCounts,
}

impl Host {
    /// Answers for `addresses` at `name`, on all of its queues.
    pub fn open(name: &str, addresses: Range) -> Result<Self, Error> {
        index(name)?;
        let mac = interface::mac(name).ok_or_else(|| Error::Input(format!("{name} has no MAC address")))?;
        let mut rings = Rings::open(name, None)?;
        rings.refill();
        let divert = Divert::attach(name, Wanted::Addresses(addresses), &rings.sockets())?;
        let mtu = interface::mtu(name).unwrap_or(1500).min(1500) as u16;
        let (batch, frame) = (Vec::new(), Vec::new());
        Ok(Self { _divert: divert, rings, addresses, mac, mtu, batch, frame, counts: HostCounts::default() })
    }

    /// What was counted so far.
    pub fn counts(&self) -> HostCounts {
        HostCounts { lost: self.rings.lost(), overrun: self.rings.overrun(), ..self.counts }
    }

    /// Takes what came: neighbours are answered, segments handed to `take` with the MAC address they came from, and the
    /// frames that `take` writes are sent.
    fn turn(&mut self, mut take: impl FnMut(&Segment<'_>, [u8; 6], &mut Outbox<'_>)) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        self.rings.receive(&mut batch);
        let came = !batch.is_empty();
        for frame in batch.drain(..) {
            match Segment::read(frame.bytes()) {
                Ok(segment) => {
                    self.counts.segments_received += 1;
                    let from = ethernet::source(frame.bytes()).unwrap_or_default();
                    let Self { rings, mac, mtu, frame, counts, .. } = self;
                    take(&segment, from, &mut Outbox { rings, mac: *mac, mtu: *mtu, frame, counts });
                }
                Err(NoSegment::Damaged) => self.counts.damaged += 1,
                Err(NoSegment::Other) => self.answer_neighbor(frame.bytes()),
            }
            self.rings.give_back(frame);
        }
        self.batch = batch;
        self.rings.flush();
        self.rings.refill();
        came
    }

    /// Says which MAC address one of our addresses has, if that is the question.
    fn answer_neighbor(&mut self, question: &[u8]) {
        let Some(mut frame) = self.rings.take() else { return };
        if frame.resize(question.len().max(ndp::FRAME))
            && let Some(length) = answer(question, self.mac, &self.addresses, frame.bytes_mut())
            && frame.resize(length)
        {
            self.counts.neighbors_answered += 1;
            self.rings.transmit(frame);
        } else {
            self.rings.give_back(frame);
        }
    }

    fn outbox(&mut self) -> Outbox<'_> {
        let Self { rings, mac, mtu, frame, counts, .. } = self;
        Outbox { rings, mac: *mac, mtu: *mtu, frame, counts }
    }

    /// Sleeps until something comes, or until `due_ns`.
    fn sleep(&self, due_ns: u64) {
        let wait = due_ns.saturating_sub(clock::monotonic_ns()).min(SLEEP_NS);
        // Spinning would keep the kernel's own work off this core, and that is what brings the frames.
        if wait >= SHORTEST_SLEEP_NS {
            self.rings.wait(Duration::from_nanos(wait));
        }
    }
}

/// Where segments go.
struct Outbox<'a> {
    rings: &'a mut Rings,
    mac: [u8; 6],
    mtu: u16,
    frame: &'a mut Vec<u8>,
    counts: &'a mut HostCounts,
}

impl Outbox<'_> {
    fn send(&mut self, segment: &Segment<'_>, to: [u8; 6]) {
        segment.write(&ethernet::macs(to, self.mac), self.mtu, self.frame);
        let Some(mut frame) = self.rings.take() else { return };
        if frame.fill(self.frame) {
            self.counts.segments_sent += 1;
            self.rings.transmit(frame);
        } else {
            self.rings.give_back(frame);
        }
    }
}

/// Writes the answer to a question about one of `ours` to `frame`; its length.
fn answer(question: &[u8], mac: [u8; 6], ours: &Range, frame: &mut [u8]) -> Option<usize> {
    let layer2 = ethernet::header(question)?;
    let at = usize::from(layer2.header_len);
    let packet = question.get(at..)?;
    frame.get_mut(..question.len())?.copy_from_slice(question);
    match layer2.ethertype {
        ethernet::ARP => {
            let request = arp::Request::parse(packet)?;
            ours.contains(std::net::Ipv4Addr::from_bits(request.target).into()).then_some(())?;
            arp::answer(frame, at, &request, mac);
            Some(question.len())
        }
        ethernet::IPV6 => {
            let header = ipv6::Header::parse(packet).ok()?;
            let solicitation = ndp::Solicitation::parse(packet, &header)?;
            ours.contains(std::net::Ipv6Addr::from_bits(solicitation.target).into()).then_some(())?;
            let to = match solicitation.source {
                0 => ndp::multicast_mac(ndp::ALL_NODES),
                _ => solicitation.source_mac.or_else(|| ethernet::source(question))?,
            };
            let length = ndp::answer(frame.get_mut(at..)?, &solicitation, mac, false)?;
            ethernet::set_macs(frame, &ethernet::macs(to, mac));
            Some(at + length)
        }
        _ => None,
    }
}

/// How fast clients open connections, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ConnectPace {
    /// Connections per second; none = as many as there is room for.
    pub rate: Option<f64>,
    /// Connections in all; none = until told to stop.
    pub limit: Option<u64>,
}

/// Clients at an interface: opens, uses and closes connections through the next hop `to`, until `limit` of them are over or
/// `watch`, which is asked every few milliseconds, says stop. After that those that are open get the time that their plan
/// gives them. Blocks.
pub fn connect(
    host: &mut Host,
    plan: ClientPlan,
    to: [u8; 6],
    pace: ConnectPace,
    mut watch: impl FnMut(&Client) -> bool,
) -> Client {
    let (tuples, request, timeout_ns) = (plan.tuples, plan.script.request.clone(), plan.timeout_ns);
    let mut client = Client::new(plan);
    let mut pacer = Pacer::new(pace.rate, clock::monotonic_ns());
    let mut deadline_ns = None;
    let mut looked_ns = 0;
    let send = |outbox: &mut Outbox<'_>, out: Out| {
        let (source, destination) = tuples.flow(out.flow);
        let Out { flags, sequence, acknowledgment, data, .. } = out;
        let payload = request.get(data).unwrap_or_default();
        outbox.send(&Segment { source, destination, flags, sequence, acknowledgment, payload }, to);
    };
    loop {
        let now_ns = clock::monotonic_ns();
        if now_ns - looked_ns > 5_000_000 {
            looked_ns = now_ns;
            if deadline_ns.is_none() && watch(&client) {
                deadline_ns = Some(now_ns + timeout_ns);
            }
        }
        let left = pace.limit.map_or(u64::MAX, |limit| limit - client.counts().opened);
        let may_open = deadline_ns.is_none() && left > 0;
        let is_over = !may_open && client.open_now() == 0;
        if is_over || deadline_ns.is_some_and(|deadline_ns| now_ns > deadline_ns) {
            break;
        }
        let mut outbox = host.outbox();
        let mut opened = 0;
        if may_open {
            let most = left.min(u64::from(client.room().min(AT_A_TIME))) as u32;
            opened = pacer.take(now_ns, most);
            for _ in 0..opened {
                client.open(now_ns, &mut |out| send(&mut outbox, out));
            }
        }
        client.tick(now_ns, AT_A_TIME as usize, &mut |out| send(&mut outbox, out));
        let came = host.turn(|segment, _, outbox| {
            client.receive(segment, now_ns, &mut |out| send(outbox, out));
        });
        if !came && opened == 0 {
            let due_ns = client.next_due_ns().unwrap_or(u64::MAX);
            let next_ns =
                if may_open && client.room() > 0 { now_ns + pacer.wait_ns(now_ns) } else { u64::MAX };
            host.sleep(due_ns.min(next_ns));
        }
    }
    client.abort_all(&mut |out| send(&mut host.outbox(), out));
    drain(&mut host.rings);
    watch(&client);
    client
}

/// A server at an interface, for all of the host's addresses and ports, until `watch`, which is asked every few
/// milliseconds, says stop. Answers go to where questions came from. Blocks.
pub fn serve(host: &mut Host, server: &Server, mut watch: impl FnMut(&Served, &Host) -> bool) -> Served {
    let mut served = Served::default();
    let mut looked_ns = 0;
    let ports = host.addresses.ports();
    loop {
        let now_ns = clock::monotonic_ns();
        if now_ns - looked_ns > 5_000_000 {
            looked_ns = now_ns;
            if watch(&served, host) {
                break;
            }
        }
        let came = host.turn(|segment, from, outbox| {
            if (ports[0]..=ports[1]).contains(&segment.destination.port())
                && let Some(back) = server.answer(segment, &mut served)
            {
                outbox.send(&back, from);
            }
        });
        if !came {
            host.sleep(now_ns + SLEEP_NS);
        }
    }
    drain(&mut host.rings);
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn questions_about_our_addresses_are_answered_and_no_others() {
        let ours: Range = "198.19.0.0/24".parse().unwrap();
        let ask = |target: [u8; 4]| {
            let mut frame = arp::announcement(u32::from_be_bytes(target), [2, 0, 0, 0, 0, 1]);
            // An announcement asks for its sender's own address.
            frame[28..32].copy_from_slice(&[198, 19, 1, 1]);
            frame
        };
        let mut frame = [0; 100];
        assert_eq!(answer(&ask([198, 19, 0, 7]), MAC, &ours, &mut frame), Some(60));
        assert_eq!(
            (&frame[..6], &frame[22..32]),
            (&[2, 0, 0, 0, 0, 1][..], &[2, 0, 0, 0, 0, 9, 198, 19, 0, 7][..])
        );
        assert_eq!(answer(&ask([198, 19, 1, 7]), MAC, &ours, &mut frame), None);
        let ours: Range = "[2001:db8::/120]".parse().unwrap();
        let solicitation = |target: u128| ndp::solicitation(target, 5, [2, 0, 0, 0, 0, 1]);
        let base = 0x2001_0DB8_u128 << 96;
        assert_eq!(answer(&solicitation(base + 7), MAC, &ours, &mut frame), Some(ndp::FRAME));
        assert_eq!(frame[..12], ethernet::macs([2, 0, 0, 0, 0, 1], MAC));
        assert_eq!(answer(&solicitation(base + 256), MAC, &ours, &mut frame), None);
        assert_eq!(answer(&[0; 60], MAC, &ours, &mut frame), None);
    }
}
