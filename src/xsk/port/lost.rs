//! Frames that the kernel lost on the way to a socket.
//!
//! The kernel counts from the beginning of each socket, and the switch from its own: sockets are opened anew when an interface
//! comes back, and nothing may be counted twice or forgotten by that.

use xsk_rs::RxQueue;

use crate::tables::counters::PortCounters;

/// What the kernel has counted for one socket (`XDP_STATISTICS`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    ring_full: u64,
    fill_empty: u64,
    dropped: u64,
}

impl Lost {
    /// As it is now; none where the kernel does not say.
    pub fn of(rx: &RxQueue) -> Option<Self> {
        let statistics = rx.fd().xdp_statistics().ok()?;
        Some(Self {
            ring_full: statistics.rx_ring_full(),
            fill_empty: statistics.rx_fill_ring_empty_descs(),
            dropped: statistics.rx_dropped(),
        })
    }

    /// Adds to the counters what `now` has more than what they were told of this socket before.
    pub fn advance(&mut self, now: Self, counters: &PortCounters) {
        counters.rx_ring_full.add(now.ring_full.saturating_sub(self.ring_full));
        counters.rx_fill_empty.add(now.fill_empty.saturating_sub(self.fill_empty));
        counters.rx_dropped.add(now.dropped.saturating_sub(self.dropped));
        *self = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_socket_lost_stays_counted_when_another_takes_its_place() {
        let counters = PortCounters::default();
        let told =
            || [&counters.rx_ring_full, &counters.rx_fill_empty, &counters.rx_dropped].map(|c| c.get());
        let mut first = Lost::default();
        first.advance(Lost { ring_full: 5, fill_empty: 2, dropped: 1 }, &counters);
        first.advance(Lost { ring_full: 7, fill_empty: 2, dropped: 4 }, &counters);
        assert_eq!(told(), [7, 2, 4]);
        let mut second = Lost::default();
        second.advance(Lost { ring_full: 1, fill_empty: 3, dropped: 0 }, &counters);
        assert_eq!(told(), [8, 5, 4]);
    }
}
