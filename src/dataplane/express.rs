//! Tier 1 at full speed: plain frames of connections in which data flows, on ways that are written out.
//!
//! Nothing becomes of a frame here that [`super::known`] would not have made of it. What is unusual in any respect is left to
//! that, unchanged: other headers, a segment that moves its connection, a way that is not open, a frame that does not fit, a
//! wrong checksum. So this file says what is done and never why not; `tests/property` runs the same frames with and without.
//!
//! ```text
//!   plain? ─▶ entry asked for ─▶ glance ─▶ data flows? ─▶ way open? ─▶ intact? ─▶ rewrite, count
//! ```

use crate::tables::{BackendId, Coarse, DropReason, Snapshot, VerifyChecksums, Way, WorkerCounters};
use crate::wire::ethernet;
use crate::wire::plain::{self, Translation};
use crate::wire::tunnel::Outer;
use crate::xsk::Frame;

use super::batch::{Batch, Lane, Meta};
use super::conntrack::{Direction, Entry, FlowTable, FlowTables, Flows, Glance, Kind, Reference};
use super::family::{Pair, V4, V6};
use super::known;
use super::verdict::Verdict;

/// A packet that every path to a tunnel's far end carries: no path is taken to be narrower than 552 bytes, and no outer
/// header is longer than 52.
const FITS_EVERY_PATH: u16 = 500;

/// Asks for the entries that the flows of the batch most likely lead to, so that their cache misses overlap.
#[inline]
pub fn prefetch(batch: &mut Batch, shared: &FlowTables) {
    let (v4, v6) = (&*shared.v4, &*shared.v6);
    let mut missed = false;
    for meta in batch.metas_mut() {
        meta.candidate = match meta.lane {
            Lane::V4 => v4.prefetch_entry(meta.hash),
            Lane::V6 => v6.prefetch_entry(meta.hash),
            Lane::Full => continue,
        };
        missed |= meta.candidate == Reference::NONE;
    }
    if missed {
        prefetch_missed(batch, shared);
    }
}

/// The same for those that the first bucket of their flow does not know: they are in the second, or new.
#[inline(never)]
fn prefetch_missed(batch: &mut Batch, shared: &FlowTables) {
    for meta in batch.metas_mut().iter_mut().filter(|meta| meta.candidate == Reference::NONE) {
        meta.candidate = match meta.lane {
            Lane::V4 => shared.v4.prefetch_second(meta.hash),
            Lane::V6 => shared.v6.prefetch_second(meta.hash),
            Lane::Full => continue,
        };
    }
}

/// What is the same for all frames of a batch.
#[derive(Debug)]
pub struct Express<'a> {
    /// What the switch is to do.
    pub tables: &'a Snapshot,
    /// What all workers share.
    pub shared: &'a FlowTables,
    /// Of that, the connections.
    pub v4: &'a FlowTable<V4>,
    /// Likewise.
    pub v6: &'a FlowTable<V6>,
    /// What is counted.
    pub counters: &'a WorkerCounters,
    /// The time.
    pub now: Coarse,
}

