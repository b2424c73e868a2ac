//! What the choice of a backend by hash costs: the flow's hash, and the slot that it picks.

use std::net::{IpAddr, Ipv4Addr};

use xswitch::tables::hash::flow_hash;
use xswitch::tables::scheduler::DEFAULT_TABLE_SIZE;
use xswitch::tables::{BackendId, Maglev, MaglevMember};

use super::Error;

/// Its name among the scenes.
pub const SCENE: &str = "Maglev pick";

const BACKENDS: u32 = 100;
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 100));

/// Picks so many times.
pub fn run(picks: u32) -> Result<(), Error> {
    let member = |id: u32| MaglevMember { id: BackendId(id), identity: format!("backend {id}"), weight: 1 };
    let table = Maglev::build(DEFAULT_TABLE_SIZE, (0..BACKENDS).map(member).collect());
    for client in 0..picks {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 19, 0, 0)) + client);
        measured_pick(&table, address.into(), client as u16).ok_or("nobody was picked")?;
    }
    Ok(())
}

/// What is counted.
#[inline(never)]
fn measured_pick(table: &Maglev, client: IpAddr, port: u16) -> Option<BackendId> {
    table.pick(flow_hash(client, port, VIP, 80, 6))
}
