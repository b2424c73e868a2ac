//! What a pick costs, by scheduler and number of backends: instructions, counted by callgrind, and nanoseconds, which depend on
//! the machine. And how long the control plane takes to build the tables.
//!
//! Without `--scene` this program runs itself under valgrind, once per scene, and prints two tables.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use xswitch::dataplane::schedule::{Candidate, Scheduler};
use xswitch::tables::hash::mix;
use xswitch::tables::scheduler::DEFAULT_TABLE_SIZE;
use xswitch::tables::{BackendId, Loads, Maglev, MaglevMember, RoundRobin, SchedulerTable, Weighted};

mod callgrind;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Picks that are counted.
const PICKS: u32 = 10_000;
/// Counts of open connections that are added up for each backend.
const WORKERS: u16 = 4;
const SIZES: [u32; 3] = [2, 100, 1000];
/// Sizes that tables are built for.
const BUILDS: [u32; 3] = [100, 1000, 100_000];
/// Measured so often; the quickest counts.
const ROUNDS: usize = 7;

/// Counts what the schedulers need per pick.
#[derive(Debug, Parser)]
struct Arguments {
    /// Runs one scene and counts nothing: what valgrind is given to run.
    #[arg(long, hide = true)]
    scene: Option<String>,
    /// Its number of backends.
    #[arg(long, hide = true, default_value_t = 2)]
    backends: u32,
}

/// A scheduler's name, and how its table is made.
type Scene = (&'static str, fn(&[(BackendId, u32)]) -> SchedulerTable);

const SCENES: [Scene; 7] = [
    ("rr, wrr, resource", |members| SchedulerTable::RoundRobin(RoundRobin::weighted(members))),
    ("hash", |members| SchedulerTable::FlowHash(RoundRobin::weighted(members))),
    ("maglev", |members| SchedulerTable::Maglev(maglev(members))),
    ("sh", |members| SchedulerTable::SourceHash(maglev(members))),
    ("p2c", |members| SchedulerTable::TwoChoices(Weighted::of(members))),
    ("lc, wlc", |members| SchedulerTable::LeastConnections(Weighted::of(members))),
    ("lrt", |members| SchedulerTable::LeastResponseTime(Weighted::of(members))),
];

fn maglev(members: &[(BackendId, u32)]) -> Maglev {
    let member = |(id, weight): &(BackendId, u32)| MaglevMember {
        id: *id,
        identity: format!("10.{}.{}.{}:80", id.0 >> 16, id.0 >> 8 & 255, id.0 & 255),
        weight: *weight,
    };
    Maglev::build(DEFAULT_TABLE_SIZE, members.iter().map(member).collect())
}

/// Backends of the weights 1 to 10.
fn members(count: u32) -> Vec<(BackendId, u32)> {
    (0..count).map(|id| (BackendId(id), id % 10 + 1)).collect()
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.scene {
        Some(name) => run_scene(name, arguments.backends).map(|_| ()),
        None => print_tables(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-picks: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_tables() -> Result<(), Error> {
    println!("{:<20} {:>10} {:>14} {:>10}", "per pick", "backends", "instructions", "ns");
    for (name, _) in SCENES {
        for backends in SIZES {
            let mut times = (0..ROUNDS).map(|_| run_scene(name, backends)).collect::<Result<Vec<_>, _>>()?;
            times.sort_unstable();
            let ns = times.first().map_or(0.0, |time| time.as_nanos() as f64 / f64::from(PICKS));
            let arguments = ["--scene", name, "--backends", &backends.to_string()];
            let count = callgrind::count("measured_pick", &arguments, PICKS)?;
            println!("{name:<20} {backends:>10} {count:>14.0} {ns:>10.1}");
        }
    }
    println!("\n{:<20} {:>10} {:>14}", "building a table", "backends", "ms");
    for (name, build) in SCENES {
        for backends in BUILDS {
            let members = members(backends);
            let time = |_| {
                let start = Instant::now();
                std::hint::black_box(build(&members));
                start.elapsed()
            };
            let quickest = (0..ROUNDS).map(time).min().unwrap_or_default();
            println!("{name:<20} {backends:>10} {:>14.2}", quickest.as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

/// Picks, and says how long that took. Backends have connections open, unlike many, and every pick adds one.
fn run_scene(name: &str, backends: u32) -> Result<Duration, Error> {
    let (_, build) = SCENES.into_iter().find(|(scene, _)| *scene == name).ok_or("no such scene")?;
    let table = build(&members(backends));
    let loads = Loads::new(WORKERS, backends as usize);
    for id in (0..backends).map(BackendId) {
        (0..chance(id.0) % 8).for_each(|n| loads.opened(n as u16 % WORKERS, id));
        loads.probed(id, (chance(id.0) >> 32) as u32 % 1000 + 1);
    }
    let mut cursor = 0;
    let start = Instant::now();
    for flow in 0..PICKS {
        let hash = chance(flow);
        let candidate = Candidate { flow_hash: hash, source_hash: hash, cursor: &mut cursor, loads: &loads };
        let id = measured_pick(&table, candidate).ok_or("nobody was picked")?;
        loads.opened((flow % u32::from(WORKERS)) as u16, id);
    }
    Ok(start.elapsed())
}

fn chance(number: u32) -> u64 {
    mix(mix(u64::from(number), 0x9E37_79B9_7F4A_7C15), 0xD6E8_FEB8_6659_FD93)
}

/// What is counted.
#[inline(never)]
fn measured_pick(table: &SchedulerTable, candidate: Candidate<'_>) -> Option<BackendId> {
    Scheduler::pick(table, candidate)
}
