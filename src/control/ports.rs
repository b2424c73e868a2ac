//! The ports that `full-nat` and `[[snat]]` take, and who else uses them: the kernel for its own connections, or programs that listen.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::network::NetworkView;
use crate::config::valid::Config;
use crate::sys::interface;
use crate::tables::Forwarding;

/// Why the ports of source NAT cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortsError {
    /// They would collide with the kernel's own.
    #[error(
        "{what} {first}-{last} overlap the kernel's own source ports {kernel_first}-{kernel_last}: replies to the \
         host's own connections would be taken for ours; choose others, or move the kernel's with \
         `sysctl net.ipv4.ip_local_port_range=\"{above} 65535\"`"
    )]
    Overlap {
        /// Which setting they come from.
        what: String,
        /// First SNAT port.
        first: u16,
        /// Last SNAT port.
        last: u16,
        /// First port of the kernel.
        kernel_first: u16,
        /// Last port of the kernel.
        kernel_last: u16,
        /// First port above ours.
        above: u32,
    },
    /// Nobody could reach an endpoint of ours.
    #[error(
        "`{key}` {listen} lies within {what} {first}-{last}, which the switch takes over at its own \
         address {address}: nobody could reach it; choose another port, or listen at another address, in [switch]"
    )]
    Endpoint {
        /// Which setting asks for it.
        key: &'static str,
        /// Which setting the ports come from.
        what: String,
        /// Where it listens.
        listen: SocketAddr,
        /// The SNAT address that is this host's, too.
        address: IpAddr,
        /// First SNAT port.
        first: u16,
        /// Last SNAT port.
        last: u16,
    },
}

/// Ports of one public address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    /// The setting.
    what: String,
    address: IpAddr,
    ports: (u16, u16),
}

/// Checks the configuration's SNAT ports against the kernel's and our own, and warns of programs that become
/// unreachable.
pub fn check(config: &Config, view: &NetworkView) -> Result<(), PortsError> {
    conflict(config, view, interface::local_port_range())?;
    if !shared_claims(config, view).is_empty() {
        for text in unreachable(config, view, &listeners()) {
            tracing::warn!("{text}");
        }
    }
    Ok(())
}

/// Why the configuration's SNAT ports cannot be used, while the kernel takes its own from this range.
pub fn conflict(config: &Config, view: &NetworkView, kernel: Option<(u16, u16)>) -> Result<(), PortsError> {
    // The pool of full NAT keeps clear of the kernel wherever its addresses are, which may change while the switch runs.
    if let (Some(kernel), false) = (kernel, config.switch.snat_addresses.is_empty()) {
        outside("snat_ports", config.switch.snat_ports, kernel)?;
    }
    for claim in &shared_claims(config, view) {
        if let Some(kernel) = kernel {
            outside(&claim.what, claim.ports, kernel)?;
        }
        endpoint_outside("metrics_listen", config.switch.metrics_listen, claim)?;
        endpoint_outside("status_listen", config.switch.status_listen, claim)?;
    }
    Ok(())
}

/// Sentences about programs among these that nobody reaches any more, because the switch takes their ports.
pub fn unreachable(config: &Config, view: &NetworkView, listeners: &[Listener]) -> Vec<String> {
    let sentence = |Claim { what, address, ports }| {
        let hidden = hidden(address, ports, listeners)?;
        let (first, last) = ports;
        Some(format!(
            "{address} is an address of this host, and the switch takes its ports {first}-{last} ({what}): nobody reaches \
             what listens there: {hidden}; move it, or choose other ports or an address of its own for the switch"
        ))
    };
    shared_claims(config, view).into_iter().filter_map(sentence).collect()
}

/// SNAT ports must lie outside the range from which the kernel takes its own source ports.
fn outside(what: &str, (first, last): (u16, u16), kernel: (u16, u16)) -> Result<(), PortsError> {
    let (kernel_first, kernel_last) = kernel;
    if last < kernel_first || first > kernel_last {
        return Ok(());
    }
    let (what, above) = (what.to_owned(), u32::from(last) + 1);
    Err(PortsError::Overlap { what, first, last, kernel_first, kernel_last, above })
}

