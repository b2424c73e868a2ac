//! Tier 1 at full speed: plain frames of connections in which data flows, on ways that are written out.
//!
//! Nothing becomes of a frame here that [`super::known`] would not have made of it. What is unusual in any respect is left to
//! that, unchanged: other headers, a segment that moves its connection, a way that is not open, a frame that does not fit, a
//! wrong checksum. So this file says what is done and never why not; `tests/property` runs the same frames with and without.
//!
//! ```text
//!   plain? ─▶ entry asked for ─▶ glance ─▶ data flows? ─▶ way open? ─▶ intact? ─▶ rewrite, count
//! ```

use crate::tables::way::FITS_EVERY_PATH;
use crate::tables::{BackendCounters, BackendId, Coarse, DropReason, Snapshot, VerifyChecksums, Way};
use crate::wire::ethernet;
use crate::wire::ip::UDP;
use crate::wire::plain::{self, Details, Translation};
use crate::wire::tunnel::{Ipip, Outer};
use crate::xsk::Frame;

use super::batch::{Batch, Lane, Meta, Slot};
use super::conntrack::{Direction, Entry, FlowTables, Flows, Glance, Kind, Reference, Segment};
use super::family::{Pair, V4, V6};
use super::known;
use super::verdict::Verdict;

/// Asks for the entries that the flows of the batch most likely lead to, so that their cache misses overlap. `all_v4` says whether
/// all of its frames are plain IPv4.
#[inline]
pub fn prefetch(batch: &mut Batch, all_v4: bool, shared: &FlowTables) {
    let missed = if all_v4 {
        let (v4, mut missed) = (&*shared.v4, false);
        for Slot { meta, .. } in batch.parts().0 {
            meta.candidate_v4 = v4.prefetch_entry((meta.bucket, meta.hash), &mut missed);
        }
        missed
    } else {
        prefetch_mixed(batch, shared)
    };
    if missed {
        prefetch_missed(batch, shared);
    }
}

/// The same of frames of any kind.
#[inline(never)]
fn prefetch_mixed(batch: &mut Batch, shared: &FlowTables) -> bool {
    let mut missed = false;
    for Slot { meta, .. } in batch.parts().0 {
        match meta.lane {
            Lane::V4 => meta.candidate_v4 = shared.v4.prefetch_entry((meta.bucket, meta.hash), &mut missed),
            Lane::V6 => meta.candidate_v6 = shared.v6.prefetch_entry((meta.bucket, meta.hash), &mut missed),
            Lane::Full => {}
        }
    }
    missed
}

/// The same of those that the first bucket of their flow does not know: they are in the second, or new.
#[inline(never)]
fn prefetch_missed(batch: &mut Batch, shared: &FlowTables) {
    for Slot { meta, .. } in batch.parts().0 {
        ask_second(meta, shared);
    }
}

