//! Pings of a VIP.

use crate::dataplane::admit::may_connect;
use crate::dataplane::batch::Meta;
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::DropReason;
use crate::wire::icmp::Message;
use crate::xsk::Frame;

use super::version::Version;
use super::{message, send_back};

/// Turns an echo request to a VIP into its reply, whatever its TTL: it has arrived. Other messages get no answer.
pub(super) fn answer<P: Version>(
    frame: &mut Frame,
    meta: &Meta,
    turn: &mut Turn<'_>,
) -> Result<Verdict, DropReason> {
    let Message::EchoRequest { .. } = message::<P>(frame, meta)? else {
        return Err(DropReason::NotServed);
    };
    if !may_connect(P::key(meta).addresses.source(), turn.tables) {
        return Err(DropReason::BadSource);
    }
    let packet = frame.bytes_mut().get_mut(meta.parsed.packet()).ok_or(DropReason::Malformed)?;
    if !P::echo_reply(packet) {
        return Err(DropReason::Malformed);
    }
    Ok(send_back(frame, meta))
}
