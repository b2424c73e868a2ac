//! The XDP program and the generator in user space make the same frames. These need root.

use super::*;
use crate::pktgen::order::{Order, Turns};
use crate::pktgen::stamp::Stamp;
use crate::pktgen::tuples::Tuples;
use crate::tables::Protocol;
use crate::wire::tcp::Flags;

fn profile(source: &str, destination: &str, protocol: Protocol, sizes: &str, order: Order) -> Profile {
    Profile {
        to: [2, 0, 0, 0, 0, 1],
        from: [2, 0, 0, 0, 0, 2],
        tuples: Tuples::new(source.parse().unwrap(), destination.parse().unwrap(), 40).unwrap(),
        protocol,
        flags: Flags::ACK,
        sizes: sizes.parse().unwrap(),
        order,
        stamp: Some(0xBEEF),
    }
}

/// Where a stamp's time lies, which no two clocks agree on: as the offset of the stamp.
fn stamp_at(frame: &[u8]) -> Option<usize> {
    frame.windows(4).position(|bytes| bytes == [0x78, 0x57, 0xBE, 0xEF])
}

fn assert_same_frames(profile: &Profile) {
    let template = Template::new(profile).unwrap();
    let mut turns = Turns::new(profile.order, profile.tuples.flows);
    let made = Live::open(1).unwrap().sample(profile, 100).unwrap();
    for (sequence, theirs) in made.into_iter().enumerate() {
        let shape = &template.shapes[usize::from(template.pattern[sequence % template.pattern.len()])];
        let (flow, round) = turns.take();
        let read = stamp_at(&theirs).and_then(|at| Stamp::read(&theirs[at..]));
        let time_ns = read.map_or(0, |stamp| stamp.time_ns);
        let stamp = Stamp { run: 0xBEEF, round: round as u16, sequence: sequence as u64, time_ns };
        let mut ours = vec![0; shape.length.into()];
        template.write(shape, flow, &stamp, &mut ours);
        assert_eq!(theirs, ours, "frame {sequence}");
        assert_eq!(read, shape.is_stamped.then_some(stamp));
    }
}

#[test]
fn kernel_and_user_space_make_the_same_frames() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        for order in [Order::Sequential, Order::Random] {
            for sizes in ["60", "imix", "100,200:3"] {
                let (source, destination) = ("198.19.0.0/30:1024-1028", "198.18.0.100/31:80-81");
                assert_same_frames(&profile(source, destination, protocol, sizes, order));
            }
            let (source, destination) = ("[2001:db8::/126]:1024-1028", "[2001:db8:1::1]:80-81");
            assert_same_frames(&profile(source, destination, protocol, "128,74", order));
        }
    }
}

#[test]
fn without_a_stamp_the_payload_is_empty() {
    let with = profile("198.19.0.0/26:9", "198.18.0.100:80", Protocol::Udp, "100", Order::Sequential);
    let without = Profile { stamp: None, ..with };
    for frame in Live::open(1).unwrap().sample(&without, 50).unwrap() {
        assert!(frame[42..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_limit_ends_the_run_and_nothing_is_sent_beyond_it() {
    let profile = profile("198.19.0.0/26:9", "198.18.0.100:80", Protocol::Udp, "60", Order::Sequential);
    let template = Template::new(&profile).unwrap();
    // To an interface that there is not: frames are made, and end there.
    let mut live = Live::open(0x7FFF_FFF0).unwrap();
    for pace in [Pace { rate: None, limit: Some(1_234) }, Pace { rate: Some(50_000.0), limit: Some(1_234) }] {
        let meter = Meter::default();
        live.send(&profile, &template, pace, &meter).unwrap();
        assert_eq!((meter.sent(), meter.bytes()), (1_234, 1_234 * 60));
    }
}

#[test]
fn few_frames_leave_together_at_low_rates() {
    assert_eq!(
        [batch(Some(100.0)), batch(Some(1e5)), batch(Some(2e6)), batch(Some(1e9)), batch(None)],
        [1, 1, 4, 64, 64]
    );
}
