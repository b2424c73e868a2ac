//! Next hops and routes: who has a row, and when connections must look again.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::CompileError;
use crate::control::rows::Rows;
use crate::control::topology::{Exit, Port, Topology};
use crate::tables::{Backend, InterfaceId, NextHop, NextHopId, Route, Routes};
use crate::wire::ethernet::Tags;

/// Most next-hop rows: 2^17 × 40 bytes = 5 MiB per snapshot.
pub(super) const MAX_NEXT_HOPS: usize = 1 << 17;
/// Next-hop rows that stay retired. A connection that remembers one looks again with its next packet, because
/// `routes_epoch` changed; so many retirements in between are out of its reach.
const SPARE_NEXT_HOPS: usize = 1 << 12;

/// Identity of a next hop.
pub(super) type Key = (InterfaceId, IpAddr);

/// Routes and on-link neighbours, by row.
#[derive(Debug, Default, PartialEq, Eq)]
struct Routing {
    routes: Vec<(IpAddr, u8, Route)>,
    neighbors: Vec<(InterfaceId, IpAddr, NextHopId)>,
}

/// Rows of next hops, and the routes that lead to them.
#[derive(Debug)]
pub(super) struct Paths {
    rows: Rows<Key>,
    /// What `routes_epoch` stands for.
    routing: Routing,
    routes_epoch: u16,
}

impl Default for Paths {
    fn default() -> Self {
        Self { rows: Rows::new(MAX_NEXT_HOPS, SPARE_NEXT_HOPS), routing: Routing::default(), routes_epoch: 0 }
    }
}

impl Paths {
    /// Changes when routes or ids of neighbours do.
    pub(super) fn routes_epoch(&self) -> u16 {
        self.routes_epoch
    }

    /// For the snapshot.
    pub(super) fn routes(&self) -> Routes {
        Routes::build(self.routing.routes.iter().copied(), self.routing.neighbors.iter().copied())
    }

    /// The row of a next hop, with or without a MAC address.
    pub(super) fn assign(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
    ) -> Result<NextHopId, CompileError> {
        let row = self.rows.assign(&(interface, address), |_, _| true);
        row.map(NextHopId).ok_or(CompileError::TooManyNextHops)
    }

    /// The interfaces that lead to gateways.
    pub(super) fn interfaces(&self, topology: &Topology) -> HashMap<NextHopId, InterfaceId> {
        let rows = self.rows.iter();
        rows.map(|((link, address), row)| (NextHopId(row), topology.place(*link, *address))).collect()
    }

    /// Every gateway has a row, so that replies to clients find it resolved.
    pub(super) fn assign_gateways(
        &mut self,
        topology: &Topology,
    ) -> Result<Vec<(IpAddr, u8, Route)>, CompileError> {
        let mut routes = Vec::with_capacity(topology.routes.len());
        for ((prefix, length), exit) in &topology.routes {
            let route = match exit {
                Exit::OnLink(interface) => Route::OnLink(*interface),
                Exit::Via(interface, gateway) => Route::Via(self.assign(*interface, *gateway)?),
                Exit::None => Route::Via(NextHopId::NONE),
            };
            routes.push((*prefix, *length, route));
        }
        Ok(routes)
    }

    /// Retires the rows of next hops that are no longer there, gives rows to the kernel's other neighbours, and takes
    /// the routes over. Returns the next hops that are needed: those of backends and gateways.
    pub(super) fn settle(
        &mut self,
        routes: Vec<(IpAddr, u8, Route)>,
        topology: &Topology,
        backends: &[Backend],
        epoch: u64,
    ) -> HashSet<Key> {
        let needed = self.needed(topology, backends);
        // A neighbour that was resolved once keeps its row until the kernel forgets it: a scan of the subnet, which
        // leaves failed entries only, changes nothing here.
        let known = |key: &Key| needed.contains(key) || topology.neighbors.contains_key(key);
        self.rows.retain(|key, _| known(key), epoch);
        for (key, neighbor) in &topology.neighbors {
            if neighbor.mac.is_some() {
                // A full table leaves this neighbour without a row: frames to it are dropped and counted.
                let _ = self.rows.assign(key, |_, _| true);
            }
        }
        self.update_routing(routes);
        needed
    }

    fn needed(&self, topology: &Topology, backends: &[Backend]) -> HashSet<Key> {
        let rows: HashSet<u32> = backends.iter().map(|backend| backend.next_hop.0).collect();
        let gateways: HashSet<Key> = topology
            .routes
            .values()
            .filter_map(|exit| match exit {
                Exit::Via(interface, gateway) => Some((*interface, *gateway)),
                Exit::OnLink(_) | Exit::None => None,
            })
            .collect();
        let needed = self.rows.iter().filter(|(key, row)| rows.contains(row) || gateways.contains(key));
        needed.map(|(key, _)| *key).collect()
    }

    /// `routes_epoch` follows ids, not MAC addresses: a connection remembers the row, and the row has the new MAC.
    fn update_routing(&mut self, routes: Vec<(IpAddr, u8, Route)>) {
        let mut neighbors: Vec<_> = self
            .rows
            .iter()
            .map(|((interface, address), row)| (*interface, *address, NextHopId(row)))
            .collect();
        neighbors.sort_unstable();
        let routing = Routing { routes, neighbors };
        if routing != self.routing {
            self.routing = routing;
            self.routes_epoch = self.routes_epoch.wrapping_add(1);
        }
    }

    /// For the snapshot.
    pub(super) fn table(&self, topology: &Topology) -> Vec<NextHop> {
        let nobody = NextHop {
            macs: [0; 12],
            tags: Tags::none(),
            interface: InterfaceId(0),
            resolved: false,
            mtu: 0,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let mut table = vec![nobody; self.rows.used()];
        for ((interface, address), row) in self.rows.iter() {
            let Some(port) = topology.port(topology.place(*interface, *address)) else { continue };
            let mac = topology.neighbors.get(&(*interface, *address)).and_then(|neighbor| neighbor.mac);
            table[row as usize] = next_hop(port, *address, mac);
        }
        table
    }
}

fn next_hop(port: &Port, address: IpAddr, mac: Option<[u8; 6]>) -> NextHop {
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&mac.unwrap_or_default());
    macs[6..].copy_from_slice(&port.interface.mac);
    NextHop {
        macs,
        tags: port.interface.tags,
        interface: port.interface.id,
        resolved: mac.is_some() && port.has_mac,
        mtu: port.interface.mtu,
        address,
    }
}
