//! What no service takes, addressed to a VIP: the switch says what a host would (RFC 1122 §3.2.2.1, RFC 9293 §3.10.7.1).
//!
//! The packet has arrived, so that its TTL does not matter: a traceroute ends here.

use crate::dataplane::admit::may_connect;
use crate::dataplane::batch::Meta;
use crate::dataplane::parse::{self, Kind, TCP, UDP};
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::DropReason;
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
        TCP => return reset::<P>(frame, meta, turn),
        UDP => Complaint::PortUnreachable,
        NO_NEXT_HEADER if P::PROTOCOL == ip::ICMPV6 => return Err(DropReason::NotServed),
        _ => Complaint::ProtocolUnreachable,
    };
    let vip = key.addresses.destination();
    originate::<P>(frame, meta, complaint, vip, turn).ok_or(DropReason::NotServed)
}

/// Turns a segment into the reset that answers it. None answers a reset.
fn reset<P: Version>(frame: &mut Frame, meta: &Meta, turn: &mut Turn<'_>) -> Result<Verdict, DropReason> {
    let segment = frame.bytes().get(meta.parsed.payload()).ok_or(DropReason::Malformed)?;
    let header = tcp::Header::parse(segment).ok_or(DropReason::Malformed)?;
    let occupied = tcp::sequence_length(segment);
    if header.flags.any(Flags::RST) || !turn.may_speak() {
        return Err(DropReason::NotServed);
    }
    let addresses = P::key(meta).addresses;
    // A TCP packet is never shorter than one without options and data.
    let packet = frame.bytes_mut().get_mut(meta.parsed.packet()).ok_or(DropReason::Malformed)?;
    let length = addresses.write_reset(packet, &header, occupied).ok_or(DropReason::Malformed)?;
    let _ = frame.resize(usize::from(meta.parsed.ip) + length);
    Ok(send_back(frame, meta))
}
