//! Not on the path unless somebody asks: frames as they come and as they leave, with what became of them.
//!
//! The worker calls [`before`], then the pipeline, then [`after`], and [`settle`] for each frame once its place is known. What is
//! wanted can only be told afterwards, since a frame's connection may be made by it; so all frames of the batch are copied
//! first, into memory that came with the order, and those that are wanted change places with empty records.

use std::net::IpAddr;

use crate::tables::capture::{Kind, Outcome, Record, SCRATCH, Tap, Wanted};
use crate::tables::{BackendId, InterfaceId, ServiceId, Snapshot};
use crate::wire::icmp::{self, Quote, Transport};
use crate::wire::ip::{self, Addresses, Family};
use crate::wire::{ethernet, ipv6};

use super::admit;
use super::batch::{BATCH, Batch, Lane, Meta, Slot};
use super::conntrack::{FlowKey, Flows};
use super::family::{Pair, V4, V6};
use super::fragments::LOOKS;
use super::parse;
use super::turn::SPARES;
use super::verdict::Verdict;

const _: () = assert!(BATCH + SPARES + LOOKS <= SCRATCH);

/// The place of a frame that was found again.
const FOUND: usize = 0;
/// Addresses of a frame and of its connection: as it comes, as it leaves, in its headers, its backend's.
const ENDS: usize = 7;

/// Keeps the frames of the batch as they came.
pub fn before(tap: &mut Tap, batch: &mut Batch, now_ns: u64) {
    tap.places.clear();
    for (Slot { meta, frame }, record) in batch.parts().0.iter().zip(&mut tap.scratch) {
        (record.in_ns, record.ingress) = (now_ns, meta.ingress);
        record.before.set(frame.bytes());
        record.after.clear();
        tap.places.push(frame.place());
    }
}

/// Finds the wanted ones again among those that are to leave the batch, and keeps them as they are now.
pub fn after(tap: &mut Tap, batch: &mut Batch, (tables, flows): (&Snapshot, &Flows), now_ns: u64) {
    tap.settled = 0;
    tap.order.clear();
    let (slots, extras) = batch.parts();
    let (came, mut fresh) = (tap.places.len(), tap.places.len());
    let slots = slots.iter().map(|slot| (&slot.meta, &slot.frame));
    for (meta, frame) in slots.chain(extras.made.iter().map(|(frame, meta)| (meta, frame))) {
        let found = tap.places.iter().position(|place| *place == frame.place());
        let at = found.unwrap_or(fresh);
        let Some(record) = tap.scratch.get_mut(at) else { break };
        if found.is_some() {
            tap.places[at] = FOUND;
        } else {
            // Made by the switch, or a fragment that waits no longer.
            fresh += 1;
            (record.in_ns, record.ingress) = (now_ns, meta.ingress);
            record.before.clear();
        }
        record.out_ns = now_ns;
        let seen = record.before.bytes().unwrap_or(frame.bytes());
        let who = Who::is(meta, seen, tables, flows);
        let is_wanted = who.is_wanted(&tap.wanted, record.ingress);
        if is_wanted {
            (record.service, record.backend) = (who.service, who.backend);
            match meta.verdict {
                Some(Verdict::Forward(_) | Verdict::Reply(_)) => record.after.set(frame.bytes()),
                _ if record.before.is_empty() => record.before.set(frame.bytes()),
                _ => {}
            }
        }
        tap.order.push(is_wanted.then_some(at as u16));
    }
    for at in 0..came {
        if tap.places.get(at) != Some(&FOUND) {
            hold(tap, at, (tables, flows), now_ns);
        }
    }
}

/// A fragment that was put aside.
fn hold(tap: &mut Tap, at: usize, (tables, flows): (&Snapshot, &Flows), now_ns: u64) {
    let Some(record) = tap.scratch.get_mut(at) else { return };
    let who = Who::is(&Meta::new(record.ingress), record.before.bytes().unwrap_or_default(), tables, flows);
    if who.is_wanted(&tap.wanted, record.ingress) {
        (record.out_ns, record.service, record.backend) = (now_ns, who.service, who.backend);
        keep(tap, at, Outcome::Held);
    }
}

/// Says what became of the next frame that left the batch.
pub fn settle(tap: &mut Tap, verdict: Verdict) {
    let next = tap.order.get(tap.settled).copied().flatten();
    tap.settled += 1;
    if let Some(at) = next {
        keep(tap, usize::from(at), verdict.into());
    }
}

/// Hands over a record, if what became of its frame is wanted, and it is the turn of one.
fn keep(tap: &mut Tap, at: usize, outcome: Outcome) {
    let Some(record) = tap.scratch.get_mut(at) else { return };
    if !tap.wanted.is_outcome(outcome) {
        return;
    }
    tap.ring.matched.add(1);
    if tap.skip > 0 {
        tap.skip -= 1;
        return;
    }
    tap.skip = tap.wanted.sample.saturating_sub(1);
    finish(record, outcome);
    tap.ring.put(record);
}

/// What did not leave has no second picture, unless that is the only one.
fn finish(record: &mut Record, outcome: Outcome) {
    record.outcome = outcome;
    if !matches!(outcome, Outcome::Forward(_) | Outcome::Reply(_)) && !record.before.is_empty() {
        record.after.clear();
    }
}

/// Whose frame it is.
struct Who {
    ends: [Option<(IpAddr, u16)>; ENDS],
    kind: Kind,
    service: Option<ServiceId>,
    backend: BackendId,
}

