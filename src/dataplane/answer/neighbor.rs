//! Who has this address? ARP (RFC 826) and neighbour discovery (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dataplane::batch::Meta;
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::{DropReason, Event};
use crate::wire::{arp, ethernet, ipv6, ndp};
use crate::xsk::Frame;

/// ICMPv6 types.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Whether ICMPv6 messages of this type are between neighbours, about their MAC addresses.
pub(super) fn is_discovery(kind: u8) -> bool {
    matches!(kind, SOLICITATION | ADVERTISEMENT)
}

/// Turns an ARP request for one of our addresses into its answer. Whatever else it is stays with the kernel.
pub(super) fn arp(frame: &mut Frame, meta: &Meta, turn: &mut Turn<'_>) -> Verdict {
    let tables = turn.tables;
    let packet = frame.bytes().get(usize::from(meta.parsed.ip)..).unwrap_or_default();
    let Some(request) = arp::Request::parse(packet) else {
        if let Some(reply) = arp::Reply::parse(packet) {
            return overhear(frame, meta, IpAddr::V4(Ipv4Addr::from(reply.sender)), reply.sender_mac, turn);
        }
        return Verdict::ToKernel;
    };
    let Some(interface) = tables.interfaces.get(meta.ingress.index()) else { return Verdict::ToKernel };
    if !tables.answers_for(IpAddr::V4(Ipv4Addr::from(request.target))) || request.sender == request.target {
        return Verdict::ToKernel;
    }
    arp::answer(frame.bytes_mut(), usize::from(meta.parsed.ip), &request, interface.mac);
    if request.sender != 0 {
        learn(meta, IpAddr::V4(Ipv4Addr::from(request.sender)), request.sender_mac, turn);
    }
    Verdict::Reply(meta.ingress)
}

/// The same over IPv6. A probe (RFC 4862 §5.4) has no address to go back to: all nodes hear the answer.
pub(super) fn discovery(frame: &mut Frame, meta: &Meta, turn: &mut Turn<'_>) -> Verdict {
    let (tables, ip) = (turn.tables, usize::from(meta.parsed.ip));
    let packet = frame.bytes().get(ip..).unwrap_or_default();
    let Ok(header) = ipv6::Header::parse(packet) else { return Verdict::ToKernel };
    let Some(asked) = ndp::Solicitation::parse(packet, &header) else {
        if let Some(ndp::Advertisement { target, target_mac: Some(mac) }) =
            ndp::Advertisement::parse(packet, &header)
        {
            return overhear(frame, meta, IpAddr::V6(Ipv6Addr::from(target)), mac, turn);
        }
        return Verdict::ToKernel;
    };
    let (Some(interface), Some(sender)) =
        (tables.interfaces.get(meta.ingress.index()), ethernet::source(frame.bytes()))
    else {
        return Verdict::ToKernel;
    };
    if !tables.answers_for(IpAddr::V6(Ipv6Addr::from(asked.target))) || asked.source == asked.target {
        return Verdict::ToKernel;
    }
    let mac = asked.source_mac.unwrap_or(sender);
    let to = if asked.source == 0 { ndp::multicast_mac(ndp::ALL_NODES) } else { mac };
    let was = frame.len();
    if !frame.resize(was.max(ip + ndp::PACKET)) {
        return Verdict::ToKernel;
    }
    // No router to be used as one: addresses that are gateways are the kernel's.
    let written =
        frame.bytes_mut().get_mut(ip..).and_then(|packet| ndp::answer(packet, &asked, interface.mac, false));
    let Some(length) = written else {
        let _ = frame.resize(was);
        return Verdict::ToKernel;
    };
    let _ = frame.resize(ip + length);
    ethernet::set_macs(frame.bytes_mut(), &ethernet::macs(to, interface.mac));
    if asked.source != 0 {
        learn(meta, IpAddr::V6(Ipv6Addr::from(asked.source)), mac, turn);
    }
    Verdict::Reply(meta.ingress)
}

/// Who asks for us will send to us: the kernel would have learnt this from the request.
fn learn(meta: &Meta, address: IpAddr, mac: [u8; 6], turn: &mut Turn<'_>) {
    turn.flows.tables().nearby.note(meta.ingress, address, mac, turn.now.coarse());
    turn.extras.raise(Event::Learned { interface: meta.ingress, address, mac });
}

/// The interfaces of a bridge have no addresses, so that the kernel asks and learns nothing there. The control plane asks
/// in its place; this is the answer.
fn overhear(frame: &Frame, meta: &Meta, address: IpAddr, mac: [u8; 6], turn: &mut Turn<'_>) -> Verdict {
    let tables = turn.tables;
    let Some(interface) = tables.interfaces.get(meta.ingress.index()) else { return Verdict::ToKernel };
    let is_one = mac[0] & 1 == 0 && mac != [0; 6] && !address.is_unspecified();
    if tables.bridge && frame.bytes().starts_with(&interface.mac) && is_one && !tables.answers_for(address) {
        turn.extras.raise(Event::Learned { interface: meta.ingress, address, mac });
        return Verdict::Drop(DropReason::NeighborHeard);
    }
    Verdict::ToKernel
}
