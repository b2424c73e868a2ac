//! What differs between IPv4 and IPv6 flows: how a pair of addresses is held, shared, hashed and written.
//!
//! A pair (source, destination) *is* the family: `u64` for IPv4, two `u128` for IPv6. Everything that handles flows is
//! written once over [`Pair`] and compiled twice, so that IPv4 does not pay for the longer addresses.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::tables::SnatPool;
use crate::wire::checksum::{self, Delta, Verified};
use crate::wire::plain::{self, Details, Translation};
use crate::wire::{ethernet, ipv4, ipv6};

use super::batch::Meta;
use super::conntrack::sync::{AtomicU64, Ordering};
use super::conntrack::{FlowKey, FlowTable, FlowTables, Flows, Reference, Side};

/// Source and destination of an IPv4 packet: source in the high half.
pub type V4 = u64;
/// Source and destination of an IPv6 packet.
pub type V6 = [u128; 2];

/// For a connection that fills a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Line;

/// For one of 7/4 lines, which lies in two or three: without gaps eight of them take 14 lines instead of 16.
#[derive(Debug, Default)]
#[repr(align(16))]
pub struct Quarter;

/// Source and destination address of one packet.
pub trait Pair: Copy + Eq + Default + Debug + Send + Sync + 'static {
    /// A pair that all workers share.
    type Cell: Default + Debug + Send + Sync;
    /// Nothing, aligned as a connection is.
    type Alignment: Default + Debug + Send + Sync;
    /// Bytes of the index per connection: 64 for eight keys, of which a connection has two, so 16 were full.
    const INDEX_BYTES: usize;
    /// Whether they are of IPv4.
    const IS_V4: bool;
    /// EtherType of the packets.
    const ETHERTYPE: u16;
    /// Whether UDP may go without a checksum (RFC 768; RFC 8200 §8.1).
    const CHECKSUM_OPTIONAL: bool;

    /// The pair of these addresses; none where one is of the other family.
    fn of(source: IpAddr, destination: IpAddr) -> Option<Self>;
    /// Source address.
    fn source(self) -> IpAddr;
    /// Destination address.
    fn destination(self) -> IpAddr;
    /// Destination, then source.
    #[must_use]
    fn reversed(self) -> Self;
    /// Reads a shared pair. Halves of two writes are noticed by whoever owns the cell, through its generation.
    fn load(cell: &Self::Cell) -> Self;
    /// Writes a shared pair.
    fn store(self, cell: &Self::Cell);
    /// Folds the pair into a word under two secret words.
    fn hash(self, secret: [u64; 2]) -> u64;
    /// The change of a checksum over the addresses.
    fn delta(old: Self, new: Self) -> Delta;
    /// The addresses of this family in `pool`.
    fn pool_len(pool: &SnatPool) -> usize;
    /// The address of this family at `position` in `pool`.
    fn pool_at(pool: &SnatPool, position: usize) -> Option<IpAddr>;
    /// The flow of a frame whose family this is.
    fn key(meta: &Meta) -> FlowKey<Self>;
    /// The same, to be named.
    fn key_mut(meta: &mut Meta) -> &mut FlowKey<Self>;
    /// The connection that such a frame most likely belongs to.
    fn candidate(meta: &mut Meta) -> &mut Reference;
    /// The worker's hold on the connections of this family.
    fn side(flows: &Flows) -> &Side<Self>;
    /// The same, to be changed.
    fn side_mut(flows: &mut Flows) -> &mut Side<Self>;
    /// The connections of this family.
    fn table(tables: &FlowTables) -> &FlowTable<Self>;
    /// Whether a plain frame may pass as those before it did: the length of its packet.
    fn vet(frame: &[u8], protocol: u8, kept: bool) -> Option<u16>;
    /// What a plain frame says besides its flow.
    fn details(frame: &[u8], protocol: u8) -> Details;
    /// Whether the TCP or UDP checksum of a plain frame is right, or rightly absent.
    fn is_intact(frame: &[u8], protocol: u8, ip_len: u16) -> bool;
    /// Writes a translation over a plain frame.
    fn translate(frame: &mut [u8], protocol: u8, to: &Translation<Self>);
    /// Verifies the checksum of `segment`.
    fn verify(self, protocol: u8, segment: &[u8], field: u16) -> Verified;
    /// Writes both addresses and takes one from the TTL or hop limit, keeping the header checksum right. `delta` is of the
    /// addresses.
    fn rewrite(self, packet: &mut [u8], delta: Delta);
    /// Writes both addresses alone.
    fn rewrite_addresses(self, packet: &mut [u8], delta: Delta);
    /// Takes one from the TTL or hop limit.
    fn decrement_ttl(packet: &mut [u8]);
}

