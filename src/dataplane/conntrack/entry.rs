//! One connection: 64 bytes (IPv6: 112), both directions, readable by every worker without a lock.
//!
//! An entry is reached from two keys: the addresses and ports as frames *from the client* bear them, and as frames
//! *from the backend* bear them. What a frame must look like when it leaves is the other key reversed, so the two keys
//! are the whole rewrite; the checksum differences are stored with them.
//!
//! Readers are optimistic: they read `status`, copy what they need, and read `status` again. A generation in it
//! changes with every reuse, so a copy that spans a reuse is noticed and thrown away.

use crate::dataplane::family::{Pair, V4};
use crate::tables::{BackendId, Coarse, Forwarding, NextHopId};
use crate::wire::checksum::Delta;

use super::glance::Glance;
use super::key::FlowKey;
use super::route::Route;
use super::sync::{AtomicU32, AtomicU64, Ordering, fence};
use super::tcp::{Direction, State};

mod datagram;
mod end;
mod look;
mod marks;

pub use end::{Ended, Held};
pub use look::Seen;
pub use marks::Marks;

/// `status`: generation (16 bits) | phase (2 bits) at 8 | state (4 bits) at 0.
const GENERATION: u32 = 0xFFFF_0000;
const PHASE: u32 = 0x0000_0300;
const LIVE: u32 = 0x0000_0100;
const DYING: u32 = 0x0000_0200;
const STATE: u32 = 0x0000_000F;
/// `traits`: the kind, and whether its frames are looked at one by one.
pub(super) const KIND: u32 = 0x0000_0700 | Marks::ATTENDED.bits();

/// What is done to the frames of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Addresses and ports are rewritten, both ways.
    Nat = 0,
    /// They go to the backend's MAC address. The backend answers directly: there is no reply key.
    Dsr = 1,
    /// They travel inside another packet. Likewise.
    Tunnel = 2,
    /// Outbound source NAT: rewritten both ways, and no backend.
    Snat = 3,
    /// No connection, but the public address and port that an inside address and port have, whatever they talk to.
    Mapping = 4,
    /// As [`Kind::Nat`], and numbers are moved: a SYN cookie opened it. See [`super::splice`].
    Spliced = 5,
}

impl Kind {
    /// Of the connections of a service that forwards like this.
    pub const fn of(forwarding: Forwarding) -> Self {
        match forwarding {
            Forwarding::Nat | Forwarding::FullNat => Self::Nat,
            Forwarding::Dsr => Self::Dsr,
            Forwarding::Ipip | Forwarding::Gue => Self::Tunnel,
        }
    }

    /// Whether only frames from the client pass.
    #[inline]
    pub const fn one_way(self) -> bool {
        matches!(self, Self::Dsr | Self::Tunnel)
    }

    #[inline(always)]
    pub(super) const fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Self::Nat,
            1 => Self::Dsr,
            2 => Self::Tunnel,
            3 => Self::Snat,
            4 => Self::Mapping,
            _ => Self::Spliced,
        }
    }
}

/// One connection.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry<P: Pair = V4> {
    status: AtomicU32,
    /// protocol | kind << 8 | [`Marks`] | owner << 16
    traits: AtomicU32,
    request_addresses: P::Cell,
    reply_addresses: P::Cell,
    /// request << 32 | reply
    ports: AtomicU64,
    /// Next hops: see [`super::route`].
    route: AtomicU64,
    /// addresses << 16 | addresses and ports, of the request direction, each as it is written
    deltas: AtomicU32,
    backend: AtomicU32,
    last_seen: AtomicU32,
    /// By direction: the sequence number of a recent segment, as old as `last_seen` at the most. While the backend has said
    /// nothing, its place holds the microsecond of the first SYN; where its frames are not seen, what the client
    /// acknowledged of them. The first one of a UDP flow: see [`datagram`].
    sequences: [AtomicU32; 2],
    /// Link of the owner's wheel or free list. Owner only.
    pub(super) next: AtomicU32,
    _alignment: P::Alignment,
}

#[cfg(not(all(test, feature = "models")))]
const _: () = {
    use crate::dataplane::family::V6;
    assert!(size_of::<Entry<V4>>() == 64 && align_of::<Entry<V4>>() == 64, "an entry is one cache line");
    assert!(size_of::<Entry<V6>>() == 112 && align_of::<Entry<V6>>() == 16, "an IPv6 entry has no gaps");
    assert!((112 + V6::INDEX_BYTES) * 10 <= 192 * 7, "192 bytes for each that exists where 7 of 10 do");
};

/// The time, as an entry notes it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For idle timers.
    pub coarse: Coarse,
    /// For response times, in microseconds.
    pub clock_us: u32,
}

/// The numbers of a TCP segment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Segment {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
}

