//! `[service.limits]`.

use crate::tables::{self, Dscp, Rate};

/// `[service.limits]`: 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New connections per second, of all clients together.
    pub new_connections_per_s: u32,
    /// Packets from clients per second.
    pub packets_per_s: u32,
    /// Bits per second in each direction, Ethernet header included.
    pub bits_per_s: u64,
    /// New connections per second of each client.
    pub client_new_connections_per_s: u32,
    /// Packets per second of each client.
    pub client_packets_per_s: u32,
    /// Connections that a client may have open at a time.
    pub client_connections: u32,
    /// What so many milliseconds bring may come at once.
    pub burst_ms: u32,
}

impl Limits {
    /// The rules that workers follow.
    pub fn rules(limits: Option<&Self>, dscp: Option<Dscp>) -> tables::Limits {
        let Some(limits) = limits else { return tables::Limits { dscp, ..tables::Limits::default() } };
        let rate = |per_s: u32| Rate::of(u64::from(per_s), limits.burst_ms);
        tables::Limits {
            opened: rate(limits.new_connections_per_s),
            packets: rate(limits.packets_per_s),
            bits: Rate::of(limits.bits_per_s, limits.burst_ms),
            client_opened: rate(limits.client_new_connections_per_s),
            client_packets: rate(limits.client_packets_per_s),
            client_connections: limits.client_connections,
            dscp,
        }
    }
}
