//! The sentences of an answer.

use super::{Teller, headers};
use crate::control::trace::{ChoiceStep, VerdictStep};
use crate::tables::{Backend, DropReason, Fate, InterfaceId, SchedulerTable, Service, Snapshot};
use crate::wire::ip::{ICMP, ICMPV6};
use crate::wire::tcp::Flags;
use crate::wire::{ethernet, ipv4, ipv6};

/// Where a service is left to the kernel.
pub(super) const LEFT: &str = "no backend takes new connections, and the service has on_no_backend = \"to_kernel\": \
                               once its last connection is over, the kernel gets all that comes for it";
/// Endpoints of a VIP that an answer names, at the most.
const NAMED: usize = 10;

/// Why no service takes the packet.
pub(super) fn no_service(teller: &Teller<'_>) -> String {
    let (destination, snapshot) = (teller.question.destination, teller.snapshot);
    if let Some(existing) = &teller.answer.existing {
        let outbound = existing.connection.is_outbound;
        return if outbound { "it belongs to a connection of [[snat]]" } else { "its service was removed" }
            .into();
    }
    let at_vip: Vec<_> =
        snapshot.services.iter().flatten().filter(|s| s.vip.ip() == destination.ip()).collect();
    if at_vip.is_empty() {
        return format!("no service has the address {}", destination.ip());
    }
    let name =
        |service: &&Service| format!("{}/{} ({})", service.vip.port(), service.protocol.name(), service.name);
    let named: Vec<_> = at_vip.iter().take(NAMED).map(name).collect();
    let more = match at_vip.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{} is a VIP, but no service takes {}/{} there; there are {}{more}",
        destination.ip(),
        destination.port(),
        teller.question.protocol,
        named.join(", ")
    )
}

/// Who gets it, and why.
pub(super) fn choice(teller: &Teller<'_>, service: Option<&Service>, chosen: &Backend) -> Option<ChoiceStep> {
    let answer = teller.answer;
    let by_worker: Vec<_> = answer.turns.iter().map(|id| teller.address(*id)).collect();
    let kept = answer.existing.as_ref().is_some_and(|existing| existing.connection.backend == chosen.id);
    let remembered = answer.remembered.and_then(|remembered| remembered.backend) == Some(chosen.id);
    let (by, why) = if kept && answer.turns.is_empty() {
        ("connection", "the connection has it".to_owned())
    } else if remembered {
        ("affinity", "its client had a connection there, and returns".to_owned())
    } else {
        ("scheduler", scheduled(teller, service?, chosen))
    };
    Some(ChoiceStep { backend: chosen.address, by: by.into(), why, by_worker })
}

fn scheduled(teller: &Teller<'_>, service: &Service, chosen: &Backend) -> String {
    let loads = &teller.tables.loads;
    let open = loads.open(chosen.id);
    match &*service.table {
        SchedulerTable::RoundRobin(round) => {
            let turns = round.turns.len();
            let turn = match teller.tables.cursor(0, service.id) as usize {
                turn if turn < turns => turn + 1,
                _ => 1,
            };
            format!("turn {turn} of a round of {turns} at worker 0; each worker walks the round by itself")
        }
        SchedulerTable::FlowHash(_) | SchedulerTable::Maglev(_) => {
            "the hash of addresses and ports says so: at every worker, and every switch with these backends"
                .into()
        }
        SchedulerTable::SourceHash(_) => {
            "the hash of the client's address says so: at every worker, and every switch with these backends"
                .into()
        }
        SchedulerTable::LeastConnections(_) => {
            format!("(open + 1) / weight is the least: ({open} + 1) / {}", chosen.weight)
        }
        SchedulerTable::LeastResponseTime(_) => {
            let response = loads.response_us(chosen.id);
            format!(
                "(open + 1) × response time / weight is the least: ({open} + 1) × {response} µs / {}; who was never \
                 measured counts as the fastest",
                chosen.weight
            )
        }
        SchedulerTable::TwoChoices(_) => {
            format!(
                "of two that chance proposes, (open + 1) / weight is less: ({open} + 1) / {}",
                chosen.weight
            )
        }
    }
}

