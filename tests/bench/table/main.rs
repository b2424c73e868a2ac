//! The connection table in memory: what a packet costs by how many connections there are, what they occupy, how long the
//! longest turn of the poll loop is, what a second worker adds.
//!
//! Everything that is timed is the data path itself over frames that were made before; no sockets, no rings.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::Value;

#[path = "../frames.rs"]
mod frames;

mod clock;
mod held;
mod lookups;
mod scaling;
mod traffic;
mod turns;
mod walk;
mod world;

use frames::Error;

/// Measures xswitch's connection table in memory.
#[derive(Debug, Parser)]
pub struct Options {
    /// One scene instead of all.
    #[arg(long)]
    scene: Option<Name>,
    /// One JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// A million connections instead of ten, and three rounds.
    #[arg(long)]
    quick: bool,
    /// Connections of the largest table.
    #[arg(long, default_value_t = 10_000_000)]
    connections: u32,
    /// How often each subject has its turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Nanoseconds per packet by connections.
    Lookups,
    /// Memory of connections that are held.
    Held,
    /// The longest turns of the poll loop.
    Turns,
    /// One worker and two.
    Scaling,
    /// A look through all connections.
    Walk,
}

impl Options {
    /// Table sizes that are compared: the first is the base.
    fn sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<u32> = [10_000, 1_000_000, self.connections].map(|size| self.at_most(size)).into();
        sizes.dedup();
        sizes
    }

    fn at_most(&self, size: u32) -> u32 {
        size.min(self.connections)
    }

    /// Frames per measurement.
    fn lookups(&self) -> u32 {
        if self.quick { 1 << 18 } else { 1 << 20 }
    }
}

/// What a scene found out.
#[derive(Debug)]
pub struct Scene {
    name: &'static str,
    title: &'static str,
    lines: Vec<String>,
    json: Value,
}

impl Scene {
    fn new(name: &'static str, title: &'static str) -> Self {
        Self { name, title, lines: Vec::new(), json: Value::Null }
    }

    fn line(&mut self, line: String) {
        self.lines.push(line);
    }
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.connections) = (options.rounds.min(3), options.connections.min(1_000_000));
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-table: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Error> {
    let mut found = serde_json::Map::new();
    for name in Name::value_variants() {
        if options.scene.is_some_and(|only| only != *name) {
            continue;
        }
        let scene = match name {
            Name::Lookups => lookups::run(options),
            Name::Held => held::run(options),
            Name::Turns => turns::run(options),
            Name::Scaling => scaling::run(options),
            Name::Walk => walk::run(options),
        }?;
        if !options.json {
            println!("{}: {}", scene.name, scene.title);
            scene.lines.iter().for_each(|line| println!("  {line}"));
        }
        found.insert(scene.name.to_owned(), scene.json);
    }
    if options.json {
        println!("{}", serde_json::json!({ "table": found }));
    }
    Ok(())
}
