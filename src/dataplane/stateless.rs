//! Frames that are forwarded without a connection: where the backend answers the client directly and a consistent hash says
//! which it is, nothing has to be remembered for that.
//!
//! So goes what finds no room in a full table, and a segment in the middle of a connection that the table does not have: it gave the
//! connection up in a flood, or another switch had it before. Such segments are never entered: a flood of them would fill the table with
//! connections that look as if they had been answered.

use crate::tables::{DropReason, Service};
use crate::wire::tcp::Flags;
use crate::xsk::Frame;

use super::admit::{self, may_connect, service_of};
use super::batch::Meta;
use super::conntrack::{Hit, Kind, Marks};
use super::family::Pair;
use super::known;
use super::limits;
use super::parse::{self, TCP};
use super::place;
use super::rewrite::{self, Egress};
use super::turn::Turn;
use super::verdict::Verdict;

/// Opens a connection with a service that needs none, or does without.
#[inline(never)]
pub(super) fn open<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    service: &Service,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let decided = match admit::begin::<P>(frame, meta, service, turn) {
        Ok(hit) => return known::forward_first(frame, meta, &hit, turn),
        Err(DropReason::TableFull | DropReason::BucketFull) => forward::<P>(frame, meta, service, turn),
        Err(DropReason::NoConnection) if may_be_midway::<P>(meta) => forward::<P>(frame, meta, service, turn),
        Err(reason) => Err(reason),
    };
    decided.inspect_err(|_| admit::count_refused(service, turn))
}

/// Sends a later fragment after the first of its datagram, which went without a connection.
#[cold]
pub(super) fn follow<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let service = service_of(&P::key(meta), turn.tables).filter(|service| service.needs_no_connection());
    forward::<P>(frame, meta, service.ok_or(DropReason::NoConnection)?, turn)
}

/// Whether it is what is sent once a connection exists.
fn may_be_midway<P: Pair>(meta: &Meta) -> bool {
    let flags = meta.parsed.flags;
    P::key(meta).protocol == TCP && !flags.any(Flags::SYN) && flags.any(Flags::ACK.with(Flags::RST))
}

fn forward<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    service: &Service,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let (key, kind) = (P::key(meta), Kind::of(service.forwarding));
    parse::verify(frame.bytes(), &meta.parsed, &key)?;
    let client = key.addresses.source();
    if !may_connect(client, turn.tables) {
        return Err(DropReason::BadSource);
    }
    if !service.admits(client) {
        return Err(DropReason::Denied);
    }
    let backend = place::pick(service, &key, turn)?.backend;
    let egress = Egress::backend(known::resolved(backend.next_hop, turn.tables, turn.extras)?, backend);
    let mut hit = Hit::prospect(kind, key);
    // There is no entry to be marked.
    (hit.backend, hit.marks) = (backend.id, Marks::ATTENDED);
    rewrite::admits(meta, &hit, &egress, turn)?;
    limits::attend(frame, meta, &hit, turn)?;
    known::count(turn.counters, &hit, frame.len());
    if let Some(counters) = turn.counters.service(service.id) {
        counters.stateless.add(1);
    }
    rewrite::apply(frame, meta, &hit, &egress, turn)
}
