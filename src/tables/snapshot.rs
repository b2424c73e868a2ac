//! The immutable tables that workers read: what the switch is to do, as of one moment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::exact::{AddressSet, ExactKey, ExactMap};
use super::{
    Backend, BackendId, Budgets, Coarse, Fate, Forwarding, Interface, MssClamp, NextHop, NextHopId, Routes,
    Service, ServiceId, ServiceMap, SynCookies, Ways,
};

/// Idle timers of connections, in units of [`Coarse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A SYN was seen, the handshake is not complete (RFC 5382 §5: transitory, ≥ 4 min).
    pub tcp_syn: u32,
    /// Data may flow (RFC 5382 §5: ≥ 2 h 4 min).
    pub tcp_established: u32,
    /// One side sent FIN (transitory).
    pub tcp_half_closed: u32,
    /// Both sides sent FIN: TIME-WAIT (transitory).
    pub tcp_closed: u32,
    /// A RST was seen (RFC 7857 §2.2: transitory; a segment that follows revives the connection).
    pub tcp_reset: u32,
    /// UDP (RFC 4787 §4.3: ≥ 2 min, 5 min recommended).
    pub udp: u32,
    /// ICMP queries (RFC 5508 §3.2: ≥ 60 s).
    pub icmp: u32,
    /// Datagrams of which fragments are missing.
    pub fragment: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        const TRANSITORY: u32 = Coarse::from_seconds(240);
        Self {
            tcp_syn: TRANSITORY,
            tcp_established: Coarse::from_seconds(7440),
            tcp_half_closed: TRANSITORY,
            tcp_closed: TRANSITORY,
            tcp_reset: TRANSITORY,
            udp: Coarse::from_seconds(300),
            icmp: Coarse::from_seconds(60),
            fragment: Coarse::from_seconds(5),
        }
    }
}

/// Source addresses and ports of full NAT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnatPool {
    /// IPv4 addresses.
    pub v4: Box<[Ipv4Addr]>,
    /// IPv6 addresses.
    pub v6: Box<[Ipv6Addr]>,
    /// First port.
    pub first_port: u16,
    /// Last port, inclusive.
    pub last_port: u16,
}

impl SnatPool {
    /// A pool of these addresses, each with the ports from the first to the last.
    pub fn of(addresses: &[IpAddr], (first_port, last_port): (u16, u16)) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(*address),
                IpAddr::V6(address) => v6.push(*address),
            }
        }
        Self { v4: v4.into(), v6: v6.into(), first_port, last_port }
    }

    /// Whether replies to this address and port are ours.
    #[inline]
    pub fn contains(&self, address: IpAddr, port: u16) -> bool {
        (self.first_port..=self.last_port).contains(&port)
            && match address {
                IpAddr::V4(v4) => self.v4.contains(&v4),
                IpAddr::V6(v6) => self.v6.contains(&v6),
            }
    }
}

/// Which destinations share one mapping of an inside address and port (RFC 4787 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mapping {
    /// All.
    #[default]
    EndpointIndependent,
    /// None: every connection has its own.
    AddressAndPortDependent,
}

/// Who may send to a mapping from outside (RFC 4787 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filtering {
    /// Everybody.
    EndpointIndependent,
    /// Addresses to which the inside host has sent.
    AddressDependent,
    /// Addresses and ports to which the inside host has sent.
    #[default]
    AddressAndPortDependent,
}

/// One rule of outbound source NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnatRule {
    /// Its name in the configuration.
    pub name: String,
    /// Whose packets are translated: address and prefix length.
    pub inside: Vec<(IpAddr, u8)>,
    /// What they are translated to.
    pub pool: SnatPool,
    /// Which destinations share a mapping.
    pub mapping: Mapping,
    /// Who may send to one.
    pub filtering: Filtering,
    /// Whether inside hosts reach each other by their public addresses (RFC 4787 §6).
    pub hairpinning: bool,
}

impl SnatRule {
    /// Whether packets from this address are translated.
    pub fn is_inside(&self, address: IpAddr) -> bool {
        self.inside.iter().any(|(prefix, length)| within(address, *prefix, *length))
    }

    /// Whether `address` is one that packets are translated to, whatever the port.
    pub fn is_public(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.pool.v4.contains(&v4),
            IpAddr::V6(v6) => self.pool.v6.contains(&v6),
        }
    }
}

fn within(address: IpAddr, prefix: IpAddr, length: u8) -> bool {
    match (address, prefix) {
        (IpAddr::V4(address), IpAddr::V4(prefix)) => {
            (address.to_bits() ^ prefix.to_bits()).checked_shr(32 - u32::from(length.min(32))).unwrap_or(0)
                == 0
        }
        (IpAddr::V6(address), IpAddr::V6(prefix)) => {
            (address.to_bits() ^ prefix.to_bits()).checked_shr(128 - u32::from(length.min(128))).unwrap_or(0)
                == 0
        }
        _ => false,
    }
}

/// Which TCP and UDP checksums are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerifyChecksums {
    /// Those of every frame: nothing with a wrong checksum is forwarded.
    #[default]
    Always,
    /// Those of frames that create a connection or change its state; data frames keep theirs, right or wrong, through
    /// the incremental update (RFC 1624), and the receiver drops the wrong ones. Does not touch payloads.
    State,
}