/// The SNAT addresses in use that are this host's own, too, with their ports.
fn shared_claims(config: &Config, view: &NetworkView) -> Vec<Claim> {
    let local: BTreeSet<IpAddr> = view.addresses.iter().map(|(_, address, _)| *address).collect();
    let mut claims = Vec::new();
    let mut claim = |what: &str, addresses: &[IpAddr], ports| {
        let shared = addresses.iter().filter(|address| local.contains(address));
        claims.extend(shared.map(|address| Claim { what: what.to_owned(), address: *address, ports }));
    };
    if config.services.iter().any(|service| service.forwarding == Forwarding::FullNat) {
        claim("snat_ports", &config.switch.snat_addresses, config.switch.snat_ports);
    }
    for rule in &config.snat {
        claim(&format!("the ports of [[snat]] {:?}", rule.name), &rule.addresses, rule.ports);
    }
    claims
}

fn endpoint_outside(key: &'static str, listen: Option<SocketAddr>, claim: &Claim) -> Result<(), PortsError> {
    let (first, last) = claim.ports;
    match listen {
        Some(listen) if covers(listen.ip(), claim.address) && (first..=last).contains(&listen.port()) => {
            let (what, address) = (claim.what.clone(), claim.address);
            Err(PortsError::Endpoint { key, what, listen, address, first, last })
        }
        _ => Ok(()),
    }
}

/// Whether a socket bound to `bound` hears what is sent to `address`. The IPv6 wildcard hears IPv4, too, unless it was
/// told not to, which nobody can see from outside.
pub fn covers(bound: IpAddr, address: IpAddr) -> bool {
    match bound {
        IpAddr::V4(v4) if v4.is_unspecified() => address.is_ipv4(),
        IpAddr::V6(v6) if v6.is_unspecified() => true,
        _ => bound == address,
    }
}

