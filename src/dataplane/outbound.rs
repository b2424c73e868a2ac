//! Tier 2 without a service: outbound source NAT. Inside hosts share public addresses; who may answer them is a rule's
//! `filtering`. See docs/design/0013.
//!
//! A first frame goes one of three ways. In each, the connection that it makes has two keys like any other, so tier 1
//! needs to know nothing of NAT's rules:
//!
//! | way | frame | leaves as |
//! |---|---|---|
//! | outward | inside → outside | public → outside |
//! | inward, where the filter admits it | outside → public | outside → inside |
//! | hairpin, between two inside hosts | inside → other's public | own public → other inside |

use std::net::IpAddr;

use crate::tables::exact::address_bits;
use crate::tables::hash::mix;
use crate::tables::{BackendId, DropReason, Filtering, Mapping, NextHopId, Snapshot, SnatRule};
use crate::xsk::Frame;

use super::batch::Meta;
use super::conntrack::mapping::{self, Scope};
use super::conntrack::{Connection, Direction, FlowKey, Hit, Kind as Rewriting, Marks, State};
use super::family::Pair;
use super::parse;
use super::turn::Turn;
use super::verdict::Verdict;
use super::{admit, known, rewrite};

/// An address and port, or the identifier of a ping.
type Endpoint = (IpAddr, u16);

/// Which way a first frame goes, and the rules that say so.
#[derive(Debug, Clone, Copy)]
enum Way<'a> {
    Outward(&'a SnatRule),
    Inward(&'a SnatRule),
    Hairpin { from: &'a SnatRule, to: &'a SnatRule },
}

/// Decides on a flow that no service takes. One that no rule takes, either, gets no verdict.
pub fn run<P: Pair>(
    frame: &mut Frame,
    meta: &mut Meta,
    turn: &mut Turn<'_>,
) -> Result<Option<Verdict>, DropReason> {
    let tables = turn.tables;
    if tables.snat_rules.is_empty() || tables.bridge {
        return Ok(None);
    }
    let Some(way) = way(&P::key(meta), meta.parsed.echo, tables) else { return Ok(None) };
    let hit: Hit<P> = connect(frame, meta, way, turn)?;
    known::forward(frame, meta, &hit, turn).map(Some)
}

fn way<'a, P: Pair>(key: &FlowKey<P>, echo: Option<Direction>, tables: &'a Snapshot) -> Option<Way<'a>> {
    let rules = &tables.snat_rules;
    let (source, destination) = (sender(key), receiver(key));
    let from = rules.iter().find(|rule| rule.is_inside(source.0));
    let to = rules.iter().find(|rule| rule.pool.contains(destination.0, destination.1));
    // A ping's identifier is a port of who asks: it leads to nobody inside, and an answer asks nothing.
    match (from, to.filter(|_| echo != Some(Direction::Request))) {
        (Some(from), Some(to)) => Some(Way::Hairpin { from, to }),
        (None, Some(to)) => Some(Way::Inward(to)),
        (Some(from), None) if echo != Some(Direction::Reply) && is_outside(destination.0, tables) => {
            Some(Way::Outward(from))
        }
        _ => None,
    }
}

/// Whether inside hosts reach this address only through NAT.
fn is_outside(address: IpAddr, tables: &Snapshot) -> bool {
    // RFC 3927 §7 and RFC 4291 §2.5.6: no router forwards these.
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let of_full_nat = match address {
        IpAddr::V4(v4) => tables.snat.v4.contains(&v4),
        IpAddr::V6(v6) => tables.snat.v6.contains(&v6),
    };
    !link_local
        && !of_full_nat
        && admit::may_connect(address, tables)
        && !tables.snat_rules.iter().any(|rule| rule.is_inside(address) || rule.is_public(address))
}