/// The tables. Rows of `services`, `backends` and `next_hops` never move between snapshots.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Grows by one with every snapshot.
    pub epoch: u64,
    /// Changes whenever routes or on-link neighbours do, so that connections look again.
    pub routes_epoch: u16,
    /// By [`ServiceId`]; holes where a service was removed.
    pub services: Vec<Option<Service>>,
    /// By [`BackendId`]; holes where a backend was removed.
    pub backends: Vec<Option<Backend>>,
    /// Finds services.
    pub service_map: ServiceMap,
    /// Addresses for which the switch answers ARP: VIPs and SNAT addresses that the kernel does not own.
    pub announced: ExactMap<()>,
    /// Every VIP, announced or not.
    pub vips: ExactMap<()>,
    /// Those, and the switch's own addresses: no client has one of these.
    pub ours: AddressSet,
    /// Whether some service limits or marks the packets of its connections.
    pub attends: bool,
    /// What is taken of what is dear to look at.
    pub budgets: Budgets,
    /// Whether some service limits the segment sizes that TCP ends tell each other.
    pub clamps: bool,
    /// VIPs that the kernel does not own: the switch answers for them as a host would.
    pub hosts: ExactMap<()>,
    /// Backends of `nat` services by their address, port and protocol: frames from there are replies, or nothing.
    pub replies: ServiceMap,
    /// By [`super::InterfaceId`].
    pub interfaces: Vec<Interface>,
    /// By [`NextHopId`].
    pub next_hops: Vec<NextHop>,
    /// What tier 1 must know of the rows of `next_hops` and `backends`.
    pub ways: Ways,
    /// Routes and on-link neighbours.
    pub routes: Routes,
    /// Source pool of full NAT.
    pub snat: SnatPool,
    /// Outbound source NAT, in the order of the configuration.
    pub snat_rules: Vec<SnatRule>,
    /// The two interfaces are one wire: frames keep their source MAC address, TTL and tags.
    pub bridge: bool,
    /// ICMP messages that each worker may originate per second.
    pub icmp_rate: u32,
    /// Idle timers.
    pub timeouts: Timeouts,
    /// Which checksums are verified.
    pub verify_checksums: VerifyChecksums,
    /// Whether there are services that answer SYNs with cookies under pressure, so that handshakes are counted.
    pub metered: bool,
    /// Whether there are backends whose connections are to be reset, so that clients must be told.
    pub fated: bool,
}

impl Snapshot {
    /// Fills what follows from the rows of `services`, `backends`, `next_hops` and `interfaces`. Part of building a snapshot.
    pub fn index(&mut self) {
        let services = || self.services.iter().flatten();
        let nat = self.backends.iter().flatten().filter_map(|backend| {
            let service = self.services.get(backend.service.index())?.as_ref()?;
            (service.forwarding == Forwarding::Nat).then_some((backend.address, service.protocol, service.id))
        });
        let replies = ServiceMap::of(nat);
        let own = self.interfaces.iter().flat_map(|interface| &interface.addresses).map(|(own, _)| *own);
        let ours = services().map(|service| service.vip.ip()).chain(own);
        self.ours = AddressSet::of(ours);
        self.attends = services().any(|service| service.limits.attends());
        self.metered = services().any(|service| matches!(service.syn_cookies, SynCookies::Auto { .. }));
        self.clamps = services().any(|service| service.mss_clamp != MssClamp::Off);
        self.vips = ExactMap::build(services().map(|service| (ExactKey::new(service.vip.ip(), 0), ())));
        self.service_map = ServiceMap::of(services().map(|s| (s.vip, s.protocol, s.id)));
        self.replies = replies;
        self.ways = match self.bridge {
            false => Ways::of(&self.interfaces, &self.next_hops, &self.services, &self.backends),
            true => Ways::none(),
        };
        self.fated = self.backends.iter().flatten().any(|backend| backend.fate == Fate::Reset);
    }

    /// The backend of this row.
    #[inline]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(id.index()).and_then(Option::as_ref)
    }

    /// The service of this row.
    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.index()).and_then(Option::as_ref)
    }

    /// The next hop of this row.
    #[inline]
    pub fn next_hop(&self, id: NextHopId) -> Option<&NextHop> {
        self.next_hops.get(id.index())
    }

    /// Whether the switch answers ARP for this address.
    #[inline]
    pub fn answers_for(&self, address: IpAddr) -> bool {
        self.announced.get(ExactKey::new(address, 0)).is_some()
    }

    /// Whether the switch answers for this VIP as a host would.
    #[inline]
    pub fn is_host(&self, address: IpAddr) -> bool {
        self.hosts.get(ExactKey::new(address, 0)).is_some()
    }

    /// Whether this is a VIP or an address of the switch itself.
    #[inline(always)]
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.ours.contains(address)
    }

    /// Whether some service has this address.
    #[inline]
    pub fn is_vip(&self, address: IpAddr) -> bool {
        self.vips.get(ExactKey::new(address, 0)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_inside_where_its_prefix_says_so() {
        let rule = |inside: &str, length| SnatRule {
            name: String::new(),
            inside: vec![(inside.parse().unwrap(), length)],
            pool: SnatPool::default(),
            mapping: Mapping::default(),
            filtering: Filtering::default(),
            hairpinning: true,
        };
        let is_inside =
            |inside, length, address: &str| rule(inside, length).is_inside(address.parse().unwrap());
        assert!(is_inside("10.0.0.0", 8, "10.255.0.1") && !is_inside("10.0.0.0", 8, "11.0.0.1"));
        assert!(is_inside("10.0.0.7", 32, "10.0.0.7") && !is_inside("10.0.0.7", 32, "10.0.0.6"));
        assert!(is_inside("0.0.0.0", 0, "203.0.113.1") && !is_inside("0.0.0.0", 0, "2001:db8::1"));
        assert!(is_inside("fd00::", 8, "fd12::1") && !is_inside("fd00::", 8, "2001:db8::1"));
        assert!(is_inside("::", 0, "2001:db8::1") && is_inside("fd00::1", 128, "fd00::1"));
    }
}
