//! The longest turns of the poll loop: while ten million connections come, are looked at, and go.

use serde_json::{Value, json};
use xswitch::dataplane::{BATCH, Verdict};
use xswitch::tables::{DropReason, Tick};
use xswitch::wire::tcp::Flags;

use crate::clock::{Laps, lap, rounds_for, spin};
use crate::frames::Error;
use crate::traffic::{Direction, Random, SERVER_SIDE, Service, Template};
use crate::world::{Driver, World, established};
use crate::{Options, Scene};

/// TCP connections whose data flows all the while.
const FLOWING: u32 = 8192;
/// Turns while the table is full.
const FULL_TURNS: u32 = 50_000;
/// Milliseconds over which connections were last heard of.
const SPREAD_MS: u64 = 28_000;
/// Idle UDP connections are forgotten after five minutes (and what the wheel's slots and the clock's ticks add).
const IDLE_MS: u64 = 300_000;
const LATE_MS: u64 = 4_000;
/// More than the spread takes by a clock that is not put forward.
const QUIET_MS: u64 = 60_000;

pub fn run(options: &Options) -> Result<Scene, Error> {
    let world = World::new(options.connections, 64, 1)?;
    let capacity = world.tables.v4.capacity();
    let mut driver = world.join();
    driver.open(Service::TCP, 0..FLOWING)?;
    let mut load = Load { flowing: established(Service::TCP)?, random: Random::new(11), capacity };
    for _ in 0..2 {
        // A table that has been in use hands out its entries in no order.
        driver.open(Service::UDP, 0..capacity - FLOWING)?;
        load.spread(&mut driver)?;
        driver.pass(IDLE_MS - SPREAD_MS);
        driver.drain();
        driver.pass(SPREAD_MS + LATE_MS);
        driver.drain();
        expect(&world, FLOWING)?;
    }
    let mut scene = Scene::new("turns", "turns of the poll loop: 128 packets, connections that are due, µs");
    let mut report = Report { scene: &mut scene, rows: Vec::new() };

    let mut fresh = Template::new(Service::UDP, Direction::Request, Flags::ACK)?;
    let mut coming = Laps::default();
    for first in (0..capacity - FLOWING).step_by(BATCH) {
        load.new_ones(&mut driver, &mut fresh, first, &mut coming)?;
        if driver.collect(Verdict::Forward(SERVER_SIDE)) != (BATCH as u32, BATCH as u32) {
            return Err("a table with room refused a connection".into());
        }
    }
    report.line("64 new connections a turn, table fills", coming);

    let mut refused = Laps::default();
    for turn in 0..FULL_TURNS {
        load.new_ones(&mut driver, &mut fresh, capacity + turn * BATCH as u32, &mut refused)?;
        let (dropped, _) = driver.collect(Verdict::Drop(DropReason::TableFull));
        if dropped != BATCH as u32 {
            return Err("a full table took a connection".into());
        }
    }
    report.line("64 new connections a turn, table full", refused);

    load.spread(&mut driver)?;
    driver.pass(IDLE_MS - SPREAD_MS - QUIET_MS);
    report.line("all are looked at, none has ended", load.until_quiet(&mut driver)?);
    expect(&world, capacity)?;
    driver.pass(SPREAD_MS + QUIET_MS + LATE_MS);
    let mut going = load.until_quiet(&mut driver)?;
    expect(&world, FLOWING)?;
    let (typical, turns) = (going.wall_us(0.5), going.len());
    report.line("all of them expire", going);

    let rounds = rounds_for((typical * 1000.0) as u64);
    let mut nothing = Laps::default();
    (0..turns).for_each(|_| nothing.add(lap(|| spin(rounds))));
    report.line("for comparison: as long, without memory", nothing);
    let rows = report.rows;
    scene.json = Value::Array(rows);
    Ok(scene)
}

fn expect(world: &World, connections: u32) -> Result<(), Error> {
    match world.tables.references() {
        references if references == connections as usize * 2 => Ok(()),
        references => Err(format!("{references} references to {connections} connections").into()),
    }
}

struct Load {
    flowing: [Template; 2],
    random: Random,
    capacity: u32,
}

impl Load {
    /// Lets a while pass in which random connections are heard of.
    fn spread(&mut self, driver: &mut Driver) -> Result<(), Error> {
        const STEP_MS: u64 = 1000;
        let mut request = Template::new(Service::UDP, Direction::Request, Flags::ACK)?;
        let others = self.capacity - FLOWING;
        for _ in 0..SPREAD_MS / STEP_MS {
            driver.pass(STEP_MS);
            for _ in 0..u64::from(others) * STEP_MS / SPREAD_MS / BATCH as u64 {
                driver.load(0, &mut request, std::iter::repeat_with(|| self.random.below(others)))?;
                driver.process(0, driver.now());
                driver.demand(request.forwarded)?;
            }
        }
        Ok(())
    }

    /// A turn with a batch of frames of new connections and one of replies.
    fn new_ones(
        &mut self,
        driver: &mut Driver,
        fresh: &mut Template,
        first: u32,
        laps: &mut Laps,
    ) -> Result<(), Error> {
        driver.load(0, fresh, first..first + BATCH as u32)?;
        let [_, reply] = &mut self.flowing;
        driver.load(1, reply, std::iter::repeat_with(|| self.random.below(FLOWING)))?;
        let now = driver.now();
        laps.add(lap(|| {
            turn(driver, now);
        }));
        Ok(())
    }

    /// Turns with a batch of data each way, until nothing is due any more.
    fn until_quiet(&mut self, driver: &mut Driver) -> Result<Laps, Error> {
        let mut laps = Laps::default();
        let now = driver.now();
        loop {
            // The clock stands still: what comes due later is not waited for.
            for (batch, template) in self.flowing.iter_mut().enumerate() {
                driver.load(batch, template, std::iter::repeat_with(|| self.random.below(FLOWING)))?;
            }
            let mut looked = 0;
            laps.add(lap(|| looked = turn(driver, now)));
            let (_, wrong) = driver.collect(Verdict::Forward(SERVER_SIDE));
            if wrong != BATCH as u32 {
                return Err("a frame of a connection was lost".into());
            }
            if looked == 0 {
                return Ok(laps);
            }
        }
    }
}

/// As the worker does it: both interfaces, then what is due.
fn turn(driver: &mut Driver, now: Tick) -> usize {
    driver.process(0, now);
    driver.process(1, now);
    driver.expire(now)
}

struct Report<'a> {
    scene: &'a mut Scene,
    rows: Vec<Value>,
}

impl Report<'_> {
    fn line(&mut self, what: &str, mut laps: Laps) {
        let [p50, p999, longest] = [0.5, 0.999, 1.0].map(|share| laps.wall_us(share));
        let [cpu_p999, cpu_longest] = [0.999, 1.0].map(|share| laps.cpu_us(share));
        let (turns, over) = (laps.len(), laps.longer(100));
        self.scene.line(format!(
            "{what:<42} {turns:>7} turns  p50 {p50:5.1}  p99.9 {p999:6.1}  longest {longest:7.1}  over 100 µs {over:>3}  by thread time {cpu_p999:6.1} {cpu_longest:7.1}"
        ));
        self.rows.push(json!({
            "what": what, "turns": turns, "p50_us": p50, "p999_us": p999, "longest_us": longest,
            "over_100_us": over, "thread_p999_us": cpu_p999, "thread_longest_us": cpu_longest,
        }));
    }
}
