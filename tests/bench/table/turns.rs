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

/// Turns per millisecond of the clock that goes with them.
const TURNS_PER_MS: usize = 32;

/// What the turns are spent on, in order.
const PHASES: [&str; 4] = [
    "64 new connections a turn, table fills",
    "64 new connections a turn, table full",
    "all are looked at, none has ended",
    "all of them expire",
];

/// Every run does the same, turn by turn. What a turn took in the fastest of them is its own; what others took besides is the
/// machine's.
pub fn run(options: &Options) -> Result<Scene, Error> {
    let runs = if options.quick { 2 } else { 5 };
    let mut phases = once(options.connections)?;
    let mut fastest: Vec<Laps> = phases.iter().map(Laps::clone).collect();
    for _ in 1..runs {
        for ((all, fastest), laps) in phases.iter_mut().zip(&mut fastest).zip(once(options.connections)?) {
            fastest.keep_faster(&laps)?;
            all.append(laps);
        }
    }
    let mut scene =
        Scene::new("turns", "turns of the poll loop in µs: 128 packets, connections that are due");
    let mut rows = Vec::new();
    for ((what, all), fastest) in PHASES.iter().zip(&mut phases).zip(&mut fastest) {
        rows.push(line(&mut scene, what, all, Some(fastest)));
    }
    let typical = phases.last_mut().map_or(1.0, |laps| laps.wall_us(0.5));
    let rounds = rounds_for((typical * 1000.0) as u64);
    let mut nothing = Laps::default();
    (0..phases.last().map_or(0, Laps::len)).for_each(|_| nothing.add(lap(|| spin(rounds))));
    rows.push(line(&mut scene, "for comparison: as long, without memory", &mut nothing, None));
    scene.json = Value::Array(rows);
    Ok(scene)
}

fn line(scene: &mut Scene, what: &str, all: &mut Laps, fastest: Option<&mut Laps>) -> Value {
    let (turns, over) = (all.len(), all.longer(100));
    let [p50, p999, longest] = [0.5, 0.999, 1.0].map(|share| all.wall_us(share));
    let [thread_p999, thread_longest] = [0.999, 1.0].map(|share| all.thread_us(share));
    let own = fastest.map(|fastest| [0.999, 1.0].map(|share| fastest.wall_us(share)));
    let shown = own.map(|[p999, longest]| format!("  own: p99.9 {p999:.1}  longest {longest:.1}"));
    scene.line(format!(
        "{what:<40} p50 {p50:5.1}  p99.9 {p999:6.1}  longest {longest:8.1}  ({over} of {turns} over 100; thread time {thread_p999:.1}, {thread_longest:.1}){}",
        shown.unwrap_or_default()
    ));
    json!({
        "what": what, "turns": turns, "p50_us": p50, "p999_us": p999, "longest_us": longest, "over_100_us": over,
        "thread_p999_us": thread_p999, "thread_longest_us": thread_longest,
        "own_p999_us": own.map(|own| own[0]), "own_longest_us": own.map(|own| own[1]),
    })
}

/// The laps of each of [`PHASES`].
fn once(connections: u32) -> Result<[Laps; 4], Error> {
    let world = World::new(connections, 64, 1)?;
    let capacity = world.tables.v4.capacity();
    let mut driver = world.join();
    driver.stand_still();
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
    let mut fresh = Template::new(Service::UDP, Direction::Request, Flags::ACK)?;
    let mut coming = Laps::default();
    for first in (0..capacity - FLOWING).step_by(BATCH) {
        load.new_ones(&mut driver, &mut fresh, first, &mut coming)?;
        if driver.collect(Verdict::Forward(SERVER_SIDE)) != (BATCH as u32, BATCH as u32) {
            return Err("a table with room refused a connection".into());
        }
    }
    let mut refused = Laps::default();
    for turn in 0..FULL_TURNS {
        load.new_ones(&mut driver, &mut fresh, capacity + turn * BATCH as u32, &mut refused)?;
        let (dropped, _) = driver.collect(Verdict::Drop(DropReason::TableFull));
        if dropped != BATCH as u32 {
            return Err("a full table took a connection".into());
        }
    }
    load.spread(&mut driver)?;
    driver.pass(IDLE_MS - SPREAD_MS - QUIET_MS);
    let looked_at = load.until_quiet(&mut driver)?;
    expect(&world, capacity)?;
    driver.pass(SPREAD_MS + QUIET_MS + LATE_MS);
    let going = load.until_quiet(&mut driver)?;
    expect(&world, FLOWING)?;
    Ok([coming, refused, looked_at, going])
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
        if laps.len().is_multiple_of(TURNS_PER_MS) {
            driver.pass(1);
        }
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
