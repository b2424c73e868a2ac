//! One worker and two over the same table.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use xswitch::dataplane::BATCH;

use crate::clock::{Lap, lap, median};
use crate::frames::Error;
use crate::traffic::{Random, Service, Template};
use crate::world::{Driver, READY, World, established};
use crate::{Options, Scene};

/// Whose connections a worker's frames belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// Both directions of its own.
    Own,
    /// Requests of its own, replies of the other's.
    Crossing,
}

pub fn run(options: &Options) -> Result<Scene, Error> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [one, other, ..] = cores[..] else { return Err("two cores are needed".into()) };
    let mut scene = Scene::new("scaling", "two workers ÷ one, Mpackets/s");
    let mut rows = Vec::new();
    for (what, size, shared, mix, goal) in [
        ("nothing shared: what the machine gives", 10_000, false, Mix::Own, None),
        ("own connections", 10_000, true, Mix::Own, Some(1.9)),
        ("all replies cross", 10_000, true, Mix::Crossing, Some(1.6)),
        ("own connections", 1_000_000, true, Mix::Own, Some(1.9)),
        ("all replies cross", 1_000_000, true, Mix::Crossing, Some(1.6)),
    ] {
        let size = options.at_most(size);
        let mut pair = Pair::new(size, shared)?;
        let (mut alone, mut together, mut ratios, mut thread) = (vec![], vec![], vec![], vec![]);
        for _ in 0..options.rounds {
            let single = pair.section(mix, [one, other], 1, options.lookups())?;
            let double = pair.section(mix, [one, other], 2, options.lookups())?;
            alone.push(single.0);
            together.push(double.0);
            ratios.push(double.0 / single.0);
            thread.push(double.1 / single.1);
        }
        let (alone, together) = (median(&mut alone), median(&mut together));
        let (ratio, by_thread) = (median(&mut ratios), median(&mut thread));
        let goal_text = goal.map(|goal| format!("  goal {goal}")).unwrap_or_default();
        scene.line(format!(
            "{what:<40} {size:>8} connections  {alone:5.2}  {together:5.2}  {ratio:4.2}  by thread time {by_thread:4.2}{goal_text}"
        ));
        rows.push(json!({
            "what": what, "connections": size, "one_mpps": alone, "two_mpps": together,
            "ratio": ratio, "thread_ratio": by_thread, "goal": goal,
        }));
    }
    scene.json = Value::Array(rows);
    Ok(scene)
}

/// Two workers, each with as many connections.
struct Pair {
    drivers: [Driver; 2],
    size: u32,
}

impl Pair {
    fn new(size: u32, shared: bool) -> Result<Self, Error> {
        // Each worker takes entries by the 64.
        let world = World::new(size + 128, 64, 2)?;
        let mut first = world.join();
        let mut second = if shared { world.join() } else { World::new(size + 128, 64, 2)?.join() };
        let half = size / 2;
        // In turn: who comes first has its keys in their first buckets.
        for from in (0..half).step_by(BATCH) {
            let to = half.min(from + BATCH as u32);
            first.open(Service::UDP, from..to)?;
            second.open(Service::UDP, half + from..half + to)?;
        }
        Ok(Self { drivers: [first, second], size })
    }

    /// Million packets per second of the first `workers`, by the wall and by the threads' own time.
    fn section(
        &mut self,
        mix: Mix,
        cores: [core_affinity::CoreId; 2],
        workers: usize,
        frames: u32,
    ) -> Result<(f64, f64), Error> {
        let (half, meeting) = (self.size / 2, Meeting::default());
        let laps: Vec<Result<Lap, Error>> = std::thread::scope(|scope| {
            let threads: Vec<_> = self.drivers[..]
                .iter_mut()
                .take(workers)
                .zip(cores)
                .enumerate()
                .map(|(number, (driver, core))| {
                    let meeting = &meeting;
                    scope.spawn(move || {
                        core_affinity::set_for_current(core);
                        let own = half * number as u32;
                        let replies = if mix == Mix::Own { own } else { half - own };
                        // With one worker there is nobody to cross to: it sees all requests and all replies of both.
                        work(driver, [own, replies], half, meeting, workers, frames)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a worker failed".into())))
                .collect()
        });
        let mut rates = (0.0, 0.0);
        for lap in laps {
            let lap = lap?;
            // Thousandths: the laps are of 512 packets, in nanoseconds.
            rates.0 += (READY * BATCH) as f64 * 1000.0 / lap.wall as f64;
            rates.1 += (READY * BATCH) as f64 * 1000.0 / lap.cpu as f64;
        }
        Ok(rates)
    }
}

/// The median lap of many, which all workers begin together.
fn work(
    driver: &mut Driver,
    firsts: [u32; 2],
    half: u32,
    meeting: &Meeting,
    workers: usize,
    frames: u32,
) -> Result<Lap, Error> {
    let mut templates = established(Service::UDP)?;
    let mut random = Random::new(u64::from(firsts[0]) + 3);
    let rounds = frames as usize / (READY * BATCH);
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for batch in 0..READY {
            let way = (batch + round) % 2;
            let (Some(template), Some(first)) = (templates.get_mut(way), firsts.get(way)) else { continue };
            load(driver, batch, template, *first, half, &mut random)?;
        }
        let now = driver.now();
        meeting.meet(workers);
        let lap = lap(|| (0..READY).for_each(|batch| driver.process(batch, now)));
        wall.push(lap.wall as f64);
        cpu.push(lap.cpu as f64);
        let (_, _) = driver.collect(templates[0].forwarded);
    }
    match driver.counters.unexplained() {
        0 => Ok(Lap { wall: median(&mut wall) as u64, cpu: median(&mut cpu) as u64 }),
        lost => Err(format!("{lost} frames without a verdict").into()),
    }
}

fn load(
    driver: &mut Driver,
    batch: usize,
    template: &mut Template,
    first: u32,
    half: u32,
    random: &mut Random,
) -> Result<(), Error> {
    driver.load(batch, template, std::iter::repeat_with(|| first + random.below(half)))
}

/// Where threads wait for one another without sleeping.
#[derive(Debug, Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    fn meet(&self, of: usize) {
        let arrived = self.0.fetch_add(1, Ordering::AcqRel) + 1;
        let complete = arrived.div_ceil(of) * of;
        while self.0.load(Ordering::Acquire) < complete {
            spin_loop();
        }
    }
}