/// A connection about to be created.
#[derive(Debug, Clone, Copy)]
pub struct Connection<P = V4> {
    /// What is done to its frames.
    pub kind: Kind,
    /// Frames from the client.
    pub request: FlowKey<P>,
    /// Frames from the backend. Where it answers directly, the request reversed.
    pub reply: FlowKey<P>,
    /// What else is said of it.
    pub marks: Marks,
    /// Whose it is.
    pub backend: BackendId,
    /// Next hop towards the client.
    pub client_next_hop: NextHopId,
    /// Epoch of the routes that gave it.
    pub routes_epoch: u16,
    /// First state.
    pub state: State,
    /// Sequence number of the first segment; 0 of a datagram.
    pub sequence: u32,
}

impl<P: Pair> Connection<P> {
    /// The changes of both checksums of requests, as they are written: addresses << 16 | addresses and ports.
    pub fn deltas(&self) -> u32 {
        let leaves = self.reply.reversed();
        let addresses = P::delta(self.request.addresses, leaves.addresses);
        let transport = addresses.and(Delta::of_u32(self.request.ports, leaves.ports));
        addresses.as_written() << 16 | transport.as_written()
    }
}

/// A consistent copy of what a frame needs of its connection.
#[derive(Debug, Clone, Copy)]
pub struct Hit<P = V4> {
    /// Position of the entry.
    pub entry: u32,
    /// Status as read.
    pub(super) status: u32,
    /// What is done to its frames.
    pub kind: Kind,
    /// What else is said of it.
    pub marks: Marks,
    /// Which way the frame goes.
    pub direction: Direction,
    /// Addresses with which the frame leaves.
    pub addresses: P,
    /// Ports with which the frame leaves.
    pub ports: u32,
    /// Change of the IP checksum, TTL not counted.
    pub address_delta: Delta,
    /// Change of the TCP or UDP checksum.
    pub transport_delta: Delta,
    /// Whose it is.
    pub backend: BackendId,
    /// Next hop towards the client.
    pub client_next_hop: NextHopId,
    /// Next hop towards the server, of outbound NAT.
    pub server_next_hop: NextHopId,
    /// Epoch of the routes that gave them.
    pub routes_epoch: u16,
    /// When it was last seen.
    pub last_seen: Coarse,
}

impl<P: Pair> Hit<P> {
    /// A hit without an entry, for asking what would become of a frame of such a connection.
    pub fn of_kind(kind: Kind, direction: Direction, key: FlowKey<P>) -> Self {
        Self {
            entry: u32::MAX,
            status: 0,
            kind,
            marks: Marks::NONE,
            direction,
            addresses: key.addresses,
            ports: key.ports,
            address_delta: Delta::default(),
            transport_delta: Delta::default(),
            backend: BackendId::NONE,
            client_next_hop: NextHopId::NONE,
            server_next_hop: NextHopId::NONE,
            routes_epoch: 0,
            last_seen: Coarse(0),
        }
    }

    /// What the entry held.
    pub(super) fn held(&self) -> Held {
        Held(self.status)
    }

    /// Which of the connections that were in its entry.
    pub(super) fn generation(&self) -> u16 {
        (self.status >> 16) as u16
    }

    /// State as read.
    #[inline]
    pub fn state(&self) -> State {
        State::from_bits(self.status)
    }

    /// Whether the connection is finished, as far as can be seen.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.state().is_finished(self.kind)
    }
}

impl<P: Pair> Entry<P> {
    /// Copies the connection if it is live and `key` is its key in `direction`.
    #[inline]
    pub fn read(&self, position: u32, key: FlowKey<P>, direction: Direction) -> Option<Hit<P>> {
        self.glance(key, direction).map(|glance| Hit::of(position, direction, &glance))
    }

    /// The same, as it lies in the entry.
    #[inline(always)]
    pub fn glance(&self, key: FlowKey<P>, direction: Direction) -> Option<Glance<P>> {
        let glance = self.glance_if(key, direction, |status| status & PHASE ^ LIVE, true)?;
        (glance.traits as u8 == key.protocol).then_some(glance)
    }

    /// The same if data flows: a datagram, or a segment that [carries on](crate::wire::tcp::Flags::carries_on), does not
    /// change the state. Whether the protocol is the same, which says with the state that data flows, is for the caller
    /// to ask together with the kind: [`Glance::is`]. Of a request it is not read where the way to the client leads.
    #[inline(always)]
    pub fn glance_flowing(&self, key: FlowKey<P>, direction: Direction) -> Option<Glance<P>> {
        const FLOWS: u32 = LIVE | State::FLOWING;
        let flows = |status| status & (PHASE | State::FLOWING) ^ FLOWS;
        self.glance_if(key, direction, flows, direction == Direction::Reply)
    }

