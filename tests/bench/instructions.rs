//! Instructions per packet, counted by callgrind: exact, and the same on every machine with the same compiler.
//!
//! Without `--scene` this program runs itself under valgrind, once per scene, and prints the table. What is counted
//! are the functions [`measured_process`] and [`measured_turn`] alone; making connections and frames is not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use xswitch::dataplane::{BATCH, Batch, FlowTables, Flows, Secret, Verdict, process, settle};
use xswitch::tables::{InterfaceId, Snapshot, Tick, WorkerCounters};
use xswitch::wire::tcp::Flags;
use xswitch::xsk::Frame;
use xswitch::xsk::memory::Arena;

mod callgrind;
mod frames;
mod gauges;
mod maglev;
mod scenes;

use frames::Error;
use gauges::GAUGES;
use scenes::{Direction, Scene, Service, config, frame, ingress};

/// Connections that exist in the scenes of established ones.
const CONNECTIONS: u32 = 1024;
/// Packets that are counted: 2 × 64 × 512, so a batch's own cost spreads as it does under load.
const PACKETS: u32 = 65_536;

/// Counts the instructions that xswitch's data path needs per packet.
#[derive(Debug, Parser)]
struct Arguments {
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Counts one scene, and prints the instructions per packet in the pipeline.
    #[arg(long)]
    count: Option<String>,
    /// Counts the gauges, and writes this file that `tests/gauges.rs` compares with.
    #[arg(long)]
    commit: Option<PathBuf>,
    /// Runs one scene and counts nothing: what valgrind is given to run.
    #[arg(long, hide = true)]
    scene: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments {
        Arguments { scene: Some(name), .. } => run_scene(name),
        Arguments { count: Some(name), .. } => count_process(name).map(|count| println!("{count}")),
        Arguments { commit: Some(file), .. } => commit(file),
        Arguments { json, .. } => count_all(*json),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every scene under callgrind and prints what it counted.
fn count_all(json: bool) -> Result<(), Error> {
    let mut rows = Vec::new();
    for scene in Scene::ALL {
        rows.push((scene.name, count(scene.name, "measured_process")?, count(scene.name, "measured_turn")?));
    }
    let pick = count_process(maglev::SCENE)?;
    if json {
        let scenes: Vec<_> = rows
            .iter()
            .map(|(name, process, turn)| serde_json::json!({ "scene": name, "process": process, "turn": turn }))
            .collect();
        println!(
            "{}",
            serde_json::json!({ "instructions_per_packet": scenes, "instructions_per_maglev_pick": pick })
        );
        return Ok(());
    }
    println!("{:<34} {:>10} {:>10}", "instructions per packet", "process", "turn");
    for (name, process, turn) in rows {
        println!("{name:<34} {process:>10.1} {turn:>10.1}");
    }
    println!("{:<34} {pick:>10.1}", maglev::SCENE);
    Ok(())
}

/// Instructions per packet of a scene, in the pipeline alone.
fn count_process(scene: &str) -> Result<f64, Error> {
    match scene {
        maglev::SCENE => count(scene, "measured_pick"),
        _ => count(scene, "measured_process"),
    }
}

/// Instructions per packet within `function`.
fn count(scene: &str, function: &str) -> Result<f64, Error> {
    callgrind::count(function, &["--scene", scene], PACKETS)
}

/// Counts the gauges and commits the figures to `file`.
fn commit(file: &Path) -> Result<(), Error> {
    let count = |scene: &&'static str| Ok((*scene, count_process(scene)?));
    let figures = GAUGES.iter().map(count).collect::<Result<Vec<_>, Error>>()?;
    std::fs::write(file, gauges::write(&figures))?;
    Ok(())
}

fn run_scene(name: &str) -> Result<(), Error> {
    if name == maglev::SCENE {
        return maglev::run(PACKETS);
    }
    let scene = Scene::ALL.into_iter().find(|scene| scene.name == name).ok_or("no such scene")?;
    let mut bench = Bench::new(scene.service)?;
    let connections = if scene.established { CONNECTIONS } else { PACKETS };
    if scene.established {
        bench.establish(&scene)?;
    }
    let frames = (0..connections)
        .map(|client| frame(&scene, scene.direction, client, scene.flags))
        .collect::<Result<Vec<_>, _>>()?;
    for round in 0..PACKETS / connections {
        bench.now = Tick(1000 + u64::from(round));
        for batch in frames.chunks(BATCH) {
            bench.batch(batch, scene.direction, scene.expected)?;
        }
    }
    match bench.counters.unexplained() {
        0 => Ok(()),
        lost => Err(format!("{lost} frames without a verdict").into()),
    }
}

/// The data path over memory.
struct Bench {
    tables: Snapshot,
    flows: Flows,
    batch: Batch,
    arena: Arena,
    counters: Arc<WorkerCounters>,
    now: Tick,
    /// Bytes in front of each frame that arrives.
    room: usize,
    /// Frames on their way in and out: what the rings are to the worker.
    received: Vec<Frame>,
    sent: Vec<(Frame, Verdict)>,
}

impl Bench {
    fn new(service: Service) -> Result<Self, Error> {
        let loaded = xswitch::config::parse(&config(service), "bench").map_err(|error| error.to_string())?;
        let (tables, _) =
            xswitch::control::compile::compile_static(&loaded.config).map_err(|error| error.to_string())?;
        let connections = loaded.config.switch.max_connections;
        let table = FlowTables::new(connections, connections, 8, 1, Secret::from_seed(1));
        Ok(Self {
            tables,
            flows: Flows::join(Arc::new(table), 1, Tick(0)),
            batch: Batch::new(false),
            arena: Arena::new(BATCH),
            counters: WorkerCounters::with_capacity(8, 8),
            now: Tick(0),
            room: service.room,
            received: Vec::with_capacity(BATCH),
            sent: Vec::with_capacity(BATCH),
        })
    }

    /// Brings [`CONNECTIONS`] into the state in which data flows.
    fn establish(&mut self, scene: &Scene) -> Result<(), Error> {
        let handshake = [
            (Direction::Request, Flags::SYN),
            (Direction::Reply, Flags::SYN.with(Flags::ACK)),
            (Direction::Request, Flags::ACK),
        ];
        let seen = |direction| direction == Direction::Request || scene.service.backend_port != 80;
        for (direction, flags) in handshake.into_iter().filter(|(direction, _)| seen(*direction)) {
            for client in 0..CONNECTIONS {
                self.push(&frame(scene, direction, client, flags)?)?;
                turn(self, ingress(direction));
                self.collect(None)?;
            }
        }
        Ok(())
    }

    /// Sends one batch through the function that is counted.
    fn batch(&mut self, frames: &[Vec<u8>], direction: Direction, expected: Verdict) -> Result<(), Error> {
        for frame in frames {
            self.push(frame)?;
        }
        measured_turn(self, ingress(direction));
        self.collect(Some(expected))
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.received.push(self.arena.frame_with_room(self.room, bytes).ok_or("no frame is free")?);
        Ok(())
    }

    /// Takes the frames back, and refuses a figure that was measured with another verdict than meant.
    fn collect(&mut self, expected: Option<Verdict>) -> Result<(), Error> {
        let mut wrong = None;
        for (frame, verdict) in self.sent.drain(..) {
            self.arena.give_back(frame);
            wrong = wrong.or(expected.filter(|expected| verdict != *expected).map(|_| verdict));
        }
        match wrong {
            Some(verdict) => Err(format!("{verdict:?} instead of {expected:?}").into()),
            None => Ok(()),
        }
    }
}

/// All that a frame costs between the rings: into the batch, through the pipeline, out again, counted.
#[inline(never)]
fn measured_turn(bench: &mut Bench, ingress: InterfaceId) {
    fill(bench, ingress);
    measured_process(bench);
    empty(bench);
}

/// The pipeline alone.
#[inline(never)]
fn measured_process(bench: &mut Bench) {
    process(&mut bench.batch, &bench.tables, &mut bench.flows, bench.now, &bench.counters);
}

/// As [`measured_turn`], for frames that are not to be counted.
fn turn(bench: &mut Bench, ingress: InterfaceId) {
    fill(bench, ingress);
    process(&mut bench.batch, &bench.tables, &mut bench.flows, bench.now, &bench.counters);
    empty(bench);
}

#[inline]
fn fill(bench: &mut Bench, ingress: InterfaceId) {
    for frame in bench.received.drain(..) {
        if let Err(frame) = bench.batch.push(frame, ingress) {
            bench.arena.give_back(frame);
        }
    }
}

#[inline]
fn empty(bench: &mut Bench) {
    for (frame, verdict) in bench.batch.drain() {
        let verdict = verdict.unwrap_or(Verdict::ToKernel);
        settle(verdict, &bench.counters);
        bench.sent.push((frame, verdict));
    }
}
