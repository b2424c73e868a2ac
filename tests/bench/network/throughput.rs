//! How many frames of established connections go through, one subject after the other in each round.

use xswitch::tables::Protocol;
use xswitch::wire::tcp::Flags;

use super::ends::{Ends, Plan, Run};
use super::lay::{Mode, Traffic, VIP};
use super::ledger::{self, Losses};
use super::subject::{Running, Subject};
use super::{Error, Measure};

/// This part of the frames goes ahead of each measurement: packet memory that was never touched is slow.
const WARM_UP: u32 = 8;
/// So many flows all arrive sooner or later.
const FEW: u32 = 1_000;
/// How often a handshake is tried before the benchmark gives up.
const TRIES: usize = 10;

/// One thing that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// What the table calls it.
    pub name: &'static str,
    pub subject: Subject,
    pub traffic: Traffic,
}

const fn scene(name: &'static str, subject: Subject, mode: Mode, protocol: Protocol, flows: u32) -> Scene {
    Scene { name, subject, traffic: Traffic { mode, protocol, flows } }
}

use Protocol::{Tcp, Udp};

/// In the order in which each round measures them. The first is what the others are compared with.
pub const SCENES: [Scene; 15] = [
    scene("bare forward", Subject::Bare, Mode::Nat, Udp, 1_000),
    scene("nat, UDP, 1 k connections", Subject::Switch, Mode::Nat, Udp, 1_000),
    scene("nat, UDP, 10 k connections", Subject::Switch, Mode::Nat, Udp, 10_000),
    scene("nat, TCP, 10 k connections", Subject::Switch, Mode::Nat, Tcp, 10_000),
    scene("full-nat, UDP, 10 k connections", Subject::Switch, Mode::FullNat, Udp, 10_000),
    scene("dsr, UDP, 10 k connections", Subject::Switch, Mode::Dsr, Udp, 10_000),
    scene("ipip, UDP, 10 k connections", Subject::Switch, Mode::Ipip, Udp, 10_000),
    scene("gue, UDP, 10 k connections", Subject::Switch, Mode::Gue, Udp, 10_000),
    scene("nat, UDP, 100 k connections", Subject::Switch, Mode::Nat, Udp, 100_000),
    scene("nat, UDP, 1 M connections", Subject::Switch, Mode::Nat, Udp, 1_000_000),
    scene("nat, UDP, 10 k connections, receiving on the same core", Subject::Polling, Mode::Nat, Udp, 10_000),
    scene("kernel: forwarding", Subject::Forwarding, Mode::Nat, Udp, 1_000),
    scene("kernel: nftables DNAT, UDP, 1 k connections", Subject::Nftables, Mode::Nat, Udp, 1_000),
    scene("kernel: nftables DNAT, UDP, 100 k connections", Subject::Nftables, Mode::Nat, Udp, 100_000),
    scene("kernel: nftables DNAT, UDP, 1 M connections", Subject::Nftables, Mode::Nat, Udp, 1_000_000),
];

/// One measurement of one scene.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// What the ends saw.
    pub run: Run,
    /// What was counted as lost in between.
    pub losses: Losses,
}

impl Measurement {
    /// Frames of which nobody knows where they went.
    pub fn unexplained(&self) -> i64 {
        self.run.sent as i64 - (self.run.arrived + self.losses.values().sum::<u64>()) as i64
    }
}

/// The measurements of every scene of [`SCENES`], one per round.
pub type Results = Vec<(Scene, Vec<Measurement>)>;

/// Measures every scene in every round, one subject after the other.
pub fn measure(arguments: &Measure, ends: &mut Ends) -> Result<Results, Error> {
    let mut results: Results = SCENES.iter().map(|scene| (*scene, Vec::new())).collect();
    for round in 0..arguments.rounds {
        eprintln!("throughput: round {} of {}", round + 1, arguments.rounds);
        let mut stage = Stage::default();
        for (scene, measurements) in &mut results {
            let subject = stage.set(scene.subject, arguments)?;
            if scene.subject.has_connections() {
                establish(scene, ends)?;
            }
            let plan = plan(scene)?;
            ends.run(&plan, arguments.frames / WARM_UP)?;
            measurements.push(once(&plan, ends, subject, arguments.frames)?);
        }
    }
    Ok(results)
}

/// Who is being measured. The old one must let go of the queues before the new one asks for them.
#[derive(Default)]
pub struct Stage {
    running: Option<(Subject, Running)>,
}

impl Stage {
    /// Starts `subject` unless it runs.
    pub fn set(&mut self, subject: Subject, arguments: &Measure) -> Result<&mut Running, Error> {
        let running = match self.running.take() {
            Some((former, running)) if former == subject => running,
            former => {
                drop(former);
                subject.start(arguments)?
            }
        };
        Ok(&mut self.running.insert((subject, running)).1)
    }
}

/// Frames of established connections, as they should arrive.
pub fn plan(scene: &Scene) -> Result<Plan, Error> {
    let mut plan = scene.traffic.request(Flags::ACK)?;
    if !scene.subject.has_connections() {
        plan.arrives_at = VIP;
    }
    Ok(plan)
}

/// One run, with its losses.
pub fn once(plan: &Plan, ends: &mut Ends, subject: &mut Running, frames: u32) -> Result<Measurement, Error> {
    let mut before = subject.losses_at_rest()?;
    before.extend(ledger::of_generator()?);
    let run = ends.run(plan, frames)?;
    let mut after = subject.losses_at_rest()?;
    after.extend(ledger::of_generator()?);
    Ok(Measurement { run, losses: ledger::difference(&before, &after) })
}

/// Brings every connection into the state in which data flows.
pub fn establish(scene: &Scene, ends: &mut Ends) -> Result<(), Error> {
    let traffic = scene.traffic;
    let mut step = |plan: Plan| pass(ends, &plan, scene.subject.pace());
    let outcome = match traffic.protocol {
        Udp => step(traffic.request(Flags::ACK)?),
        Tcp => step(traffic.request(Flags::SYN)?)
            .and_then(|()| step(traffic.reply(Flags::SYN.with(Flags::ACK))?))
            .and_then(|()| step(traffic.request(Flags::ACK)?)),
    };
    outcome.map_err(|error| format!("{}: {error}", scene.name).into())
}

/// Sends one frame of every flow, slowly, until all of them arrive. Where the core is taken away now and then, some of a
/// million are lost every time, but not the same: three times 99 of 100 are all but one in a million.
pub fn pass(ends: &mut Ends, plan: &Plan, pace: f64) -> Result<(), Error> {
    let plan = Plan { rate: Some(pace), ..plan.clone() };
    let flows = plan.profile.tuples.flows;
    let (mut most, mut nearly) = (0, 0);
    for _ in 0..TRIES {
        let arrived = ends.run(&plan, flows)?.arrived;
        nearly += u32::from(arrived >= u64::from(flows) * 99 / 100);
        if arrived >= u64::from(flows) || (flows > FEW && nearly == 3) {
            return Ok(());
        }
        most = most.max(arrived);
    }
    Err(format!("the connections cannot be made: {most} of {flows}").into())
}
