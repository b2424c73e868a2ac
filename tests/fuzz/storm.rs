//! The ten million.

use std::fmt::Write;

use xswitch::dataplane::{BATCH, Verdict};
use xswitch::tables::{DropReason, InterfaceId};

use crate::frames::lab::Lab;
use crate::frames::network::{SWITCH0, SWITCH1};
use crate::frames::{IP, check};
use crate::random::Random;
use crate::{corpus, modes, mutate, sound};

const FRAMES: u64 = 10_000_000;
const THREADS: u64 = 2;
/// Small enough to be full most of the time.
const CONNECTIONS: u32 = 192;
/// Batches between two reloads.
const RELOAD: u64 = 997;

/// The batch on its way. Printed when something panics, in the form of a file in `crashes/`.
struct Witness {
    seed: u64,
    frames: Vec<(InterfaceId, Vec<u8>)>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut text = format!("# seed {}, the last batch:\n", self.seed);
            for (ingress, frame) in &self.frames {
                let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
                let _ = writeln!(text, "{} {hex}", ingress.0);
            }
            eprintln!("{text}");
        }
    }
}

/// Where a storm takes its frames from, and what must hold of those that leave.
struct Sea {
    snapshots: [xswitch::tables::Snapshot; 2],
    frames: Vec<(InterfaceId, Vec<u8>)>,
    /// Bytes in front of frames that arrive.
    rooms: &'static [usize],
    /// Looks at a frame that leaves, and at what it was where that is known.
    judge: fn(Verdict, Option<&[u8]>, &[u8]),
    /// No fewer reasons to drop than these must occur.
    reasons: usize,
}

impl Sea {
    /// NAT over IPv4.
    fn of_nat() -> Self {
        let (snapshots, frames) = (corpus::snapshots(), corpus::frames());
        Self { snapshots, frames, rooms: &[0], judge: judge_nat, reasons: 12 }
    }

    /// Every mode, in both families, behind VLAN tags.
    fn of_every_mode() -> Self {
        let (snapshots, frames) = (modes::snapshots(), modes::frames());
        Self { snapshots, frames, rooms: &modes::ROOMS, judge: judge_any, reasons: 18 }
    }
}

fn judge_nat(verdict: Verdict, before: Option<&[u8]>, after: &[u8]) {
    let macs = [SWITCH0, SWITCH1];
    match (verdict, before) {
        (Verdict::Forward(egress), Some(before)) => forwarded(before, after, macs[egress.index()]),
        (Verdict::Reply(egress), _) => assert_eq!(after[6..12], macs[egress.index()]),
        _ => {}
    }
}

fn judge_any(verdict: Verdict, _: Option<&[u8]>, after: &[u8]) {
    if let Verdict::Forward(egress) | Verdict::Reply(egress) = verdict {
        assert_eq!(after[6..12], [SWITCH0, SWITCH1][egress.index()], "its source MAC address");
        let (at, _) = sound::link(after).expect("an Ethernet header");
        assert_eq!(at, [18, 22][egress.index()], "the tags of its way out");
        sound::assert_sound(after);
    }
}

/// A data path that lives through everything, and the two configurations it alternates between.
struct Storm {
    lab: Lab,
    spare: xswitch::tables::Snapshot,
    random: Random,
    corpus: Vec<(InterfaceId, Vec<u8>)>,
    witness: Witness,
    judge: fn(Verdict, Option<&[u8]>, &[u8]),
    rooms: &'static [usize],
    reasons: usize,
}

impl Storm {
    fn new(seed: u64, sea: Sea) -> Self {
        let [first, spare] = sea.snapshots;
        Self {
            lab: Lab::with_rows(first, CONNECTIONS, 128),
            spare,
            random: Random::new(seed),
            corpus: sea.frames,
            judge: sea.judge,
            rooms: sea.rooms,
            reasons: sea.reasons,
            witness: Witness { seed, frames: vec![(InterfaceId(0), Vec::new()); BATCH] },
        }
    }

    fn rage(&mut self, frames: u64) {
        let mut sent = 0;
        for batch in 1.. {
            if sent == frames {
                break;
            }
            if batch % RELOAD == 0 {
                std::mem::swap(&mut self.lab.snapshot, &mut self.spare);
            }
            let size = BATCH.min((frames - sent) as usize);
            self.lab.room = *self.random.pick(self.rooms);
            self.make(size);
            self.send(size);
            self.lab.pass(self.random.below(400) as u64);
            sent += size as u64;
        }
    }

