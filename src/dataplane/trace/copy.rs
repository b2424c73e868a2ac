//! The tables in which a packet is tried: of all that workers know, what this one could meet.

use std::sync::Arc;

use super::Found;
use crate::dataplane::conntrack::mapping::{self, Scope};
use crate::dataplane::conntrack::{Connection, Direction, FlowKey, FlowTables, Flows, Hit, Marks, Seen};
use crate::dataplane::family::Pair;
use crate::dataplane::{admit, place};
use crate::tables::{Coarse, NextHopId, ServiceId, Snapshot, Tick, WorkerCounters};

/// Connections that the copy has room for: one, and what outbound NAT remembers besides. Some are left, so that it is not taken for full.
const CONNECTIONS: u32 = 128;
/// For how long affinity is remembered in the copy.
const A_WHILE: u32 = Coarse::from_seconds(60);

/// A worker's hold on a copy: with the connection that was found, and others that are in its way.
pub(super) fn flows<P: Pair>(
    key: FlowKey<P>,
    (found, others): (Option<&Found<P>>, &[Seen<P>]),
    tables: &Snapshot,
    shared: &FlowTables,
    now: Tick,
) -> Flows {
    let copy = FlowTables::new(CONNECTIONS, CONNECTIONS, 1, 1, *shared.secret());
    let whose = admit::service_of(&key, tables).map(|service| service.id);
    let limits =
        shared.limits.copied(key, whose.or_else(|| found.and_then(|(hit, _)| served_by(hit, tables))));
    let copy = copy.with_loads(Arc::new(shared.loads.copied())).with_limits(Arc::new(limits));
    let copy = Arc::new(copy);
    let mut flows = Flows::join(copy, 1, now);
    if let Some((hit, seen)) = found {
        enter(seen, (hit.client_next_hop, hit.routes_epoch), &mut flows, tables);
        if let (Some(stage), Some(own)) = (shared.stage(hit), flows.look_up(seen.request)) {
            flows.restage(&own, &stage);
        }
    }
    others.iter().for_each(|other| enter(other, (NextHopId::NONE, 0), &mut flows, tables));
    mappings(key, &mut flows, tables, shared);
    if let Some(service) = admit::service_of(&key, tables) {
        if let Some((cursor, _)) = flows.scheduling(service.id) {
            cursor.store(shared.cursor(0, service.id), std::sync::atomic::Ordering::Relaxed);
        }
        if shared.was_pressed(service.id, now) || P::table(shared).is_scarce() {
            flows.meter(service.id).into_iter().for_each(|meter| meter.press(now));
        }
        let now = now.coarse();
        if let Some(affinity) = &service.affinity {
            let had = place::had(affinity, key.addresses.source(), shared, (tables, now));
            if let Some(server) = had.server {
                flows.tables().affinities.remember(had.client, server, None, (now, A_WHILE));
            }
        }
        for id in &service.backends {
            if let Some(mtu) = shared.paths.get(*id, now) {
                flows.tables().paths.note(*id, mtu, now);
            }
        }
    }
    if let Some((hit, _)) = found
        && let Some(mtu) = shared.paths.get(hit.backend, now.coarse())
    {
        flows.tables().paths.note(hit.backend, mtu, now.coarse());
    }
    seen_nearby(key, &flows, tables, shared, now.coarse());
    flows.clock_us = (now.0 as u32).wrapping_mul(1000);
    flows
}

/// The service of a connection.
fn served_by<P: Pair>(hit: &Hit<P>, tables: &Snapshot) -> Option<ServiceId> {
    tables.backend(hit.backend).map(|backend| backend.service)
}

/// Enters what is in an entry of the real table into the copy.
fn enter<P: Pair>(
    seen: &Seen<P>,
    (client_next_hop, routes_epoch): (NextHopId, u16),
    flows: &mut Flows,
    tables: &Snapshot,
) {
    let connection = Connection {
        kind: seen.kind,
        request: seen.request,
        reply: seen.reply,
        marks: Marks::NONE,
        backend: seen.backend,
        client_next_hop,
        routes_epoch,
        state: seen.state,
        sequence: seen.sequences[0],
    };
    flows.clock_us = seen.sequences[1];
    let last_seen = Tick(u64::from(seen.last_seen.0) << Coarse::SHIFT);
    // Nobody looks at what is counted.
    let counters = WorkerCounters::with_capacity(0, 0);
    let loads = Arc::clone(&flows.tables().loads);
    let open = loads.open(seen.backend);
    let _ = flows.create(&connection, last_seen, &tables.timeouts, &counters);
    // It was counted before it was copied.
    if loads.open(seen.backend) > open {
        loads.closed(0, seen.backend);
    }
}

/// What outbound NAT remembers of both ends.
fn mappings<P: Pair>(key: FlowKey<P>, flows: &mut Flows, tables: &Snapshot, shared: &FlowTables) {
    if tables.snat_rules.is_empty() {
        return;
    }
    let table = P::table(shared);
    let mut entered = Vec::new();
    let mut copy = |key: FlowKey<P>| {
        let hit = table.find(key, table.secret().hash(key))?;
        let seen = table.entry(hit.entry).look()?;
        if !entered.contains(&hit.entry) {
            entered.push(hit.entry);
            enter(&seen, (NextHopId::NONE, 0), flows, tables);
        }
        Some(hit)
    };
    const SCOPES: [Scope; 3] = [Scope::Anybody, Scope::Address, Scope::Endpoint];
    let own = SCOPES.map(|scope| copy(mapping::inside_key(key, scope)));
    let _ = SCOPES.map(|scope| copy(mapping::public_key(key, scope)));
    // Between two inside hosts, the other one sees the public end of the first.
    if let [Some(own), ..] = own {
        let public = (own.addresses.source(), (own.ports >> 16) as u16);
        if let Some(addresses) = P::of(public.0, key.addresses.destination()) {
            let ports = u32::from(public.1) << 16 | u32::from(key.destination_port());
            let _ = SCOPES.map(|scope| copy(mapping::public_key(FlowKey { addresses, ports, ..key }, scope)));
        }
    }
}

/// Who was seen nearby a moment ago.
fn seen_nearby<P: Pair>(key: FlowKey<P>, flows: &Flows, tables: &Snapshot, shared: &FlowTables, now: Coarse) {
    let hit = flows.look_up(key);
    let beyond = hit.filter(|hit| hit.direction == Direction::Reply || !hit.kind.one_way());
    let beyond = beyond.map(|hit| hit.addresses.destination());
    let ends = [Some(key.addresses.source()), Some(key.addresses.destination()), beyond];
    for address in ends.into_iter().flatten() {
        for interface in &tables.interfaces {
            if let Some(mac) = shared.nearby.find(interface.id, address, now) {
                flows.tables().nearby.note(interface.id, address, mac, now);
            }
        }
    }
}
