//! Which backend a new connection gets: the one that its client had, or the one whose turn it is.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::tables::hash::{flow_hash, source_hash};
use crate::tables::{
    Affinity, Backend, BackendId, Coarse, DropReason, Loads, SchedulerTable, Service, ServiceId, Snapshot,
};

use super::conntrack::affinity::Client;
use super::conntrack::{FlowKey, FlowTables, Hit};
use super::family::Pair;
use super::schedule::{Candidate, Scheduler};
use super::turn::Turn;

/// Backends that are asked for room for one connection.
const MOST_ASKED: usize = 64;

/// A backend for a connection that does not exist yet, and what is to be undone should it not come about.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Which it is.
    pub backend: &'a Backend,
    /// Where the round of the service stood before, if it was asked.
    turned: Option<(ServiceId, u32)>,
    /// As whose the backend is remembered from now on.
    remembered: Option<Client>,
}

/// Picks a backend for a flow that begins.
pub fn pick<'a, P: Pair>(
    service: &Service,
    key: &FlowKey<P>,
    turn: &mut Turn<'a>,
) -> Result<Choice<'a>, DropReason> {
    match &service.affinity {
        None => with_room(service, key, turn),
        Some(affinity) => returning(service, affinity, key, turn),
    }
}

/// The backend of a client that may have been here before.
fn returning<'a, P: Pair>(
    service: &Service,
    affinity: &Affinity,
    key: &FlowKey<P>,
    turn: &mut Turn<'a>,
) -> Result<Choice<'a>, DropReason> {
    let (tables, now) = (turn.tables, (turn.now.coarse(), affinity.timeout));
    let Had { client, server: had, backend } =
        had(affinity, key.addresses.source(), turn.flows.tables(), (tables, now.0));
    if backend.is_some_and(|backend| backend.is_full(&turn.flows.tables().loads)) {
        // Elsewhere for once. It is remembered where the client was.
        return with_room(service, key, turn);
    }
    if let (Some(server), Some(backend)) = (had, backend) {
        turn.flows.tables().affinities.remember(client, server, had, now);
        return Ok(Choice { backend, turned: None, remembered: None });
    }
    let choice = with_room(service, key, turn)?;
    let server = choice.backend.server;
    let counts = turn.flows.tables().affinities.remember(client, server, had, now);
    if counts == server {
        return Ok(Choice { remembered: Some(client), ..choice });
    }
    // Another worker saw the client at the same moment.
    match backend_on(counts, affinity, tables) {
        Some(backend) => {
            choice.give_turn_back(turn);
            Ok(Choice { backend, turned: None, remembered: None })
        }
        None => Ok(choice),
    }
}

/// What is remembered of a client.
#[derive(Debug)]
pub(super) struct Had<'a> {
    /// As whom it is known.
    pub client: Client,
    /// The server that it had.
    pub server: Option<u32>,
    /// The service's backend there, if it may take new connections.
    pub backend: Option<&'a Backend>,
}

/// What is remembered of the client at `address`. Nothing changes by that.
pub(super) fn had<'a>(
    affinity: &Affinity,
    address: IpAddr,
    shared: &FlowTables,
    (tables, now): (&'a Snapshot, Coarse),
) -> Had<'a> {
    let client = Client::of(address, affinity, shared.secret());
    let server = shared.affinities.find(client, now);
    Had { client, server, backend: server.and_then(|server| backend_on(server, affinity, tables)) }
}

/// The backend of a service on this server, if it may take new connections.
fn backend_on<'a>(server: u32, affinity: &Affinity, tables: &'a Snapshot) -> Option<&'a Backend> {
    let found = affinity.servers.binary_search_by_key(&server, |(server, _)| *server).ok()?;
    affinity.servers.get(found).and_then(|(_, id)| tables.backend(*id))
}

/// The backend that the scheduler names, or the next one that may have more connections.
fn with_room<'a, P: Pair>(
    service: &Service,
    key: &FlowKey<P>,
    turn: &mut Turn<'a>,
) -> Result<Choice<'a>, DropReason> {
    let choice = by_turn(service, key, turn)?;
    if !service.capped || !choice.backend.is_full(&turn.flows.tables().loads) {
        return Ok(choice);
    }
    match next_with_room(service, choice.backend.id, turn) {
        Some(backend) => Ok(Choice { backend, ..choice }),
        None => {
            choice.give_turn_back(turn);
            Err(DropReason::BackendFull)
        }
    }
}