    /// `unlike` says in which bits the status is not as it must be.
    #[inline(always)]
    fn glance_if(
        &self,
        key: FlowKey<P>,
        direction: Direction,
        unlike: impl FnOnce(u32) -> u32,
        with_route: bool,
    ) -> Option<Glance<P>> {
        let status = self.status.load(Ordering::Acquire);
        let request = P::load(&self.request_addresses);
        let reply = P::load(&self.reply_addresses);
        let ports = self.ports.load(Ordering::Relaxed);
        let (mine, mine_ports, other, other_ports) = match direction {
            Direction::Request => (request, (ports >> 32) as u32, reply, ports as u32),
            Direction::Reply => (reply, ports as u32, request, (ports >> 32) as u32),
        };
        if mine != key.addresses || (mine_ports ^ key.ports) | unlike(status) != 0 {
            return None;
        }
        let glance = Glance {
            status,
            traits: self.traits.load(Ordering::Relaxed),
            addresses: other.reversed(),
            ports: other_ports.rotate_left(16),
            deltas: self.deltas.load(Ordering::Relaxed),
            route: if with_route { self.route.load(Ordering::Relaxed) } else { 0 },
            backend: BackendId(self.backend.load(Ordering::Relaxed)),
            last_seen: Coarse(self.last_seen.load(Ordering::Relaxed)),
        };
        fence(Ordering::Acquire);
        let again = self.status.load(Ordering::Relaxed);
        if (again ^ status) & (GENERATION | PHASE) == 0 { Some(glance) } else { None }
    }

    /// Fills an entry and makes it live under a new generation, which is returned: one that is free, by its owner, or one that
    /// was killed and not buried, by who did that. Until then it is seen as being taken out, so that its owner waits.
    /// `deltas` are [`Connection::deltas`].
    #[inline(always)]
    pub(super) fn fill(&self, owner: u16, connection: &Connection<P>, deltas: u32, now: Moment) -> Held {
        let generation = self.status.load(Ordering::Relaxed).wrapping_add(0x0001_0000) & GENERATION;
        self.status.store(generation | DYING, Ordering::Relaxed);
        fence(Ordering::Release);
        let Connection { request, reply, .. } = connection;
        let traits = u32::from(request.protocol) | (connection.kind as u32) << 8 | u32::from(owner) << 16;
        self.traits.store(traits | connection.marks.bits(), Ordering::Relaxed);
        request.addresses.store(&self.request_addresses);
        reply.addresses.store(&self.reply_addresses);
        self.ports.store(u64::from(request.ports) << 32 | u64::from(reply.ports), Ordering::Relaxed);
        self.deltas.store(deltas, Ordering::Relaxed);
        self.backend.store(connection.backend.0, Ordering::Relaxed);
        let (client, epoch) = (connection.client_next_hop, connection.routes_epoch);
        let route = match connection.kind {
            Kind::Snat => Route { client, server: NextHopId::NONE, epoch }.outbound_word(),
            _ => Route::service_word(client, epoch, (generation >> 16) as u16),
        };
        self.route.store(route, Ordering::Relaxed);
        let last_seen = datagram::begins(now.coarse, connection.state);
        self.last_seen.store(last_seen.0, Ordering::Relaxed);
        self.sequences[0].store(connection.sequence, Ordering::Relaxed);
        self.sequences[1].store(now.clock_us, Ordering::Relaxed);
        let status = generation | LIVE | connection.state as u32;
        self.status.store(status, Ordering::Release);
        Held(status)
    }

    /// Remembers the next hop towards the client, for as long as the entry holds the connection of `hit`.
    #[inline]
    pub fn set_client_route(&self, hit: &Hit<P>, next_hop: NextHopId, routes_epoch: u16) {
        let route = Route::service_word(next_hop, routes_epoch, (hit.status >> 16) as u16);
        self.route.store(route, Ordering::Relaxed);
    }

