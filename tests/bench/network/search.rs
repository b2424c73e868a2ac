//! The highest rate without loss, by bisection (RFC 2544 §26.1).

use serde_json::{Value, json};
use xswitch::tables::Protocol;

use super::ends::{Ends, Plan, median};
use super::lay::{Mode, Traffic};
use super::subject::Subject;
use super::throughput::{Scene, Stage, establish, plan};
use super::{Error, Measure};

const UDP: Traffic = Traffic { mode: Mode::Nat, protocol: Protocol::Udp, flows: 10_000 };
/// Searched for in every round.
const SCENES: [Scene; 4] = [
    Scene { name: "bare forward", subject: Subject::Bare, traffic: UDP },
    Scene { name: "nat", subject: Subject::Switch, traffic: UDP },
    Scene { name: "kernel: forwarding", subject: Subject::Forwarding, traffic: UDP },
    Scene { name: "kernel: nftables DNAT", subject: Subject::Nftables, traffic: UDP },
];
/// Frames per second between which it is sought.
const BOUNDS: [f64; 2] = [50_000.0, 4_000_000.0];
/// Trials per search: the answer is within 2 % of the upper bound.
const TRIALS: usize = 7;
/// Seconds per trial. RFC 2544 §24 asks for 60, on machines that do nothing else.
const SECONDS: f64 = 1.0;
/// How often a rate may fail before it counts as too high: others may have taken the core away meanwhile.
const CHANCES: usize = 3;

/// One subject: a rate per round.
pub struct Found {
    name: &'static str,
    rates: Vec<f64>,
}

/// Searches for everybody, at most three times.
pub fn measure(arguments: &Measure, ends: &mut Ends) -> Result<Vec<Found>, Error> {
    let mut found: Vec<_> =
        SCENES.iter().map(|scene| Found { name: scene.name, rates: Vec::new() }).collect();
    for round in 0..arguments.rounds.min(3) {
        eprintln!("loss-free rate: round {}", round + 1);
        let mut stage = Stage::default();
        for (scene, found) in SCENES.iter().zip(&mut found) {
            found.rates.push(search(scene, ends, &mut stage, arguments)?);
        }
    }
    Ok(found)
}

fn search(scene: &Scene, ends: &mut Ends, stage: &mut Stage, arguments: &Measure) -> Result<f64, Error> {
    stage.set(scene.subject, arguments)?;
    if scene.subject.has_connections() {
        establish(scene, ends)?;
    }
    let [mut low, mut high] = BOUNDS;
    let mut best = 0.0;
    for _ in 0..TRIALS {
        let rate = (low + high) / 2.0;
        let plan = Plan { rate: Some(rate), ..plan(scene)? };
        let mut reached = None;
        for _ in 0..CHANCES {
            let run = ends.run(&plan, (rate * SECONDS) as u32)?;
            if run.arrived == run.sent {
                reached = Some(run.offered);
                break;
            }
        }
        match reached {
            Some(reached) => (low, best) = (rate, reached),
            None => high = rate,
        }
    }
    Ok(best)
}

/// Prints the table.
pub fn table(found: &[Found]) {
    println!("\n{:<56} {:>6}   without loss", "Highest rate", "Mpps");
    for one in found {
        println!("{:<56} {:>6.2}", one.name, median(&mut one.rates.clone()) / 1e6);
    }
}

/// The same as JSON.
pub fn json(found: &[Found]) -> Value {
    let value =
        |one: &Found| json!({ "scene": one.name, "frames_per_second": median(&mut one.rates.clone()) });
    found.iter().map(value).collect()
}
