//! Memory of a table, by the connections that it holds.

use serde_json::{Value, json};

use crate::frames::Error;
use crate::traffic::Service;
use crate::world::World;
use crate::{Options, Scene};

const GIB: f64 = (1u64 << 30) as f64;

/// Both families, in a table that is full and in one that is full to 70 %.
pub fn run(options: &Options) -> Result<Scene, Error> {
    let held = options.connections;
    let mut scene = Scene::new("held", "resident memory of connections, both directions");
    let mut rows = Vec::new();
    for service in [Service::UDP, Service::UDP_V6] {
        for percent in [100u64, 70] {
            let capacity = (u64::from(held) * 100).div_ceil(percent) as u32;
            let (resident, huge) = fill(service, held, capacity)?;
            let each = resident as f64 / f64::from(held);
            let family = if service.v6 { "IPv6" } else { "IPv4" };
            let gib = resident as f64 / GIB;
            scene.line(format!(
                "{family}: {held} connections, table {percent:>3} % full  {gib:5.2} GiB  {each:6.1} bytes each  {:5.1} % in huge pages",
                huge as f64 / resident as f64 * 100.0
            ));
            rows.push(json!({
                "family": family, "connections": held, "percent_full": percent,
                "resident_bytes": resident, "bytes_each": each, "huge_bytes": huge,
            }));
        }
    }
    scene.json = Value::Array(rows);
    Ok(scene)
}

/// Bytes that the process holds more with a table of this capacity and so many connections in it, and of those in huge pages.
fn fill(service: Service, held: u32, capacity: u32) -> Result<(u64, u64), Error> {
    let before = memory()?;
    let (v4, v6) = if service.v6 { (64, capacity) } else { (capacity, 64) };
    let world = World::new(v4, v6, 1)?;
    let mut driver = world.join();
    driver.open(service, 0..held)?;
    let after = memory()?;
    if world.tables.references() != held as usize * 2 {
        return Err("not every connection is held in both directions".into());
    }
    Ok((after.0.saturating_sub(before.0), after.1.saturating_sub(before.1)))
}

/// Resident bytes, and of those in huge pages.
fn memory() -> Result<(u64, u64), Error> {
    Ok((xswitch::sys::memory::resident_bytes()?, xswitch::sys::memory::huge_bytes()?))
}