    /// Remembers where frames like that of `hit` go next, for outbound NAT, where both directions are routed.
    ///
    /// Only as long as nobody changed it meanwhile: another worker that has newer routes, or one that uses the entry for
    /// another connection.
    pub fn set_route(&self, hit: &Hit<P>, next_hop: NextHopId, routes_epoch: u16) {
        let (client, server, epoch) = (hit.client_next_hop, hit.server_next_hop, hit.routes_epoch);
        let seen = Route { client, server, epoch };
        let route = seen.with(hit.direction == Direction::Reply, next_hop, routes_epoch);
        let (seen, route) = (seen.outbound_word(), route.outbound_word());
        let _ = self.route.compare_exchange(seen, route, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that a frame was seen. Looks, and so writes, only when the coarse clock moved on, so that the line stays shared.
    #[inline]
    pub fn touch(&self, hit: &Hit<P>, sequence: u32, now: Coarse) {
        if hit.last_seen != now {
            self.seen(hit, sequence, now);
        }
    }

    #[inline]
    fn seen(&self, hit: &Hit<P>, sequence: u32, now: Coarse) {
        let of_service = !matches!(hit.kind, Kind::Snat | Kind::Mapping);
        if hit.state() == State::Udp && of_service {
            return self.touch_datagram(hit.direction, hit.kind.one_way(), now);
        }
        self.last_seen.store(now.0, Ordering::Relaxed);
        if hit.direction == Direction::Request || hit.state() != State::SynReceived {
            self.sequences[hit.direction as usize].store(sequence, Ordering::Relaxed);
        }
    }

    /// The same for a TCP segment. Where the backend's are not seen, what the client acknowledges says where they stand.
    #[inline]
    pub fn touch_with(&self, hit: &Hit<P>, sequence: u32, acknowledgment: u32, now: Coarse) {
        if hit.last_seen != now {
            self.seen(hit, sequence, now);
            if hit.kind.one_way() && hit.state() != State::SynReceived {
                self.sequences[1].store(acknowledgment, Ordering::Relaxed);
            }
        }
    }

    /// The same of a segment where data flows ([`Entry::glance_flowing`]), unasked whether it is due. `one_way` says that the backend's segments are
    /// not seen.
    #[inline]
    pub fn touch_flowing(&self, direction: Direction, one_way: bool, segment: Segment, now: Coarse) {
        self.last_seen.store(now.0, Ordering::Relaxed);
        self.sequences[direction as usize].store(segment.sequence, Ordering::Relaxed);
        if one_way {
            self.sequences[1].store(segment.acknowledgment, Ordering::Relaxed);
        }
    }

    /// Moves the connection of `hit` to the state that `next` makes of the one it is in. Where another worker moved it
    /// meanwhile (both sides sent FIN at once), `next` is asked again. From which state to which; none where the connection
    /// has ended meanwhile.
    #[inline]
    pub fn transition(
        &self,
        hit: &Hit<P>,
        next: impl Fn(State) -> State,
        segment: Segment,
    ) -> Option<(State, State)> {
        let mut status = hit.status;
        loop {
            let (from, to) = (State::from_bits(status), next(State::from_bits(status)));
            let wanted = status & !STATE | to as u32;
            match self.status.compare_exchange_weak(status, wanted, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.sequences[hit.direction as usize].store(segment.sequence, Ordering::Relaxed);
                    if hit.kind.one_way() {
                        self.sequences[1].store(segment.acknowledgment, Ordering::Relaxed);
                    }
                    return Some((from, to));
                }
                Err(changed) if (changed ^ hit.status) & (GENERATION | PHASE) != 0 => return None,
                Err(changed) => status = changed,
            }
        }
    }

    /// When the client first asked, in microseconds of the workers' clock. Means something only until the backend answers.
    #[inline]
    pub fn asked_us(&self) -> u32 {
        self.sequences[1].load(Ordering::Relaxed)
    }

    /// Where both sides stand, as far as noted: the last sequence numbers of client and backend.
    pub fn sequences(&self) -> [u32; 2] {
        self.sequences.each_ref().map(|sequence| sequence.load(Ordering::Relaxed))
    }

    /// The key of frames that go to the client, while the entry is live.
    pub fn key_of_client(&self) -> Option<FlowKey<P>> {
        self.key(true)
    }

    /// When it was last seen, whose it is.
    pub(super) fn age(&self) -> (Coarse, BackendId) {
        (Coarse(self.last_seen.load(Ordering::Relaxed)), BackendId(self.backend.load(Ordering::Relaxed)))
    }

    /// What is done to its frames.
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind::from_bits(self.traits.load(Ordering::Relaxed) >> 8)
    }

    /// The key of one direction, while the entry is live.
    pub(super) fn key(&self, reply: bool) -> Option<FlowKey<P>> {
        let status = self.status.load(Ordering::Acquire);
        let keys = self.keys();
        fence(Ordering::Acquire);
        let same = (self.status.load(Ordering::Relaxed) ^ status) & (GENERATION | PHASE) == 0;
        (same && status & PHASE == LIVE).then_some(if reply { keys.1 } else { keys.0 })
    }

    fn keys(&self) -> (FlowKey<P>, FlowKey<P>) {
        let ports = self.ports.load(Ordering::Relaxed);
        let protocol = self.traits.load(Ordering::Relaxed) as u8;
        (
            FlowKey { addresses: P::load(&self.request_addresses), ports: (ports >> 32) as u32, protocol },
            FlowKey { addresses: P::load(&self.reply_addresses), ports: ports as u32, protocol },
        )
    }
}
