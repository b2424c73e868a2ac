//! Nanoseconds per packet of established NAT, by how many connections there are.

use serde_json::{Value, json};
use xswitch::dataplane::BATCH;

use crate::clock::{lap, median};
use crate::frames::Error;
use crate::traffic::{Random, Service, Template};
use crate::world::{Driver, READY, World, established};
use crate::{Options, Scene};

/// Measures every size in turn, round by round, so that what disturbs one disturbs all.
pub fn run(options: &Options) -> Result<Scene, Error> {
    let sizes = options.sizes();
    let mut subjects = Vec::new();
    for size in &sizes {
        let world = World::new(*size, 64, 1)?;
        let mut driver = world.join();
        driver.open(Service::UDP, 0..*size)?;
        subjects.push((*size, driver, Vec::new()));
    }
    let mut templates = established(Service::UDP)?;
    let mut random = Random::new(7);
    let frames = options.lookups();
    for _ in 0..options.rounds {
        for (size, driver, figures) in &mut subjects {
            packets(driver, &mut templates, &mut random, *size, frames / 8)?;
            figures.push(packets(driver, &mut templates, &mut random, *size, frames)?);
        }
    }
    let base = subjects.first().map(|(_, _, figures)| figures.clone()).unwrap_or_default();
    let mut scene = Scene::new("lookups", "established NAT, UDP, both ways, random order");
    let mut rows = Vec::new();
    for (size, driver, figures) in &mut subjects {
        let mut ratios: Vec<f64> = figures.iter().zip(&base).map(|(ns, base)| ns / base).collect();
        let (low, high) =
            figures.iter().fold((f64::MAX, 0f64), |(low, high), ns| (low.min(*ns), high.max(*ns)));
        let (ns, ratio) = (median(figures), median(&mut ratios));
        scene.line(format!(
            "{size:>10} connections  {ns:6.1} ns/packet  ({low:.1} to {high:.1})  {ratio:5.2}"
        ));
        rows.push(json!({ "connections": size, "ns": ns, "low": low, "high": high, "ratio": ratio }));
        if driver.counters.unexplained() != 0 {
            return Err("frames without a verdict".into());
        }
    }
    scene.json = Value::Array(rows);
    Ok(scene)
}

/// Nanoseconds per packet over about so many. Only the data path is timed.
pub fn packets(
    driver: &mut Driver,
    templates: &mut [Template; 2],
    random: &mut Random,
    size: u32,
    frames: u32,
) -> Result<f64, Error> {
    let rounds = frames as usize / (READY * BATCH);
    let mut spent = 0;
    for round in 0..rounds {
        let Some(template) = templates.get_mut(round % 2) else { continue };
        for batch in 0..READY {
            driver.load(batch, template, std::iter::repeat_with(|| random.below(size)))?;
        }
        let now = driver.now();
        spent += lap(|| (0..READY).for_each(|batch| driver.process(batch, now))).wall;
        driver.demand(template.forwarded)?;
    }
    Ok(spent as f64 / (rounds * READY * BATCH) as f64)
}
