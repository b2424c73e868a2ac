//! What a look through all connections costs the data path, and how long it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use xswitch::control::connections::{self, Filter, Listing, Question, Sort, Walker};
use xswitch::control::dataplane::{DataPlane, PortStatus, SteeredStatus, WorkerHandle};
use xswitch::dataplane::FlowTables;
use xswitch::tables::connection::{Tally, Wanted};
use xswitch::tables::{InterfaceId, Loads, SeenConnection, Snapshot, Steering, Tick};

use crate::clock::median;
use crate::frames::Error;
use crate::lookups::packets;
use crate::traffic::{Random, Service};
use crate::world::{World, established};
use crate::{Options, Scene};

/// Frames between two looks at whether the walk is over.
const STRETCH: u32 = 1 << 16;

/// Tables to be looked through, and nothing else.
struct Tables {
    tables: Arc<FlowTables>,
    started: Instant,
}

impl DataPlane for Tables {
    fn workers(&self) -> &[WorkerHandle] {
        &[]
    }

    fn loads(&self) -> &Arc<Loads> {
        &self.tables.loads
    }

    fn wake(&self) {}

    fn steer(&self, _: &Steering) -> Vec<String> {
        Vec::new()
    }

    fn interface_gone(&self, _: InterfaceId) {}

    fn interface_appeared(&self, _: InterfaceId, _: &Steering) -> Result<(), String> {
        Ok(())
    }

    fn interface_link(&self, _: InterfaceId, _: bool) {}

    fn ports(&self) -> Vec<PortStatus> {
        Vec::new()
    }

    fn steered(&self) -> Vec<SteeredStatus> {
        Vec::new()
    }

    fn entries(&self) -> u64 {
        self.tables.entries()
    }

    fn look(
        &self,
        (from, count): (u64, u32),
        wanted: &Wanted,
        tally: &mut Tally,
        see: Option<&mut dyn FnMut(SeenConnection)>,
    ) -> Option<u64> {
        let now = Tick::from(self.started.elapsed()).coarse();
        self.tables.look(from, count, now, wanted, tally, see)
    }
}

/// Looks through everything on a thread of its own, as the switch does it.
fn look(
    tables: &Arc<Tables>,
    snapshot: &Arc<Snapshot>,
    question: &Question,
) -> std::thread::JoinHandle<Result<(Listing, Duration), String>> {
    let (tables, snapshot, question) = (Arc::clone(tables), Arc::clone(snapshot), question.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
        let wanted = question.filter.wanted(&snapshot).map_err(|error| error.to_string())?;
        let began = Instant::now();
        let walk = move |pace: &_| connections::list(&question, &wanted, &snapshot, &*tables, pace);
        let listing = runtime.block_on(Walker::default().walk(walk)).map_err(|busy| busy.to_string())?;
        Ok((listing, began.elapsed()))
    })
}

/// Forwards with nobody looking and with somebody who does, in turns.
pub fn run(options: &Options) -> Result<Scene, Error> {
    let size = options.connections;
    let world = World::new(size, 64, 1)?;
    let tables = Arc::new(Tables { tables: Arc::clone(&world.tables), started: Instant::now() });
    let mut driver = world.join();
    driver.open(Service::UDP, 0..size)?;
    let (mut templates, mut random) = (established(Service::UDP)?, Random::new(7));
    let client = Some("16.0.0.0/24".to_owned());
    let filtered = Question {
        filter: Filter { service: Some("udp".to_owned()), client, ..Filter::default() },
        sort: Sort::Idle,
        limit: 100,
    };
    let mut scene = Scene::new("walk", "established NAT, UDP, while all connections are looked through");
    let mut found = serde_json::Map::new();
    for (name, question) in [("count", Question::default()), ("filtered list", filtered)] {
        let (mut ratios, mut seconds) = (Vec::new(), Vec::new());
        let mut total = 0;
        for _ in 0..options.rounds {
            let walk = look(&tables, &world.snapshot, &question);
            let (mut with, mut stretches) = (0.0, 0);
            while !walk.is_finished() {
                with += packets(&mut driver, &mut templates, &mut random, size, STRETCH)?;
                stretches += 1;
            }
            let (listing, took) = walk.join().map_err(|_| "the walk ended in a panic")??;
            if listing.looked_at < listing.entries {
                return Err(
                    format!("only {} of {} were looked at", listing.looked_at, listing.entries).into()
                );
            }
            let mut without = 0.0;
            for _ in 0..stretches {
                without += packets(&mut driver, &mut templates, &mut random, size, STRETCH)?;
            }
            ratios.push(with / without);
            seconds.push(took.as_secs_f64());
            total = listing.total;
        }
        let (ratio, took) = (median(&mut ratios), median(&mut seconds));
        scene.line(format!("{name:<14} {total:>10} of {size} connections  {took:5.2} s  {ratio:6.3}"));
        found.insert(name.to_owned(), json!({ "total": total, "seconds": took, "ratio": ratio }));
    }
    scene.json = found.into();
    Ok(scene)
}
