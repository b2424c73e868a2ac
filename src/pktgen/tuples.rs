//! Flows: which endpoints the frames go between.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::wire::ip::{Addresses, Family};

/// Addresses and ports of one end of all flows: `198.19.0.0/24:1024-2047`, `[2001:db8::/112]:80`, `198.18.0.100`.
///
/// Every address of the prefix is used, the first and the last one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    bits: u8,
    first_port: u16,
    last_port: u16,
}

impl Range {
    /// One endpoint.
    pub const fn single(endpoint: IpAddr, port: u16) -> Self {
        let bits = if endpoint.is_ipv4() { 32 } else { 128 };
        Self { first: endpoint, bits, first_port: port, last_port: port }
    }

    /// A prefix with ports from `first_port` to `last_port`; none where the prefix has more than 2^32 addresses or is longer
    /// than an address, or the ports are in the wrong order. Bits behind the prefix are ignored.
    pub fn new(address: IpAddr, bits: u8, [first_port, last_port]: [u16; 2]) -> Option<Self> {
        let first = match address {
            IpAddr::V4(address) if bits <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) if (96..=128).contains(&bits) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits))))
            }
            _ => return None,
        };
        (first_port <= last_port).then_some(Self { first, bits, first_port, last_port })
    }

    /// The first address of the prefix, and how many bits of it are fixed.
    pub const fn prefix(&self) -> (IpAddr, u8) {
        (self.first, self.bits)
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// How many addresses there are, up to 2^32.
    pub fn addresses(&self) -> u64 {
        let width = if self.first.is_ipv4() { 32 } else { 128 };
        1 << (width - u32::from(self.bits))
    }

    /// First and last port.
    pub const fn ports(&self) -> [u16; 2] {
        [self.first_port, self.last_port]
    }

    /// How many endpoints there are, at least one.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> u64 {
        self.addresses() * self.port_count()
    }

    /// How many ports there are.
    pub fn port_count(&self) -> u64 {
        u64::from(self.last_port - self.first_port) + 1
    }

    /// The last 32 bits of the first address.
    pub const fn low_bits(&self) -> u32 {
        match self.first {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => address.to_bits() as u32,
        }
    }

    /// Whether the address is one of those.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address_index(address).is_some()
    }

    fn address_index(&self, address: IpAddr) -> Option<u64> {
        let index = match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                u64::from(address.to_bits().checked_sub(first.to_bits())?)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                address.to_bits().checked_sub(first.to_bits())?.try_into().ok()?
            }
            _ => return None,
        };
        (index < self.addresses()).then_some(index)
    }

    /// Endpoint number `index`: addresses first, then ports.
    fn endpoint(&self, index: u64) -> SocketAddr {
        let (address, port) = (index % self.addresses(), index / self.addresses());
        let address = match self.first {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + address as u32)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() + u128::from(address))),
        };
        SocketAddr::new(address, self.first_port + port as u16)
    }

    fn index(&self, endpoint: SocketAddr) -> Option<u64> {
        let address = self.address_index(endpoint.ip())?;
        let port = u64::from(endpoint.port().checked_sub(self.first_port)?);
        (port < self.port_count()).then_some(port * self.addresses() + address)
    }
}

/// A range that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no range of endpoints: {1}; right are 198.19.0.0/24:1024-2047, 198.18.0.100:80, 198.18.0.100, \
     [2001:db8::/112]:1024-2047"
)]
pub struct RangeError(String, &'static str);

impl FromStr for Range {
    type Err = RangeError;

    /// Without ports all of them are meant.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let fail = |why| RangeError(text.to_owned(), why);
        let (prefix, ports) =
            split(text).ok_or_else(|| fail("an IPv6 address with ports stands in brackets"))?;
        let (address, bits) = match prefix.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (prefix, None),
        };
        let address: IpAddr = address.parse().map_err(|_| fail("no IP address in front"))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| fail("no number behind the slash"))?,
            None => width,
        };
        let ports = match ports {
            None => [0, u16::MAX],
            Some(ports) => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                let port = |text: &str| text.parse().map_err(|_| fail("a port is a number up to 65535"));
                [port(first)?, port(last)?]
            }
        };
        if ports[0] > ports[1] {
            return Err(fail("the first port is above the last one"));
        }
        Self::new(address, bits, ports)
            .ok_or_else(|| fail("a prefix has at most 32 bits, for IPv6 96 to 128 bits"))
    }
}

/// Prefix and ports of a range; none where it is an IPv6 address without brackets and with something behind.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (prefix, behind) = rest.split_once(']')?;
        return match behind {
            "" => Some((prefix, None)),
            _ => Some((prefix, Some(behind.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((prefix, ports)) => Some((prefix, Some(ports))),
        None => Some((text, None)),
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, last] = self.ports();
        let width = if self.first.is_ipv4() { 32 } else { 128 };
        let bits = if self.bits == width { String::new() } else { format!("/{}", self.bits) };
        match self.first {
            IpAddr::V4(address) => write!(f, "{address}{bits}:{first}")?,
            IpAddr::V6(address) => write!(f, "[{address}{bits}]:{first}")?,
        }
        if last == first { Ok(()) } else { write!(f, "-{last}") }
    }
}

/// All flows: flow 0 goes from the first source to the first destination. The source's address changes fastest, then its
/// port, then the destination's address, then its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuples {
    /// Where frames come from.
    pub source: Range,
    /// Where they go.
    pub destination: Range,
    /// How many flows there are.
    pub flows: u32,
}

