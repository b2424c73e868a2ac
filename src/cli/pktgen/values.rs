//! Values of options.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::pktgen::order;
use crate::pktgen::tuples::Range;
use crate::tables;

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|part| if part.len() <= 2 { u8::from_str_radix(part, 16).ok() } else { None })
            .collect();
        let mac = bytes.and_then(|bytes| bytes.try_into().ok());
        mac.map(Self).ok_or_else(|| "a MAC address has six parts, such as 02:00:00:00:00:01".to_owned())
    }
}

/// What is longer is a mistake, and nanoseconds of it would not fit 64 bits some day.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Seconds, or another unit: `10`, `1.5`, `500ms`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number of seconds, or has a unit: 10, 1.5, 500ms, 2m".to_owned();
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let found = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let (digits, unit) = found.unwrap_or((text, 1.0));
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let duration = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
    if duration > LONGEST { Err("a year at the most".into()) } else { Ok(duration) }
}

/// Text with \r, \n, \t, \0, \\ and \xHH.
pub fn escaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    let mut buffer = [0; 4];
    while let Some(letter) = rest.next() {
        if letter != '\\' {
            bytes.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let are_two = digits.len() == 2 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
                let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| are_two);
                byte.ok_or_else(|| format!("\\x{digits}: two hexadecimal digits follow \\x"))?
            }
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("\\{other} means nothing; there are \\r \\n \\t \\0 \\\\ \\xHH"));
            }
        });
    }
    Ok(bytes)
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl From<Protocol> for tables::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Udp => Self::Udp,
            Protocol::Tcp => Self::Tcp,
        }
    }
}

/// Order of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// One after the other.
    Sequential,
    /// In every round in another order.
    Random,
}

impl From<Order> for order::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Sequential => Self::Sequential,
            Order::Random => Self::Random,
        }
    }
}

/// Source ports where none are named: those that clients use.
pub const CLIENT_PORTS: [u16; 2] = [1024, 65535];

/// `range` with `ports` where it names none.
pub fn with_ports(range: Range, ports: [u16; 2]) -> Range {
    let (address, bits) = range.prefix();
    let all = range.ports() == [0, u16::MAX];
    if all { Range::new(address, bits, ports).unwrap_or(range) } else { range }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        assert_eq!("02:00:00:00:00:ff".parse(), Ok(Mac([2, 0, 0, 0, 0, 255])));
        for wrong in ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:0g", "2:0:0:0:0:+1ff"] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times() {
        for (text, milliseconds) in
            [("10", 10_000), ("1.5", 1500), ("500ms", 500), ("2m", 120_000), ("3s", 3000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for wrong in ["", "x", "-1", "1y"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_with_control_characters() {
        assert_eq!(escaped(r"GET /\r\n\x00é\\").unwrap(), "GET /\r\n\0é\\".as_bytes());
        assert!(
            escaped(r"\q").is_err()
                && escaped(r"\x1").is_err()
                && escaped(r"\x+1").is_err()
                && escaped("\\").is_err()
        );
    }

    #[test]
    fn ports_that_are_not_named() {
        let range = |text: &str| text.parse::<Range>().unwrap();
        assert_eq!(with_ports(range("198.19.0.0/24"), CLIENT_PORTS), range("198.19.0.0/24:1024-65535"));
        assert_eq!(with_ports(range("198.19.0.0/24:7"), CLIENT_PORTS), range("198.19.0.0/24:7"));
    }
}
