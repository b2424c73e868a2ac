//! Both ends of the network: the generator (BPF_PROG_TEST_RUN with live frames) and the counter (an XDP program).

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, maps::Map};
use tempfile::TempDir;
use xswitch::tables::Protocol;

use super::frames::FRAME;
use super::{END_DEVICES, Error};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/network/traffic.bpf.c");
/// Frames that the kernel makes at a time.
const LIVE_BATCH: u32 = 64;
/// How often the counter is read while frames flow.
const SAMPLE: Duration = Duration::from_millis(5);
/// Samples in a window: 50 ms.
const WINDOW: usize = 10;
/// The counter has come to rest when it has not changed for so long.
const QUIET: Duration = Duration::from_millis(100);

/// Size of `struct plan` of the BPF program: the frame and seven 32-bit words.
const PLAN: usize = FRAME + 7 * 4;
/// Size of `struct progress`: two 64-bit and two 32-bit words.
const PROGRESS: usize = 24;

/// What the generator is to send.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The frame, with the client's address and port zero.
    pub frame: [u8; FRAME],
    /// Clients: 256 addresses from 198.19.0.0, and as many ports from 1024 as it takes.
    pub flows: u32,
    /// Whether the client is the destination.
    pub to_client: bool,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Time between two frames; zero is as fast as it goes.
    pub interval: Duration,
    /// Destination with which frames should arrive; none = the client's.
    pub arrives_at: Ipv4Addr,
}

/// What one run of the generator did.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Frames made.
    pub sent: u64,
    /// Frames that arrived as expected.
    pub arrived: u64,
    /// Frames that arrived otherwise.
    pub strange: u64,
    /// Frames as expected per second, while the generator was in full swing.
    pub rate: f64,
    /// Frames made per second.
    pub offered: f64,
}

/// The two ends.
pub struct Ends {
    ebpf: Ebpf,
    plan: Array<MapData, [u8; PLAN]>,
    progress: Array<MapData, [u8; PROGRESS]>,
    expected: Array<MapData, [u8; 8]>,
    arrived: PerCpuArray<MapData, u64>,
    interfaces: [u32; 2],
}

impl Ends {
    /// Loads the programs and puts the counter on both interfaces.
    pub fn open() -> Result<Self, Error> {
        let mut ebpf = load()?;
        for name in ["generate", "count"] {
            program(&mut ebpf, name)?.load()?;
        }
        for device in END_DEVICES {
            program(&mut ebpf, "count")?.attach(device, XdpMode::Driver)?;
        }
        Ok(Self {
            plan: Array::try_from(map(&mut ebpf, "plan")?)?,
            progress: Array::try_from(map(&mut ebpf, "progress")?)?,
            expected: Array::try_from(map(&mut ebpf, "expected")?)?,
            arrived: PerCpuArray::try_from(map(&mut ebpf, "arrived")?)?,
            interfaces: [index(END_DEVICES[0])?, index(END_DEVICES[1])?],
            ebpf,
        })
    }

    /// Sends `frames` frames by `plan`, and counts what arrives until nothing more does.
    pub fn run(&mut self, plan: &Plan, frames: u32) -> Result<Run, Error> {
        self.plan.set(0, self.encode(plan), 0)?;
        self.progress.set(0, [0; PROGRESS], 0)?;
        let mut expected = [0; 8];
        expected[..4].copy_from_slice(&plan.arrives_at.octets());
        expected[4..].copy_from_slice(&(plan.protocol as u32).to_ne_bytes());
        self.expected.set(0, expected, 0)?;
        let before = [self.count(0)?, self.count(1)?];
        let (samples, took) = self.generate(frames)?;
        let after = self.rest()?;
        let progress = self.progress.get(&0, 0)?;
        let sent = progress.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        Ok(Run {
            sent,
            arrived: after[0] - before[0],
            strange: after[1] - before[1],
            rate: rate(&samples),
            offered: sent as f64 / took.as_secs_f64(),
        })
    }

