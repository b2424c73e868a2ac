//! Frames of a capture, sent again.

use std::time::Instant;

use super::error::Error;
use super::generator::{Meter, Sent, Statistics, drain, idle, index};
use super::pacer::Pacer;
use super::rings::{BURST, Rings};
use crate::sys::clock;
use crate::xsk::memory::CHUNK;

/// The longest frame that one chunk of packet memory sends.
pub const LONGEST: usize = CHUNK - 512;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When it was captured, in nanoseconds from the first.
    pub after_ns: u64,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// When frames are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Timing {
    /// At a constant rate, or as fast as it goes.
    Rate(Option<f64>),
    /// As they were captured, so many times as fast.
    Captured(f64),
}

/// Which frame is due when: over `rounds` rounds, each as long as the capture.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start_ns: u64,
    /// From the start of one round to that of the next: the capture with one mean gap behind its last frame.
    round_ns: u64,
    speed: f64,
}

impl Schedule {
    fn new(frames: &[Recorded], speed: f64, start_ns: u64) -> Self {
        let length = frames.last().map_or(0, |last| last.after_ns);
        let gap = length / (frames.len() as u64 - 1).max(1);
        Self { start_ns, round_ns: length + gap, speed }
    }

    fn due_ns(&self, round: u64, frame: &Recorded) -> u64 {
        self.start_ns + ((round * self.round_ns + frame.after_ns) as f64 / self.speed) as u64
    }
}

/// Sends `frames` `rounds` times out of `name`. They are at most [`LONGEST`] bytes long and in the order of time.
pub fn replay(
    name: &str,
    frames: &[Recorded],
    timing: Timing,
    rounds: u64,
    meter: &Meter,
) -> Result<Sent, Error> {
    index(name)?;
    if frames.is_empty() {
        return Err(Error::Input("the capture holds no frame that can be sent".into()));
    }
    let mut rings = Rings::open(name, Some(1))?;
    let before = Statistics::of(name);
    let started = Instant::now();
    let start_ns = clock::monotonic_ns();
    let mut run = Run { rings: &mut rings, meter, frames: 0, bytes: 0 };
    match timing {
        Timing::Rate(rate) => run.at_rate(frames, Pacer::new(rate, start_ns), rounds),
        Timing::Captured(speed) => run.as_captured(frames, Schedule::new(frames, speed, start_ns), rounds),
    }
    let took = started.elapsed();
    drain(run.rings);
    let after = Statistics::of(name);
    Ok(Sent {
        frames: meter.sent(),
        bytes: meter.bytes(),
        lost: rings.not_sent(after.dropped.saturating_sub(before.dropped)),
        interface_sent: after.sent.saturating_sub(before.sent),
        took,
    })
}

struct Run<'a> {
    rings: &'a mut Rings,
    meter: &'a Meter,
    frames: u64,
    bytes: u64,
}

impl Run<'_> {
    fn at_rate(&mut self, frames: &[Recorded], mut pacer: Pacer, rounds: u64) {
        let mut left = rounds.saturating_mul(frames.len() as u64);
        let mut next = frames.iter().cycle();
        while left > 0 && !self.meter.is_stopped() {
            let due = pacer.take(clock::monotonic_ns(), left.min(BURST as u64) as u32);
            for frame in next.by_ref().take(due as usize) {
                self.send(frame);
            }
            left -= u64::from(due);
            self.settle();
            idle(&pacer, due);
        }
    }

    fn as_captured(&mut self, frames: &[Recorded], schedule: Schedule, rounds: u64) {
        for round in 0..rounds {
            for frame in frames {
                let due_ns = schedule.due_ns(round, frame);
                if clock::monotonic_ns() < due_ns {
                    self.settle();
                    self.wait_for(due_ns);
                }
                if self.meter.is_stopped() {
                    return;
                }
                self.send(frame);
                if self.frames.is_multiple_of(BURST as u64) {
                    self.settle();
                }
            }
        }
        self.settle();
    }

    /// Sleeps, then spins.
    fn wait_for(&self, due_ns: u64) {
        while !self.meter.is_stopped() {
            let Some(wait) = due_ns.checked_sub(clock::monotonic_ns()).filter(|wait| *wait > 0) else {
                return;
            };
            if wait > 200_000 {
                std::thread::sleep(std::time::Duration::from_nanos((wait - 100_000).min(10_000_000)));
            }
        }
    }

    fn send(&mut self, frame: &Recorded) {
        // All are out: those that were sent come back.
        let mut room = self.rings.take();
        while room.is_none() && !self.meter.is_stopped() {
            self.rings.flush();
            room = self.rings.take();
        }
        let Some(mut room) = room else { return };
        if room.fill(&frame.bytes) {
            self.rings.transmit(room);
            self.frames += 1;
            self.bytes += frame.bytes.len() as u64;
        } else {
            self.rings.give_back(room);
        }
    }

    fn settle(&mut self) {
        self.rings.flush();
        self.meter.set(self.frames, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(times: &[u64]) -> Vec<Recorded> {
        times.iter().map(|after_ns| Recorded { after_ns: *after_ns, bytes: vec![0; 60] }).collect()
    }

    #[test]
    fn rounds_follow_each_other_at_the_distance_of_frames() {
        let frames = frames(&[0, 100, 300]);
        let due = |speed: f64| {
            let schedule = Schedule::new(&frames, speed, 1000);
            let due = |round| frames.iter().map(move |frame| schedule.due_ns(round, frame));
            (0..2).flat_map(due).collect::<Vec<_>>()
        };
        assert_eq!(due(1.0), [1000, 1100, 1300, 1450, 1550, 1750]);
        assert_eq!(due(2.0), [1000, 1050, 1150, 1225, 1275, 1375]);
    }

    #[test]
    fn a_single_frame_is_due_at_once_every_time() {
        let frames = frames(&[0]);
        let schedule = Schedule::new(&frames, 1.0, 7);
        assert_eq!((schedule.due_ns(0, &frames[0]), schedule.due_ns(5, &frames[0])), (7, 7));
    }
}
