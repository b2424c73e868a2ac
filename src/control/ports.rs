//! The ports that `full-nat` takes, and who else uses them: the kernel for its own connections, or programs that listen.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::network::NetworkView;
use crate::config::valid::{Config, Switch};
use crate::sys::interface;
use crate::tables::Forwarding;

/// Why `snat_ports` cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortsError {
    /// They would collide with the kernel's own.
    #[error(
        "snat_ports {first}-{last} overlap the kernel's own source ports {kernel_first}-{kernel_last}: replies to the \
         host's own connections would be taken for ours; choose others in [switch], or move the kernel's with \
         `sysctl net.ipv4.ip_local_port_range=\"{above} 65535\"`"
    )]
    Overlap {
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
    /// Nobody could read the metrics.
    #[error(
        "`metrics_listen` {listen} lies within snat_ports {first}-{last}, which the switch takes over at its own \
         address {address}: nobody could reach it; choose another port, or listen at another address, in [switch]"
    )]
    Metrics {
        /// Where metrics are to be had.
        listen: SocketAddr,
        /// The SNAT address that is this host's, too.
        address: IpAddr,
        /// First SNAT port.
        first: u16,
        /// Last SNAT port.
        last: u16,
    },
}

/// Checks the configuration's SNAT ports against the kernel's and our own, and warns of programs that become
/// unreachable.
pub fn check(config: &Config, view: &NetworkView) -> Result<(), PortsError> {
    let switch = &config.switch;
    outside(switch, interface::local_port_range())?;
    let shared = shared_addresses(config, view);
    metrics_outside(switch, &shared)?;
    if shared.is_empty() {
        return Ok(());
    }
    let listeners = listeners();
    for address in shared {
        if let Some(hidden) = hidden(address, switch.snat_ports, &listeners) {
            let (first, last) = switch.snat_ports;
            tracing::warn!(
                "{address} is an address of this host, and the switch takes its ports {first}-{last} (snat_ports): \
                 nobody reaches what listens there: {hidden}; move it, or choose other snat_ports or an address of \
                 its own for snat_addresses"
            );
        }
    }
    Ok(())
}

/// SNAT ports must lie outside the range from which the kernel takes its own source ports.
fn outside(switch: &Switch, kernel: Option<(u16, u16)>) -> Result<(), PortsError> {
    let Some((kernel_first, kernel_last)) = kernel else { return Ok(()) };
    let (first, last) = switch.snat_ports;
    if switch.snat_addresses.is_empty() || last < kernel_first || first > kernel_last {
        return Ok(());
    }
    Err(PortsError::Overlap { first, last, kernel_first, kernel_last, above: u32::from(last) + 1 })
}

/// The SNAT addresses in use that are this host's own, too.
fn shared_addresses(config: &Config, view: &NetworkView) -> Vec<IpAddr> {
    if !config.services.iter().any(|service| service.forwarding == Forwarding::FullNat) {
        return Vec::new();
    }
    let local: BTreeSet<IpAddr> = view.addresses.iter().map(|(_, address, _)| *address).collect();
    config.switch.snat_addresses.iter().copied().filter(|address| local.contains(address)).collect()
}

fn metrics_outside(switch: &Switch, shared: &[IpAddr]) -> Result<(), PortsError> {
    let Some(listen) = switch.metrics_listen else { return Ok(()) };
    let (first, last) = switch.snat_ports;
    match shared.iter().find(|address| covers(listen.ip(), **address)) {
        Some(address) if (first..=last).contains(&listen.port()) => {
            Err(PortsError::Metrics { listen, address: *address, first, last })
        }
        _ => Ok(()),
    }
}

/// Whether a socket bound to `bound` hears what is sent to `address`. The IPv6 wildcard hears IPv4, too, unless it was
/// told not to, which nobody can see from outside.
fn covers(bound: IpAddr, address: IpAddr) -> bool {
    match bound {
        IpAddr::V4(v4) if v4.is_unspecified() => address.is_ipv4(),
        IpAddr::V6(v6) if v6.is_unspecified() => true,
        _ => bound == address,
    }
}

/// Protocol and place of a socket that waits for others.
type Listener = (&'static str, SocketAddr);

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
fn listeners() -> Vec<Listener> {
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
    use super::super::testing::{config, ip};
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
        let mut switch = config().switch;
        switch.snat_addresses = vec![ip("198.18.1.2")];
        let outside = |ports, switch: &Switch| {
            outside(&Switch { snat_ports: ports, ..switch.clone() }, Some((32768, 60999)))
        };
        assert_eq!(outside((1024, 32767), &switch), Ok(()));
        assert_eq!(outside((61000, 65535), &switch), Ok(()));
        let error = outside((1024, 32768), &switch).unwrap_err().to_string();
        assert!(
            error.contains("1024-32768")
                && error.contains("32768-60999")
                && error.contains("\"32769 65535\"")
        );
        switch.snat_addresses.clear();
        assert_eq!(outside((1024, 65535), &switch), Ok(()), "they are not used");
    }

    #[test]
    fn the_metrics_may_not_lie_within() {
        let mut switch = config().switch;
        switch.snat_ports = (1024, 32767);
        let shared = [ip("198.18.1.2")];
        let mut outside = |listen: &str| {
            switch.metrics_listen = Some(listen.parse().unwrap());
            metrics_outside(&switch, &shared).is_ok()
        };
        assert!(outside("127.0.0.1:9500") && outside("0.0.0.0:40000") && outside("198.18.0.2:9500"));
        assert!(!outside("0.0.0.0:9500") && !outside("198.18.1.2:9500") && !outside("[::]:9500"));
    }
}
