//! Speed by ratio: xswitch against a bare AF_XDP forward, the kernel and a proxy, over the same veth pairs, in turns.
//!
//! ```text
//!   namespace of this program                 namespace of the device under test
//!   bgen 02:00:00:00:00:0a  ──────────────▶  bsw0 198.18.0.2/24  ┐
//!                                                                ├ bare forward, or xswitch
//!   bsnk 02:00:00:00:00:0b  ◀──────────────  bsw1 198.18.1.1/24  ┘
//!   generator and receive, one core           forward and transmit, another core
//! ```
//!
//! The kernel runs a veth's receive work (XDP program, copy to the socket) on the core of the sender, here the
//! generator's. So the core of the device under test has nothing but the worker, its system calls and the transmission,
//! and when too much is offered the surplus is refused at the RX ring without costing that core anything.
//!
//! `tools/bench` builds this network and calls the program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod connections;
mod ends;
mod forward;
mod kernel;
mod latency;
mod lay;
mod ledger;
mod report;
mod search;
mod subject;
mod throughput;

/// What went wrong, as a sentence.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Interfaces of the device under test: frames come in through the first and leave through the second.
const SWITCH_DEVICES: [&str; 2] = ["bsw0", "bsw1"];
/// Their peers: the generator's and the counter's.
const END_DEVICES: [&str; 2] = ["bgen", "bsnk"];

/// Measures xswitch against a bare AF_XDP forward, the kernel and a proxy.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Generates, counts and compares.
    Measure(Measure),
    /// Is the bare forwarder; prints its counters for each line on its standard input, and ends with it.
    Forward,
}

#[derive(Debug, clap::Args)]
struct Measure {
    /// The binary under test.
    #[arg(long)]
    xswitch: PathBuf,
    /// Namespace of the device under test.
    #[arg(long)]
    namespace: String,
    /// How often each subject has its turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Frames that the generator offers per measurement.
    #[arg(long, default_value_t = 12_000_000)]
    frames: u32,
    /// Core of the generator.
    #[arg(long, default_value_t = 0)]
    generator_core: usize,
    /// Core of the device under test.
    #[arg(long, default_value_t = 1)]
    switch_core: usize,
    /// Only throughput.
    #[arg(long)]
    throughput_only: bool,
    /// Only new connections, and connections of clients.
    #[arg(long, conflicts_with = "throughput_only")]
    connections_only: bool,
    /// JSON objects instead of tables, one per line.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().role {
        Role::Measure(arguments) => measure(&arguments),
        Role::Forward => forward::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-network: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one thing after the other, and prints each as soon as it is there.
fn measure(arguments: &Measure) -> Result<(), Error> {
    let core = arguments.generator_core;
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Err(format!("cannot run on core {core}").into());
    }
    let print = |name: &str, json: serde_json::Value, table: &dyn Fn()| match arguments.json {
        true => println!("{}", serde_json::json!({ name: json })),
        false => table(),
    };
    let mut ends = ends::Ends::open()?;
    let mut verdict = Ok(());
    if !arguments.connections_only {
        let throughput = throughput::measure(arguments, &mut ends)?;
        print("throughput", report::json(&throughput), &|| report::tables(&throughput));
        verdict = report::verdict(&throughput);
        if arguments.throughput_only {
            return verdict;
        }
        let latency = latency::measure(arguments, &mut ends, &throughput)?;
        print("latency", latency.json(), &|| latency.tables());
        let found = search::measure(arguments, &mut ends)?;
        print("loss_free", search::json(&found), &|| search::table(&found));
    }
    let phases = connections::phases(arguments, &mut ends)?;
    print("new_connections", phases.json(), &|| phases.table());
    // Clients and server need the interfaces to themselves.
    drop(ends);
    let connected = connections::through(arguments)?;
    print("clients", connections::json(&connected), &|| connections::table(&connected));
    verdict
}
