//! Instructions per packet, counted by callgrind: exact, and the same on every machine with the same compiler.
//!
//! Without `--scene` this program runs itself under valgrind, once per scene, and prints the table. What is counted
//! are the functions [`measured_process`] and [`measured_turn`] alone; making connections and frames is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use clap::Parser;
use xswitch::dataplane::{BATCH, Batch, FlowTables, Flows, Secret, Verdict, process, settle};
use xswitch::tables::{DropReason, InterfaceId, Protocol, Snapshot, Tick, WorkerCounters};
use xswitch::wire::tcp::Flags;
use xswitch::xsk::Frame;
use xswitch::xsk::memory::Arena;

mod frames;

use frames::Error;

/// Connections that exist in the scenes of established ones.
const CONNECTIONS: u32 = 1024;
/// Packets that are counted: 2 × 64 × 512, so a batch's own cost spreads as it does under load.
const PACKETS: u32 = 65_536;

const CLIENT_SIDE: InterfaceId = InterfaceId(0);
const SERVER_SIDE: InterfaceId = InterfaceId(1);
const SWITCH_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0A];
const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0B];
/// Where the services of IPv4 and IPv6 are, by the last part of their addresses.
const VIP_NET: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 0, 0), Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 0));
const BACKEND: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 18, 1, 11), Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 11));

const CONFIG: &str = r#"
[switch]
interfaces = ["client", "server"]
max_connections = 131072

[[service]]
name = "tcp"
vip = "198.18.0.100:80"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"

[[service]]
name = "udp"
vip = "198.18.0.100:80"
protocol = "udp"
forwarding = "nat"
[[service.backend]]
address = "198.18.1.11:8080"

[[service]]
name = "nat-ipv6"
vip = "[2001:db8::64]:80"
forwarding = "nat"
[[service.backend]]
address = "[2001:db8:1::b]:8080"

[[service]]
name = "dsr"
vip = "198.18.0.101:80"
forwarding = "dsr"
[[service.backend]]
address = "198.18.1.11:80"

[[service]]
name = "ipip"
vip = "198.18.0.102:80"
forwarding = "ipip"
[[service.backend]]
address = "198.18.1.11:80"

[[service]]
name = "gue"
vip = "198.18.0.103:80"
forwarding = "gue"
[[service.backend]]
address = "198.18.1.11:80"

[[service]]
name = "ipip-ipv6"
vip = "[2001:db8::66]:80"
forwarding = "ipip"
[[service.backend]]
address = "[2001:db8:1::b]:80"

[[neighbor]]
interface = "client"
address = "198.18.0.1"
mac = "02:00:00:00:00:0a"

[[neighbor]]
interface = "server"
address = "198.18.1.11"
mac = "02:00:00:00:00:0b"

[[neighbor]]
interface = "client"
address = "2001:db8::1"
mac = "02:00:00:00:00:0a"

[[neighbor]]
interface = "server"
address = "2001:db8:1::b"
mac = "02:00:00:00:00:0b"

[[route]]
prefix = "::/0"
interface = "client"
via = "2001:db8::1"

[[route]]
prefix = "0.0.0.0/0"
interface = "client"
via = "198.18.0.1"

[[interface]]
name = "client"
mac = "02:00:00:00:00:01"
addresses = ["198.18.0.2/24", "2001:db8::2/64"]
mtu = 1500

[[interface]]
name = "server"
mac = "02:00:00:00:00:02"
addresses = ["198.18.1.1/24", "2001:db8:1::1/64"]
mtu = 1500
"#;

/// Counts the instructions that xswitch's data path needs per packet.
#[derive(Debug, Parser)]
struct Arguments {
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Runs one scene and counts nothing: what valgrind is given to run.
    #[arg(long, hide = true)]
    scene: Option<String>,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
struct Scene {
    name: &'static str,
    protocol: Protocol,
    service: Service,
    direction: Direction,
    /// Of the frames that are counted.
    flags: Flags,
    /// Whether the connections exist before.
    established: bool,
    expected: Verdict,
}

/// Which service the connections are to.
#[derive(Debug, Clone, Copy)]
struct Service {
    v6: bool,
    /// The last part of the VIP.
    vip: u8,
    backend_port: u16,
    /// Bytes that the XDP program makes in front of the frames.
    room: usize,
}

impl Service {
    const NAT: Self = Self { v6: false, vip: 100, backend_port: 8080, room: 0 };
    const NAT_V6: Self = Self { v6: true, ..Self::NAT };
    const DSR: Self = Self { v6: false, vip: 101, backend_port: 80, room: 0 };
    const IPIP: Self = Self { v6: false, vip: 102, backend_port: 80, room: 20 };
    const GUE: Self = Self { v6: false, vip: 103, backend_port: 80, room: 32 };
    const IPIP_V6: Self = Self { v6: true, vip: 102, backend_port: 80, room: 40 };

    fn vip(self) -> SocketAddr {
        let (v4, v6) = VIP_NET;
        let vip: IpAddr = if self.v6 {
            Ipv6Addr::from(u128::from(v6) + u128::from(self.vip)).into()
        } else {
            Ipv4Addr::from(u32::from(v4) + u32::from(self.vip)).into()
        };
        SocketAddr::new(vip, 80)
    }

