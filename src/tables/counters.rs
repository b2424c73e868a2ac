//! Lock-free statistics: every worker has its own block, written with plain stores by nobody but itself and
//! summed by whoever reads.
//!
//! The equation that must hold once a worker is quiet, and that tests check:
//!
//! ```text
//! received + created = forwarded + replied + to_kernel + Σ dropped[reason] + held
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{BackendId, DropReason, InterfaceId, ServiceId};

/// Most interfaces one switch can have.
pub const MAX_INTERFACES: usize = 8;
/// Most services, over the whole life of a process.
pub const MAX_SERVICES: usize = 1 << 13;
/// Most backend rows (2^17 rows × 64 bytes = 8 MiB of counters per worker).
pub const MAX_BACKENDS: usize = 1 << 17;

/// One counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds without a locked instruction: only the owning worker may call it.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Overwrites: for gauges and for numbers that the kernel keeps. Owner only.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value at this moment.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one backend row has seen at one worker: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct BackendCounters {
    /// Packets from clients to the backend.
    pub packets_in: Counter,
    /// Bytes of those, Ethernet header included, as received.
    pub bytes_in: Counter,
    /// Packets from the backend to clients.
    pub packets_out: Counter,
    /// Bytes of those.
    pub bytes_out: Counter,
    /// Connections this worker created.
    pub connections_new: Counter,
    /// Connections this worker removed, of those that it created. Active = new − closed, summed over workers.
    pub connections_closed: Counter,
}

/// What one service refused at one worker (what it forwarded is the sum of its backends).
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServiceCounters {
    /// Frames of new connections that were dropped, for whatever reason.
    pub refused: Counter,
    /// Packets of connections that were dropped because of a limit.
    pub limited: Counter,
    /// Frames that were forwarded without a connection.
    pub stateless: Counter,
    /// SYNs that were answered with a SYN cookie.
    pub cookies_sent: Counter,
    /// Cookies that came back, each of which opens a connection.
    pub cookies_valid: Counter,
    /// ACKs that brought none back while some were sent.
    pub cookies_invalid: Counter,
    /// 1 while SYNs are answered with cookies here: as of the last SYN.
    pub cookies_on: Counter,
}

/// One worker's rings on one interface.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PortCounters {
    /// Frames taken from the RX ring.
    pub rx_frames: Counter,
    /// Bytes of those.
    pub rx_bytes: Counter,
    /// Frames put into the TX ring.
    pub tx_frames: Counter,
    /// Bytes of those.
    pub tx_bytes: Counter,
    /// Frames that came back through the completion ring.
    pub tx_completed: Counter,
    /// Frames that the kernel completed without sending (EBUSY: the device's queue was full), or that were in the ring when it was
    /// closed.
    pub tx_lost: Counter,
    /// `sendto` calls.
    pub tx_kicks: Counter,
    /// `sendto` calls that the kernel asked to repeat (EAGAIN, ENOBUFS); nothing is lost.
    pub tx_retries: Counter,
    /// `sendto` calls that failed because the interface is down or gone (ENETDOWN, ENXIO).
    pub tx_down: Counter,
    /// Frames that the kernel dropped because the RX ring was full (`XDP_STATISTICS`).
    pub rx_ring_full: Counter,
    /// Frames that the kernel dropped because the fill ring was empty (`XDP_STATISTICS`).
    pub rx_fill_empty: Counter,
    /// Frames that the kernel dropped for another reason, such as being larger than a chunk (`XDP_STATISTICS`).
    pub rx_dropped: Counter,
    /// Frames of several chunks that were dropped because no large buffer was free, or because they exceed 9,216 bytes.
    pub rx_jumbo_lost: Counter,
    /// Frames now in the fill ring or with the kernel, waiting to receive.
    pub fill_level: Counter,
    /// Frames now in the TX ring or with the driver.
    pub tx_in_flight: Counter,
}