/// Flows that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TuplesError {
    /// IPv4 and IPv6.
    #[error("source {0} and destination {1} are of two families")]
    Families(Range, Range),
    /// Too many.
    #[error(
        "{flows} flows are asked for, but {source_range} to {destination} has only {available}: widen the source's prefix or ports"
    )]
    TooMany {
        /// How many are asked for.
        flows: u32,
        /// Sources.
        source_range: Range,
        /// Destinations.
        destination: Range,
        /// How many there are.
        available: u64,
    },
    /// None at all.
    #[error("at least one flow is needed")]
    None,
}

impl Tuples {
    /// `flows` flows between the two; an error where there are not as many.
    pub fn new(source: Range, destination: Range, flows: u32) -> Result<Self, TuplesError> {
        if source.family() != destination.family() {
            return Err(TuplesError::Families(source, destination));
        }
        if flows == 0 {
            return Err(TuplesError::None);
        }
        let available = source.len().saturating_mul(destination.len());
        if u64::from(flows) > available {
            return Err(TuplesError::TooMany { flows, source_range: source, destination, available });
        }
        Ok(Self { source, destination, flows })
    }

    /// Endpoints of flow `flow`, source first.
    pub fn flow(&self, flow: u32) -> (SocketAddr, SocketAddr) {
        let (flow, sources) = (u64::from(flow), self.source.len());
        (self.source.endpoint(flow % sources), self.destination.endpoint(flow / sources))
    }

    /// The flow between these two, if it is one of ours.
    pub fn find(&self, source: SocketAddr, destination: SocketAddr) -> Option<u32> {
        let index = self.destination.index(destination)?.checked_mul(self.source.len())?;
        u32::try_from(index.checked_add(self.source.index(source)?)?).ok().filter(|flow| *flow < self.flows)
    }

    /// Addresses of flow `flow`, as headers have them.
    pub fn addresses(&self, flow: u32) -> Option<Addresses> {
        let (source, destination) = self.flow(flow);
        Addresses::between(source.ip(), destination.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for (text, len) in [
            ("198.19.0.0/24:1024-2047", 256 * 1024),
            ("198.18.0.100:80", 1),
            ("[2001:db8::/112]:1024-1025", 65536 * 2),
            ("[2001:db8::1]:80", 1),
        ] {
            assert_eq!((range(text).to_string().as_str(), range(text).len()), (text, len));
        }
        assert_eq!(range("198.18.0.100").ports(), [0, 65535]);
        assert_eq!(range("2001:db8::1").prefix(), ("2001:db8::1".parse().unwrap(), 128));
        assert_eq!(range("[2001:db8::1]").ports(), [0, 65535]);
        assert_eq!(range("198.19.0.77/24:1").prefix().0.to_string(), "198.19.0.0");
        assert_eq!(range("0.0.0.0/0:1").addresses(), 1 << 32);
    }

    #[test]
    fn what_is_no_range_is_refused_with_a_reason() {
        for wrong in [
            "",
            "x",
            "198.19.0.0/33:1",
            "198.19.0.0/24:2-1",
            "198.19.0.0:65536",
            "2001:db8::/64",
            "[2001:db8::]80",
            "198.19.0.0:",
            "198.19.0.0/x",
            "[2001:db8::",
        ] {
            let error = wrong.parse::<Range>().unwrap_err().to_string();
            assert!(error.contains("right are"), "{error}");
        }
    }

    #[test]
    fn every_flow_is_found_by_its_endpoints_and_no_two_are_alike() {
        let tuples = Tuples::new(range("198.19.0.0/30:10-12"), range("198.18.0.0/31:80-81"), 48).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for flow in 0..48 {
            let (source, destination) = tuples.flow(flow);
            assert_eq!(tuples.find(source, destination), Some(flow));
            assert!(seen.insert((source, destination)));
        }
        assert_eq!(tuples.flow(5), ("198.19.0.1:11".parse().unwrap(), "198.18.0.0:80".parse().unwrap()));
        assert_eq!(tuples.flow(13).1, "198.18.0.1:80".parse().unwrap());
        for (source, destination) in [
            ("198.19.0.4:10", "198.18.0.0:80"),
            ("198.19.0.0:13", "198.18.0.0:80"),
            ("198.19.0.0:9", "198.18.0.0:80"),
            ("198.19.0.0:10", "198.18.0.0:82"),
            ("198.18.255.255:10", "198.18.0.0:80"),
            ("[2001:db8::1]:10", "198.18.0.0:80"),
        ] {
            assert_eq!(tuples.find(source.parse().unwrap(), destination.parse().unwrap()), None);
        }
        let fewer = Tuples { flows: 5, ..tuples };
        let (source, destination) = tuples.flow(5);
        assert_eq!(fewer.find(source, destination), None);
    }

    #[test]
    fn flows_that_cannot_be_are_refused() {
        let one = range("198.18.0.1:1");
        assert!(matches!(Tuples::new(one, one, 2), Err(TuplesError::TooMany { available: 1, .. })));
        assert_eq!(Tuples::new(one, one, 0), Err(TuplesError::None));
        assert!(matches!(Tuples::new(one, range("[2001:db8::1]:1"), 1), Err(TuplesError::Families(..))));
        let all = range("0.0.0.0/0");
        assert!(Tuples::new(all, all, u32::MAX).is_ok());
    }
}
