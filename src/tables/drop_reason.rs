//! Why frames are dropped: one name, one sentence and one counter for each reason.

macro_rules! drop_reasons {
    ($( $(#[doc = $doc:expr])+ $variant:ident = $name:literal, )*) => {
        /// Why a frame was dropped. The names are part of `status --json` and of the metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $( $(#[doc = $doc])+ $variant, )* }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// The name in `status --json` and in the label `reason` of the metrics.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// What it means and what to look at, in a sentence or two.
            pub const fn explanation(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),+), )* }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends before the headers it announces, or a length field contradicts another.
    Malformed = "malformed",
    /// The IPv4 header checksum is wrong: damaged on the way, or built by a broken sender.
    IpChecksum = "ip_checksum",
    /// The TCP or UDP checksum is wrong: damaged on the way, or built by a broken sender.
    L4Checksum = "l4_checksum",
    /// The TCP or UDP checksum covers the pseudo-header alone: the sender left it to an offload that
    /// never happened. On a veth: `ethtool -K DEV tx off` at the sender.
    ChecksumOffload = "checksum_offload",
    /// The time to live ran out here (RFC 1812, 5.3.1), and that was not answered: more than `icmp_rate`, or about what is
    /// never answered.
    TtlExpired = "ttl_expired",
    /// A fragment that overlaps one that was seen before (RFC 5722; RFC 1858): the rest of its datagram is dropped, too.
    FragmentOverlap = "fragment_overlap",
    /// A fragment that cannot be: beyond 65,535 bytes, not a multiple of eight, or too short to hold the ports.
    FragmentAbsurd = "fragment_absurd",
    /// A fragment whose first fragment did not come in time.
    FragmentTimeout = "fragment_timeout",
    /// A fragment that must wait for its first, but there is no more room to wait, or no more datagrams can be tracked: see `max_fragmented`.
    FragmentTableFull = "fragment_table_full",
    /// The ICMP checksum is wrong: damaged on the way, or built by a broken sender.
    IcmpChecksum = "icmp_checksum",
    /// An ICMP error that quotes no live connection: forged, or very late (RFC 5927).
    IcmpForged = "icmp_forged",
    /// A packet to a VIP that no service takes. It is answered as a host would, as far as the rate limit allows.
    NotServed = "not_served",
    /// A packet from outside to a mapping of `[[snat]]` that its `filtering` does not admit.
    SnatFiltered = "snat_filtered",
    /// A tunnel service, but no address of the backend's family to send from: set `tunnel_sources`.
    NoTunnelSource = "no_tunnel_source",
    /// The frame has no room for what must be put in front of it, or there are not enough spare frames for its pieces.
    NoHeadroom = "no_headroom",
    /// A TCP segment that is not a SYN, or a packet to a SNAT address, that belongs to no known connection: its entry
    /// expired, or it is a scan.
    NoConnection = "no_connection",
    /// A frame of an existing connection whose backend row the snapshot no longer has.
    BackendGone = "backend_gone",
    /// A frame of a connection whose backend is down, in a service that ends its connections then (`on_down`), and that was
    /// not answered by a reset: itself a reset, a fragment, or an ICMP error.
    BackendDown = "backend_down",
    /// A client's ACK that brings back no SYN cookie which the switch made in the last two minutes, while its service sends some
    /// (`syn_cookies`): forged, late, or of a connection that was forgotten.
    BadCookie = "bad_cookie",
    /// A segment of a connection that a SYN cookie opened (`syn_cookies`), which its backend has not answered yet: the client sends
    /// it again. Or one that ends there: a reset of the client, before the backend answered.
    NotOpen = "not_open",
    /// TCP flags that no real stack sends together (SYN with FIN or RST, or none at all).
    TcpFlags = "tcp_flags",
    /// A new connection from an address that no client can have: loopback, multicast, reserved, a VIP, or our own.
    BadSource = "bad_source",
    /// A new connection from a client that an access list denies: `[acl]`, or `[service.acl]` of the service.
    Denied = "denied",
    /// A new connection, or a packet, beyond what `[service.limits]` lets pass per second, of all clients or of this one.
    RateLimited = "rate_limited",
    /// A new connection of a client that has as many open as `client_connections` of `[service.limits]` lets it.
    ClientFull = "client_full",
    /// A new connection, but every backend that may take some has as many as its `max_connections` says.
    BackendFull = "backend_full",
    /// A packet beyond `bits_per_s` of `[service.limits]`.
    Policed = "policed",
    /// An ICMP error, or a ping of a VIP, beyond `icmp_budget`.
    IcmpBudget = "icmp_budget",
    /// A fragment beyond `fragment_budget`.
    FragmentBudget = "fragment_budget",
    /// A new connection to a service of which no backend may take any: all have weight 0.
    NoBackend = "no_backend",
    /// A new connection, but the table of its family is full (`max_connections`, `max_connections_ipv6`). Established ones are not touched.
    TableFull = "table_full",
    /// A new connection, but both buckets of its keys are full although the table is not.
    BucketFull = "bucket_full",
    /// A new connection whose reply would look exactly like that of another live connection.
    TupleConflict = "tuple_conflict",
    /// A new connection through full NAT, but no source port towards that backend is free; or through outbound NAT, but
    /// none of the inside host's public address.
    SnatPortsExhausted = "snat_ports_exhausted",
    /// A full-NAT service, but no address of the client's family in `snat_addresses`; or none of the packet's in the
    /// `addresses` of its `[[snat]]` rule.
    NoSnatAddress = "no_snat_address",
    /// The kernel has no route to where the frame should go, and that was not answered.
    NoRoute = "no_route",
    /// The next hop's MAC address is not known yet; the kernel has been asked to resolve it.
    NextHopUnresolved = "next_hop_unresolved",
    /// The packet is larger than the MTU of the interface it should leave through, or than the path to a tunnel's backend
    /// carries, must not be cut, and was not answered: more than `icmp_rate`, or over IPv6 not above 1280 bytes.
    TooBig = "too_big",
    /// The transmit ring of the egress interface is full: it sends more slowly than frames arrive.
    TxRingFull = "tx_ring_full",
    /// The egress interface is gone or has no socket on this worker's queue.
    NoEgress = "no_egress",
    /// The answer to a question of the switch itself, which in a bridge asks for neighbours: heard, and of no further use.
    NeighborHeard = "neighbor_heard",
    /// The kernel's, but AF_XDP has no way back: a service was removed while the frame was in a ring (the XDP program passes
    /// the next one); a fragment that came before its first, or one of a ping of a VIP.
    NotSteered = "not_steered",
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_counters_follow_the_order() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            assert!(reason.explanation().len() > 20);
        }
    }
}