    /// Runs the generator, reading the counter meanwhile.
    fn generate(&self, frames: u32) -> Result<(Vec<Sample>, Duration), Error> {
        let program: &Xdp = self.ebpf.program("generate").ok_or("no program `generate`")?.try_into()?;
        let done = AtomicBool::new(false);
        let started = Instant::now();
        std::thread::scope(|scope| {
            let sampler = scope.spawn(|| -> Result<Vec<Sample>, Error> {
                let mut samples = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    samples.push((started.elapsed(), self.count(0)?));
                    std::thread::sleep(SAMPLE);
                }
                Ok(samples)
            });
            let mut options = TestRunOptions::new();
            options.data_in = Some(&[0; FRAME]);
            options.repeat = frames;
            options.attrs = TestRunAttrs::new().xdp_live_frames(LIVE_BATCH);
            let outcome = program.test_run(options);
            let took = started.elapsed();
            done.store(true, Ordering::Relaxed);
            let samples = sampler.join().map_err(|_| "the sampler failed")??;
            outcome?;
            Ok((samples, took))
        })
    }

    /// Waits until nothing arrives any more.
    fn rest(&self) -> Result<[u64; 2], Error> {
        let mut last = [self.count(0)?, self.count(1)?];
        loop {
            std::thread::sleep(QUIET);
            let now = [self.count(0)?, self.count(1)?];
            if now == last {
                return Ok(now);
            }
            last = now;
        }
    }

    fn count(&self, slot: u32) -> Result<u64, Error> {
        Ok(self.arrived.get(&slot, 0)?.iter().sum())
    }

    fn encode(&self, plan: &Plan) -> [u8; PLAN] {
        let mut bytes = [0; PLAN];
        bytes[..FRAME].copy_from_slice(&plan.frame);
        let words = [
            plan.flows,
            Ipv4Addr::new(198, 19, 0, 0).into(),
            1024,
            self.interfaces[usize::from(plan.to_client)],
            u32::from(plan.to_client) | u32::from(plan.protocol == Protocol::Udp) << 1,
            plan.interval.as_nanos() as u32,
            0,
        ];
        for (field, word) in bytes[FRAME..].chunks_exact_mut(4).zip(words) {
            field.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// Time since the generator was started, and frames that had arrived.
type Sample = (Duration, u64);

/// Frames per second: the median of windows of [`WINDOW`] samples, without the first fifth and the end of the run. What
/// else runs on the machine takes a core away for moments; a median forgets those.
fn rate(samples: &[Sample]) -> f64 {
    let steady = samples.get(samples.len() / 5..samples.len() * 19 / 20).unwrap_or_default();
    let mut rates: Vec<f64> = steady
        .windows(WINDOW)
        .step_by(WINDOW)
        .filter_map(|window| {
            let ((from, before), (to, after)) = (*window.first()?, *window.last()?);
            Some((after - before) as f64 / (to - from).as_secs_f64())
        })
        .collect();
    median(&mut rates)
}

/// The middle one; zero of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Compiles and loads the BPF programs of the benchmark.
pub fn load() -> Result<Ebpf, Error> {
    let directory = TempDir::new()?;
    let object: PathBuf = directory.path().join("traffic.bpf.o");
    let include = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let compiled = Command::new(std::env::var_os("CLANG").unwrap_or_else(|| "clang".into()))
        .args([
            "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", "-I", &include, "-c", SOURCE, "-o",
        ])
        .arg(&object)
        .status()?;
    if !compiled.success() {
        return Err(format!("{SOURCE}: clang failed ({compiled})").into());
    }
    Ok(Ebpf::load_file(&object)?)
}

/// One of the programs.
pub fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    Ok(ebpf.program_mut(name).ok_or_else(|| format!("no program `{name}`"))?.try_into()?)
}

/// One of the maps.
pub fn map(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    Ok(ebpf.take_map(name).ok_or_else(|| format!("no map `{name}`"))?)
}

fn index(device: &str) -> Result<u32, Error> {
    let path = format!("/sys/class/net/{device}/ifindex");
    Ok(std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?.trim().parse()?)
}
