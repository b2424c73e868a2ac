//! What would become of a packet: the data path itself is asked, on a copy of all that the packet could meet.
//!
//! | file | holds |
//! |---|---|
//! | [`packet`] | the frame that is tried |
//! | [`copy`] | the tables in which it is tried |
//!
//! Nothing that workers use is written. Not on the packet path: memory is allocated here.

pub mod copy;
pub mod packet;

use std::net::{IpAddr, SocketAddr};

use crate::tables::{
    BackendId, DropReason, Forwarding, InterfaceId, Mapping, Protocol, Resolution, SeenConnection, Service,
    Snapshot, Tick, WorkerCounters,
};
use crate::xsk::memory::Arena;

use super::batch::Batch;
use super::conntrack::mapping::{Scope, inside_key, public_key};
use super::conntrack::{Direction, FlowKey, FlowTables, Hit, Kind, Seen, State, walk};
use super::family::{Pair, V4, V6};
use super::parse::{TCP, UDP};
use super::pipeline::process;
use super::verdict::Verdict;
use super::{admit, place};
use packet::Segment;

/// Other connections with which a packet is tried anew, at the most.
const RIVALS: usize = 8;

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it comes in; none: where the answer would leave.
    pub ingress: Option<InterfaceId>,
    /// Length of the IP packet in bytes; what is less than the headers is as short as can be.
    pub length: u16,
}

/// The connection that the packet belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Existing {
    /// As it is now.
    pub connection: SeenConnection,
    /// Which way the packet goes.
    pub direction: Direction,
}

/// What affinity says of the client.
#[derive(Debug, Clone, Copy)]
pub struct Remembered {
    /// Whether it had a server that is still remembered.
    pub had: bool,
    /// The backend there, if it may take new connections.
    pub backend: Option<BackendId>,
}

/// The answer.
#[derive(Debug)]
pub struct Answer {
    /// Where the packet comes in.
    pub ingress: InterfaceId,
    /// Whether it begins something: a SYN or a datagram without a connection.
    pub segment: Segment,
    /// The frame as it comes in.
    pub before: Vec<u8>,
    /// The frame as it leaves, or as it was when it was dropped.
    pub after: Vec<u8>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why it is dropped, or answered in place of that.
    pub reason: Option<DropReason>,
    /// The connection that it belongs to.
    pub existing: Option<Existing>,
    /// What affinity says, where the service has one and there is no connection yet.
    pub remembered: Option<Remembered>,
    /// By worker, whom its round or its look at the loads names at this moment, where there is no connection yet.
    pub turns: Vec<Option<BackendId>>,
    /// The backend whose it is, or becomes.
    pub backend: Option<BackendId>,
    /// Where a source is taken from a pool, how many addresses and ports are left for it, and of how many.
    pub ports: Option<(u32, u32)>,
    /// Whether all entries of its table are with workers or in use: a new connection may find none.
    pub table_is_scarce: bool,
}

/// Asks. None where the two addresses are not of one family.
pub fn ask(asked: &Question, tables: &Snapshot, shared: &FlowTables, now: Tick) -> Option<Answer> {
    match asked.source {
        SocketAddr::V4(_) => Asked::<V4>::new(asked, tables, shared, now)?.answer(),
        SocketAddr::V6(_) => Asked::<V6>::new(asked, tables, shared, now)?.answer(),
    }
}

/// A connection, and all that its entry says.
type Found<P> = (Hit<P>, Seen<P>);

/// A question of one family, and what it is asked of.
struct Asked<'a, P> {
    question: &'a Question,
    key: FlowKey<P>,
    tables: &'a Snapshot,
    shared: &'a FlowTables,
    now: Tick,
}

/// What the copied tables said.
struct Tried<P> {
    before: Vec<u8>,
    after: Vec<u8>,
    verdict: Verdict,
    backend: Option<BackendId>,
    /// The public address that outbound NAT gave it.
    public: Option<IpAddr>,
    /// Why it was dropped, or answered in place of that.
    reason: Option<DropReason>,
    /// What answers of the connection will bear that it opened.
    reply: Option<FlowKey<P>>,
}

impl<'a, P: Pair> Asked<'a, P> {
    fn new(question: &'a Question, tables: &'a Snapshot, shared: &'a FlowTables, now: Tick) -> Option<Self> {
        let addresses = P::of(question.source.ip(), question.destination.ip())?;
        let ports = u32::from(question.source.port()) << 16 | u32::from(question.destination.port());
        let key = FlowKey { addresses, ports, protocol: question.protocol as u8 };
        Some(Self { question, key, tables, shared, now })
    }

