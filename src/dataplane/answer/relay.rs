//! ICMP errors about packets of connections: to whoever sent the packet that they are about (RFC 5508 §4.2).
//!
//! An error travels against the packet that it quotes, and so like frames of the other direction: the quoted flow reversed
//! is the key of the connection, and what those frames become says what the error becomes.
//!
//! | error about a connection of | quotes, as it comes | goes to | with the quote |
//! |---|---|---|---|
//! | `nat`, from outside | VIP → client | the backend | backend → client |
//! | `nat`, from inside | client → backend | the client | client → VIP |
//! | `full-nat`, from outside | VIP → client | the backend | backend → SNAT address |
//! | `full-nat`, from inside | SNAT address → backend | the client | client → VIP |
//! | `[[snat]]`, from outside | public address → peer | the inside host | inside host → peer |
//! | `[[snat]]`, from inside | peer → inside host | the peer | peer → public address |
//! | `dsr`, `ipip`, `gue` | VIP → client | the backend, as its requests do | as it is |
//!
//! An error moves no state and keeps no connection alive.

use std::net::IpAddr;

use crate::dataplane::admit;
use crate::dataplane::batch::Meta;
use crate::dataplane::conntrack::{Direction, FlowKey, Hit, Kind as Rewriting};
use crate::dataplane::cookies::moving;
use crate::dataplane::family::Pair;
use crate::dataplane::known;
use crate::dataplane::parse::{TCP, UDP};
use crate::dataplane::passive;
use crate::dataplane::rewrite;
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::{DropReason, Fate, Protocol, Snapshot};
use crate::wire::icmp::{self, Kind, Message, Quote, Translation, Transport};
use crate::xsk::Frame;

use super::source::{is_link_local, is_private};
use super::version::Version;
use super::{message, tunnel};

/// An error, and the connection that it is about.
struct About<P> {
    quote: Quote,
    hit: Hit<P>,
    hash: u64,
}

/// Passes an error on, if it is about a live connection.
pub(super) fn relay<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let Message::Error { kind, quoted, quoted_len } = message::<P>(frame, meta)? else {
        let is_host = turn.tables.is_host(P::key(meta).addresses.destination());
        return if is_host { Err(DropReason::NotServed) } else { Ok(Verdict::ToKernel) };
    };
    let start = usize::from(meta.parsed.transport) + usize::from(quoted);
    let quoted = start..start + usize::from(quoted_len);
    let bytes = frame.bytes().get(quoted.clone()).ok_or(DropReason::Malformed)?;
    // Who is told of an error is who sent the packet; another is being told a lie.
    let to = P::key(meta).addresses.destination();
    let quote = Quote::parse(bytes).filter(|quote| sender::<P>(quote) == Some(to));
    let Some(quote) = quote else { return unknown::<P>(to, None, turn.tables) };
    let Some(about) = find::<P>(quote, turn) else {
        if let Some(verdict) = tunnel::relay(frame, quoted, kind, meta.ingress, turn) {
            return verdict;
        }
        return unknown(to, quoted_key::<P>(&quote), turn.tables);
    };
    let quoted_direction = match about.hit.direction {
        Direction::Request => Direction::Reply,
        Direction::Reply => Direction::Request,
    };
    if !is_believable::<P>(kind) || !has_passed(&about.hit, quoted_direction, &quote, bytes, turn) {
        return Err(DropReason::IcmpForged);
    }
    heed(&about, kind, meta, turn)?;
    forward(frame, meta, &about, turn)
}

/// Heeds what the error says about a backend. One of a connection that is to end with its backend helps nobody any more.
fn heed<P: Pair>(about: &About<P>, kind: Kind, meta: &Meta, turn: &mut Turn<'_>) -> Result<(), DropReason> {
    let hit = &about.hit;
    if turn.tables.backend(hit.backend).is_some_and(|backend| backend.fate != Fate::Keep) {
        return Err(DropReason::BackendDown);
    }
    if matches!(kind, Kind::Unreachable { .. }) && hit.direction == Direction::Reply {
        passive::unreachable(hit.backend, meta.ingress, turn);
    }
    Ok(())
}

fn sender<P: Version>(quote: &Quote) -> Option<IpAddr> {
    P::unpack(quote.addresses).map(Pair::source)
}

/// The flow of the quoted packet.
pub(super) fn quoted_key<P: Version>(quote: &Quote) -> Option<FlowKey<P>> {
    let ports = match quote.transport {
        Transport::Ports(ports) => ports,
        Transport::Echo { id, request: true } => u32::from(id) << 16,
        Transport::Echo { id, request: false } => u32::from(id),
        Transport::Unseen => return None,
    };
    Some(FlowKey { addresses: P::unpack(quote.addresses)?, ports, protocol: quote.protocol })
}

fn find<P: Version>(quote: Quote, turn: &Turn<'_>) -> Option<About<P>> {
    let key = quoted_key::<P>(&quote)?.reversed();
    let hash = turn.flows.tables().secret().hash(key);
    let hit = turn.flows.find(key, hash).filter(|hit| hit.kind != Rewriting::Mapping)?;
    // Both kinds of ping have the same key where the identifier is 0.
    let is_quoted = match (quote.transport, hit.direction) {
        (Transport::Echo { request, .. }, direction) => request == (direction == Direction::Reply),
        _ => true,
    };
    is_quoted.then_some(About { quote, hit, hash })
}

