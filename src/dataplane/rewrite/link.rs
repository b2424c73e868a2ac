//! The last step: what stands in front of the client's packet when it leaves. Outer headers, MAC addresses, VLAN tags.

use crate::dataplane::batch::Meta;
use crate::dataplane::family::Pair;
use crate::dataplane::turn::Turn;
use crate::tables::{DropReason, NextHop};
use crate::wire::ethernet::{self, Tags};
use crate::wire::tunnel::Outer;
use crate::xsk::Frame;

use super::{Egress, Hop};

/// Puts the outer headers, if any, and the Ethernet header of the way out in front of the packet.
#[inline]
pub fn leave<P: Pair>(
    frame: &mut Frame,
    meta: &Meta,
    egress: &Egress<'_>,
    outer: Option<&Outer>,
    turn: &mut Turn<'_>,
) -> Result<(), DropReason> {
    match &egress.next_hop {
        Hop::Row(next_hop) => towards::<P>(frame, meta, next_hop, outer, turn),
        Hop::Seen(next_hop) => towards::<P>(frame, meta, next_hop, outer, turn),
        // The frame goes on as it came.
        Hop::Across { .. } => Ok(()),
    }
}

#[inline]
fn towards<P: Pair>(
    frame: &mut Frame,
    meta: &Meta,
    next_hop: &NextHop,
    outer: Option<&Outer>,
    turn: &mut Turn<'_>,
) -> Result<(), DropReason> {
    if turn.tables.bridge {
        // Whoever sent it is found where it came from: the source stays.
        if let Some(destination) = frame.bytes_mut().first_chunk_mut::<6>() {
            destination.copy_from_slice(&next_hop.macs[..6]);
        }
        return Ok(());
    }
    match outer {
        Some(outer) => encapsulate(frame, meta, next_hop, outer, turn),
        None => set_link(frame, meta.parsed.ip, next_hop, P::ETHERTYPE),
    }
}

/// Writes the Ethernet header in front of the packet that starts `ip` bytes into the frame.
#[inline]
pub fn set_link(frame: &mut Frame, ip: u8, next_hop: &NextHop, ethertype: u16) -> Result<(), DropReason> {
    if next_hop.tags == Tags::none() && usize::from(ip) == ethernet::HEADER && !frame.has_room() {
        ethernet::set_macs(frame.bytes_mut(), &next_hop.macs);
        return Ok(());
    }
    if !frame.set_header(usize::from(ip), next_hop.tags.header_len()) {
        return Err(DropReason::NoHeadroom);
    }
    ethernet::write_header(frame.bytes_mut(), &next_hop.macs, &next_hop.tags, ethertype);
    Ok(())
}

fn encapsulate(
    frame: &mut Frame,
    meta: &Meta,
    next_hop: &NextHop,
    outer: &Outer,
    turn: &mut Turn<'_>,
) -> Result<(), DropReason> {
    let (link, inner_len) = (next_hop.tags.header_len(), meta.parsed.ip_len);
    // What lies behind the packet is padding: of the inner frame, none of the outer one.
    if !frame.resize(meta.parsed.packet().end)
        || !frame.set_header(usize::from(meta.parsed.ip), link + outer.len())
    {
        return Err(DropReason::NoHeadroom);
    }
    ethernet::write_header(frame.bytes_mut(), &next_hop.macs, &next_hop.tags, outer.family().ethertype());
    let Some((room, inner)) =
        frame.bytes_mut().get_mut(link..).and_then(|rest| rest.split_at_mut_checked(outer.len()))
    else {
        return Err(DropReason::NoHeadroom);
    };
    // Where the packet may not be cut the identification means nothing, and none is used up.
    let id = if meta.parsed.dont_fragment { 0 } else { turn.flows.next_id() };
    if outer.write(room, inner, inner_len, id, meta.hash as u16) {
        Ok(())
    } else {
        Err(DropReason::NoHeadroom)
    }
}
