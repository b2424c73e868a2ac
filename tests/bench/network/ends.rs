//! Both ends of the network: generators (live frames) and sinks (XDP programs), as `xswitch pktgen` has them.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xswitch::pktgen::filter::Filter;
use xswitch::pktgen::generator::{Generator, Meter, Mode, Pace};
use xswitch::pktgen::histogram::Histogram;
use xswitch::pktgen::sink::{Received, Sink, SinkPlan};
use xswitch::pktgen::template::Profile;
use xswitch::pktgen::tuples::Range;

use super::{END_DEVICES, Error};

/// How often the counter is read while frames flow.
const SAMPLE: Duration = Duration::from_millis(5);
/// Samples in a window: 50 ms.
const WINDOW: usize = 10;
/// Tells our stamps from those of others.
const RUN: u16 = 1;
/// The counter has come to rest when it has not changed for so long.
const QUIET: Duration = Duration::from_millis(100);

/// What the generator is to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Flows and frames.
    pub profile: Profile,
    /// Whether the client is the destination.
    pub to_client: bool,
    /// Frames per second; none = as fast as it goes.
    pub rate: Option<f64>,
    /// Destination with which frames should arrive.
    pub arrives_at: Ipv4Addr,
    /// Whether frames that arrive otherwise count as well.
    pub elsewhere: bool,
}

/// What one run of the generator did.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Frames made.
    pub sent: u64,
    /// Frames that arrived as expected.
    pub arrived: u64,
    /// Frames as expected per second, while the generator was in full swing.
    pub rate: f64,
    /// Frames made per second.
    pub offered: f64,
}

/// The two ends.
pub struct Ends {
    generators: [Generator; 2],
    sinks: [Option<Sink>; 2],
}

impl Ends {
    /// A generator and a sink on both interfaces.
    pub fn open() -> Result<Self, Error> {
        let everything = SinkPlan { ends_others: true, ..SinkPlan::default() };
        let [first, second] = END_DEVICES;
        Ok(Self {
            sinks: [Some(Sink::attach(first, &everything)?), Some(Sink::attach(second, &everything)?)],
            generators: [Generator::open(first, Mode::Live)?, Generator::open(second, Mode::Live)?],
        })
    }

    /// Sends `frames` frames by `plan`, and counts what arrives until nothing more does.
    pub fn run(&mut self, plan: &Plan, frames: u32) -> Result<Run, Error> {
        self.expect(plan, false)?;
        self.once(plan, frames)
    }

    /// The same with stamps: how long frames took.
    pub fn time(&mut self, plan: &Plan, frames: u32) -> Result<(Run, Histogram), Error> {
        let mut plan = plan.clone();
        plan.profile.stamp = Some(RUN);
        // A new sink begins with an empty histogram.
        let [_, sink] = &mut self.sinks;
        *sink = None;
        *sink = Some(Sink::attach(END_DEVICES[1], &SinkPlan::default())?);
        self.expect(&plan, true)?;
        let run = self.once(&plan, frames)?;
        let latency = self.sinks[1].as_ref().ok_or("no sink")?.latency()?;
        Ok((run, latency))
    }

    fn once(&mut self, plan: &Plan, frames: u32) -> Result<Run, Error> {
        let before = self.count(plan)?;
        let (samples, sent, took) = self.generate(plan, frames)?;
        let arrived = self.rest(plan)? - before;
        // A run may be too short for windows where the sampler was kept from its core.
        let mean = arrived as f64 / took.as_secs_f64();
        Ok(Run {
            sent,
            arrived,
            rate: rate(&samples).unwrap_or(mean),
            offered: sent as f64 / took.as_secs_f64(),
        })
    }

    /// Tells the sinks what to count.
    fn expect(&mut self, plan: &Plan, measures_latency: bool) -> Result<(), Error> {
        let filter = Filter {
            destination: Some(
                Range::new(plan.arrives_at.into(), 32, [0, u16::MAX]).ok_or("no range of one address")?,
            ),
            protocol: Some(plan.profile.protocol),
        };
        let expected = SinkPlan { filter, ends_others: true, measures_latency, ..SinkPlan::default() };
        for sink in self.sinks.iter_mut().flatten() {
            sink.change(&expected)?;
        }
        Ok(())
    }

    /// Runs the generator, reading the counter meanwhile.
    fn generate(&mut self, plan: &Plan, frames: u32) -> Result<(Vec<Sample>, u64, Duration), Error> {
        let Self { generators, sinks } = self;
        let generator = &mut generators[usize::from(plan.to_client)];
        let done = AtomicBool::new(false);
        let meter = Meter::default();
        let started = Instant::now();
        std::thread::scope(|scope| {
            let sampler = scope.spawn(|| -> Result<Vec<Sample>, Error> {
                let mut samples = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    samples.push((started.elapsed(), count(sinks, plan.elsewhere)?));
                    std::thread::sleep(SAMPLE);
                }
                Ok(samples)
            });
            let pace = Pace { rate: plan.rate, limit: Some(frames.into()) };
            let outcome = generator.send(&plan.profile, pace, &meter);
            done.store(true, Ordering::Relaxed);
            let samples = sampler.join().map_err(|_| "the sampler failed")??;
            let sent = outcome?;
            Ok((samples, sent.frames, sent.took))
        })
    }

    /// Waits until nothing arrives any more.
    fn rest(&self, plan: &Plan) -> Result<u64, Error> {
        let mut last = self.count(plan)?;
        loop {
            std::thread::sleep(QUIET);
            let now = self.count(plan)?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
    }

    fn count(&self, plan: &Plan) -> Result<u64, Error> {
        count(&self.sinks, plan.elsewhere)
    }
}

/// Frames as expected, and others where those count as well.
fn count(sinks: &[Option<Sink>; 2], elsewhere: bool) -> Result<u64, Error> {
    let mut sum = 0;
    for sink in sinks.iter().flatten() {
        let Received { frames, other_frames, .. } = sink.received()?;
        sum += frames + if elsewhere { other_frames } else { 0 };
    }
    Ok(sum)
}

/// Time since the generator was started, and frames that had arrived.
type Sample = (Duration, u64);

/// Frames per second: the median of windows of [`WINDOW`] samples, without the first fifth and the end of the run. What
/// else runs on the machine takes a core away for moments; a median forgets those. None of too few samples.
fn rate(samples: &[Sample]) -> Option<f64> {
    let steady = samples.get(samples.len() / 5..samples.len() * 19 / 20).unwrap_or_default();
    let mut rates: Vec<f64> = steady
        .windows(WINDOW)
        .step_by(WINDOW)
        .filter_map(|window| {
            let ((from, before), (to, after)) = (*window.first()?, *window.last()?);
            Some((after - before) as f64 / (to - from).as_secs_f64())
        })
        .collect();
    (!rates.is_empty()).then(|| median(&mut rates))
}

/// The middle one; zero of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