impl Pair for V4 {
    type Cell = AtomicU64;
    type Alignment = Line;
    /// 64 % full at the most.
    const INDEX_BYTES: usize = 25;
    const IS_V4: bool = true;
    const ETHERTYPE: u16 = ethernet::IPV4;
    const CHECKSUM_OPTIONAL: bool = true;

    #[inline]
    fn of(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Some(u64::from(u32::from(source)) << 32 | u64::from(u32::from(destination)))
            }
            _ => None,
        }
    }

    #[inline]
    fn source(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from((self >> 32) as u32))
    }

    #[inline]
    fn destination(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self as u32))
    }

    #[inline]
    fn reversed(self) -> Self {
        self.rotate_left(32)
    }

    #[inline]
    fn load(cell: &AtomicU64) -> Self {
        cell.load(Ordering::Relaxed)
    }

    #[inline]
    fn store(self, cell: &AtomicU64) {
        cell.store(self, Ordering::Relaxed);
    }

    #[inline]
    fn hash(self, [a, _]: [u64; 2]) -> u64 {
        self ^ a
    }

    #[inline]
    fn delta(old: Self, new: Self) -> Delta {
        Delta::of_u64(old, new)
    }

    #[inline]
    fn pool_len(pool: &SnatPool) -> usize {
        pool.v4.len()
    }

    #[inline]
    fn pool_at(pool: &SnatPool, position: usize) -> Option<IpAddr> {
        pool.v4.get(position).map(|address| IpAddr::V4(*address))
    }

    #[inline]
    fn key(meta: &Meta) -> FlowKey<Self> {
        meta.v4
    }

    #[inline]
    fn candidate(meta: &mut Meta) -> &mut Reference {
        &mut meta.candidate_v4
    }

    #[inline]
    fn key_mut(meta: &mut Meta) -> &mut FlowKey<Self> {
        &mut meta.v4
    }

    #[inline]
    fn side(flows: &Flows) -> &Side<Self> {
        &flows.v4
    }

    #[inline]
    fn table(tables: &FlowTables) -> &FlowTable<Self> {
        &tables.v4
    }

    #[inline]
    fn side_mut(flows: &mut Flows) -> &mut Side<Self> {
        &mut flows.v4
    }

    #[inline(always)]
    fn vet(frame: &[u8], protocol: u8, kept: bool) -> Option<u16> {
        plain::vet_v4(frame, protocol, kept)
    }

    #[inline(always)]
    fn details(frame: &[u8], protocol: u8) -> Details {
        plain::details_v4(frame, protocol)
    }

    #[inline(always)]
    fn is_intact(frame: &[u8], protocol: u8, ip_len: u16) -> bool {
        plain::is_intact_v4(frame, protocol, ip_len)
    }

    #[inline(always)]
    fn translate(frame: &mut [u8], protocol: u8, to: &Translation<Self>) {
        plain::translate_v4(frame, protocol, to);
    }

    #[inline]
    fn verify(self, protocol: u8, segment: &[u8], field: u16) -> Verified {
        checksum::verify_v4(self, protocol, segment, field)
    }

    #[inline]
    fn rewrite(self, packet: &mut [u8], delta: Delta) {
        ipv4::rewrite(packet, self, delta);
    }

    #[inline]
    fn rewrite_addresses(self, packet: &mut [u8], delta: Delta) {
        ipv4::rewrite_addresses(packet, self, delta);
    }

    #[inline]
    fn decrement_ttl(packet: &mut [u8]) {
        ipv4::decrement_ttl(packet);
    }
}

