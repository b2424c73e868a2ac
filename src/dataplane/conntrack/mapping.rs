//! What outbound NAT remembers besides connections: which public endpoint an inside endpoint has, and who may send to it.
//!
//! Both are entries of [`super::Kind::Mapping`] in the same table. Where a connection's keys name the outside endpoint,
//! theirs leave it out, in part or wholly (a [`Scope`]):
//!
//! | entry | found from inside by | found from outside by |
//! |---|---|---|
//! | connection | inside:port → outside:port | outside:port → public:port |
//! | mapping | inside:port → 0:0 | 0:0 → public:port |
//! | permission for an address | inside:port → outside:0 | outside:0 → public:port |
//!
//! No frame can be taken for one of them: their protocol number has the bit [`BESIDE`], and no frame that has such a
//! number is looked up. They last for as long as connections do that use them, and [`LINGERS`] longer: whoever owns such
//! a connection looks at it every 29 s at the latest, and says then that it is still there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dataplane::family::Pair;
use crate::tables::Coarse;

use super::key::FlowKey;
use super::table::FlowTable;

/// Marks keys of what is no connection: added to TCP, UDP, ICMP and ICMPv6 it gives none of them.
const BESIDE: u8 = 0x80;
/// How long a mapping is kept without a connection: longer than the wheel takes to come round.
pub const LINGERS: u32 = Coarse::from_seconds(60);

/// How much of the outside endpoint stands in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Nothing: it stands for everybody.
    Anybody,
    /// Its address.
    Address,
    /// Its address and port.
    Endpoint,
}

/// The key by which what concerns packets like `outward`, from inside, is found.
pub fn inside_key<P: Pair>(outward: FlowKey<P>, scope: Scope) -> FlowKey<P> {
    let source = outward.addresses.source();
    let addresses = match scope {
        Scope::Anybody => P::of(source, unspecified(source)).unwrap_or_default(),
        Scope::Address | Scope::Endpoint => outward.addresses,
    };
    let ports = match scope {
        Scope::Anybody | Scope::Address => outward.ports & 0xFFFF_0000,
        Scope::Endpoint => outward.ports,
    };
    FlowKey { addresses, ports, protocol: outward.protocol | BESIDE }
}

/// The key by which what concerns packets like `inward`, from outside to a public endpoint, is found.
pub fn public_key<P: Pair>(inward: FlowKey<P>, scope: Scope) -> FlowKey<P> {
    inside_key(inward.reversed(), scope).reversed()
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Says that the connection with these keys is still there, to what was remembered for its sake.
pub(super) fn keep<P: Pair>(table: &FlowTable<P>, request: FlowKey<P>, reply: FlowKey<P>, now: Coarse) {
    let leaves = reply.reversed();
    let source_translated = request.addresses.source() != leaves.addresses.source()
        || request.source_port() != leaves.source_port();
    let destination_translated = request.addresses.destination() != leaves.addresses.destination()
        || request.destination_port() != leaves.destination_port();
    for (outward, translated) in [(request, source_translated), (reply, destination_translated)] {
        if !translated {
            continue;
        }
        for scope in [Scope::Anybody, Scope::Address] {
            let key = inside_key(outward, scope);
            if let Some(hit) = table.find(key, table.secret().hash(key)) {
                table.entry(hit.entry).touch(&hit, 0, now);
            }
        }
    }
}