    /// A third of the frames are whole, so that there is something to damage.
    fn make(&mut self, size: usize) {
        let Self { random, corpus, witness, .. } = self;
        for (ingress, frame) in &mut witness.frames[..size] {
            let (interface, whole) = random.pick(corpus);
            *ingress = *interface;
            frame.clear();
            frame.extend_from_slice(whole);
            if !random.one_in(3) {
                let (_, other) = random.pick(corpus);
                mutate::damage(frame, other, random);
            }
        }
    }

    fn send(&mut self, size: usize) {
        let Self { lab, witness, judge, .. } = self;
        let frames = &witness.frames[..size];
        let places: Vec<_> = frames.iter().map(|(ingress, frame)| lab.place(*ingress, frame)).collect();
        let (waited, created) = (lab.waiting(), lab.counters.created.get());
        let mut out = 0;
        lab.run(|verdict, after| {
            out += 1;
            // Fragments wait, and packets leave in pieces: what was not sent now is compared with nothing.
            let place = places.iter().position(|place| *place == after.as_ptr());
            let before = place.map(|place| frames[place].1.as_slice());
            judge(verdict, before, after);
            if let (Verdict::ToKernel | Verdict::Drop(_), Some(before)) = (verdict, before) {
                assert_eq!(before, after, "it does not leave");
            }
        });
        let made = (lab.counters.created.get() - created) as usize;
        assert_eq!(out + lab.waiting(), size + waited + made, "as many come out as went in");
    }

    /// Everything that was ever counted or remembered comes to an end.
    fn settle(mut self) -> u64 {
        for _ in 0..2000 {
            self.lab.pass(10_000);
        }
        for _ in 0..4 {
            self.lab.run(|_, _| {});
        }
        assert_eq!(self.lab.waiting(), 0);
        let counters = &self.lab.counters;
        assert_eq!(counters.connections_new.get(), counters.connections_closed.get());
        assert_eq!((counters.connections_active.get(), self.lab.flows.tables().references()), (0, 0));
        let occurred = DropReason::ALL.iter().filter(|reason| counters.dropped(**reason).get() > 0).count();
        assert!(occurred >= self.reasons, "the storm reached only {occurred} reasons to drop");
        let forwarded = counters.forwarded.get() as f64 / counters.received.get() as f64;
        assert!(forwarded > 0.05, "the storm got only {forwarded:.3} of its frames through");
        counters.received.get()
    }
}

/// What leaves is what came, but for MAC addresses, TTL, addresses, ports and checksums; and these are right.
fn forwarded(before: &[u8], after: &[u8], mac: [u8; 6]) {
    assert_eq!(before.len(), after.len(), "its length");
    assert_eq!(after[6..12], mac, "its source MAC address");
    assert_eq!(after[IP + 8], before[IP + 8] - 1, "its time to live");
    assert!(check::ip_checksum_is_right(after), "its IP checksum");
    let is_piece = before[IP + 6] & 0x3F != 0 || before[IP + 7] != 0;
    assert!(is_piece || check::transport_checksum_is_right(after), "its TCP or UDP checksum");
    let transport = IP + usize::from(before[IP] & 15) * 4;
    assert_eq!(before[12..IP + 8], after[12..IP + 8], "its IP header before the TTL");
    assert_eq!(before[IP + 20..transport], after[IP + 20..transport], "its IP options");
    let payload = transport + if before[IP + 9] == 6 { 18 } else { 8 };
    assert_eq!(before[payload..], after[payload..], "its payload");
}

#[test]
fn ten_million_damaged_frames() {
    let received: u64 = std::thread::scope(|scope| {
        let storms: Vec<_> = (1..=THREADS)
            .map(|seed| {
                scope.spawn(move || {
                    let sea = if seed % 2 == 0 { Sea::of_every_mode() } else { Sea::of_nat() };
                    let mut storm = Storm::new(seed, sea);
                    storm.rage(FRAMES / THREADS);
                    storm.settle()
                })
            })
            .collect();
        storms.into_iter().map(|storm| storm.join().expect("its batch is printed above")).sum()
    });
    assert_eq!(received, FRAMES);
}
