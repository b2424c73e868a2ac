//! Text → addresses, ports and what else a network is made of, one value at a time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What is wrong with a value, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub message: String,
    pub help: String,
}

impl Mistake {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// Address and port that frames can be sent to: `198.18.0.100:80`.
pub(super) fn endpoint(text: &str) -> Result<SocketAddr, Mistake> {
    let Ok(endpoint) = text.parse::<SocketAddr>() else {
        let help = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => format!("add the port: \"{address}:80\""),
            Ok(IpAddr::V6(address)) => format!("add the port: \"[{address}]:80\""),
            Err(_) => "an address, a colon and a port from 1 to 65535: \"198.18.0.100:80\" or \"[2001:db8::100]:80\""
                .to_owned(),
        };
        return Err(Mistake::new(format!("{text:?} is not an address with a port"), help));
    };
    forwardable(endpoint.ip())?;
    // A zone means an interface, and flow information nothing at all: what is left is address and port.
    let endpoint = SocketAddr::new(endpoint.ip(), endpoint.port());
    if endpoint.port() == 0 {
        let help = format!("a port from 1 to 65535: \"{}\"", SocketAddr::new(endpoint.ip(), 80));
        return Err(Mistake::new("port 0 cannot be connected to", help));
    }
    Ok(endpoint)
}

/// An address that frames can be sent to through a router.
pub(super) fn forwarded_address(text: &str) -> Result<IpAddr, Mistake> {
    let address = any_address(text)?;
    forwardable(address)?;
    Ok(address)
}

/// An address of one host.
pub(super) fn host_address(text: &str) -> Result<IpAddr, Mistake> {
    let address = any_address(text)?;
    unicast(address)?;
    Ok(address)
}

fn any_address(text: &str) -> Result<IpAddr, Mistake> {
    text.parse().map_err(|_| {
        let help = match (text.parse::<SocketAddr>(), text.split_once('/')) {
            (Ok(endpoint), _) => format!("without the port: \"{}\"", endpoint.ip()),
            (_, Some((address, _))) => format!("without the prefix length: \"{address}\""),
            _ => "an address, such as \"198.18.1.2\"".to_owned(),
        };
        Mistake::new(format!("{text:?} is not an IP address"), help)
    })
}

/// Link-local addresses mean another host on every link, so they never leave theirs (RFC 4291 §2.5.6).
fn forwardable(address: IpAddr) -> Result<(), Mistake> {
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        let message = format!("{address} is a link-local address: it means another host on every link");
        return Err(Mistake::new(message, "a global or unique local address, such as 2001:db8::100"));
    }
    unicast(address)
}

/// Frames to and from other addresses never pass a router (RFC 1812 §5.3.7, RFC 6890).
fn unicast(address: IpAddr) -> Result<(), Mistake> {
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let message = format!("{address} is an IPv4 address written as IPv6");
        return Err(Mistake::new(message, format!("write it as IPv4: {v4}")));
    }
    let kind = match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "unspecified",
        IpAddr::V6(v6) if v6.is_unspecified() => "unspecified",
        IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST => "the broadcast",
        _ if address.is_multicast() => "multicast",
        _ if address.is_loopback() => "loopback",
        _ => return Ok(()),
    };
    let message = format!("{address} is {kind} address", kind = article(kind));
    Err(Mistake::new(message, "the unicast address of a host on the network"))
}

