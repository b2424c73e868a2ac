//! What XDP may do at a device: the family `netdev` of generic netlink (Documentation/netlink/specs/netdev.yaml), since Linux
//! 6.3.

use std::io;

use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::doctor::facts::XdpFeatures;

/// The controller, which knows the numbers of families, and its command and attributes (`linux/genetlink.h`).
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `linux/netdev.h`.
const GET_DEVICE: u8 = 1;
const INTERFACE_INDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;

const REQUEST: u16 = 1;
const ERROR: u16 = 2;
/// Length of a netlink header, and of that with a generic one behind it.
const HEADER: usize = 16;
const HEADERS: usize = 20;

/// Asks about the device with this index. An error where the kernel is older.
pub(super) fn read(ifindex: u32) -> io::Result<XdpFeatures> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = ask(&socket, &request(CONTROLLER, GET_FAMILY, FAMILY_NAME, b"netdev\0"), FAMILY_ID)?;
    let family = u16::from_ne_bytes(*family.first_chunk().ok_or(io::ErrorKind::InvalidData)?);
    let question = request(family, GET_DEVICE, INTERFACE_INDEX, &ifindex.to_ne_bytes());
    let features = ask(&socket, &question, XDP_FEATURES)?;
    Ok(XdpFeatures(u64::from_ne_bytes(*features.first_chunk().ok_or(io::ErrorKind::InvalidData)?)))
}

/// A message with one attribute.
fn request(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let padded = value.len().next_multiple_of(4);
    let mut message = Vec::with_capacity(HEADERS + 4 + padded);
    message.extend(((HEADERS + 4 + padded) as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(HEADERS + 4 + padded, 0);
    message
}

fn ask(socket: &Socket, question: &[u8], attribute: u16) -> io::Result<Vec<u8>> {
    socket.send(question, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    find(&answer, attribute).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The value of an attribute of the first message; none where there is no such attribute, or the message is an error.
fn find(message: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let word = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let length = u32::from_ne_bytes(*message.first_chunk()?) as usize;
    if word(message, 4)? == ERROR || length < HEADER {
        return None;
    }
    let mut attributes = message.get(HEADERS..length)?;
    loop {
        let (length, kind) = (usize::from(word(attributes, 0)?), word(attributes, 2)?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value.to_vec());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_behind_others_and_an_error_has_none() {
        let mut message = request(20, 1, 7, b"abc");
        let mut second = request(20, 1, XDP_FEATURES, &9u64.to_ne_bytes()).split_off(HEADERS);
        message.append(&mut second);
        let length = (message.len() as u32).to_ne_bytes();
        message[..4].copy_from_slice(&length);
        assert_eq!(find(&message, 7).unwrap(), b"abc");
        assert_eq!(find(&message, XDP_FEATURES).unwrap(), 9u64.to_ne_bytes());
        assert_eq!(find(&message, 5), None);
        for cut in 0..message.len() {
            let _ = find(&message[..cut], XDP_FEATURES);
        }
        message[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        assert_eq!(find(&message, 7), None);
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(read(u32::MAX >> 1).is_err());
    }
}
