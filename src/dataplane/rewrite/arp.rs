//! ARP requests for addresses that the switch answers for (RFC 826).

use std::net::{IpAddr, Ipv4Addr};

use crate::dataplane::batch::Meta;
use crate::dataplane::turn::Turn;
use crate::dataplane::verdict::Verdict;
use crate::tables::Event;
use crate::wire::arp;
use crate::xsk::Frame;

/// Turns a request for one of our addresses into its answer. Whatever else it is stays with the kernel.
pub fn answer(frame: &mut Frame, meta: &Meta, turn: &mut Turn<'_>) -> Verdict {
    let tables = turn.tables;
    let Some(request) = frame.bytes().get(usize::from(meta.parsed.ip)..).and_then(arp::Request::parse) else {
        return Verdict::ToKernel;
    };
    let Some(interface) = tables.interfaces.get(meta.ingress.index()) else { return Verdict::ToKernel };
    if !tables.answers_for(IpAddr::V4(Ipv4Addr::from(request.target))) || request.sender == request.target {
        return Verdict::ToKernel;
    }
    arp::answer(frame.bytes_mut(), usize::from(meta.parsed.ip), &request, interface.mac);
    if request.sender != 0 {
        // Who asks for us will send to us: the kernel would have learnt this from the request.
        let (interface, mac) = (meta.ingress, request.sender_mac);
        let address = IpAddr::V4(Ipv4Addr::from(request.sender));
        turn.flows.tables().nearby.note(interface, address, mac, turn.now.coarse());
        turn.extras.raise(Event::Learned { interface, address, mac });
    }
    Verdict::Reply(meta.ingress)
}
