//! What is limited, by how much: token buckets of services and of their clients, marks, budgets of the switch.
//!
//! These are the rules. How much of each bucket is left, the workers keep: `dataplane/limits`.

/// The longest time whose worth may come at once, in milliseconds.
pub const LONGEST_BURST_MS: u32 = 10_000;

/// How much may come per second, and how much of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So much per second; not 0.
    per_s: u64,
    /// What so many milliseconds bring may come at once; something always may.
    burst_ms: u32,
}

impl Rate {
    /// `per_s` per second, of which `burst_ms` milliseconds' worth may come at once. None where `per_s` is 0: no limit.
    pub fn of(per_s: u64, burst_ms: u32) -> Option<Self> {
        (per_s > 0).then_some(Self { per_s, burst_ms: burst_ms.min(LONGEST_BURST_MS) })
    }

    /// How long it takes until `amount` has come, in units of which a second has `second`.
    #[inline]
    pub fn time(&self, amount: u64, second: u64) -> u64 {
        ((u128::from(amount) * u128::from(second)) / u128::from(self.per_s)) as u64
    }

    /// How long what may come at once takes, likewise.
    #[inline]
    pub fn burst(&self, second: u64) -> u64 {
        second / 1000 * u64::from(self.burst_ms)
    }
}

/// A differentiated services code point (RFC 2474 §3): six bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dscp(u8);

impl Dscp {
    /// The code point of this number, 0 to 63.
    pub const fn new(number: u8) -> Option<Self> {
        if number < 64 { Some(Self(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// What is limited of one service, and how its packets are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// New connections, of all clients together.
    pub opened: Option<Rate>,
    /// Packets from clients.
    pub packets: Option<Rate>,
    /// Bits in each direction, Ethernet header included.
    pub bits: Option<Rate>,
    /// New connections of each client.
    pub client_opened: Option<Rate>,
    /// Packets of each client.
    pub client_packets: Option<Rate>,
    /// Connections that a client may have open at a time; 0 = any number.
    pub client_connections: u32,
    /// What packets are marked with, in both directions.
    pub dscp: Option<Dscp>,
}

impl Limits {
    /// Whether more than the beginning of a connection is concerned: every packet of it is looked at.
    pub fn attends(&self) -> bool {
        self.packets.is_some() || self.bits.is_some() || self.client_packets.is_some() || self.dscp.is_some()
    }

    /// Whether the beginning of a connection is concerned.
    pub fn opens(&self) -> bool {
        self.opened.is_some() || self.client_opened.is_some() || self.client_connections > 0
    }
}

/// What the switch as a whole takes of what is dear to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budgets {
    /// ICMP errors, and pings of VIPs.
    pub icmp: Option<Rate>,
    /// Fragments.
    pub fragments: Option<Rate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_says_how_long_something_takes_in_any_unit() {
        let rate = Rate::of(500, 200).unwrap();
        assert_eq!((rate.time(1, 1_000_000), rate.burst(1_000_000)), (2000, 200_000));
        assert_eq!(Rate::of(10_000_000_000, 100).unwrap().time(12_000, 1_000_000_000), 1200);
        assert_eq!(Rate::of(0, 100), None);
        assert_eq!(Rate::of(1, u32::MAX).unwrap().burst(1000), 10_000, "not longer than can be told apart");
    }

    #[test]
    fn code_points_have_six_bits() {
        assert_eq!(Dscp::new(63).map(Dscp::number), Some(63));
        assert_eq!(Dscp::new(64), None);
    }
}
