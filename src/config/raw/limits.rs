//! `[service.limits]`.

use std::ops::Range;

use crate::config::reader::{Field, Reader};
use crate::tables::limits::LONGEST_BURST_MS;

/// `[service.limits]`.
#[derive(Debug)]
pub(in crate::config) struct Limits {
    pub heading: Range<usize>,
    pub new_connections_per_s: Field<u32>,
    pub packets_per_s: Field<u32>,
    pub bits_per_s: Field<u64>,
    pub client_new_connections_per_s: Field<u32>,
    pub client_packets_per_s: Field<u32>,
    pub client_connections: Field<u32>,
    pub burst_ms: Field<u32>,
}

impl Limits {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        // More than one switch can forward.
        const MOST_PER_S: i64 = 1_000_000_000;
        const MOST_BITS_PER_S: i64 = 1_000_000_000_000;
        // What the buckets of clients can tell apart.
        const MOST_OF_A_CLIENT: i64 = 1_000_000;
        Self {
            heading: table.span(),
            new_connections_per_s: table.integer("new_connections_per_s", 0..=MOST_PER_S).or(0),
            packets_per_s: table.integer("packets_per_s", 0..=MOST_PER_S).or(0),
            bits_per_s: table.integer("bits_per_s", 0..=MOST_BITS_PER_S).or(0),
            client_new_connections_per_s: table
                .integer("client_new_connections_per_s", 0..=MOST_OF_A_CLIENT)
                .or(0),
            client_packets_per_s: table.integer("client_packets_per_s", 0..=MOST_OF_A_CLIENT).or(0),
            client_connections: table.integer("client_connections", 0..=MOST_OF_A_CLIENT).or(0),
            burst_ms: table.integer("burst_ms", 1..=i64::from(LONGEST_BURST_MS)).or(1000),
        }
    }
}
