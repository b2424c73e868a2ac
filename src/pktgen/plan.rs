//! `struct plan` and `struct progress` of bpf/generate.h, byte by byte.

use std::time::Duration;

use super::order::{Order, Shuffle};
use super::pacer;
use super::sizes::{MAX_PATTERN, MAX_SIZES};
use super::template::{HEADERS, Profile, Template};
use super::tuples::Range;
use crate::tables::Protocol;
use crate::wire::ip::Family;

const SHAPE: usize = HEADERS + 8;
/// Bytes of a plan: shapes, pattern, two ranges, two long words, ten words.
pub(super) const PLAN: usize = MAX_SIZES * SHAPE + MAX_PATTERN + 2 * 16 + 2 * 8 + 10 * 4;
/// Where the word stands that stops the program.
const STOP: usize = PLAN - 8;
/// Bytes of the progress: three long words, four words, two long words.
pub(super) const PROGRESS: usize = 56;

const IS_V6: u32 = 1;
const IS_UDP: u32 = 2;
const IS_SHUFFLED: u32 = 4;

/// Writes fields one behind the other.
struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, field: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.at..self.at + field.len()) {
            room.copy_from_slice(field);
        }
        self.at += field.len();
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.put(&word.to_ne_bytes());
        }
    }

    fn range(&mut self, range: &Range) {
        // 2^32 addresses do not fit the word; nor do as many flows, so one less is never noticed.
        let addresses = u32::try_from(range.addresses()).unwrap_or(u32::MAX);
        self.words(&[range.low_bits(), addresses, range.ports()[0].into(), range.port_count() as u32]);
    }
}

/// What the program is told.
pub(super) fn plan(
    profile: &Profile,
    template: &Template,
    interface: u32,
    rate: Option<f64>,
    limit: Option<u64>,
) -> [u8; PLAN] {
    let mut bytes = [0; PLAN];
    let mut writer = Writer { bytes: &mut bytes, at: 0 };
    for shape in &template.shapes {
        writer.put(&shape.header);
        writer.words(&[shape.length.into(), shape.is_stamped.into()]);
    }
    writer.at = MAX_SIZES * SHAPE;
    writer.put(&template.pattern);
    writer.at = MAX_SIZES * SHAPE + MAX_PATTERN;
    writer.range(&profile.tuples.source);
    writer.range(&profile.tuples.destination);
    writer.put(&limit.unwrap_or(u64::MAX).to_ne_bytes());
    writer.put(&rate.map_or(0, pacer::interval).to_ne_bytes());
    let shuffle = Shuffle::new(profile.tuples.flows);
    let traits = [
        (template.family() == Family::V6, IS_V6),
        (profile.protocol == Protocol::Udp, IS_UDP),
        (profile.order == Order::Random, IS_SHUFFLED),
    ];
    writer.words(&[
        template.pattern.len() as u32,
        profile.sizes.longest().into(),
        profile.tuples.flows,
        interface,
        traits.iter().filter(|(holds, _)| *holds).map(|(_, bit)| bit).sum(),
        profile.stamp.unwrap_or(0).into(),
        shuffle.mask,
        shuffle.shift,
    ]);
    bytes
}

/// The same plan, with the order to stop.
pub(super) fn stopped(mut plan: [u8; PLAN]) -> [u8; PLAN] {
    plan[STOP..STOP + 4].copy_from_slice(&1u32.to_ne_bytes());
    plan
}

/// Frames and bytes that were made.
pub(super) fn made(progress: &[u8; PROGRESS]) -> (u64, u64) {
    (word(progress, 0), word(progress, 8))
}

/// How long it took to make them; zero before the second.
pub(super) fn took(progress: &[u8; PROGRESS]) -> Duration {
    let frames = word(progress, 0);
    let between_ns = word(progress, 48).saturating_sub(word(progress, 40));
    // Behind the last frame there is a gap, too.
    Duration::from_nanos(between_ns).mul_f64(frames as f64 / frames.saturating_sub(1).max(1) as f64)
}

/// The long word at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}