impl Express<'_> {
    /// Forwards the frame, if it is as almost all are. Whether it was.
    #[inline(always)]
    pub fn run(&self, frame: &mut Frame, meta: &mut Meta, flows: &mut Flows) -> bool {
        let verdict = match meta.lane {
            Lane::V4 => self.flow(self.v4, frame, meta, flows),
            Lane::V6 => self.flow_v6(frame, meta, flows),
            Lane::Full => return false,
        };
        if verdict.is_some() {
            meta.verdict = verdict;
        }
        verdict.is_some()
    }

    /// In a function of its own, so that registers are left for the most usual.
    #[inline(never)]
    fn flow_v6(&self, frame: &mut Frame, meta: &Meta, flows: &mut Flows) -> Option<Verdict> {
        self.flow(self.v6, frame, meta, flows)
    }

    /// Compiled once for each direction and kind, as what is read and written differs. The entry is read only now, so that each
    /// frame sees what those before it in the batch have changed; and after the checksum, so that there are registers for both.
    #[inline(always)]
    fn flow<P: Pair>(
        &self,
        table: &FlowTable<P>,
        frame: &mut Frame,
        meta: &Meta,
        flows: &mut Flows,
    ) -> Option<Verdict> {
        if meta.candidate == Reference::NONE {
            return None;
        }
        let kept = self.tables.verify_checksums == VerifyChecksums::State;
        let ip_len = P::vet(frame.bytes(), P::key(meta).protocol, kept)?;
        let (key, entry) = (P::key(meta), table.referred(meta.candidate)?);
        if meta.candidate.is_reply() {
            let glance = entry.glance_flowing(key, Direction::Reply, Kind::Nat)?;
            let next_hop = glance.client_next_hop(self.tables.routes_epoch);
            let way = self.tables.ways.to_next_hop(next_hop)?;
            self.translate(frame, meta, (&glance, Direction::Reply), (entry, way), ip_len)
        } else if entry.kind() == Kind::Nat {
            let glance = entry.glance_flowing(key, Direction::Request, Kind::Nat)?;
            let way = self.tables.ways.to_backend(glance.backend)?;
            self.translate(frame, meta, (&glance, Direction::Request), (entry, way), ip_len)
        } else {
            self.send_whole(entry, frame, meta, ip_len, flows)
        }
    }

    /// NAT.
    #[inline(always)]
    fn translate<P: Pair>(
        &self,
        frame: &mut Frame,
        meta: &Meta,
        (glance, direction): (&Glance<P>, Direction),
        (entry, way): (&Entry<P>, &Way),
        ip_len: u16,
    ) -> Option<Verdict> {
        let protocol = P::key(meta).protocol;
        if frame.has_room() || ip_len > way.mtu {
            return None;
        }
        let bytes = frame.bytes_mut();
        self.note(bytes, meta, (glance, direction), entry);
        let (address_delta, transport_delta) = glance.deltas(direction);
        let (addresses, ports) = (glance.addresses, glance.ports);
        P::translate(bytes, protocol, &Translation { addresses, ports, address_delta, transport_delta });
        ethernet::set_macs(bytes, &way.macs);
        Some(Verdict::Forward(way.interface))
    }

    /// Direct return, and tunnels: what the client sent reaches the backend as it is. In a function of its own, likewise.
    #[inline(never)]
    fn send_whole<P: Pair>(
        &self,
        entry: &Entry<P>,
        frame: &mut Frame,
        meta: &Meta,
        ip_len: u16,
        flows: &mut Flows,
    ) -> Option<Verdict> {
        let is_tunnel = entry.kind() == Kind::Tunnel;
        let kind = if is_tunnel { Kind::Tunnel } else { Kind::Dsr };
        let glance = entry.glance_flowing(P::key(meta), Direction::Request, kind)?;
        let way = self.tables.ways.to_backend(glance.backend)?;
        let outer = way.outer.as_ref().filter(|_| is_tunnel);
        let fits = match outer {
            Some(outer) => self.fits_tunnel(frame, glance.backend, ip_len, outer),
            None => !is_tunnel && !frame.has_room(),
        };
        if !fits || ip_len > way.mtu {
            return None;
        }
        self.note(frame.bytes(), meta, (&glance, Direction::Request), entry);
        match outer {
            None => ethernet::set_macs(frame.bytes_mut(), &way.macs),
            Some(outer) if !encapsulate::<P>(frame, meta, ip_len, (outer, &way.macs), flows) => {
                return Some(Verdict::Drop(DropReason::NoHeadroom));
            }
            Some(_) => {}
        }
        Some(Verdict::Forward(way.interface))
    }

    /// Whether the room is that of the outer header, and the path carries the packet.
    #[inline(always)]
    fn fits_tunnel(&self, frame: &Frame, backend: BackendId, ip_len: u16, outer: &Outer) -> bool {
        frame.room() == outer.len()
            && (ip_len <= FITS_EVERY_PATH || self.shared.paths.get(backend, self.now).is_none())
    }

    /// Notes and counts the frame, as it came in.
    #[inline(always)]
    fn note<P: Pair>(
        &self,
        frame: &[u8],
        meta: &Meta,
        (glance, direction): (&Glance<P>, Direction),
        entry: &Entry<P>,
    ) {
        if glance.last_seen != self.now {
            touch(frame, meta, direction, entry, self.now);
        }
        known::count_at(self.counters, glance.backend, direction, frame.len());
    }
}

/// Notes where the connection stands, once in a while.
#[inline(never)]
fn touch<P: Pair>(frame: &[u8], meta: &Meta, direction: Direction, entry: &Entry<P>, now: Coarse) {
    let (key, position) = (P::key(meta), meta.candidate.position());
    let details = P::details(frame, key.protocol);
    if let Some(hit) = entry.read(position, key, direction) {
        entry.touch_with(&hit, details.sequence, details.acknowledgment, now);
    }
}

/// Puts the outer header into the room in front of the packet. What lies behind the packet is padding of the inner frame.
#[inline(always)]
fn encapsulate<P: Pair>(
    frame: &mut Frame,
    meta: &Meta,
    ip_len: u16,
    (outer, macs): (&Outer, &[u8; 12]),
    flows: &mut Flows,
) -> bool {
    let dont_fragment = P::details(frame.bytes(), P::key(meta).protocol).dont_fragment;
    let id = if dont_fragment { 0 } else { flows.next_id() };
    if !frame.resize(plain::IP + usize::from(ip_len)) || !frame.set_header(0, outer.len()) {
        return false;
    }
    if P::IS_V4
        && outer.is_ipip_v4()
        && let Some(head) = frame.bytes_mut().first_chunk_mut()
    {
        outer.wrap_v4(head, macs, ip_len, id);
        return true;
    }
    let Some((link, rest)) = frame.bytes_mut().split_first_chunk_mut::<{ plain::IP }>() else { return false };
    let Some((room, inner)) = rest.split_at_mut_checked(outer.len()) else { return false };
    P::decrement_ttl(inner);
    let [high, low] = outer.family().ethertype().to_be_bytes();
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *macs;
    *link = [a, b, c, d, e, f, g, h, i, j, k, l, high, low];
    outer.write(room, inner, ip_len, id, meta.hash as u16)
}
