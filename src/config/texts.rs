//! Text → names, paths and what is sent in checks, one value at a time.

use std::net::IpAddr;
use std::path::PathBuf;

use super::values::Mistake;

/// A service's name: it becomes a label of metrics and an argument of commands.
pub(super) fn service_name(text: &str) -> Result<String, Mistake> {
    label(text, "a service", "web")
}

/// The name of a rule of `[[snat]]`.
pub(super) fn rule_name(text: &str) -> Result<String, Mistake> {
    label(text, "a rule", "home")
}

fn label(text: &str, whose: &str, example: &str) -> Result<String, Mistake> {
    const LONGEST: usize = 63;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > LONGEST || !text.chars().all(allowed) {
        let help = format!("1 to {LONGEST} letters, digits, \"-\", \"_\" and \".\": {example:?}");
        return Err(Mistake::new(format!("{text:?} is not a name for {whose}"), help));
    }
    Ok(text.to_owned())
}

/// An interface's name, by the kernel's rules (`dev_valid_name` in `net/core/dev.c`).
pub(super) fn interface_name(text: &str) -> Result<String, Mistake> {
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(forbidden) {
        let help = "1 to 15 bytes without spaces, \"/\" and \":\": \"eth0\"; `ip link` lists the names";
        return Err(Mistake::new(format!("{text:?} is not the name of an interface"), help));
    }
    Ok(text.to_owned())
}

/// Path of a Unix socket, which `sun_path` must hold with its final zero (unix(7)).
pub(super) fn socket_path(text: &str) -> Result<PathBuf, Mistake> {
    if text.is_empty() || text.len() > 107 || text.contains('\0') {
        let help = "a path of 1 to 107 bytes: \"/run/xswitch/xswitch.sock\"";
        return Err(Mistake::new("a socket cannot have this path", help));
    }
    Ok(text.into())
}

/// Path of an HTTP request.
pub(super) fn request_path(text: &str) -> Result<String, Mistake> {
    if !text.starts_with('/') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let help = "a path begins with \"/\" and holds no spaces: \"/health\"";
        return Err(Mistake::new(format!("{text:?} is not the path of a request"), help));
    }
    Ok(text.to_owned())
}

/// The name of a group of services with one affinity.
pub(super) fn group_name(text: &str) -> Result<String, Mistake> {
    label(text, "a group", "shop")
}

/// A file's path, which must mean the same wherever the switch was started.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Mistake> {
    if !text.starts_with('/') || text.contains('\0') {
        let help = match text.trim_start_matches("./") {
            "" => "a path from the root: \"/etc/xswitch/backends.txt\"".to_owned(),
            name => format!("a path from the root: \"/etc/xswitch/{}\"", name.escape_debug()),
        };
        return Err(Mistake::new(format!("{text:?} does not begin at \"/\""), help));
    }
    Ok(text.into())
}

/// A name that DNS can be asked for (RFC 1035 §2.3.4; SRV names have underscores, RFC 2782).
pub(super) fn dns_name(text: &str) -> Result<String, Mistake> {
    const HELP: &str =
        "a name of letters, digits, \"-\" and \"_\", in parts of 1 to 63 joined by dots: \"web.example.net\"";
    if text.parse::<IpAddr>().is_ok() {
        let help = "list addresses as backends: [[service.backend]] with address";
        return Err(Mistake::new(format!("{text:?} is an address, not a name"), help));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name = text.strip_suffix('.').unwrap_or(text);
    let right = |part: &str| (1..=63).contains(&part.len()) && part.chars().all(allowed);
    if name.len() > 253 || !name.split('.').all(right) {
        return Err(Mistake::new(format!("{text:?} is not a DNS name"), HELP));
    }
    Ok(text.to_owned())
}

/// The method of a request: a token (RFC 9110 §5.6.2).
pub(super) fn method(text: &str) -> Result<String, Mistake> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let upper = text.to_ascii_uppercase();
    if text.is_empty() || text.len() > 32 || !text.chars().all(token) || upper == "CONNECT" {
        let help = "\"GET\", \"HEAD\", \"OPTIONS\" or another method that asks for a path";
        return Err(Mistake::new(format!("{text:?} is not a method to check with"), help));
    }
    if matches!(upper.as_str(), "GET" | "HEAD" | "OPTIONS" | "POST") && upper != text {
        let help = format!("methods are written in capitals: {upper:?}");
        return Err(Mistake::new(format!("{text:?} is no method"), help));
    }
    Ok(text.to_owned())
}

/// A `Host` header: name or address, maybe with a port.
pub(super) fn host(text: &str) -> Result<String, Mistake> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if text.is_empty() || text.len() > 255 || !text.chars().all(allowed) {
        let help = "what a browser would ask for: \"www.example.net\" or \"www.example.net:8443\"";
        return Err(Mistake::new(format!("{text:?} is not a host"), help));
    }
    Ok(text.to_owned())
}

/// What an answer's body must contain.
pub(super) fn body(text: &str) -> Result<String, Mistake> {
    const LONGEST: usize = 1024;
    if text.len() > LONGEST {
        let message = format!("{} bytes are more than {LONGEST}", text.len());
        return Err(Mistake::new(message, "a part of the answer that is enough to know it by"));
    }
    Ok(text.to_owned())
}

/// What fits into one datagram on an Ethernet link: 1500 − 40 (IPv6) − 8 (UDP).
const LARGEST_DATAGRAM: usize = 1452;

/// What a datagram holds, as text.
pub(super) fn datagram(text: &str) -> Result<Vec<u8>, Mistake> {
    bounded(text.as_bytes().to_vec())
}

/// What a datagram holds, as hexadecimal digits: `"0a 0b"` or `"0a0b"`.
pub(super) fn datagram_hex(text: &str) -> Result<Vec<u8>, Mistake> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) => {
            bounded(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(Mistake::new("these are not bytes", "two hexadecimal digits for each byte: \"12 34 ab\"")),
    }
}

fn bounded(bytes: Vec<u8>) -> Result<Vec<u8>, Mistake> {
    if bytes.len() > LARGEST_DATAGRAM {
        let message = format!("{} bytes do not fit into one datagram", bytes.len());
        return Err(Mistake::new(message, format!("at most {LARGEST_DATAGRAM} bytes")));
    }
    Ok(bytes)
}
