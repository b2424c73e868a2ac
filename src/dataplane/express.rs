//! Tier 1 at full speed: plain frames of connections in which data flows, on ways that are written out.
//!
//! Nothing becomes of a frame here that [`super::known`] would not have made of it. What is unusual in any respect is left to
//! that, unchanged: other headers, a segment that moves its connection, a way that is not open, a frame that does not fit, a
//! wrong checksum. So this file says what is done and never why not; `tests/property` runs the same frames with and without.
//!
//! ```text
//!   plain? ─▶ entry asked for ─▶ glance ─▶ data flows? ─▶ way open? ─▶ intact? ─▶ rewrite, count
//! ```

use crate::tables::{BackendCounters, BackendId, Coarse, DropReason, Snapshot, VerifyChecksums, Way};
use crate::wire::ethernet;
use crate::wire::plain::{self, Translation};
use crate::wire::tunnel::{Ipip, Outer};
use crate::xsk::Frame;

use super::batch::{Batch, Lane, Meta, Slot};
use super::conntrack::{Direction, Entry, FlowTables, Flows, Glance, Kind, Reference};
use super::family::{Pair, V4, V6};
use super::known;
use super::verdict::Verdict;

/// A packet that every path to a tunnel's far end carries: no path is taken to be narrower than 552 bytes, and no outer
/// header is longer than 52.
const FITS_EVERY_PATH: u16 = 500;

/// Asks for the entries that the flows of the batch most likely lead to, so that their cache misses overlap.
#[inline]
pub fn prefetch(batch: &mut Batch, shared: &FlowTables) {
    let v4 = &*shared.v4;
    let mut missed = false;
    for Slot { meta, .. } in batch.parts().0 {
        meta.candidate = if meta.lane == Lane::V4 {
            v4.prefetch_entry(meta.hash, &mut missed)
        } else {
            prefetch_other(meta, shared, &mut missed)
        };
    }
    if missed {
        prefetch_missed(batch, shared);
    }
}

#[inline(never)]
fn prefetch_other(meta: &Meta, shared: &FlowTables, missed: &mut bool) -> Reference {
    match meta.lane {
        Lane::V6 => shared.v6.prefetch_entry(meta.hash, missed),
        _ => Reference::NONE,
    }
}

/// The same for those that the first bucket of their flow does not know: they are in the second, or new.
#[inline(never)]
fn prefetch_missed(batch: &mut Batch, shared: &FlowTables) {
    for Slot { meta, .. } in batch.parts().0 {
        if meta.candidate != Reference::NONE {
            continue;
        }
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
        if meta.candidate == Reference::NONE {
            return false;
        }
        match meta.lane {
            Lane::V4 => self.flow(self.v4, frame, meta, flows).is_some(),
            _ => self.flow_v6(frame, meta, flows),
        }
    }

    /// In a function of its own, so that registers are left for the most usual.
    #[inline(never)]
    fn flow_v6(&self, frame: &mut Frame, meta: &mut Meta, flows: &mut Flows) -> bool {
        meta.lane == Lane::V6 && self.flow(self.v6, frame, meta, flows).is_some()
    }

    /// Compiled once for each direction and kind, as what is read and written differs. The entry is read only now, so that each
    /// frame sees what those before it in the batch have changed; and after the checksum, so that there are registers for both.
    #[inline(always)]
    fn flow<P: Pair>(
        &self,
        entries: &[Entry<P>],
        frame: &mut Frame,
        meta: &mut Meta,
        flows: &mut Flows,
    ) -> Option<()> {
        let kept = self.tables.verify_checksums == VerifyChecksums::State;
        let ip_len = P::vet(frame.bytes(), P::key(meta).protocol, kept)?;
        let (key, entry) = (P::key(meta), entries.get(meta.candidate.position() as usize)?);
        if meta.candidate.is_reply() {
            let glance = entry.glance_flowing(key, Direction::Reply)?;
            if !glance.is(Kind::Nat, key.protocol) {
                return None;
            }
            let next_hop = glance.client_next_hop(self.tables.routes_epoch);
            let way = self.tables.ways.to_next_hop(next_hop)?;
            return self.translate(frame, meta, (&glance, Direction::Reply), (entry, way), ip_len);
        }
        let glance = entry.glance_flowing(key, Direction::Request)?;
        let way = self.tables.ways.to_backend(glance.backend)?;
        if glance.is(Kind::Nat, key.protocol) {
            self.translate(frame, meta, (&glance, Direction::Request), (entry, way), ip_len)
        } else if P::IS_V4
            && let Some(ipip) = &way.ipip
        {
            self.wrap(frame, meta, &glance, (entry, way, ipip), ip_len, flows)
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
        (entry, way, ipip): (&Entry<P>, &Way, &Ipip),
        ip_len: u16,
        flows: &mut Flows,
    ) -> Option<()> {
        if !glance.is(Kind::Tunnel, P::key(meta).protocol)
            || !self.fits_tunnel(frame, glance.backend, ip_len, Ipip::LEN)
            || ip_len > way.mtu
        {
            return None;
        }
        self.note(frame.bytes(), meta, (glance, Direction::Request), entry);
        // What lies behind the packet is padding of the inner frame.
        let bytes = frame.take_room(plain::IP + Ipip::LEN + usize::from(ip_len));
        meta.verdict = Some(match bytes.and_then(|bytes| bytes.first_chunk_mut()) {
            Some(head) => {
                ipip.wrap(head, &way.macs, ip_len, || flows.next_id());
                Verdict::Forward(way.interface)
            }
            None => Verdict::Drop(DropReason::NoHeadroom),
        });
        Some(())
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
            Some(outer) => self.fits_tunnel(frame, glance.backend, ip_len, outer.len()),
            None => glance.is(Kind::Dsr, key.protocol) && !frame.has_room(),
        };
        if !fits || ip_len > way.mtu {
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

    /// Whether the room is that of the outer header, and the path carries the packet.
    #[inline(always)]
    fn fits_tunnel(&self, frame: &Frame, backend: BackendId, ip_len: u16, outer: usize) -> bool {
        frame.room() == outer
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
        known::count_in(self.counters, glance.backend, direction, frame.len());
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
    let Some((link, rest)) = frame.bytes_mut().split_first_chunk_mut::<{ plain::IP }>() else { return false };
    let Some((room, inner)) = rest.split_at_mut_checked(outer.len()) else { return false };
    P::decrement_ttl(inner);
    let [high, low] = outer.family().ethertype().to_be_bytes();
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *macs;
    *link = [a, b, c, d, e, f, g, h, i, j, k, l, high, low];
    outer.write(room, inner, ip_len, id, meta.hash as u16)
}
