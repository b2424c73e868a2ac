//! The ten million.

use std::fmt::Write;

use xswitch::dataplane::{BATCH, Verdict};
use xswitch::tables::{DropReason, InterfaceId};

use crate::frames::lab::Lab;
use crate::frames::network::{SWITCH0, SWITCH1};
use crate::frames::{IP, check};
use crate::random::Random;
use crate::{corpus, mutate};

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

/// A data path that lives through everything, and the two configurations it alternates between.
struct Storm {
    lab: Lab,
    spare: xswitch::tables::Snapshot,
    random: Random,
    corpus: Vec<(InterfaceId, Vec<u8>)>,
    witness: Witness,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let [first, spare] = corpus::snapshots();
        Self {
            lab: Lab::with_rows(first, CONNECTIONS, 64),
            spare,
            random: Random::new(seed),
            corpus: corpus::frames(),
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
        let Self { lab, witness, .. } = self;
        let frames = &witness.frames[..size];
        let places: Vec<_> = frames.iter().map(|(ingress, frame)| lab.place(*ingress, frame)).collect();
        let (waited, created) = (lab.waiting(), lab.counters.created.get());
        let mut out = 0;
        let macs = [SWITCH0, SWITCH1];
        lab.run(|verdict, after| {
            out += 1;
            // Fragments wait, and packets leave in pieces: what was not sent now is compared with nothing.
            let place = places.iter().position(|place| *place == after.as_ptr());
            let Some((_, before)) = place.map(|place| &frames[place]) else { return };
            match verdict {
                Verdict::Forward(egress) => forwarded(before, after, macs[egress.index()]),
                Verdict::Reply(egress) => assert_eq!(after[6..12], macs[egress.index()]),
                Verdict::ToKernel | Verdict::Drop(_) => assert_eq!(before, after, "it does not leave"),
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
        assert!(occurred >= 12, "the storm reached only {occurred} reasons to drop");
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
                    let mut storm = Storm::new(seed);
                    storm.rage(FRAMES / THREADS);
                    storm.settle()
                })
            })
            .collect();
        storms.into_iter().map(|storm| storm.join().expect("its batch is printed above")).sum()
    });
    assert_eq!(received, FRAMES);
}
