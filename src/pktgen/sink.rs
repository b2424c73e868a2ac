//! The sink: an XDP program that counts frames and ends them where they arrive, or sends them back.
//!
//! An IP stack behind it would cost half the rate; nothing is cheaper than to be dropped here.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuHashMap};
use serde::Serialize;

use super::error::Error;
use super::filter::{Filter, SETTINGS, settings};
use super::generator::index;
use super::histogram::{BUCKETS, Histogram};
use super::plan::word;
use super::programs::Programs;

const REFLECTS: u32 = 1;
const READS_TIME: u32 = 2;
const READS_STAMPS: u32 = 4;
const ENDS_OTHERS: u32 = 8;

/// One flow of so many is followed.
const SAMPLE: u32 = 16;
const TOTALS: usize = 64;
const RUN: usize = 32;
const FLOW: usize = 24;

/// What becomes of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkPlan {
    /// Which are meant. Frames that are neither TCP nor UDP never are.
    pub filter: Filter,
    /// Whether those that are not meant end here, too, rather than go to the kernel.
    pub ends_others: bool,
    /// Whether frames are sent back to where they came from: MAC addresses, IP addresses and ports exchanged.
    pub reflects: bool,
    /// Whether stamps are read: loss, and order.
    pub reads_stamps: bool,
    /// Whether their time is read, too.
    pub measures_latency: bool,
}

/// Frames that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Received {
    /// Frames that were meant.
    pub frames: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Other frames.
    pub other_frames: u64,
    /// Bytes of those.
    pub other_bytes: u64,
    /// Of those that were meant, frames with a stamp.
    pub stamped: u64,
    #[serde(skip)]
    latency_sum_ns: u64,
    #[serde(skip)]
    latency_max_ns: u64,
}

/// What stamps tell of one run of a generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RunSeen {
    /// Which.
    pub run: u16,
    /// Frames of it.
    pub frames: u64,
    /// Sequence numbers between the first and the last that never came. What was lost before the first or behind the last is
    /// known to the sender alone.
    pub missing: u64,
    /// Frames that came behind one that was sent after them, on the same processor.
    pub late: u64,
}

/// What stamps tell of the flows that were followed: one of 16, and at most 4,096.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FlowsSeen {
    /// How many flows were followed.
    pub followed: u64,
    /// Their frames.
    pub frames: u64,
    /// Frames of those flows that never came.
    pub missing: u64,
    /// Flows that miss some.
    pub with_loss: u64,
    /// The most that one flow misses.
    pub worst: u64,
}

/// A sink on one interface; off again when it is dropped.
pub struct Sink {
    _programs: Programs,
    settings: Array<MapData, [u8; SETTINGS]>,
    totals: PerCpuArray<MapData, [u8; TOTALS]>,
    latency: PerCpuArray<MapData, u64>,
    runs: PerCpuHashMap<MapData, u32, [u8; RUN]>,
    flows: HashMap<MapData, [u8; 16], [u8; FLOW]>,
    /// Whether the program runs in the driver.
    pub is_native: bool,
}

impl Sink {
    /// Attaches the program: in the driver where that works, else in the kernel's receive path.
    pub fn attach(interface: &str, plan: &SinkPlan) -> Result<Self, Error> {
        index(interface)?;
        let mut programs = Programs::load("sink")?;
        let mut settings = programs.map("settings")?;
        set(&mut settings, plan)?;
        Ok(Self {
            settings,
            totals: programs.map("totals")?,
            latency: programs.map("latency")?,
            runs: programs.map("runs")?,
            flows: programs.map("flows")?,
            is_native: programs.attach("sink", interface)?,
            _programs: programs,
        })
    }

    /// From now on other frames are meant, or something else becomes of them. Nothing is counted anew.
    pub fn change(&mut self, plan: &SinkPlan) -> Result<(), Error> {
        set(&mut self.settings, plan)
    }

    /// Frames so far.
    pub fn received(&self) -> Result<Received, Error> {
        let values =
            self.totals.get(&0, 0).map_err(|error| Error::from_source("XDP map `totals`", &error))?;
        Ok(values.iter().fold(Received::default(), |sum, bytes| Received {
            frames: sum.frames + word(bytes, 0),
            bytes: sum.bytes + word(bytes, 8),
            other_frames: sum.other_frames + word(bytes, 16),
            other_bytes: sum.other_bytes + word(bytes, 24),
            stamped: sum.stamped + word(bytes, 32),
            latency_sum_ns: sum.latency_sum_ns.saturating_add(word(bytes, 40)),
            latency_max_ns: sum.latency_max_ns.max(word(bytes, 48)),
        }))
    }

    /// Times from when frames were made until they came.
    pub fn latency(&self) -> Result<Histogram, Error> {
        let mut buckets = vec![0; BUCKETS];
        for (bucket, count) in buckets.iter_mut().enumerate() {
            let values = self.latency.get(&(bucket as u32), 0);
            let values = values.map_err(|error| Error::from_source("XDP map `latency`", &error))?;
            *count = values.iter().sum();
        }
        let received = self.received()?;
        Ok(Histogram::of_buckets(buckets, received.latency_sum_ns, received.latency_max_ns))
    }

    /// The runs whose stamps were seen, up to 64.
    pub fn runs(&self) -> Vec<RunSeen> {
        let runs = self.runs.iter().flatten().map(|(run, values)| {
            let seen = values.iter().filter(|bytes| word(*bytes, 0) > 0);
            let (frames, first, last, late) = seen.fold((0, u64::MAX, 0, 0), |sum, bytes| {
                let (first, last) = (sum.1.min(word(bytes, 8)), sum.2.max(word(bytes, 16)));
                (sum.0 + word(bytes, 0), first, last, sum.3 + word(bytes, 24))
            });
            let missing = (last + 1).saturating_sub(first).saturating_sub(frames);
            (run, RunSeen { run: run as u16, frames, missing, late })
        });
        // Sorted, so that the same state is always told the same way.
        runs.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// The flows that are followed.
    pub fn flows(&self) -> FlowsSeen {
        self.flows.iter().flatten().fold(FlowsSeen::default(), |sum, (_, bytes)| {
            let missing = word(&bytes, 8);
            FlowsSeen {
                followed: sum.followed + 1,
                frames: sum.frames + word(&bytes, 0),
                missing: sum.missing + missing,
                with_loss: sum.with_loss + u64::from(missing > 0),
                worst: sum.worst.max(missing),
            }
        })
    }
}

fn set(map: &mut Array<MapData, [u8; SETTINGS]>, plan: &SinkPlan) -> Result<(), Error> {
    let traits = [
        (plan.reflects, REFLECTS),
        (plan.measures_latency, READS_TIME),
        (plan.reads_stamps || plan.measures_latency, READS_STAMPS),
        (plan.ends_others, ENDS_OTHERS),
    ];
    let traits = traits.iter().filter(|(holds, _)| *holds).map(|(_, bit)| bit).sum();
    let bytes = settings(&plan.filter, traits, SAMPLE - 1);
    map.set(0, bytes, 0).map_err(|error| Error::from_source("XDP map `settings`", &error))
}
