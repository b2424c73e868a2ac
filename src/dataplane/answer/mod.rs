//! Tier 3: what is no flow of a service, and what is said about frames that were dropped.
//!
//! | file | what arrives | what becomes of it |
//! |---|---|---|
//! | [`neighbor`] | who has this address? | an answer, if it is ours to give |
//! | [`echo`] | a ping of a VIP | its reply |
//! | [`relay`] | an ICMP error about a connection | translated, to who must know |
//! | [`tunnel`] | an ICMP error about a packet of our own tunnels | an error for the client |
//! | [`host`] | what no service takes, to a VIP; what has lost its backend | what a host would say: unreachable, reset |
//! | [`fates`] | a frame of a connection whose backend is down | a reset, or it goes to another backend |
//! | [`complain`] | a frame that was dropped | an ICMP error, if its sender can do something about it |
//!
//! Whatever else it is stays with the kernel. Of a dropped frame whose service has no backend nothing is said unless the
//! service asks for it: who gets a reset gives up at once, who gets nothing asks again, and may then be served.

mod complain;
mod echo;
mod fates;
mod host;
mod neighbor;
mod relay;
mod source;
mod tunnel;
pub(super) mod version;

use crate::tables::DropReason;
use crate::wire::tunnel::Family;
use crate::wire::{icmp, ip};
use crate::xsk::Frame;

use super::batch::Meta;
use super::family::{V4, V6};
use super::limits;
use super::parse::Kind;
use super::rewrite::Egress;
use super::turn::Turn;
use super::verdict::Verdict;
use version::Version;

/// Gives a frame that has no verdict yet its last one, and says why where one was dropped.
#[inline]
pub fn run(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>, kernel_reachable: bool) {
    match meta.verdict {
        None => meta.verdict = Some(unclaimed(frame, meta, turn)),
        Some(Verdict::Drop(reason)) => {
            if let Some(verdict) = complain::about(frame, meta, reason, turn) {
                meta.verdict = Some(verdict);
            }
        }
        Some(Verdict::ToKernel) => {}
        Some(_) => return,
    }
    if matches!(meta.verdict, Some(Verdict::Reply(_))) && frame.has_room() {
        // The room that is in front of what may have to be encapsulated is closed.
        let _ = frame.set_header(0, 0);
    }
    if meta.verdict == Some(Verdict::ToKernel) && !kernel_reachable {
        meta.verdict = Some(cross(frame, meta, turn).unwrap_or_else(Verdict::Drop));
    }
}

/// The XDP program knows no connections, so that it gives a bridge frames that only look like a service's: of whoever
/// talks to a backend directly, say. They cross as they came, like all others of no service, unless they are addressed to
/// the host itself.
#[cold]
fn cross(frame: &Frame, meta: &Meta, turn: &Turn<'_>) -> Result<Verdict, DropReason> {
    let tables = turn.tables;
    let for_host = tables.interfaces.iter().any(|interface| frame.bytes().starts_with(&interface.mac));
    if !tables.bridge || for_host {
        return Err(DropReason::NotSteered);
    }
    let egress = Egress::across(meta.ingress, tables)?;
    if meta.parsed.ip_len > egress.link_mtu() {
        Err(DropReason::TooBig)
    } else {
        Ok(Verdict::Forward(egress.interface()))
    }
}

#[cold]
fn unclaimed(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) -> Verdict {
    match (meta.parsed.kind, meta.parsed.family) {
        (Kind::Arp, _) => neighbor::arp(frame, meta, turn),
        (Kind::Icmp | Kind::Flow | Kind::Packet, Family::V4) => packet::<V4>(frame, meta, turn),
        (Kind::Icmp | Kind::Flow | Kind::Packet, Family::V6) => packet::<V6>(frame, meta, turn),
        (Kind::Other | Kind::Fragment, _) => Verdict::ToKernel,
    }
}

fn packet<P: Version>(frame: &mut Frame, meta: &mut Meta, turn: &mut Turn<'_>) -> Verdict {
    let key = P::key(meta);
    let is_icmp = meta.parsed.kind == Kind::Icmp && key.protocol == P::PROTOCOL;
    let kind = frame.bytes().get(usize::from(meta.parsed.transport)).copied().unwrap_or_default();
    if is_icmp && P::PROTOCOL == ip::ICMPV6 && neighbor::is_discovery(kind) {
        return neighbor::discovery(frame, meta, turn);
    }
    if !is_for_one(frame) {
        return Verdict::ToKernel;
    }
    if is_icmp && let Err(reason) = limits::takes_icmp(turn) {
        return Verdict::Drop(reason);
    }
    let verdict = if is_icmp && P::is_error(kind) {
        relay::relay::<P>(frame, meta, turn)
    } else if !turn.tables.is_host(key.addresses.destination()) {
        Ok(Verdict::ToKernel)
    } else if is_icmp {
        echo::answer::<P>(frame, meta, turn)
    } else {
        host::refuse::<P>(frame, meta, turn)
    };
    verdict.unwrap_or_else(Verdict::Drop)
}

/// Whether the frame was sent to one station, not to a group of them.
fn is_for_one(frame: &Frame) -> bool {
    frame.bytes().first().is_some_and(|first| first & 1 == 0)
}

/// Reads and verifies the ICMP message of a frame.
fn message<P: Version>(frame: &Frame, meta: &Meta) -> Result<icmp::Message, DropReason> {
    let message = frame.bytes().get(meta.parsed.payload()).ok_or(DropReason::Malformed)?;
    P::key(meta).addresses.parse(message).map_err(|error| match error {
        icmp::Error::Malformed => DropReason::Malformed,
        icmp::Error::Checksum => DropReason::IcmpChecksum,
    })
}

/// Sends the frame, whose packet is now an answer, back to where it came from, tags and all.
pub(super) fn send_back(frame: &mut Frame, meta: &Meta) -> Verdict {
    if let Some(macs) = frame.bytes_mut().first_chunk_mut::<12>() {
        macs.rotate_left(6);
    }
    Verdict::Reply(meta.ingress)
}