/// Creates the connection of a first frame. Nothing is created for a frame that would be dropped afterwards, except what
/// a frame to another inside host says about who may answer it.
fn connect<P: Pair>(
    frame: &Frame,
    meta: &mut Meta,
    way: Way<'_>,
    turn: &mut Turn<'_>,
) -> Result<Hit<P>, DropReason> {
    let (key, tables) = (P::key(meta), turn.tables);
    let state = admit::first_state(meta, key.protocol)?;
    parse::verify(frame.bytes(), &meta.parsed, &key)?;
    let client = sender(&key).0;
    if !admit::may_connect(client, tables) || tables.snat_rules.iter().any(|rule| rule.is_public(client)) {
        return Err(DropReason::BadSource);
    }
    let mapping = match way {
        Way::Outward(_) => None,
        Way::Inward(_) => Some(behind(&key, state, turn)?),
        Way::Hairpin { from, to } if from.hairpinning && to.hairpinning => Some(behind(&key, state, turn)?),
        Way::Hairpin { .. } => return Err(DropReason::SnatFiltered),
    };
    let server = mapping.map_or(receiver(&key), |hit| (hit.addresses.destination(), hit.ports as u16));
    let egress = known::by_route(server.0, turn)?;
    rewrite::admits(meta, &Hit::prospect(Rewriting::Snat, key), &egress, turn)?;
    let source = source_of(way, &key, server, turn)?;
    if let Some(hit) = mapping {
        // Only now: what the filter refuses must keep no mapping alive (RFC 4787 §4.3).
        turn.flows.entry(hit.entry).touch(&hit, 0, turn.now.coarse());
    }
    let connection = Connection {
        kind: Rewriting::Snat,
        request: key,
        reply: key_between(server, source, key.protocol),
        marks: Marks::NONE,
        backend: BackendId::NONE,
        client_next_hop: admit::client_next_hop(frame, meta, client, Rewriting::Snat, turn)?,
        routes_epoch: tables.routes_epoch,
        state,
        sequence: meta.parsed.sequence,
    };
    admit::enter(&connection, meta.hash, turn)
}

/// The source with which a first frame leaves, if it may.
fn source_of<P: Pair>(
    way: Way<'_>,
    key: &FlowKey<P>,
    server: Endpoint,
    turn: &mut Turn<'_>,
) -> Result<Endpoint, DropReason> {
    match way {
        Way::Outward(rule) => {
            let public = public_endpoint(rule, key, server, turn)?;
            if rule.filtering == Filtering::AddressDependent {
                permit(rule, Scope::Address, key, public, turn)?;
            }
            Ok(public)
        }
        Way::Inward(rule) => {
            filter(rule, *key, turn)?;
            Ok(sender(key))
        }
        Way::Hairpin { from, to } => {
            let public = public_endpoint(from, key, server, turn)?;
            // Two hosts behind one NAT meet by sending to each other: what the first one sent must count, although it
            // was dropped, as it would where each had a NAT of its own.
            match from.filtering {
                Filtering::EndpointIndependent => {}
                Filtering::AddressDependent => permit(from, Scope::Address, key, public, turn)?,
                Filtering::AddressAndPortDependent => permit(from, Scope::Endpoint, key, public, turn)?,
            }
            filter(to, key_between::<P>(public, receiver(key), key.protocol), turn)?;
            Ok(public)
        }
    }
}

/// The mapping of the public endpoint to which a frame is addressed: whither it leads is the inside endpoint.
fn behind<P: Pair>(key: &FlowKey<P>, state: State, turn: &Turn<'_>) -> Result<Hit<P>, DropReason> {
    let hit = turn.flows.look_up(mapping::public_key(*key, Scope::Anybody));
    let hit = hit.ok_or(DropReason::NoConnection)?;
    if state == State::Icmp {
        // The answer to a ping that nobody sent there.
        return Err(DropReason::SnatFiltered);
    }
    Ok(hit)
}

/// Whether a frame to the public endpoint of an inside host, `seen` as it arrives there, may pass (RFC 4787 §5).
fn filter<P: Pair>(rule: &SnatRule, seen: FlowKey<P>, turn: &Turn<'_>) -> Result<(), DropReason> {
    let scope = match rule.filtering {
        Filtering::EndpointIndependent => return Ok(()),
        Filtering::AddressDependent => Scope::Address,
        Filtering::AddressAndPortDependent => Scope::Endpoint,
    };
    let hit = turn.flows.look_up(mapping::public_key(seen, scope)).ok_or(DropReason::SnatFiltered)?;
    turn.flows.entry(hit.entry).touch(&hit, 0, turn.now.coarse());
    Ok(())
}

/// Remembers that an inside host has sent to an address, or to an endpoint, which may send to its mapping from now on.
fn permit<P: Pair>(
    rule: &SnatRule,
    scope: Scope,
    key: &FlowKey<P>,
    public: Endpoint,
    turn: &mut Turn<'_>,
) -> Result<(), DropReason> {
    if rule.mapping != Mapping::EndpointIndependent {
        // There is no mapping to send to, besides the connections themselves.
        return Ok(());
    }
    let inside = mapping::inside_key(*key, scope);
    let outside = mapping::public_key(key_between(receiver(key), public, key.protocol), scope);
    if let Some(hit) = turn.flows.look_up(inside) {
        if (hit.addresses, hit.ports) == (outside.reversed().addresses, outside.reversed().ports) {
            turn.flows.entry(hit.entry).touch(&hit, 0, turn.now.coarse());
            return Ok(());
        }
        // That was for a public endpoint which the host does not have any more.
        turn.flows.end(&hit, turn.counters);
    }
    remember(inside, outside, turn).map(|_| ())
}