/// Protocol and place of a socket that waits for others.
pub type Listener = (&'static str, SocketAddr);

/// The sockets among these that `ports` of `address` hide, in words; none if there are none.
fn hidden(address: IpAddr, ports: (u16, u16), listeners: &[Listener]) -> Option<String> {
    let hidden: BTreeSet<_> = listeners
        .iter()
        .filter(|(_, bound)| (ports.0..=ports.1).contains(&bound.port()) && covers(bound.ip(), address))
        .map(|(protocol, bound)| (*protocol, bound.port()))
        .collect();
    let mut text = String::new();
    for (protocol, port) in &hidden {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{protocol} {port}");
    }
    (!hidden.is_empty()).then_some(text)
}

/// All listening TCP and bound UDP sockets of this network namespace; fewer where the kernel does not tell.
pub fn listeners() -> Vec<Listener> {
    const LISTEN: Option<&str> = Some("0A");
    let mut listeners = Vec::new();
    for (file, protocol, state) in
        [("tcp", "TCP", LISTEN), ("tcp6", "TCP", LISTEN), ("udp", "UDP", None), ("udp6", "UDP", None)]
    {
        // The thread's own, since a process' threads may live in several namespaces.
        let table = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        listeners.extend(local_addresses(&table, state).into_iter().map(|bound| (protocol, bound)));
    }
    listeners
}

/// Local addresses in a table such as /proc/net/tcp (see proc(5)), of the sockets in this state, or in any.
fn local_addresses(table: &str, state: Option<&str>) -> Vec<SocketAddr> {
    let row = |line: &str| {
        // Number, local address, remote address, state.
        let mut columns = line.split_whitespace().skip(1);
        let (local, found) = (columns.next()?, columns.nth(1)?);
        if state.is_some_and(|state| state != found) {
            return None;
        }
        let (address, port) = local.split_once(':')?;
        Some(SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?))
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// One or four words in hexadecimal, each in the byte order of the host. IPv4 within IPv6 is IPv4.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (position, bytes) in octets.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&word(position * 8)?);
            }
            Some(IpAddr::from(octets).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, home, ip};
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0 100 0 0 10 0
   1: 020112C6:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   2: 020112C6:2000 090112C6:D431 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 20 4 30 10 -1
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 0000000000000000FFFF0000020112C6:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   2: truncated
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_tables_are_read() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(local_addresses(TCP, Some("0A")), addresses(&["0.0.0.0:8080", "198.18.1.2:22"]));
        assert_eq!(local_addresses(TCP, None).len(), 3, "bound is enough");
        assert_eq!(local_addresses(TCP6, Some("0A")), addresses(&["198.18.1.2:81", "[2001:db8::1]:80"]));
        assert_eq!(local_addresses("", None), []);
    }

    #[test]
    fn hidden_are_sockets_within_the_ports_at_the_address_or_at_any() {
        let listener = |protocol, place: &str| (protocol, place.parse().unwrap());
        let listeners = [
            listener("TCP", "0.0.0.0:8080"),
            listener("UDP", "[::]:5353"),
            listener("TCP", "[::]:8080"),
            listener("TCP", "198.18.1.2:1024"),
            listener("TCP", "0.0.0.0:22"),
            listener("TCP", "0.0.0.0:32768"),
            listener("TCP", "127.0.0.1:9500"),
        ];
        let hidden = |address| hidden(ip(address), (1024, 32767), &listeners);
        assert_eq!(hidden("198.18.1.2").unwrap(), "TCP 1024, TCP 8080, UDP 5353");
        assert_eq!(hidden("2001:db8::2").unwrap(), "TCP 8080, UDP 5353");
        assert_eq!(super::hidden(ip("198.18.1.2"), (1025, 2000), &listeners), None);
    }

    #[test]
    fn snat_ports_lie_outside_the_kernels() {
        let outside = |ports| outside("snat_ports", ports, (32768, 60999));
        assert_eq!(outside((1024, 32767)), Ok(()));
        assert_eq!(outside((61000, 65535)), Ok(()));
        let error = outside((1024, 32768)).unwrap_err().to_string();
        assert!(error.starts_with("snat_ports 1024-32768 overlap"), "{error}");
        assert!(error.contains("32768-60999") && error.contains("\"32769 65535\""), "{error}");
    }

    #[test]
    fn only_addresses_of_the_host_are_shared_and_only_those_in_use() {
        let mut config = config();
        let view = NetworkView {
            addresses: [(2, ip("198.18.1.2"), 24), (2, ip("198.18.0.3"), 24)].into(),
            ..NetworkView::default()
        };
        assert_eq!(shared_claims(&config, &view), [], "no full NAT");
        config.services[0].forwarding = Forwarding::FullNat;
        config.snat.push(home(&["198.18.0.3", "198.18.0.4"], (40000, 50000)));
        let claim = |what: &str, address, ports| Claim { what: what.into(), address: ip(address), ports };
        let rule = "the ports of [[snat]] \"home\"";
        assert_eq!(
            shared_claims(&config, &view),
            [claim("snat_ports", "198.18.1.2", (1024, 32767)), claim(rule, "198.18.0.3", (40000, 50000))]
        );
    }

    #[test]
    fn endpoints_may_not_lie_within() {
        let claim = Claim { what: "snat_ports".into(), address: ip("198.18.1.2"), ports: (1024, 32767) };
        let outside =
            |listen: &str| endpoint_outside("metrics_listen", Some(listen.parse().unwrap()), &claim).is_ok();
        assert!(outside("127.0.0.1:9500") && outside("0.0.0.0:40000") && outside("198.18.0.2:9500"));
        assert!(!outside("0.0.0.0:9500") && !outside("198.18.1.2:9500") && !outside("[::]:9500"));
    }
}