    fn backend(self) -> SocketAddr {
        let address = if self.v6 { BACKEND.1.into() } else { BACKEND.0.into() };
        SocketAddr::new(address, self.backend_port)
    }

    /// Client number `client`.
    fn client(self, client: u32) -> SocketAddr {
        let port = 1024 + (client / 256) as u16;
        let address = if self.v6 {
            Ipv6Addr::from(
                u128::from(Ipv6Addr::new(0x2001, 0xDB8, 9, 0, 0, 0, 0, 0)) + u128::from(client % 256),
            )
            .into()
        } else {
            Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 19, 0, 0)) + client % 256).into()
        };
        SocketAddr::new(address, port)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

impl Scene {
    const ALL: [Self; 12] = [
        Self::established("established TCP, to the backend", Protocol::Tcp, Direction::Request),
        Self::established("established TCP, to the client", Protocol::Tcp, Direction::Reply),
        Self::established("established UDP, to the backend", Protocol::Udp, Direction::Request),
        Self::established("established UDP, to the client", Protocol::Udp, Direction::Reply),
        Self::established("IPv6: TCP, to the backend", Protocol::Tcp, Direction::Request).of(Service::NAT_V6),
        Self::established("IPv6: TCP, to the client", Protocol::Tcp, Direction::Reply).of(Service::NAT_V6),
        Self::established("dsr: TCP", Protocol::Tcp, Direction::Request).of(Service::DSR),
        Self::established("ipip: TCP", Protocol::Tcp, Direction::Request).of(Service::IPIP),
        Self::established("ipip: TCP, IPv6 in IPv6", Protocol::Tcp, Direction::Request).of(Service::IPIP_V6),
        Self::established("gue: TCP", Protocol::Tcp, Direction::Request).of(Service::GUE),
        Self {
            name: "new TCP connection",
            protocol: Protocol::Tcp,
            service: Service::NAT,
            direction: Direction::Request,
            flags: Flags::SYN,
            established: false,
            expected: Verdict::Forward(SERVER_SIDE),
        },
        Self {
            name: "drop: TCP without a connection",
            protocol: Protocol::Tcp,
            service: Service::NAT,
            direction: Direction::Request,
            flags: Flags::ACK,
            established: false,
            expected: Verdict::Drop(DropReason::NoConnection),
        },
    ];

    const fn established(name: &'static str, protocol: Protocol, direction: Direction) -> Self {
        let expected = Verdict::Forward(match direction {
            Direction::Request => SERVER_SIDE,
            Direction::Reply => CLIENT_SIDE,
        });
        let (service, flags) = (Service::NAT, Flags::ACK);
        Self { name, protocol, service, direction, flags, established: true, expected }
    }

    const fn of(self, service: Service) -> Self {
        Self { service, ..self }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.scene {
        Some(name) => run_scene(name),
        None => count_all(arguments.json),
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
        rows.push((scene.name, count(&scene, "measured_process")?, count(&scene, "measured_turn")?));
    }
    if json {
        let scenes: Vec<_> = rows
            .iter()
            .map(|(name, process, turn)| serde_json::json!({ "scene": name, "process": process, "turn": turn }))
            .collect();
        println!("{}", serde_json::json!({ "instructions_per_packet": scenes }));
        return Ok(());
    }
    println!("{:<34} {:>10} {:>10}", "instructions per packet", "process", "turn");
    for (name, process, turn) in rows {
        println!("{name:<34} {process:>10.1} {turn:>10.1}");
    }
    Ok(())
}

/// Instructions per packet within `function`.
fn count(scene: &Scene, function: &str) -> Result<f64, Error> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(std::env::current_exe()?)
        .args(["--scene", scene.name])
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    match collected {
        Some(instructions) if output.status.success() && instructions > 0 => {
            Ok(instructions as f64 / f64::from(PACKETS))
        }
        _ => Err(format!("{}: valgrind counted nothing:\n{text}", scene.name).into()),
    }
}

fn run_scene(name: &str) -> Result<(), Error> {
    let scene = Scene::ALL.into_iter().find(|scene| scene.name == name).ok_or("no such scene")?;
    let mut bench = Bench::new(scene.service.room)?;
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

/// The frame of connection number `client`.
fn frame(scene: &Scene, direction: Direction, client: u32, flags: Flags) -> Result<Vec<u8>, Error> {
    let (service, client) = (scene.service, scene.service.client(client));
    let (from, to) = match direction {
        Direction::Request => ((ROUTER_MAC, client), (SWITCH_MACS[0], service.vip())),
        Direction::Reply => ((BACKEND_MAC, service.backend()), (SWITCH_MACS[1], client)),
    };
    frames::shortest(scene.protocol, from, to, flags)
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
    fn new(room: usize) -> Result<Self, Error> {
        let loaded = xswitch::config::parse(CONFIG, "bench").map_err(|error| error.to_string())?;
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
            room,
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

const fn ingress(direction: Direction) -> InterfaceId {
    match direction {
        Direction::Request => CLIENT_SIDE,
        Direction::Reply => SERVER_SIDE,
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
    for (frame, meta) in bench.batch.drain() {
        let verdict = meta.verdict.unwrap_or(Verdict::ToKernel);
        settle(verdict, &bench.counters);
        bench.sent.push((frame, verdict));
    }
}