#[inline(always)]
fn ask_second(meta: &mut Meta, shared: &FlowTables) {
    match meta.lane {
        Lane::V4 if meta.candidate_v4 == Reference::NONE => {
            meta.candidate_v4 = shared.v4.prefetch_second(meta.hash);
        }
        Lane::V6 if meta.candidate_v6 == Reference::NONE => {
            meta.candidate_v6 = shared.v6.prefetch_second(meta.hash);
        }
        _ => {}
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
    pub v4: &'a [Entry<V4>],
    /// Likewise.
    pub v6: &'a [Entry<V6>],
    /// What is counted of backends.
    pub counters: &'a [BackendCounters],
    /// The time.
    pub now: Coarse,
}

impl Express<'_> {
    /// Forwards the frame, if it is as almost all are. Whether it was.
    #[inline(always)]
    pub fn run(&self, frame: &mut Frame, meta: &mut Meta, flows: &mut Flows) -> bool {
        match self.v4.get(meta.candidate_v4.position() as usize) {
            Some(entry) => self.flow(entry, frame, meta, flows).is_some(),
            None => meta.candidate_v6 != Reference::NONE && self.flow_v6(frame, meta, flows),
        }
    }

    /// The same of one whose connection is in the second bucket of its flow, though the first has room by now.
    #[inline]
    pub fn run_late(&self, frame: &mut Frame, meta: &mut Meta, flows: &mut Flows) -> bool {
        if meta.candidate_v4 != Reference::NONE || meta.candidate_v6 != Reference::NONE {
            return false;
        }
        ask_second(meta, self.shared);
        (meta.candidate_v4 != Reference::NONE && self.flow_v4(frame, meta, flows))
            || (meta.candidate_v6 != Reference::NONE && self.flow_v6(frame, meta, flows))
    }

    #[inline(never)]
    fn flow_v4(&self, frame: &mut Frame, meta: &mut Meta, flows: &mut Flows) -> bool {
        let entry = self.v4.get(meta.candidate_v4.position() as usize);
        entry.is_some_and(|entry| self.flow(entry, frame, meta, flows).is_some())
    }

    /// In a function of its own, so that registers are left for the most usual.
    #[inline(never)]
    fn flow_v6(&self, frame: &mut Frame, meta: &mut Meta, flows: &mut Flows) -> bool {
        let entry = self.v6.get(meta.candidate_v6.position() as usize);
        entry.is_some_and(|entry| self.flow(entry, frame, meta, flows).is_some())
    }

    /// Compiled once for each direction and kind, as what is read and written differs. The entry is read only now, so that each
    /// frame sees what those before it in the batch have changed; and after the checksum, so that there are registers for both.
    #[inline(always)]
    fn flow<P: Pair>(
        &self,
        entry: &Entry<P>,
        frame: &mut Frame,
        meta: &mut Meta,
        flows: &mut Flows,
    ) -> Option<()> {
        let kept = self.tables.verify_checksums == VerifyChecksums::State;
        let ip_len = P::vet(frame.bytes(), P::key(meta).protocol, kept)?;
        let key = P::key(meta);
        if P::candidate(meta).is_reply() {
            let glance = entry.glance_flowing(key, Direction::Reply)?;
            if !glance.is(Kind::Nat, key.protocol) {
                return None;
            }
            let next_hop = glance.client_next_hop(self.tables.routes_epoch);
            let way = self.tables.ways.to_next_hop(next_hop)?;
            return self.translate(frame, meta, (&glance, Direction::Reply), (entry, way), ip_len);
        }
        let glance = entry.glance_flowing(key, Direction::Request)?;
        if glance.is(Kind::Nat, key.protocol) {
            let way = self.tables.ways.to_backend(glance.backend)?;
            self.translate(frame, meta, (&glance, Direction::Request), (entry, way), ip_len)
        } else if P::IS_V4
            && glance.is(Kind::Tunnel, key.protocol)
            && let Some(way) = self.tables.ways.to_backend(glance.backend)
            && (ip_len <= way.certain || self.carries(way, glance.backend, ip_len))
        {
            self.wrap(frame, meta, &glance, (entry, way), ip_len, flows)
        } else {
            self.send_whole(entry, frame, meta, ip_len, flows)
        }
    }

    /// NAT.
    #[inline(always)]
    fn translate<P: Pair>(
        &self,
        frame: &mut Frame,
        meta: &mut Meta,
        (glance, direction): (&Glance<P>, Direction),
        (entry, way): (&Entry<P>, &Way),
        ip_len: u16,
    ) -> Option<()> {
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
        meta.verdict = Some(Verdict::Forward(way.interface));
        Some(())
    }

    /// IPv4 in IPv4: the client's packet reaches the backend as it is, behind a header that is all at fixed offsets.
    #[inline(always)]
    fn wrap<P: Pair>(
        &self,
        frame: &mut Frame,
        meta: &mut Meta,
        glance: &Glance<P>,
        (entry, way): (&Entry<P>, &Way),
        ip_len: u16,
        flows: &mut Flows,
    ) -> Option<()> {
        if frame.room() != Ipip::LEN {
            return None;
        }
        self.note(frame.bytes(), meta, (glance, Direction::Request), entry);
        // What lies behind the packet is padding of the inner frame.
        let bytes = frame.take_room(plain::IP + Ipip::LEN + usize::from(ip_len));
        let Some(head) = bytes.and_then(|bytes| bytes.first_chunk_mut()) else {
            meta.verdict = Some(Verdict::Drop(DropReason::NoHeadroom));
            return Some(());
        };
        way.ipip.wrap(head, &way.macs, ip_len, || flows.next_id());
        meta.verdict = Some(Verdict::Forward(way.interface));
        Some(())
    }

    /// Whether the way is one of IPv4 in IPv4 that carries so long a packet, and the path behind it.
    #[inline(never)]
    fn carries(&self, way: &Way, backend: BackendId, ip_len: u16) -> bool {
        way.certain > 0 && self.fits(way, backend, ip_len)
    }

    /// Whether a way through a tunnel carries the packet, and the path behind it.
    #[inline(always)]
    fn fits(&self, way: &Way, backend: BackendId, ip_len: u16) -> bool {
        let fits_path = || ip_len <= FITS_EVERY_PATH || self.shared.paths.get(backend, self.now).is_none();
        ip_len <= way.mtu && fits_path()
    }

    /// Direct return, and other tunnels: what the client sent reaches the backend as it is. In a function of its own, likewise.
    #[inline(never)]
    fn send_whole<P: Pair>(
        &self,
        entry: &Entry<P>,
        frame: &mut Frame,
        meta: &mut Meta,
        ip_len: u16,
        flows: &mut Flows,
    ) -> Option<()> {
        let key = P::key(meta);
        let glance = entry.glance_flowing(key, Direction::Request)?;
        let is_tunnel = glance.is(Kind::Tunnel, key.protocol);
        let way = self.tables.ways.to_backend(glance.backend)?;
        let outer = way.outer.as_ref().filter(|_| is_tunnel);
        let fits = match outer {
            Some(outer) => frame.room() == outer.len() && self.fits(way, glance.backend, ip_len),
            None => glance.is(Kind::Dsr, key.protocol) && !frame.has_room() && ip_len <= way.mtu,
        };
        if !fits {
            return None;
        }
        self.note(frame.bytes(), meta, (&glance, Direction::Request), entry);
        meta.verdict = Some(Verdict::Forward(way.interface));
        match outer {
            None => ethernet::set_macs(frame.bytes_mut(), &way.macs),
            Some(outer) if !encapsulate::<P>(frame, meta, ip_len, (outer, &way.macs), flows) => {
                meta.verdict = Some(Verdict::Drop(DropReason::NoHeadroom));
            }
            Some(_) => {}
        }
        Some(())
    }

    /// Notes and counts the frame, as it came in.
    #[inline(always)]
    fn note<P: Pair>(
        &self,
        frame: &[u8],
        meta: &mut Meta,
        (glance, direction): (&Glance<P>, Direction),
        entry: &Entry<P>,
    ) {
        if glance.last_seen != self.now {
            touch(frame, (P::key(meta).protocol, glance.is_one_way()), direction, entry, self.now);
        }
        known::count_in(self.counters, glance.backend, direction, frame.len());
    }
}

/// Notes where the connection stands, once in a while.
#[inline(never)]
fn touch<P: Pair>(
    frame: &[u8],
    (protocol, one_way): (u8, bool),
    direction: Direction,
    entry: &Entry<P>,
    now: Coarse,
) {
    if protocol == UDP {
        return entry.touch_datagram(direction, one_way, now);
    }
    let Details { sequence, acknowledgment, .. } = P::details(frame, protocol);
    entry.touch_flowing(direction, one_way, Segment { sequence, acknowledgment }, now);
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
    let Some((link, rest)) = frame.bytes_mut().split_first_chunk_mut::<{ plain::IP }>() else { return false };
    let Some((room, inner)) = rest.split_at_mut_checked(outer.len()) else { return false };
    P::decrement_ttl(inner);
    let [high, low] = outer.family().ethertype().to_be_bytes();
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *macs;
    *link = [a, b, c, d, e, f, g, h, i, j, k, l, high, low];
    outer.write(room, inner, ip_len, id, meta.hash as u16)
}
