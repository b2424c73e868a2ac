//! What is limited: who may open how many connections, how much may pass, how packets are marked.
//!
//! | file | keeps |
//! |---|---|
//! | [`bucket`] | what is left of a service's rate, or of a budget |
//! | [`clients`] | what is left of each client's |
//! | [`holders`] | how many connections each client has |
//!
//! The rules are in [`crate::tables::limits`]. Services without any pay nothing: what begins with others does so by the
//! full path, and connections whose packets are looked at one by one are marked as such, so that the express lane does not
//! know them. See docs/design/0034.

pub mod bucket;
pub mod clients;
pub mod holders;

use std::net::IpAddr;

use crate::tables::counters::MAX_SERVICES;
use crate::tables::exact::address_bits;
use crate::tables::hash::mix;
use crate::tables::limits::{Limits, Rate};
use crate::tables::{DropReason, Service, ServiceId};
use crate::wire::ip;
use crate::xsk::Frame;

use super::batch::Meta;
use super::conntrack::{Direction, FlowKey, Hit, Kind, Marks, Secret, State};
use super::family::Pair;
use super::turn::Turn;
use bucket::Bucket;
use clients::Clients;
use holders::{Held, Holders};

/// What makes a client: bits of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientPrefixes {
    /// Of an IPv4 address.
    pub v4: u8,
    /// Of an IPv6 address.
    pub v6: u8,
}

impl Default for ClientPrefixes {
    fn default() -> Self {
        // A host that changes its privacy address (RFC 8981) stays within its /64.
        Self { v4: 32, v6: 64 }
    }
}

/// What is left of one service's rates.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Buckets {
    opened: Bucket,
    packets: Bucket,
    /// By direction.
    bits: [Bucket; 2],
}

impl Buckets {
    fn copy(&self, other: &Self) {
        self.opened.copy(&other.opened);
        self.packets.copy(&other.packets);
        self.bits.iter().zip(&other.bits).for_each(|(own, other)| own.copy(other));
    }
}

/// What is left of everything that is limited, shared by all workers.
#[derive(Debug)]
pub struct Left {
    services: Box<[Buckets]>,
    clients: Clients,
    holders: Holders,
    icmp: Bucket,
    fragments: Bucket,
    prefixes: ClientPrefixes,
    secret: Secret,
}

/// Clients that a copy has room for: one.
const FEW_CLIENTS: u32 = 8;

/// What a client's bucket is for.
#[derive(Debug, Clone, Copy)]
enum Of {
    Opened = 1,
    Packets = 2,
}

impl Left {
    /// Everything is left. So many clients are told apart at a time, by these prefixes.
    pub fn new(clients: u32, prefixes: ClientPrefixes, secret: Secret) -> Self {
        Self {
            services: (0..MAX_SERVICES).map(|_| Buckets::default()).collect(),
            clients: Clients::new(clients),
            holders: Holders::new(clients),
            icmp: Bucket::default(),
            fragments: Bucket::default(),
            prefixes,
            secret,
        }
    }

    /// The same as far as a packet of this key and service is concerned: what is taken there is not taken here.
    pub fn copied<P: Pair>(&self, key: FlowKey<P>, service: Option<ServiceId>) -> Self {
        let copy = Self::new(FEW_CLIENTS, self.prefixes, self.secret);
        copy.icmp.copy(&self.icmp);
        copy.fragments.copy(&self.fragments);
        copy.holders.copy(&self.holders, self.holder(key));
        let Some(service) = service else { return copy };
        for of in [Of::Opened, Of::Packets] {
            copy.clients.copy(&self.clients, self.client_of(key.addresses.source(), service, of));
        }
        if let (Some(own), Some(copied)) =
            (self.services.get(service.index()), copy.services.get(service.index()))
        {
            copied.copy(own);
        }
        copy
    }

    /// The hash of a client, and of what it is about.
    fn client(&self, address: IpAddr, about: u64) -> u64 {
        self.secret.hash_client(address, [self.prefixes.v4, self.prefixes.v6], about)
    }

    fn client_of(&self, address: IpAddr, service: ServiceId, of: Of) -> u64 {
        self.client(address, u64::from(service.0) << 8 | of as u64)
    }

    /// The hash of who holds a connection: the client, at what it connects to.
    fn holder<P: Pair>(&self, request: FlowKey<P>) -> u64 {
        let bits = address_bits(request.addresses.destination());
        let port = u64::from(request.destination_port()) << 8 | u64::from(request.protocol);
        self.client(request.addresses.source(), mix(bits as u64 ^ (bits >> 64) as u64, port))
    }

    /// Counts a connection more at its client, which may have `limit`.
    pub fn acquire<P: Pair>(&self, request: FlowKey<P>, limit: u32) -> Held {
        self.holders.acquire(self.holder(request), limit)
    }

    /// Counts one less.
    pub fn release<P: Pair>(&self, request: FlowKey<P>) {
        self.holders.release(self.holder(request));
    }

