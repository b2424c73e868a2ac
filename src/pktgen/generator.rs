//! The generator: frames of a [`Profile`] out of one interface, by whichever way suits it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::error::Error;
use super::live::Live;
use super::order::Turns;
use super::pacer::Pacer;
use super::rings::{BURST, Rings};
use super::stamp::Stamp;
use super::template::{Profile, Template};
use crate::sys::{clock, interface};

/// Shorter waits are spun.
const SLEEP_NS: u64 = 200_000;
/// How long frames that were staged may take to leave.
const DRAIN: Duration = Duration::from_secs(1);

/// How frames get out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An XDP program makes and redirects them: fastest into software devices.
    Live,
    /// AF_XDP transmission: for adapters, and for every device that can do nothing else.
    Xsk,
}

impl Mode {
    /// What suits the interface: live frames for software devices.
    pub fn of(name: &str) -> Self {
        if interface::is_hardware(name) { Self::Xsk } else { Self::Live }
    }
}

/// How fast and how much.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    /// Frames per second; none = as fast as it goes.
    pub rate: Option<f64>,
    /// Frames in all; none = until the meter says stop.
    pub limit: Option<u64>,
}

/// How far a run is, to be read by other threads, and how they stop it.
#[derive(Debug, Default)]
pub struct Meter {
    sent: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Meter {
    /// Frames made so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes of those.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends the run soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, sent: u64, bytes: u64) {
        self.sent.store(sent, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sent {
    /// Frames that were made.
    pub frames: u64,
    /// Bytes of those, without check sequences.
    pub bytes: u64,
    /// Of those, frames that the interface did not take, as far as it counts them (`tx_dropped`, and full queues in xsk mode).
    pub lost: u64,
    /// Frames that the interface counted as sent meanwhile, by whomever.
    pub interface_sent: u64,
    /// How long it took, from the first frame to the last.
    #[serde(skip)]
    pub took: Duration,
}

enum Way {
    Live(Box<Live>),
    Xsk(Box<Rings>),
}

/// Sends out of one interface.
pub struct Generator {
    interface: String,
    way: Way,
}

impl Generator {
    /// Opens the interface. [`Mode::Live`] needs Linux 5.18 and a device that takes redirected frames: of a veth pair, the
    /// other end must have an XDP program or GRO.
    pub fn open(name: &str, mode: Mode) -> Result<Self, Error> {
        let index = index(name)?;
        let way = match mode {
            Mode::Live => Way::Live(Box::new(Live::open(index)?)),
            Mode::Xsk => Way::Xsk(Box::new(Rings::open(name, Some(1))?)),
        };
        Ok(Self { interface: name.to_owned(), way })
    }

    /// Sends until the limit of `pace` is reached or `meter` says stop. Blocks, and keeps the processor busy: run it on a
    /// thread with a core of its own.
    pub fn send(&mut self, profile: &Profile, pace: Pace, meter: &Meter) -> Result<Sent, Error> {
        check(&self.interface, profile.sizes.longest())?;
        let template = Template::new(profile).map_err(|error| Error::Input(error.to_string()))?;
        let before = Statistics::of(&self.interface);
        let started = Instant::now();
        let former = if let Way::Xsk(rings) = &self.way { rings.not_sent(0) } else { 0 };
        let took = match &mut self.way {
            Way::Live(live) => live.send(profile, &template, pace, meter)?,
            Way::Xsk(rings) => {
                send_through(rings, profile, &template, pace, meter);
                let took = started.elapsed();
                drain(rings);
                took
            }
        };
        let after = Statistics::of(&self.interface);
        let dropped = after.dropped.saturating_sub(before.dropped);
        let lost = match &self.way {
            Way::Live(_) => dropped,
            Way::Xsk(rings) => rings.not_sent(0).saturating_sub(former).max(dropped),
        };
        Ok(Sent {
            frames: meter.sent(),
            bytes: meter.bytes(),
            lost,
            interface_sent: after.sent.saturating_sub(before.sent),
            took,
        })
    }
}

/// The kernel's statistics of an interface.
pub(super) struct Statistics {
    pub sent: u64,
    pub dropped: u64,
}

impl Statistics {
    pub fn of(name: &str) -> Self {
        Self {
            sent: interface::statistic(name, "tx_packets"),
            dropped: interface::statistic(name, "tx_dropped"),
        }
    }
}

/// The kernel's number of the interface, which must be there and up.
pub(super) fn index(name: &str) -> Result<u32, Error> {
    let index = interface::index(name).ok_or_else(|| {
        Error::Input(format!("there is no interface {name} here; `ip link` lists those that there are"))
    })?;
    if !interface::is_up(name) {
        return Err(Error::Input(format!("{name} is down: `ip link set dev {name} up`")));
    }
    Ok(index)
}

/// Whether frames of this length pass.
pub fn check(name: &str, longest: u16) -> Result<(), Error> {
    let needed = u32::from(longest) - 14;
    match interface::mtu(name) {
        Some(mtu) if mtu < needed => Err(Error::Input(format!(
            "frames of {longest} bytes need an MTU of {needed}, and {name} has {mtu}: \
             `ip link set dev {name} mtu {needed}`, or send smaller ones (--size)"
        ))),
        _ => Ok(()),
    }
}

fn send_through(rings: &mut Rings, profile: &Profile, template: &Template, pace: Pace, meter: &Meter) {
    let mut pacer = Pacer::new(pace.rate, clock::monotonic_ns());
    let mut turns = Turns::new(profile.order, profile.tuples.flows);
    let (mut sent, mut bytes) = (0, 0);
    let mut pattern = template.pattern.iter().cycle();
    while !meter.is_stopped() {
        let left = pace.limit.map_or(u64::MAX, |limit| limit - sent);
        if left == 0 {
            break;
        }
        let now_ns = clock::monotonic_ns();
        let due = pacer.take(now_ns, left.min(BURST as u64) as u32);
        let mut done = 0;
        while done < due {
            let Some(mut frame) = rings.take() else { break };
            let (flow, round) = turns.take();
            let shape = pattern.next().and_then(|at| template.shapes.get(usize::from(*at)));
            if let Some(shape) = shape.filter(|shape| frame.resize(shape.length.into())) {
                let run = profile.stamp.unwrap_or(0);
                let stamp = Stamp { run, round: round as u16, sequence: sent, time_ns: now_ns };
                template.write(shape, flow, &stamp, frame.bytes_mut());
                bytes += u64::from(shape.length);
            }
            sent += 1;
            done += 1;
            rings.transmit(frame);
        }
        pacer.give_back(due - done);
        rings.flush();
        meter.set(sent, bytes);
        idle(&pacer, due);
    }
    meter.set(sent, bytes);
}

/// Sleeps where it is worth it until the next frame is due.
pub(super) fn idle(pacer: &Pacer, due: u32) {
    let wait = pacer.wait_ns(clock::monotonic_ns());
    if due == 0 && wait > SLEEP_NS {
        std::thread::sleep(Duration::from_nanos((wait - SLEEP_NS / 2).min(10_000_000)));
    }
}

/// Sends what is staged, for a second at the most.
pub(super) fn drain(rings: &mut Rings) {
    let started = Instant::now();
    while !rings.is_drained() && started.elapsed() < DRAIN {
        rings.flush();
    }
}
