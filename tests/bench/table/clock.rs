//! How long something takes: by the wall, and by what the kernel says that this thread computed meanwhile.

use std::hint::black_box;
use std::time::Instant;

use crate::frames::Error;
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of one stretch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lap {
    pub wall: u64,
    /// Without other threads of this system. What a hypervisor takes away is in it.
    pub cpu: u64,
}

/// Times `work`. Reading both clocks is about 0.5 µs of `cpu`, of `wall` 0.03 µs.
pub fn lap(work: impl FnOnce()) -> Lap {
    let cpu = thread_ns();
    let wall = Instant::now();
    work();
    let wall = wall.elapsed().as_nanos() as u64;
    Lap { wall, cpu: thread_ns() - cpu }
}

fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Keeps the processor busy for about `ns` with nothing that could miss a cache.
pub fn spin(rounds: u64) {
    let mut value = 1u64;
    for _ in 0..rounds {
        value = black_box(value.wrapping_mul(3) ^ 5);
    }
}

/// Rounds of [`spin`] that take about `ns`.
pub fn rounds_for(ns: u64) -> u64 {
    const TRIED: u64 = 1_000_000;
    let took = (0..5).map(|_| lap(|| spin(TRIED)).wall).min().unwrap_or(1).max(1);
    ns * TRIED / took
}

/// Many laps of the same thing.
#[derive(Debug, Clone, Default)]
pub struct Laps {
    wall: Vec<u32>,
    cpu: Vec<u32>,
}

impl Laps {
    pub fn add(&mut self, lap: Lap) {
        self.wall.push(lap.wall as u32);
        self.cpu.push(lap.cpu as u32);
    }

    /// Keeps of each lap whichever was faster, here or in `other`, which are the same laps once more.
    pub fn keep_faster(&mut self, other: &Self) -> Result<(), Error> {
        if self.len() != other.len() {
            return Err(format!("{} laps, then {}", self.len(), other.len()).into());
        }
        self.wall.iter_mut().zip(&other.wall).for_each(|(lap, other)| *lap = (*lap).min(*other));
        self.cpu.iter_mut().zip(&other.cpu).for_each(|(lap, other)| *lap = (*lap).min(*other));
        Ok(())
    }

    pub fn append(&mut self, other: Self) {
        self.wall.extend(other.wall);
        self.cpu.extend(other.cpu);
    }

    pub fn len(&self) -> usize {
        self.wall.len()
    }

    /// Microseconds: of the wall below which this share of all laps lies.
    pub fn wall_us(&mut self, share: f64) -> f64 {
        quantile(&mut self.wall, share)
    }

    /// The same of the thread's own time.
    pub fn thread_us(&mut self, share: f64) -> f64 {
        quantile(&mut self.cpu, share)
    }

    /// Laps that took longer than so many microseconds, by the wall.
    pub fn longer(&self, us: u32) -> usize {
        self.wall.iter().filter(|ns| **ns > us * 1000).count()
    }
}

fn quantile(values: &mut [u32], share: f64) -> f64 {
    values.sort_unstable();
    let position = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    f64::from(values.get(position).copied().unwrap_or(0)) / 1000.0
}

/// The middle of some figures.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