/// Everything one worker counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Frames taken from any RX ring.
    pub received: Counter,
    /// Frames rewritten and handed to an egress ring.
    pub forwarded: Counter,
    /// Frames answered by the switch itself (ARP).
    pub replied: Counter,
    /// Frames made besides those received: pieces of packets that had to be fragmented.
    pub created: Counter,
    /// Fragments that wait for the first of their datagram, at this moment.
    pub held: Counter,
    /// ICMP errors originated, each in place of a frame that was dropped.
    pub icmp_errors: Counter,
    /// ICMP messages not originated because of the rate limit.
    pub icmp_limited: Counter,
    /// Frames that belong to no service (only where they can reach the kernel; see `NotSteered`).
    pub to_kernel: Counter,
    /// One per [`DropReason`], in its order.
    pub dropped: [Counter; DropReason::COUNT],
    /// Connections this worker created.
    pub connections_new: Counter,
    /// Connections this worker removed.
    pub connections_closed: Counter,
    /// Table entries that this worker holds. One that ended early keeps its entry until its timer is looked at (≤ 30 s).
    pub connections_active: Counter,
    /// Of those, entries of the IPv6 table.
    pub connections_active_ipv6: Counter,
    /// Connections closed already and removed early because the table was nearly full.
    pub connections_reclaimed: Counter,
    /// Handshakes that were not complete and UDP flows whose client had not gone on yet, which gave way to new ones because the table was full.
    pub connections_displaced: Counter,
    /// Turns of the poll loop.
    pub turns: Counter,
    /// Turns that found something to do.
    pub busy_turns: Counter,
    /// Times the worker went to sleep in `poll`.
    pub sleeps: Counter,
    /// Epoch of the snapshot in use.
    pub epoch: Counter,
    /// Frames in the worker's pool, free for use.
    pub pool_level: Counter,
    /// Frames of the worker in all.
    pub pool_size: Counter,
    /// Rings, by interface.
    pub ports: [PortCounters; MAX_INTERFACES],
    /// By service row.
    pub services: Box<[ServiceCounters]>,
    /// By backend row.
    pub backends: Box<[BackendCounters]>,
}

impl WorkerCounters {
    /// A block with room for every service and backend row. Allocated once, before the worker runs.
    pub fn new() -> Arc<Self> {
        Self::with_capacity(MAX_SERVICES, MAX_BACKENDS)
    }

    /// A block for fewer rows, for tests and `replay`.
    pub fn with_capacity(services: usize, backends: usize) -> Arc<Self> {
        Arc::new(Self {
            received: Counter::default(),
            forwarded: Counter::default(),
            replied: Counter::default(),
            created: Counter::default(),
            held: Counter::default(),
            icmp_errors: Counter::default(),
            icmp_limited: Counter::default(),
            to_kernel: Counter::default(),
            dropped: std::array::from_fn(|_| Counter::default()),
            connections_new: Counter::default(),
            connections_closed: Counter::default(),
            connections_active: Counter::default(),
            connections_active_ipv6: Counter::default(),
            connections_reclaimed: Counter::default(),
            connections_displaced: Counter::default(),
            turns: Counter::default(),
            busy_turns: Counter::default(),
            sleeps: Counter::default(),
            epoch: Counter::default(),
            pool_level: Counter::default(),
            pool_size: Counter::default(),
            ports: std::array::from_fn(|_| PortCounters::default()),
            services: (0..services).map(|_| ServiceCounters::default()).collect(),
            backends: (0..backends).map(|_| BackendCounters::default()).collect(),
        })
    }

    /// The counters of a backend row, if there is such a row.
    #[inline]
    pub fn backend(&self, id: BackendId) -> Option<&BackendCounters> {
        self.backends.get(id.index())
    }

    /// The counters of a service row, if there is such a row.
    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&ServiceCounters> {
        self.services.get(id.index())
    }

    /// The ring counters of an interface.
    #[inline]
    pub fn port(&self, id: InterfaceId) -> Option<&PortCounters> {
        self.ports.get(id.index())
    }

    /// The drop counter of a reason.
    #[inline]
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.dropped[reason as usize]
    }

    /// Sum of all drops.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(Counter::get).sum()
    }

    /// `received + created − (forwarded + replied + to_kernel + Σ dropped + held)`: zero whenever the worker is between turns.
    pub fn unexplained(&self) -> i64 {
        let entered = self.received.get() + self.created.get();
        let left = self.forwarded.get() + self.replied.get() + self.to_kernel.get() + self.dropped_total();
        entered.wrapping_sub(left + self.held.get()) as i64
    }
}
