//! ARP requests for addresses that the switch answers for (RFC 826).

use std::net::{IpAddr, Ipv4Addr};

use crate::dataplane::batch::{Events, Meta};
use crate::dataplane::conntrack::FlowTable;
use crate::dataplane::parse::IP;
use crate::dataplane::verdict::Verdict;
use crate::tables::{Event, Snapshot, Tick};
use crate::wire::arp;
use crate::xsk::Frame;

/// Turns a request for one of our addresses into its answer. Whatever else it is stays with the kernel.
pub fn answer(
    frame: &mut Frame,
    meta: &Meta,
    tables: &Snapshot,
    flows: &FlowTable,
    now: Tick,
    events: &mut Events,
) -> Verdict {
    let Some(request) = frame.bytes().get(IP..).and_then(arp::Request::parse) else {
        return Verdict::ToKernel;
    };
    let Some(interface) = tables.interfaces.get(meta.ingress.index()) else { return Verdict::ToKernel };
    if !tables.answers_for(IpAddr::V4(Ipv4Addr::from(request.target))) || request.sender == request.target {
        return Verdict::ToKernel;
    }
    arp::answer(frame.bytes_mut(), &request, interface.mac);
    if request.sender != 0 {
        // Who asks for us will send to us: the kernel would have learnt this from the request.
        let (interface, address, mac) = (meta.ingress, Ipv4Addr::from(request.sender), request.sender_mac);
        flows.nearby().note(interface, address, mac, now.coarse());
        events.raise(Event::Learned { interface, address: IpAddr::V4(address), mac });
    }
    Verdict::Reply(meta.ingress)
}