/// Whether a link can have the MTU that the error says: smaller ones are for making a sender crawl (RFC 5927 §7.2), and
/// over IPv6 to be discarded (RFC 8201 §4). Routers older than RFC 1191 say 0.
pub(super) fn is_believable<P: Version>(kind: Kind) -> bool {
    match kind {
        Kind::TooBig { mtu: 0 } => P::SMALLEST_MTU < 1280,
        Kind::TooBig { mtu } => mtu >= P::SMALLEST_MTU,
        _ => true,
    }
}

/// Whether the quoted packet can be one of the connection's. Where replies are not seen, those cannot be told.
pub(super) fn has_passed<P: Pair>(
    hit: &Hit<P>,
    direction: Direction,
    quote: &Quote,
    bytes: &[u8],
    turn: &Turn<'_>,
) -> bool {
    if quote.protocol != TCP || (hit.kind.one_way() && direction == Direction::Reply) {
        return true;
    }
    let sequence = bytes.get(usize::from(quote.header_len) + 4..).and_then(|rest| rest.first_chunk());
    sequence.is_some_and(|sequence| {
        let moved = if direction == Direction::Reply { moving::offset(hit, turn) } else { 0 };
        let sequence = u32::from_be_bytes(*sequence).wrapping_sub(moved);
        turn.flows.entry::<P>(hit.entry).has_passed(direction, sequence)
    })
}

/// An error that is about no connection: forged where only our connections can be meant, else the kernel's.
fn unknown<P: Pair>(
    to: IpAddr,
    quoted: Option<FlowKey<P>>,
    tables: &Snapshot,
) -> Result<Verdict, DropReason> {
    let about_backend = quoted.is_some_and(|quoted| {
        let protocol = match quoted.protocol {
            TCP => Protocol::Tcp,
            UDP => Protocol::Udp,
            _ => return false,
        };
        let backend = (quoted.addresses.destination(), quoted.destination_port());
        tables.replies.get(backend.0, backend.1, protocol).is_some()
    });
    let forwarded = about_backend && !admit::is_own(to, tables) && !tables.bridge;
    if tables.is_vip(to) || is_public(to, tables) || forwarded {
        return Err(DropReason::IcmpForged);
    }
    Ok(Verdict::ToKernel)
}

/// Whether the address is one that source NAT gives, and not also the switch's own.
fn is_public(address: IpAddr, tables: &Snapshot) -> bool {
    let of_full_nat = match address {
        IpAddr::V4(address) => tables.snat.v4.contains(&address),
        IpAddr::V6(address) => tables.snat.v6.contains(&address),
    };
    let of_rule = || tables.snat_rules.iter().any(|rule| rule.is_public(address));
    (of_full_nat || of_rule()) && !admit::is_own(address, tables)
}

/// Sends the error the way that frames of its direction go.
fn forward<P: Version>(
    frame: &mut Frame,
    meta: &mut Meta,
    about: &About<P>,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let About { quote, hit, hash } = about;
    let egress = known::egress(hit, meta, turn)?;
    rewrite::admits(meta, hit, &egress, turn)?;
    known::count(turn.counters, hit, frame.len());
    // So that it takes the same path through the network as its connection.
    meta.hash = *hash;
    if hit.kind.one_way() {
        return rewrite::apply(frame, meta, hit, &egress, turn);
    }
    let from = P::key(meta).addresses;
    let moved = moving::offset(hit, turn);
    let translation = translation(from, quote, hit).ok_or(DropReason::Malformed)?;
    let header_len = meta.parsed.transport - u16::from(meta.parsed.ip);
    let packet = frame.bytes_mut().get_mut(meta.parsed.packet()).ok_or(DropReason::Malformed)?;
    if hit.direction == Direction::Request {
        icmp::move_sequence(packet, header_len, quote, moved.wrapping_neg());
    }
    if !icmp::translate(packet, header_len, from.pack(), quote, &translation) {
        return Err(DropReason::Malformed);
    }
    if !turn.tables.bridge {
        P::decrement_ttl(packet);
    }
    rewrite::leave(frame, meta, hit, &egress, turn)
}

/// What the error is to say. The quoted packet is one of the other direction, before it was rewritten here.
fn translation<P: Version>(from: P, quote: &Quote, hit: &Hit<P>) -> Option<Translation> {
    let ports = hit.ports.rotate_left(16);
    let transport = match quote.transport {
        Transport::Ports(_) => Transport::Ports(ports),
        Transport::Echo { request: true, .. } => Transport::Echo { id: (ports >> 16) as u16, request: true },
        Transport::Echo { request: false, .. } => Transport::Echo { id: ports as u16, request: false },
        Transport::Unseen => return None,
    };
    let source = outer_source(from.source(), quote, hit)?;
    Some(Translation {
        outer: P::of(source, hit.addresses.destination())?.pack(),
        quoted: hit.addresses.reversed().pack(),
        transport,
    })
}

/// Who is to have sent the error.
///
/// - The end of the connection itself: whom the other end takes for it.
/// - A router inside, by RFC 5508 §4.2 REQ-5: the public address of the flow, where its own means nothing outside; always
///   where `[[snat]]` hides all that is on its side. A router inside with a public address is shown, for traceroute.
/// - A router outside (REQ-4): itself, unless its address is for its link alone.
fn outer_source<P: Version>(source: IpAddr, quote: &Quote, hit: &Hit<P>) -> Option<IpAddr> {
    let end = P::unpack(quote.addresses)?.destination();
    let is_translated = hit.addresses.source() != end;
    let hidden = match (hit.kind, hit.direction) {
        (Rewriting::Snat, _) => is_translated || is_link_local(source),
        (_, Direction::Request) => is_link_local(source),
        (_, Direction::Reply) => is_private(source),
    };
    Some(if source == end || hidden { hit.addresses.source() } else { source })
}