/// The first behind `full` that has room, of those that new connections go to.
#[cold]
fn next_with_room<'a>(service: &Service, full: BackendId, turn: &Turn<'a>) -> Option<&'a Backend> {
    let loads = &turn.flows.tables().loads;
    let at = service.takers.iter().position(|id| *id == full).map_or(0, |at| at + 1);
    let others = service.takers.iter().cycle().skip(at).take(service.takers.len().min(MOST_ASKED));
    others.filter_map(|id| turn.tables.backend(*id)).find(|backend| !backend.is_full(loads))
}

/// The backend that the scheduler names.
#[inline(always)]
pub(super) fn by_turn<'a, P: Pair>(
    service: &Service,
    key: &FlowKey<P>,
    turn: &mut Turn<'a>,
) -> Result<Choice<'a>, DropReason> {
    let (place, loads) = turn.flows.scheduling(service.id).ok_or(DropReason::NoBackend)?;
    let before = place.load(Ordering::Relaxed);
    let (id, cursor) = scheduled(service, key, before, loads);
    place.store(cursor, Ordering::Relaxed);
    let backend = id.and_then(|id| turn.tables.backend(id)).ok_or(DropReason::NoBackend)?;
    Ok(Choice { backend, turned: Some((service.id, before)), remembered: None })
}

/// The backend that the scheduler names where the round stands here, and where it stands then. Nothing changes by that.
#[inline(always)]
pub(super) fn scheduled<P: Pair>(
    service: &Service,
    key: &FlowKey<P>,
    mut cursor: u32,
    loads: &Loads,
) -> (Option<BackendId>, u32) {
    match &*service.table {
        SchedulerTable::RoundRobin(round) => (round.advance(&mut cursor), cursor),
        _ => named(service, key.addresses.source(), key.source_port(), cursor, loads),
    }
}

/// The same where it is more than a round. In a function of its own, so that registers are left for the most usual.
#[inline(never)]
fn named(
    service: &Service,
    client: IpAddr,
    port: u16,
    mut cursor: u32,
    loads: &Loads,
) -> (Option<BackendId>, u32) {
    let (vip, protocol) = (service.vip, service.protocol as u8);
    let (flow_hash, source_hash) = match service.table.is_hashed() {
        true => (flow_hash(client, port, vip.ip(), vip.port(), protocol), source_hash(client)),
        false => (0, 0),
    };
    let id = service.table.pick(Candidate { flow_hash, source_hash, cursor: &mut cursor, loads });
    (id, cursor)
}

impl Choice<'_> {
    /// Takes back what was said for the sake of a connection that did not come about. `entered` is what became of it: the
    /// connection, and whether it is ours or another worker's.
    ///
    /// The turn goes to who comes next, unless it was the backend that the connection failed for: then it is the next
    /// backend's turn, so that one that cannot be reached does not hold up the others.
    pub fn settle<P: Pair>(
        self,
        entered: Result<(Hit<P>, bool), DropReason>,
        turn: &mut Turn<'_>,
    ) -> Result<Hit<P>, DropReason> {
        let (ours, blameless) = match &entered {
            Ok((_, ours)) => (*ours, true),
            Err(DropReason::TableFull | DropReason::BucketFull) => (false, true),
            Err(_) => (false, false),
        };
        if !ours && blameless {
            self.give_turn_back(turn);
        }
        if let (Err(_), Some(client)) = (&entered, self.remembered) {
            turn.flows.tables().affinities.forget(client, self.backend.server);
        }
        entered.map(|(hit, _)| hit)
    }

    /// Lets the service's round stand where it stood before.
    pub(super) fn give_turn_back(&self, turn: &mut Turn<'_>) {
        if let Some((service, before)) = self.turned
            && let Some((cursor, _)) = turn.flows.scheduling(service)
        {
            cursor.store(before, Ordering::Relaxed);
        }
    }
}