    fn answer(&self) -> Option<Answer> {
        let found = self.find();
        let ingress =
            self.question.ingress.unwrap_or_else(|| ingress_of(self.question.source.ip(), self.tables));
        let segment = segment(&self.key, found.as_ref());
        let tried = self.run_among(ingress, segment, found.as_ref())?;
        let is_new = found.as_ref().is_none_or(|(hit, _)| is_over(hit));
        let service = admit::service_of(&self.key, self.tables).filter(|_| is_new);
        let table = P::table(self.shared);
        let backend = tried.backend;
        let mut answer = Answer {
            ingress,
            segment,
            before: tried.before,
            after: tried.after,
            verdict: tried.verdict,
            reason: tried.reason,
            existing: found.map(|(hit, seen)| Existing {
                connection: walk::shown(hit.entry, &seen, self.now.coarse(), &self.tables.timeouts),
                direction: hit.direction,
            }),
            remembered: service.and_then(|service| self.remembered(service)),
            turns: service.map_or_else(Vec::new, |service| self.turns(service)),
            ports: match tried.public {
                Some(public) => self.public_ports_left(public),
                None => service.zip(backend).and_then(|(service, backend)| self.ports_left(service, backend)),
            },
            backend,
            table_is_scarce: is_new && table.is_scarce(),
        };
        if matches!(answer.verdict, Verdict::Forward(_)) && answer.ports.is_some_and(|(left, _)| left == 0) {
            answer.reason = Some(DropReason::SnatPortsExhausted);
            answer.verdict = Verdict::Drop(DropReason::SnatPortsExhausted);
            answer.after.clone_from(&answer.before);
        }
        Some(answer)
    }

    fn find(&self) -> Option<Found<P>> {
        let table = P::table(self.shared);
        let hit = table.find(self.key, table.secret().hash(self.key))?;
        let seen = table.entry(hit.entry).look()?;
        // Another connection may have the entry by now.
        let key = if hit.direction == Direction::Request { seen.request } else { seen.reply };
        (key == self.key).then_some((hit, seen))
    }

    /// Tries the packet; again, where another connection has the answers that those of this one would be like.
    fn run_among(
        &self,
        ingress: InterfaceId,
        segment: Segment,
        found: Option<&Found<P>>,
    ) -> Option<Tried<P>> {
        let (table, mut others) = (P::table(self.shared), Vec::new());
        loop {
            let tried = self.run((ingress, segment), found, (&others, true))?;
            let rival = tried.reply.and_then(|reply| table.find(reply, table.secret().hash(reply)));
            let rival = rival.filter(|rival| found.is_none_or(|(hit, _)| hit.entry != rival.entry));
            match rival.and_then(|rival| table.entry(rival.entry).look()) {
                Some(rival) if others.len() < RIVALS => others.push(rival),
                _ => {
                    return Some(Tried {
                        reason: self.reason((ingress, segment), found, (&others, &tried)),
                        ..tried
                    });
                }
            }
        }
    }

    /// Why it was dropped, or would have been if that had not been answered.
    fn reason(
        &self,
        packet: (InterfaceId, Segment),
        found: Option<&Found<P>>,
        (others, tried): (&[Seen<P>], &Tried<P>),
    ) -> Option<DropReason> {
        let silent = || Some(self.run(packet, found, (others, false))?.verdict);
        let verdict = if matches!(tried.verdict, Verdict::Reply(_)) { silent()? } else { tried.verdict };
        if let Verdict::Drop(reason) = verdict { Some(reason) } else { None }
    }

    /// Tries the packet among these connections, where the switch may say something about it, or may not.
    fn run(
        &self,
        (ingress, segment): (InterfaceId, Segment),
        found: Option<&Found<P>>,
        (others, may_speak): (&[Seen<P>], bool),
    ) -> Option<Tried<P>> {
        let before = packet::build(self.question, segment, ingress, self.tables)?;
        let mut flows = copy::flows(self.key, (found, others), self.tables, self.shared, self.now);
        while !may_speak && flows.limiter.take(self.tables.icmp_rate, self.now) {}
        let counters = WorkerCounters::with_capacity(self.tables.services.len(), self.tables.backends.len());
        let (mut arena, mut batch) = (Arena::new(1), Batch::new(true));
        let frame = arena.frame(&before)?;
        if let Err(frame) = batch.push(frame, ingress) {
            arena.give_back(frame);
            return None;
        }
        process(&mut batch, self.tables, &mut flows, self.now, &counters);
        let mut tried = None;
        for (frame, verdict) in batch.drain() {
            tried = Some((frame.bytes().to_vec(), verdict.unwrap_or(Verdict::ToKernel)));
            arena.give_back(frame);
        }
        let (after, verdict) = tried?;
        let hit = flows.look_up(self.key);
        let backend = hit.map(|hit| hit.backend).filter(|backend| *backend != BackendId::NONE);
        let opened = hit.filter(|_| found.is_none_or(|(hit, _)| is_over(hit)));
        let public = opened.filter(|hit| hit.kind == Kind::Snat).map(|hit| hit.addresses.source());
        let reply = opened.filter(|hit| !hit.kind.one_way()).map(|hit| {
            let leaves = FlowKey { addresses: hit.addresses, ports: hit.ports, protocol: self.key.protocol };
            leaves.reversed()
        });
        Some(Tried { before, after, verdict, backend, public, reply, reason: None })
    }

