//! What no service takes, addressed to a VIP: the switch says what a host would (RFC 1122 §3.2.2.1, RFC 9293 §3.10.7.1).
//!
//! The packet has arrived, so that its TTL does not matter: a traceroute ends here.

use crate::dataplane::admit::{may_connect, service_of};
use crate::dataplane::batch::Meta;
use crate::dataplane::parse::{self, Kind, TCP, UDP};
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::{DropReason, OnNoBackend};
use crate::wire::ip;
use crate::wire::tcp::{self, Flags};
use crate::xsk::Frame;

use super::complain::originate;
use super::send_back;
use super::source::is_broadcast;
use super::version::{Complaint, Version};

/// A packet that ends with its IP header (RFC 8200 §4.7): there is nothing to refuse.
const NO_NEXT_HEADER: u8 = 59;

/// Turns the frame into what says that nobody takes it.
pub(super) fn refuse<P: Version>(
    frame: &mut Frame,
    meta: &Meta,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let key = P::key(meta);
    let sender = key.addresses.source();
    if !may_connect(sender, turn.tables) || is_broadcast(turn.tables, meta.ingress, sender) {
        return Err(DropReason::BadSource);
    }
    if meta.parsed.kind == Kind::Flow {
        parse::verify(frame.bytes(), &meta.parsed, &key)?;
    }
    let complaint = match key.protocol {
        TCP if meta.parsed.flags.any(Flags::RST) || !turn.may_speak() => return Err(DropReason::NotServed),
        TCP => return reset::<P>(frame, meta).ok_or(DropReason::NotServed),
        UDP => Complaint::PortUnreachable,
        NO_NEXT_HEADER if P::PROTOCOL == ip::ICMPV6 => return Err(DropReason::NotServed),
        _ => Complaint::ProtocolUnreachable,
    };
    let vip = key.addresses.destination();
    originate::<P>(frame, meta, complaint, vip, turn).ok_or(DropReason::NotServed)
}

/// The same for the first frame of a connection whose service has no backend for it, where the service wants that said.
/// Not of pieces: the first does not say how long a segment is, and the others say nothing.
pub(super) fn reject<P: Version>(frame: &mut Frame, meta: &Meta, turn: &mut Turn<'_>) -> Option<Verdict> {
    let service = service_of(&P::key(meta), turn.tables)?;
    if service.on_no_backend != OnNoBackend::Reject || meta.parsed.kind != Kind::Flow {
        return None;
    }
    refuse::<P>(frame, meta, turn).ok()
}

/// Turns a segment into the reset that answers it. None answers a reset.
pub(super) fn reset<P: Version>(frame: &mut Frame, meta: &Meta) -> Option<Verdict> {
    let segment = frame.bytes().get(meta.parsed.payload())?;
    let header = tcp::Header::parse(segment)?;
    let occupied = tcp::sequence_length(segment);
    if header.flags.any(Flags::RST) {
        return None;
    }
    let addresses = P::key(meta).addresses;
    // A TCP packet is never shorter than one without options and data.
    let packet = frame.bytes_mut().get_mut(meta.parsed.packet())?;
    let length = addresses.write_reset(packet, &header, occupied)?;
    let _ = frame.resize(usize::from(meta.parsed.ip) + length);
    Some(send_back(frame, meta))
}