impl Who {
    fn is(meta: &Meta, frame: &[u8], tables: &Snapshot, flows: &Flows) -> Self {
        let mut who = Self { ends: [None; ENDS], kind: Kind::Other, service: None, backend: BackendId::NONE };
        who.read(frame);
        match (meta.lane, meta.parsed.kind, meta.parsed.family) {
            (Lane::V4, ..) => who.follow(meta.v4, tables, flows),
            (Lane::V6, ..) => who.follow(meta.v6, tables, flows),
            (_, parse::Kind::Icmp, _) if meta.parsed.echo.is_none() => {
                let quote = frame.get(usize::from(meta.parsed.transport) + icmp::HEADER..);
                quote.and_then(Quote::parse).iter().for_each(|quote| who.quoted(quote, tables, flows));
            }
            (_, parse::Kind::Flow | parse::Kind::Fragment | parse::Kind::Icmp, Family::V4) => {
                who.follow(meta.v4, tables, flows);
            }
            (_, parse::Kind::Flow | parse::Kind::Fragment | parse::Kind::Icmp, Family::V6) => {
                who.follow(meta.v6, tables, flows);
            }
            _ => {}
        }
        who
    }

    fn add(&mut self, address: IpAddr, port: u16) {
        if let Some(free) = self.ends.iter_mut().find(|end| end.is_none()) {
            *free = Some((address, port));
        }
    }

    /// Its connection, or the service it is addressed to.
    fn follow<P: Pair>(&mut self, key: FlowKey<P>, tables: &Snapshot, flows: &Flows) {
        self.kind = kind(key.protocol);
        self.pair(key.addresses, key.ports);
        if let Some(hit) = flows.look_up(key) {
            self.pair(hit.addresses, hit.ports);
            self.backend = hit.backend;
        }
        let backend = tables.backend(self.backend);
        if let Some(backend) = backend {
            self.add(backend.address.ip(), backend.address.port());
        }
        let service = || admit::service_of(&key, tables).map(|service| service.id);
        self.service = backend.map(|backend| backend.service).or_else(service);
    }

    fn pair<P: Pair>(&mut self, addresses: P, ports: u32) {
        self.add(addresses.source(), (ports >> 16) as u16);
        self.add(addresses.destination(), ports as u16);
    }

    /// The connection that an ICMP error is about: what it quotes went the other way.
    fn quoted(&mut self, quote: &Quote, tables: &Snapshot, flows: &Flows) {
        let Transport::Ports(ports) = quote.transport else { return };
        let (ports, protocol, kind) = (ports.rotate_left(16), quote.protocol, self.kind);
        match quote.addresses.reversed() {
            Addresses::V4(addresses) => {
                self.follow::<V4>(FlowKey { addresses, ports, protocol }, tables, flows);
            }
            Addresses::V6(addresses) => {
                self.follow::<V6>(FlowKey { addresses, ports, protocol }, tables, flows);
            }
        }
        self.kind = kind;
    }

    /// What stands in the headers, also of frames that are damaged or of no concern to the switch.
    fn read(&mut self, frame: &[u8]) -> Option<()> {
        let link = ethernet::header(frame)?;
        let packet = frame.get(usize::from(link.header_len)..)?;
        let v4 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
        let v6 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
        let (source, destination) = match link.ethertype {
            ethernet::ARP => {
                self.kind = Kind::Arp;
                (v4(14)?, v4(24)?)
            }
            ethernet::IPV4 => {
                self.kind = kind(*packet.get(9)?);
                (v4(12)?, v4(16)?)
            }
            ethernet::IPV6 => {
                let header = ipv6::Header::parse_cut(packet).ok();
                self.kind = kind(header.map_or(*packet.get(6)?, |header| header.protocol));
                (v6(8)?, v6(24)?)
            }
            _ => return None,
        };
        self.add(source, 0);
        self.add(destination, 0);
        Some(())
    }

    fn is_wanted(&self, wanted: &Wanted, ingress: InterfaceId) -> bool {
        let has = |is: &dyn Fn(IpAddr, u16) -> bool| self.ends.iter().flatten().any(|end| is(end.0, end.1));
        wanted.service.is_none_or(|service| self.service == Some(service))
            && wanted.interface.is_none_or(|interface| interface == ingress)
            && wanted.kind.is_none_or(|kind| kind == self.kind)
            && wanted.host.is_none_or(|host| has(&|address, port| host.contains(address, port)))
            && wanted.port.is_none_or(|wanted| has(&|_, port| port == wanted))
    }
}

const fn kind(protocol: u8) -> Kind {
    match protocol {
        ip::TCP => Kind::Tcp,
        ip::UDP => Kind::Udp,
        ip::ICMP | ip::ICMPV6 => Kind::Icmp,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::DropReason;

    #[test]
    fn what_found_no_place_in_a_ring_has_not_left() {
        let full = Outcome::Drop(DropReason::TxRingFull);
        let mut record = Record::new(128);
        record.before.set(b"came");
        record.after.set(b"left");
        finish(&mut record, full);
        assert_eq!((record.before.bytes(), record.after.bytes()), (Some(&b"came"[..]), None));
        record.before.clear();
        record.after.set(b"piece");
        finish(&mut record, full);
        assert_eq!(record.after.bytes(), Some(&b"piece"[..]), "there is no other picture of it");
    }
}
