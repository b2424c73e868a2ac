//! Generator for software devices: an XDP program that the kernel runs over frames of its own making
//! (`BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18, net/bpf/test_run.c) and that redirects each out of
//! the interface. No frame ever sees user space.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aya::maps::{Array, MapData};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions};

use super::error::{Error, os_error};
use super::generator::{Meter, Pace};
use super::plan::{self, PLAN, PROGRESS};
use super::programs::Programs;
use super::template::{Profile, Template};
use crate::sys::interrupt::Interrupt;

/// Frames per call at the most: each call takes some 25 ms to be set up, so there is one as long as the run is.
const PER_CALL: u32 = u32::MAX;
/// Frames that leave together when nothing holds them back.
const BATCH: u32 = 64;
/// Frames of one batch are made within so many seconds; the first waits for the last.
const BATCH_SECONDS: f64 = 2e-6;
/// How often progress is read and the order to stop passed on.
const LOOK: Duration = Duration::from_millis(10);
const INTERRUPTED: i32 = 4;

/// The generator of one interface.
pub(super) struct Live {
    programs: Programs,
    plan: Array<MapData, [u8; PLAN]>,
    progress: Array<MapData, [u8; PROGRESS]>,
    interface: u32,
}

impl Live {
    /// For the interface with this index.
    pub fn open(interface: u32) -> Result<Self, Error> {
        let mut programs = Programs::load("generate")?;
        let (plan, progress) = (programs.map("plan")?, programs.map("progress")?);
        Ok(Self { programs, plan, progress, interface })
    }

    /// Sends until the limit is reached or the meter says stop. How long that took, from the first frame to the last.
    pub fn send(
        &mut self,
        profile: &Profile,
        template: &Template,
        pace: Pace,
        meter: &Meter,
    ) -> Result<Duration, Error> {
        let bytes = plan::plan(profile, template, self.interface, pace.rate, pace.limit);
        self.begin(bytes)?;
        let finished = AtomicBool::new(false);
        let Self { programs, plan, progress, .. } = self;
        let progress = &*progress;
        let caller = Interrupt::here();
        let outcome = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !finished.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                    let is_done = Some(read(progress, meter)) == pace.limit;
                    if meter.is_stopped() {
                        let _ = plan.set(0, plan::stopped(bytes), 0);
                    }
                    // The rest of the call would make frames and throw them away.
                    if is_done || meter.is_stopped() {
                        caller.ring();
                    }
                }
            });
            let outcome = run(programs, profile.sizes.longest(), pace, progress, meter);
            finished.store(true, Ordering::Relaxed);
            let _ = watcher.join();
            outcome
        });
        read(progress, meter);
        outcome?;
        progress.get(&0, 0).map_or(Ok(Duration::ZERO), |bytes| Ok(plan::took(&bytes)))
    }

    fn begin(&mut self, bytes: [u8; PLAN]) -> Result<(), Error> {
        let failed = |error: &dyn std::error::Error| Error::from_source("XDP map `plan`", error);
        self.plan.set(0, bytes, 0).map_err(|error| failed(&error))?;
        self.progress.set(0, [0; PROGRESS], 0).map_err(|error| failed(&error))
    }

    /// The next frames as the program makes them, one by one, sent nowhere: for tests.
    #[cfg(test)]
    pub fn sample(&mut self, profile: &Profile, count: usize) -> Result<Vec<Vec<u8>>, Error> {
        let template = Template::new(profile).map_err(|error| Error::Input(error.to_string()))?;
        self.begin(plan::plan(profile, &template, self.interface, None, None))?;
        let program = self.programs.program("generate")?;
        let input = vec![0; profile.sizes.longest().into()];
        (0..count)
            .map(|_| {
                let mut out = vec![0xEE; input.len() + 64];
                let options = TestRunOptions {
                    data_in: Some(&input),
                    data_out: Some(&mut out),
                    ..TestRunOptions::new()
                };
                let result = program.test_run(options).map_err(|error| Error::from_source("test", &error))?;
                assert_eq!(result.return_value, 4, "XDP_REDIRECT");
                out.truncate(result.data_size_out as usize);
                Ok(out)
            })
            .collect()
    }
}

/// Calls the kernel until everything is made.
fn run(
    programs: &Programs,
    longest: u16,
    pace: Pace,
    progress: &Array<MapData, [u8; PROGRESS]>,
    meter: &Meter,
) -> Result<(), Error> {
    let program = programs.program("generate")?;
    let input = vec![0; longest.into()];
    while !meter.is_stopped() {
        let left = pace.limit.map(|limit| limit.saturating_sub(read(progress, meter)));
        if left == Some(0) {
            return Ok(());
        }
        let mut options = TestRunOptions::new();
        options.data_in = Some(&input);
        // Whoever is paced gives frames back that are not due: their number is not known beforehand.
        options.repeat = match (pace.rate, left) {
            (None, Some(left)) => u32::try_from(left).unwrap_or(PER_CALL),
            _ => PER_CALL,
        };
        options.attrs = TestRunAttrs::new().xdp_live_frames(batch(pace.rate));
        match program.test_run(options) {
            Ok(_) => {}
            // A signal: whether to go on is for others to say.
            Err(error) if os_error(&error) == Some(INTERRUPTED) => {}
            Err(error) => {
                let what = "cannot send live frames (they need Linux 5.18; `--mode xsk` does not)";
                return Err(Error::from_source(what, &error));
            }
        }
    }
    Ok(())
}

/// Frames that leave together: as few as the rate allows.
fn batch(rate: Option<f64>) -> u32 {
    rate.map_or(BATCH, |rate| ((rate * BATCH_SECONDS) as u32).clamp(1, BATCH))
}

fn read(progress: &Array<MapData, [u8; PROGRESS]>, meter: &Meter) -> u64 {
    let (frames, bytes) =
        progress.get(&0, 0).map_or_else(|_| (meter.sent(), meter.bytes()), |bytes| plan::made(&bytes));
    meter.set(frames, bytes);
    frames
}

#[cfg(test)]
mod tests;
