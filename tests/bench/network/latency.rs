//! How long frames take at half of the load that the subject can bear, and how long the first takes after a pause.

use serde_json::{Value, json};
use xswitch::pktgen::histogram::Latency;
use xswitch::tables::Protocol;

use super::ends::{Ends, Plan, median};
use super::lay::{Mode, Traffic};
use super::subject::Subject;
use super::throughput::{Results, Scene, Stage, establish, plan};
use super::{Error, Measure};

const UDP: Traffic = Traffic { mode: Mode::Nat, protocol: Protocol::Udp, flows: 10_000 };
/// Seconds per measurement.
const SECONDS: f64 = 2.0;
/// Frames per second with pauses in between: longer than any worker looks for more before it sleeps.
const PAUSES: f64 = 500.0;

/// Who is timed at half load.
const LOADED: [Scene; 4] = [
    Scene { name: "bare forward", subject: Subject::Bare, traffic: UDP },
    Scene { name: "nat", subject: Subject::Switch, traffic: UDP },
    Scene { name: "kernel: forwarding", subject: Subject::Forwarding, traffic: UDP },
    Scene { name: "kernel: nftables DNAT", subject: Subject::Nftables, traffic: UDP },
];
/// Who is timed with pauses.
const QUIET: [Scene; 2] = [
    Scene { name: "nat, idle = \"spin\"", subject: Subject::Switch, traffic: UDP },
    Scene { name: "nat, idle = \"adaptive\"", subject: Subject::Adaptive, traffic: UDP },
];

/// One subject at one rate.
pub struct Timed {
    name: &'static str,
    rate: f64,
    /// One per round.
    rounds: Vec<Latency>,
}

impl Timed {
    /// Median over the rounds, in microseconds.
    fn median(&self, of: impl Fn(&Latency) -> u64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(|round| of(round) as f64 / 1e3).collect();
        median(&mut values)
    }

    fn value(&self) -> Value {
        json!({
            "scene": self.name,
            "rate": self.rate,
            "p50_us": self.median(|round| round.p50_ns),
            "p99_us": self.median(|round| round.p99_ns),
            "p999_us": self.median(|round| round.p999_ns),
        })
    }
}

/// At half load, and with pauses.
pub struct Latencies {
    loaded: Vec<Timed>,
    quiet: Vec<Timed>,
}

/// Times everybody in every round. `results` tell what the subjects can bear: the switch is timed at half of what the bare
/// forward can, the kernel at half of what it can itself.
pub fn measure(arguments: &Measure, ends: &mut Ends, results: &Results) -> Result<Latencies, Error> {
    let bearable = |subject: Subject| {
        let of = if subject == Subject::Switch { Subject::Bare } else { subject };
        let scene = results.iter().find(|(scene, _)| scene.subject == of);
        let mut rates: Vec<f64> =
            scene.iter().flat_map(|(_, measurements)| measurements).map(|one| one.run.rate).collect();
        median(&mut rates)
    };
    let timed = |scene: &Scene, rate: f64| Timed { name: scene.name, rate, rounds: Vec::new() };
    let mut loaded: Vec<_> = LOADED.iter().map(|scene| timed(scene, bearable(scene.subject) / 2.0)).collect();
    let mut quiet: Vec<_> = QUIET.iter().map(|scene| timed(scene, PAUSES)).collect();
    for round in 0..arguments.rounds {
        eprintln!("latency: round {} of {}", round + 1, arguments.rounds);
        let mut stage = Stage::default();
        for (scene, timed) in LOADED.iter().zip(&mut loaded).chain(QUIET.iter().zip(&mut quiet)) {
            time(scene, timed, ends, &mut stage, arguments)?;
        }
    }
    Ok(Latencies { loaded, quiet })
}

fn time(
    scene: &Scene,
    timed: &mut Timed,
    ends: &mut Ends,
    stage: &mut Stage,
    arguments: &Measure,
) -> Result<(), Error> {
    stage.set(scene.subject, arguments)?;
    if scene.subject.has_connections() {
        establish(scene, ends)?;
    }
    let plan = Plan { rate: Some(timed.rate), ..plan(scene)? };
    let (_, histogram) = ends.time(&plan, (timed.rate * SECONDS) as u32)?;
    timed.rounds.push(histogram.summary().ok_or_else(|| format!("{}: no frame arrived", scene.name))?);
    Ok(())
}

impl Latencies {
    /// Prints both tables.
    pub fn tables(&self) {
        for (title, timed) in [("Latency at half load", &self.loaded), ("Latency with pauses", &self.quiet)] {
            println!("\n{title:<56} {:>9} {:>8} {:>8} {:>8}   µs", "frames/s", "p50", "p99", "p99.9");
            for one in timed {
                let [p50, p99, p999] =
                    [|l: &Latency| l.p50_ns, |l: &Latency| l.p99_ns, |l: &Latency| l.p999_ns]
                        .map(|of| one.median(of));
                println!("{:<56} {:>9.0} {p50:>8.1} {p99:>8.1} {p999:>8.1}", one.name, one.rate);
            }
        }
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let values = |timed: &[Timed]| timed.iter().map(Timed::value).collect::<Vec<_>>();
        json!({ "half_load": values(&self.loaded), "pauses": values(&self.quiet) })
    }
}