    /// Connections that are counted of a client, at what this is a request to.
    pub fn held<P: Pair>(&self, request: FlowKey<P>) -> u32 {
        self.holders.held(self.holder(request))
    }
}

/// Whether a client may open a connection with a service now, as far as rates go.
pub fn may_open(service: &Service, client: IpAddr, turn: &Turn<'_>) -> Result<(), DropReason> {
    let (left, limits) = (&turn.flows.tables().limits, &service.limits);
    let own = |rate| left.clients.take(left.client_of(client, service.id, Of::Opened), &rate, turn.now);
    let all =
        |rate| left.services.get(service.id.index()).is_none_or(|of| of.opened.take(&rate, 1, turn.now));
    // Its own first: a client that has none left takes nothing from the others.
    match limits.client_opened.is_none_or(own) && limits.opened.is_none_or(all) {
        true => Ok(()),
        false => Err(DropReason::RateLimited),
    }
}

/// Counts a connection that is to begin at its client, where the service limits that. What it is marked with.
pub fn hold<P: Pair>(
    service: &Service,
    request: FlowKey<P>,
    state: State,
    turn: &Turn<'_>,
) -> Result<Marks, DropReason> {
    let marks = if service.limits.attends() { Marks::ATTENDED } else { Marks::NONE };
    match service.limits.client_connections {
        0 => Ok(marks),
        // One that goes on at another backend is none more.
        limit => match turn
            .flows
            .tables()
            .limits
            .acquire(request, if state == State::Established { u32::MAX } else { limit })
        {
            Held::Counted => Ok(marks.with(Marks::COUNTED)),
            Held::Uncounted => Ok(marks),
            Held::Enough => Err(DropReason::ClientFull),
        },
    }
}

/// Looks at a frame of a connection whose service limits or marks packets.
#[inline]
pub fn attend<P: Pair>(
    frame: &mut Frame,
    meta: &Meta,
    hit: &Hit<P>,
    turn: &Turn<'_>,
) -> Result<(), DropReason> {
    if turn.tables.attends && !matches!(hit.kind, Kind::Snat | Kind::Mapping) {
        look(frame, meta, hit, turn)?;
    }
    Ok(())
}

#[cold]
fn look<P: Pair>(frame: &mut Frame, meta: &Meta, hit: &Hit<P>, turn: &Turn<'_>) -> Result<(), DropReason> {
    let service = turn.tables.backend(hit.backend).and_then(|backend| turn.tables.service(backend.service));
    let Some(service) = service.filter(|service| service.limits.attends()) else { return Ok(()) };
    if !hit.marks.has(Marks::ATTENDED) {
        // It began before its service asked for that. From now on answers, too, are looked at.
        turn.flows.entry::<P>(hit.entry).mark(hit, Marks::ATTENDED);
    }
    let passed = within_limits::<P>(service, hit.direction, (meta, frame.len()), turn);
    if passed.is_err()
        && let Some(counters) = turn.counters.service(service.id)
    {
        counters.limited.add(1);
    }
    if let (Ok(()), Some(dscp)) = (passed, service.limits.dscp)
        && let Some(packet) = frame.bytes_mut().get_mut(meta.parsed.packet())
    {
        ip::set_dscp(packet, dscp.number());
    }
    passed
}

fn within_limits<P: Pair>(
    service: &Service,
    direction: Direction,
    (meta, length): (&Meta, usize),
    turn: &Turn<'_>,
) -> Result<(), DropReason> {
    let Limits { packets, bits, client_packets, .. } = &service.limits;
    let left = &turn.flows.tables().limits;
    let Some(buckets) = left.services.get(service.id.index()) else { return Ok(()) };
    if direction == Direction::Request {
        let client = P::key(meta).addresses.source();
        let own =
            |rate: &Rate| left.clients.take(left.client_of(client, service.id, Of::Packets), rate, turn.now);
        let all = |rate: &Rate| buckets.packets.take(rate, 1, turn.now);
        if !client_packets.as_ref().is_none_or(own) || !packets.as_ref().is_none_or(all) {
            return Err(DropReason::RateLimited);
        }
    }
    let bucket = &buckets.bits[direction as usize];
    match bits.as_ref().is_none_or(|rate| bucket.take(rate, 8 * length as u64, turn.now)) {
        true => Ok(()),
        false => Err(DropReason::Policed),
    }
}

/// Whether the switch looks at one more ICMP message of no connection.
pub fn takes_icmp(turn: &Turn<'_>) -> Result<(), DropReason> {
    let left = &turn.flows.tables().limits;
    match turn.tables.budgets.icmp.is_none_or(|rate| left.icmp.take(&rate, 1, turn.now)) {
        true => Ok(()),
        false => Err(DropReason::IcmpBudget),
    }
}

/// Whether it looks at one more fragment.
pub fn takes_fragment(turn: &Turn<'_>) -> Result<(), DropReason> {
    let left = &turn.flows.tables().limits;
    match turn.tables.budgets.fragments.is_none_or(|rate| left.fragments.take(&rate, 1, turn.now)) {
        true => Ok(()),
        false => Err(DropReason::FragmentBudget),
    }
}
