//! What is sent in which order, and what is kept of it.

use std::net::{Ipv4Addr, SocketAddrV4};

use xswitch::pktgen::order::Order;
use xswitch::pktgen::sizes::Sizes;
use xswitch::pktgen::template::Profile;
use xswitch::pktgen::tuples::{Range, Tuples};
use xswitch::tables::Protocol;
use xswitch::wire::tcp::Flags;

use super::ends::{Ends, Plan, Run};
use super::ledger::{self, Losses};
use super::subject::{Running, Subject};
use super::{Error, Measure};

/// The service of the benchmark.
pub const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 100), 80);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 1, 11), 8080);
/// Clients: 256 addresses, and as many ports as it takes.
const CLIENTS: &str = "198.19.0.0/24:1024-65535";
/// The shortest that Ethernet carries: 64 bytes with the check sequence that the NIC adds.
const FRAME: u16 = 60;
/// MAC addresses of the device under test, as `tools/bench` sets them.
const SWITCH_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0A];
const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0B];

/// Configuration of the switch; SOCKET stands for a path.
pub const CONFIG: &str = r#"
[switch]
interfaces = ["bsw0", "bsw1"]
zero_copy = "off"
idle = "spin"
control_socket = "SOCKET"
metrics_listen = ""

[[service]]
name = "udp"
vip = "198.18.0.100:80"
protocol = "udp"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"

[[service]]
name = "tcp"
vip = "198.18.0.100:80"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"

[[neighbor]]
interface = "bsw0"
address = "198.18.0.1"
mac = "02:00:00:00:00:0a"

[[neighbor]]
interface = "bsw1"
address = "198.18.1.11"
mac = "02:00:00:00:00:0b"

[[route]]
prefix = "0.0.0.0/0"
interface = "bsw0"
via = "198.18.0.1"
"#;

/// Frames per second while connections are made: nothing is lost at this pace.
const PACE: f64 = 50_000.0;
/// This part of the frames goes ahead of each measurement: packet memory that was never touched is slow.
const WARM_UP: u32 = 8;
/// How often a handshake is tried before the benchmark gives up.
const TRIES: usize = 10;

/// One thing that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// What the table calls it.
    pub name: &'static str,
    subject: Subject,
    protocol: Protocol,
    flows: u32,
}

/// In the order in which each round measures them. The first is what the others are compared with.
pub const SCENES: [Scene; 5] = [
    Scene { name: "bare forward", subject: Subject::Bare, protocol: Protocol::Udp, flows: 1_000 },
    Scene {
        name: "nat, UDP, 1 k connections",
        subject: Subject::Switch,
        protocol: Protocol::Udp,
        flows: 1_000,
    },
    Scene {
        name: "nat, UDP, 10 k connections",
        subject: Subject::Switch,
        protocol: Protocol::Udp,
        flows: 10_000,
    },
    Scene {
        name: "nat, TCP, 1 k connections",
        subject: Subject::Switch,
        protocol: Protocol::Tcp,
        flows: 1_000,
    },
    Scene {
        name: "nat, TCP, 10 k connections",
        subject: Subject::Switch,
        protocol: Protocol::Tcp,
        flows: 10_000,
    },
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
pub fn measure(arguments: &Measure) -> Result<Results, Error> {
    pin_self(arguments.generator_core)?;
    let mut ends = Ends::open()?;
    let mut results: Results = SCENES.iter().map(|scene| (*scene, Vec::new())).collect();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        let mut running: Option<(Subject, Running)> = None;
        for (scene, measurements) in &mut results {
            if running.as_ref().is_none_or(|(subject, _)| *subject != scene.subject) {
                // The old one must let go of the queues before the new one asks for them.
                drop(running.take());
                running = Some((scene.subject, scene.subject.start(arguments)?));
            }
            let Some((_, subject)) = &mut running else { continue };
            if scene.subject == Subject::Switch {
                establish(scene, &mut ends)?;
            }
            measurements.push(once(scene, &mut ends, subject, arguments.frames)?);
        }
    }
    Ok(results)
}

fn once(scene: &Scene, ends: &mut Ends, subject: &mut Running, frames: u32) -> Result<Measurement, Error> {
    let mut plan = request(scene, Flags::ACK)?;
    if scene.subject != Subject::Switch {
        plan.arrives_at = *VIP.ip();
    }
    ends.run(&plan, frames / WARM_UP)?;
    let mut before = subject.losses_at_rest()?;
    before.extend(ledger::of_generator()?);
    let run = ends.run(&plan, frames)?;
    let mut after = subject.losses_at_rest()?;
    after.extend(ledger::of_generator()?);
    Ok(Measurement { run, losses: ledger::difference(&before, &after) })
}

/// Brings every connection into the state in which data flows.
fn establish(scene: &Scene, ends: &mut Ends) -> Result<(), Error> {
    match scene.protocol {
        Protocol::Udp => pass(scene, ends, &request(scene, Flags::ACK)?),
        Protocol::Tcp => {
            pass(scene, ends, &request(scene, Flags::SYN)?)?;
            pass(scene, ends, &reply(scene)?)?;
            pass(scene, ends, &request(scene, Flags::ACK)?)
        }
    }
}

/// Sends one frame of every flow, slowly, until all of them arrive.
fn pass(scene: &Scene, ends: &mut Ends, plan: &Plan) -> Result<(), Error> {
    let plan = Plan { rate: Some(PACE), ..plan.clone() };
    for _ in 0..TRIES {
        let run = ends.run(&plan, scene.flows)?;
        // Frames to the clients arrive at as many addresses, and are strange to the counter.
        if run.arrived + run.strange >= u64::from(scene.flows) {
            return Ok(());
        }
    }
    Err(format!("{}: the connections cannot be made", scene.name).into())
}

/// From a client to the VIP.
fn request(scene: &Scene, flags: Flags) -> Result<Plan, Error> {
    plan(scene, [CLIENTS.parse()?, endpoint(VIP)], [ROUTER_MAC, SWITCH_MACS[0]], flags, false)
}

/// From the backend to a client: the second step of the handshake.
fn reply(scene: &Scene) -> Result<Plan, Error> {
    let flags = Flags::SYN.with(Flags::ACK);
    plan(scene, [endpoint(BACKEND), CLIENTS.parse()?], [BACKEND_MAC, SWITCH_MACS[1]], flags, true)
}

fn endpoint(endpoint: SocketAddrV4) -> Range {
    Range::single((*endpoint.ip()).into(), endpoint.port())
}

fn plan(
    scene: &Scene,
    [source, destination]: [Range; 2],
    [from, to]: [[u8; 6]; 2],
    flags: Flags,
    to_client: bool,
) -> Result<Plan, Error> {
    let profile = Profile {
        to,
        from,
        tuples: Tuples::new(source, destination, scene.flows)?,
        protocol: scene.protocol,
        flags,
        sizes: Sizes::one(FRAME),
        order: Order::Sequential,
        stamp: None,
    };
    Ok(Plan { profile, to_client, rate: None, arrives_at: *BACKEND.ip() })
}

fn pin_self(core: usize) -> Result<(), Error> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Ok(())
    } else {
        Err(format!("cannot run on core {core}").into())
    }
}