impl Pair for V6 {
    type Cell = [AtomicU64; 4];
    type Alignment = Quarter;
    /// 73 % full at the most.
    const INDEX_BYTES: usize = 22;
    const IS_V4: bool = false;
    const ETHERTYPE: u16 = ethernet::IPV6;
    const CHECKSUM_OPTIONAL: bool = false;

    #[inline]
    fn of(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Some([u128::from(source), u128::from(destination)])
            }
            _ => None,
        }
    }

    #[inline]
    fn source(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self[0]))
    }

    #[inline]
    fn destination(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self[1]))
    }

    #[inline]
    fn reversed(self) -> Self {
        [self[1], self[0]]
    }

    #[inline]
    fn load(cell: &[AtomicU64; 4]) -> Self {
        let [a, b, c, d] = cell.each_ref().map(|word| u128::from(word.load(Ordering::Relaxed)));
        [a << 64 | b, c << 64 | d]
    }

    #[inline]
    fn store(self, cell: &[AtomicU64; 4]) {
        let words = [(self[0] >> 64) as u64, self[0] as u64, (self[1] >> 64) as u64, self[1] as u64];
        for (word, value) in cell.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    #[inline]
    fn hash(self, [a, b]: [u64; 2]) -> u64 {
        let fold = |address: u128, key: u64| {
            let product = u128::from((address >> 64) as u64 ^ a) * u128::from(address as u64 ^ key);
            (product as u64) ^ ((product >> 64) as u64)
        };
        fold(self[0], b) ^ fold(self[1], b.rotate_left(32)).rotate_left(17) ^ a
    }

    #[inline]
    fn delta(old: Self, new: Self) -> Delta {
        Delta::of_pair(old, new)
    }

    #[inline]
    fn pool_len(pool: &SnatPool) -> usize {
        pool.v6.len()
    }

    #[inline]
    fn pool_at(pool: &SnatPool, position: usize) -> Option<IpAddr> {
        pool.v6.get(position).map(|address| IpAddr::V6(*address))
    }

    #[inline]
    fn key(meta: &Meta) -> FlowKey<Self> {
        meta.v6
    }

    #[inline]
    fn candidate(meta: &mut Meta) -> &mut Reference {
        &mut meta.candidate_v6
    }

    #[inline]
    fn key_mut(meta: &mut Meta) -> &mut FlowKey<Self> {
        &mut meta.v6
    }

    #[inline]
    fn side(flows: &Flows) -> &Side<Self> {
        &flows.v6
    }

    #[inline]
    fn table(tables: &FlowTables) -> &FlowTable<Self> {
        &tables.v6
    }

    #[inline]
    fn side_mut(flows: &mut Flows) -> &mut Side<Self> {
        &mut flows.v6
    }

    #[inline(always)]
    fn vet(frame: &[u8], protocol: u8, kept: bool) -> Option<u16> {
        plain::vet_v6(frame, protocol, kept)
    }

    #[inline(always)]
    fn details(frame: &[u8], protocol: u8) -> Details {
        plain::details_v6(frame, protocol)
    }

    #[inline(always)]
    fn is_intact(frame: &[u8], protocol: u8, ip_len: u16) -> bool {
        plain::is_intact_v6(frame, protocol, ip_len)
    }

    #[inline(always)]
    fn translate(frame: &mut [u8], protocol: u8, to: &Translation<Self>) {
        plain::translate_v6(frame, protocol, to);
    }

    #[inline]
    fn verify(self, protocol: u8, segment: &[u8], field: u16) -> Verified {
        checksum::verify_v6(self, protocol, segment, field)
    }

    #[inline]
    fn rewrite(self, packet: &mut [u8], _: Delta) {
        ipv6::rewrite(packet, self);
    }

    #[inline]
    fn rewrite_addresses(self, packet: &mut [u8], _: Delta) {
        ipv6::rewrite_addresses(packet, self);
    }

    #[inline]
    fn decrement_ttl(packet: &mut [u8]) {
        ipv6::decrement_hop_limit(packet);
    }
}