    fn remembered(&self, service: &Service) -> Option<Remembered> {
        let (affinity, client) = (service.affinity.as_ref()?, self.question.source.ip());
        let had = place::had(affinity, client, self.shared, (self.tables, self.now.coarse()));
        Some(Remembered { had: had.server.is_some(), backend: had.backend.map(|backend| backend.id) })
    }

    fn turns(&self, service: &Service) -> Vec<Option<BackendId>> {
        let turn = |worker| {
            let cursor = self.shared.cursor(worker, service.id);
            place::scheduled(service, &self.key, cursor, &self.shared.loads).0
        };
        (0..self.shared.workers()).map(turn).collect()
    }

    /// How many ports outbound NAT has left at a public address for a new mapping, and of how many.
    fn public_ports_left(&self, public: IpAddr) -> Option<(u32, u32)> {
        let (table, inside) = (P::table(self.shared), self.question.source.ip());
        let rule =
            self.tables.snat_rules.iter().find(|rule| rule.is_inside(inside) && rule.is_public(public))?;
        let is_there = |key: FlowKey<P>| table.find(key, table.secret().hash(key)).is_some();
        if rule.mapping == Mapping::EndpointIndependent && is_there(inside_key(self.key, Scope::Anybody)) {
            // It has its port.
            return None;
        }
        let (first, last) = (rule.pool.first_port, rule.pool.last_port);
        let is_free = |port: &u16| {
            let addresses = P::of(self.question.destination.ip(), public).unwrap_or_default();
            let ports = u32::from(self.question.destination.port()) << 16 | u32::from(*port);
            let reply = FlowKey { addresses, ports, protocol: self.key.protocol };
            !is_there(reply) && !is_there(public_key(reply, Scope::Anybody))
        };
        let left = (first..=last).filter(is_free).count() as u32;
        Some((left, u32::from(last - first) + 1))
    }

    /// How many source addresses and ports full NAT has left towards a backend, and of how many.
    fn ports_left(&self, service: &Service, backend: BackendId) -> Option<(u32, u32)> {
        if service.forwarding != Forwarding::FullNat {
            return None;
        }
        let (pool, table) = (&self.tables.snat, P::table(self.shared));
        let server = self.tables.backend(backend)?.address;
        let taken = |address: IpAddr, port: u16| {
            let ports = u32::from(server.port()) << 16 | u32::from(port);
            let key = P::of(server.ip(), address);
            let key = key.map(|addresses| FlowKey { addresses, ports, protocol: self.key.protocol });
            key.is_none_or(|key| table.find(key, table.secret().hash(key)).is_some())
        };
        let (mut left, mut all) = (0, 0);
        for address in (0..P::pool_len(pool)).filter_map(|position| P::pool_at(pool, position)) {
            for port in pool.first_port..=pool.last_port {
                all += 1;
                left += u32::from(!taken(address, port));
            }
        }
        Some((left, all))
    }
}

/// Whether the client may open the connection anew.
fn is_over<P: Pair>(hit: &Hit<P>) -> bool {
    hit.is_finished() && hit.direction == Direction::Request
}

/// What is sent: something that begins where there is nothing to go on with, otherwise a segment like those that went before.
fn segment<P: Pair>(key: &FlowKey<P>, found: Option<&Found<P>>) -> Segment {
    match (key.protocol, found) {
        (UDP, found) => Segment::Datagram { is_first: found.is_none() },
        (_, None) => Segment::Syn,
        // From the same port, over as it is: whoever sends there now begins anew.
        (_, Some((hit, _))) if is_over(hit) => Segment::Syn,
        (_, Some((hit, seen))) => {
            let [client, server] = seen.sequences;
            match (hit.direction, hit.state()) {
                (Direction::Reply, State::SynReceived) => {
                    Segment::SynAck { acknowledgment: client.wrapping_add(1) }
                }
                (Direction::Request, State::SynReceived) => Segment::Syn,
                (Direction::Request, _) => {
                    Segment::Data { sequence: client, acknowledgment: server.wrapping_add(1) }
                }
                (Direction::Reply, _) => {
                    Segment::Data { sequence: server, acknowledgment: client.wrapping_add(1) }
                }
            }
        }
    }
}

/// The interface behind which an address is; the first where nobody knows.
fn ingress_of(address: IpAddr, tables: &Snapshot) -> InterfaceId {
    match tables.routes.resolve(address) {
        Resolution::NextHop(id) => tables.next_hop(id).map_or(InterfaceId(0), |next_hop| next_hop.interface),
        Resolution::Unknown(interface) => interface,
        Resolution::Unroutable => InterfaceId(0),
    }
}

const _: () = assert!(Protocol::Tcp as u8 == TCP && Protocol::Udp as u8 == UDP);