fn article(kind: &str) -> String {
    match kind {
        "the broadcast" => kind.to_owned(),
        "unspecified" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// A host's address with the length of its prefix: `198.18.0.2/24`.
pub(super) fn interface_address(text: &str) -> Result<(IpAddr, u8), Mistake> {
    let (address, length) = prefix(text)?;
    unicast(address)?;
    Ok((address, length))
}

/// A prefix whose host bits are zero: `198.18.1.0/24`.
pub(super) fn network(text: &str) -> Result<(IpAddr, u8), Mistake> {
    let (address, length) = prefix(text)?;
    let network = masked(address, length);
    if network != address {
        let help = format!("the prefix is \"{network}/{length}\"");
        return Err(Mistake::new(format!("{text:?} has host bits set"), help));
    }
    Ok((address, length))
}

fn prefix(text: &str) -> Result<(IpAddr, u8), Mistake> {
    let wrong = |help: String| Mistake::new(format!("{text:?} is not a prefix"), help);
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(wrong("an address and the length of its prefix: \"198.18.1.0/24\"".to_owned()));
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match length.parse::<u8>() {
        Ok(length) if length <= longest => Ok((address, length)),
        _ => Err(wrong(format!("add a length from 0 to {longest}: \"{address}/{}\"", longest - 8))),
    }
}

/// The address with all but its first `length` bits zero.
pub(super) fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// The MAC address of one interface: `02:00:00:00:01:0b`.
pub(super) fn mac(text: &str) -> Result<[u8; 6], Mistake> {
    let hex = |pair: &str| match pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => u8::from_str_radix(pair, 16).ok(),
        false => None,
    };
    let bytes: Option<Vec<u8>> = text.split(':').map(hex).collect();
    let Some(mac) = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) else {
        let digits: Vec<char> = text.chars().filter(|c| !"-.: ".contains(*c)).collect();
        let help = match digits.len() == 12 && digits.iter().all(char::is_ascii_hexdigit) {
            true => {
                let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
                format!("write it \"{}\"", pairs.join(":").to_lowercase())
            }
            false => "six pairs of hexadecimal digits: \"02:00:00:00:01:0b\"".to_owned(),
        };
        return Err(Mistake::new(format!("{text:?} is not a MAC address"), help));
    };
    if mac[0] & 1 == 1 || mac == [0; 6] {
        let kind = if mac[0] & 1 == 1 { "a multicast address" } else { "no interface's address" };
        let help = "a unicast address: its first byte is even, such as \"02:00:00:00:01:0b\"";
        return Err(Mistake::new(format!("{text:?} is {kind}"), help));
    }
    Ok(mac)
}

/// First and last port: `1024-32767`.
pub(super) fn port_range(text: &str) -> Result<(u16, u16), Mistake> {
    let ports = text.split_once('-').map(|(first, last)| (first.trim().parse(), last.trim().parse()));
    match ports {
        Some((Ok(0), Ok(_))) => Err(Mistake::new("port 0 cannot be used", "begin at 1024: \"1024-32767\"")),
        Some((Ok(first), Ok(last))) if first > last => {
            let help = format!("the lower port first: \"{last}-{first}\"");
            Err(Mistake::new(format!("{text:?} is empty: it ends before it begins"), help))
        }
        Some((Ok(first), Ok(last))) => Ok((first, last)),
        _ => {
            let help = "the first and the last port, from 1 to 65535: \"1024-32767\"";
            Err(Mistake::new(format!("{text:?} is not a range of ports"), help))
        }
    }
}

/// Where to listen; `""` for nowhere.
pub(super) fn listen(text: &str) -> Result<Option<SocketAddr>, Mistake> {
    match text.parse() {
        _ if text.is_empty() => Ok(None),
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(Mistake::new(
            format!("{text:?} is not an address with a port"),
            "an address and a port, \"127.0.0.1:9500\", or \"\" for off",
        )),
    }
}

/// A DNS server; port 53 where none is given.
pub(super) fn resolver(text: &str) -> Result<SocketAddr, Mistake> {
    let bare = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    let Ok(server) = bare.or_else(|_| text.parse::<SocketAddr>()) else {
        let help = "an address, with a port if it is not 53: \"198.18.1.53\" or \"[2001:db8::53]:5353\"";
        return Err(Mistake::new(format!("{text:?} is not the address of a DNS server"), help));
    };
    // The resolver of the host itself will do: 127.0.0.53.
    if !server.ip().is_loopback() {
        unicast(server.ip())?;
    }
    match server.port() {
        0 => Err(Mistake::new(
            "port 0 cannot be asked",
            format!("without a port it is 53: \"{}\"", server.ip()),
        )),
        port => Ok(SocketAddr::new(server.ip(), port)),
    }
}