/// The public endpoint of the inside host that sends a first frame.
fn public_endpoint<P: Pair>(
    rule: &SnatRule,
    key: &FlowKey<P>,
    server: Endpoint,
    turn: &mut Turn<'_>,
) -> Result<Endpoint, DropReason> {
    let seed = seed(sender(key), key.protocol);
    if rule.mapping == Mapping::AddressAndPortDependent {
        return choose(rule, key, server, mix(seed, self::seed(server, key.protocol)), turn);
    }
    let inside = mapping::inside_key(*key, Scope::Anybody);
    if let Some(hit) = turn.flows.look_up(inside) {
        let public = source(&hit);
        if rule.pool.contains(public.0, public.1) {
            turn.flows.entry(hit.entry).touch(&hit, 0, turn.now.coarse());
            return Ok(public);
        }
        // The rule has other addresses or ports by now. Connections keep what they have.
        turn.flows.end(&hit, turn.counters);
    }
    let public = choose(rule, key, server, seed, turn)?;
    let outside = mapping::public_key(key_between(server, public, key.protocol), Scope::Anybody);
    // What counts is what is remembered: another worker may have been faster.
    remember(inside, outside, turn).map(|hit| source(&hit))
}

/// A free port at the one public address that the inside host always has (RFC 4787 REQ-2, "paired").
fn choose<P: Pair>(
    rule: &SnatRule,
    key: &FlowKey<P>,
    server: Endpoint,
    seed: u64,
    turn: &mut Turn<'_>,
) -> Result<Endpoint, DropReason> {
    let pool = &rule.pool;
    let (ports, secret, table) = turn.flows.allocator::<P>();
    let turn_of = secret.hash_word(fold(sender(key).0)) >> 32;
    let position = (turn_of as usize).checked_rem(P::pool_len(pool)).ok_or(DropReason::NoSnatAddress)?;
    let address = P::pool_at(pool, position).ok_or(DropReason::NoSnatAddress)?;
    let port = ports.take_port((pool.first_port, pool.last_port), seed, secret, |port| {
        let reply = key_between::<P>(server, (address, port), key.protocol);
        [reply, mapping::public_key(reply, Scope::Anybody)]
            .into_iter()
            .all(|taken| table.find(taken, secret.hash(taken)).is_none())
    });
    port.map(|port| (address, port)).ok_or(DropReason::SnatPortsExhausted)
}

/// Enters what is no connection but is found like one.
fn remember<P: Pair>(
    inside: FlowKey<P>,
    outside: FlowKey<P>,
    turn: &mut Turn<'_>,
) -> Result<Hit<P>, DropReason> {
    let entry = Connection {
        kind: Rewriting::Mapping,
        request: inside,
        reply: outside,
        marks: Marks::NONE,
        backend: BackendId::NONE,
        client_next_hop: NextHopId::NONE,
        routes_epoch: 0,
        state: State::Udp,
        sequence: 0,
    };
    let hash = turn.flows.tables().secret().hash(inside);
    admit::enter(&entry, hash, turn)
}

fn sender<P: Pair>(key: &FlowKey<P>) -> Endpoint {
    (key.addresses.source(), key.source_port())
}

fn receiver<P: Pair>(key: &FlowKey<P>) -> Endpoint {
    (key.addresses.destination(), key.destination_port())
}

/// With which source frames like that of `hit` leave.
fn source<P: Pair>(hit: &Hit<P>) -> Endpoint {
    (hit.addresses.source(), (hit.ports >> 16) as u16)
}

/// The key of frames from one endpoint to the other, which are of one family: that of the frame they stem from.
fn key_between<P: Pair>(from: Endpoint, to: Endpoint, protocol: u8) -> FlowKey<P> {
    FlowKey {
        addresses: P::of(from.0, to.0).unwrap_or_default(),
        ports: u32::from(from.1) << 16 | u32::from(to.1),
        protocol,
    }
}

fn seed(endpoint: Endpoint, protocol: u8) -> u64 {
    mix(fold(endpoint.0), u64::from(endpoint.1) << 8 | u64::from(protocol))
}

fn fold(address: IpAddr) -> u64 {
    let bits = address_bits(address);
    bits as u64 ^ (bits >> 64) as u64
}