/// That it leaves.
pub(super) fn forwarded(teller: &Teller<'_>, interface: InterfaceId) -> String {
    format!("it leaves through {}", teller.interface(interface))
}

/// What the switch answers itself.
pub(super) fn answered(frame: &[u8]) -> String {
    let link = ethernet::header(frame).map_or(0, |link| usize::from(link.header_len));
    let packet = frame.get(link..).unwrap_or_default();
    let header = ipv4::Header::parse(packet).map(|header| (header.protocol, usize::from(header.header_len)));
    let header = header.or_else(|_| {
        ipv6::Header::parse(packet).map(|header| (header.protocol, usize::from(header.header_len)))
    });
    let (protocol, at) = header.unwrap_or_default();
    let [kind, code] =
        packet.get(at..).and_then(|message| message.first_chunk()).copied().unwrap_or_default();
    let what = match (protocol, kind, code) {
        (ICMP, 3, 4) | (ICMPV6, 2, _) => "an ICMP error: the packet is too big for its way",
        (ICMP, 3, 3) | (ICMPV6, 1, 4) => "an ICMP error: nobody serves this port",
        (ICMP, 3, _) | (ICMPV6, 1, _) => "an ICMP error: it cannot be delivered",
        (ICMP | ICMPV6, ..) => "an ICMP message",
        _ if packet.get(at + 13).is_some_and(|flags| Flags(*flags).any(Flags::SYN)) => {
            "a SYN cookie: the backend is picked and asked once the client has brought it back"
        }
        _ => "a reset: nobody takes this connection",
    };
    format!("the switch answers with {what}")
}

/// That it is none of the switch's business.
pub(super) fn to_kernel(snapshot: &Snapshot) -> String {
    match snapshot.bridge {
        false => "it belongs to no service: the XDP program leaves it to the kernel".into(),
        true => "it belongs to no service: it crosses the bridge untouched, or is the kernel's if it is for the host".into(),
    }
}

/// What should be known besides.
pub(super) fn notes(teller: &Teller<'_>, verdict: &VerdictStep, live: bool) -> Vec<String> {
    let answer = teller.answer;
    let mut notes = Vec::new();
    let mut note = |holds: bool, text: &str| {
        if holds {
            notes.push(text.to_owned());
        }
    };
    let lost = |reason: DropReason| verdict.reason.as_deref() == Some(reason.name());
    note(
        !live && (lost(DropReason::NoRoute) || lost(DropReason::NextHopUnresolved)),
        "asked of the file alone, routes and MAC addresses are those of [[route]], [[neighbor]] and [[interface]]; \
         a running switch takes them from the kernel",
    );
    let picks: std::collections::HashSet<_> = answer.turns.iter().collect();
    note(
        picks.len() > 1,
        "workers are at different places of their rounds: who gets the packet depends on the worker, which the NIC chooses",
    );
    note(
        answer.table_is_scarce,
        "nearly all entries of the connection table are taken: a new connection may be refused (table_full)",
    );
    let existing = answer.existing.as_ref().map(|existing| existing.connection.backend);
    let fate = existing.and_then(|id| teller.snapshot.backend(id)).map(|backend| backend.fate);
    note(
        fate == Some(Fate::Reset),
        "its backend is down or drained to the end: the connection is to be reset",
    );
    note(fate == Some(Fate::Reschedule), "its backend is down: the connection goes to another one");
    note(
        verdict.verdict == "drop" && lost(DropReason::NoBackend),
        "what clients are told then, on_no_backend of the service says",
    );
    let port = headers::read(&answer.after).map(|left| left.source.port()).filter(|_| answer.ports.is_some());
    note(
        port.is_some() && verdict.verdict == "forward" && answer.existing.is_none(),
        "the source port is an example: the worker takes a free one",
    );
    notes
}
