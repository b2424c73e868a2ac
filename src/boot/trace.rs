//! The data plane's answer to "what would become of this packet", put into the control plane's words.

use std::net::{IpAddr, SocketAddr};

use crate::control::trace::{
    AccessStep, AffinityStep, BackendStep, ConnectionStep, EgressStep, PacketStep, Question, ServiceStep,
    Trace, VerdictStep,
};
use crate::dataplane::conntrack::Direction;
use crate::dataplane::trace::packet::Segment;
use crate::dataplane::trace::{self, Answer};
use crate::dataplane::{FlowTables, Verdict};
use crate::tables::connection::STATES;
use crate::tables::{
    Affinity, Backend, BackendId, DropReason, InterfaceId, OnNoBackend, Protocol, Resolution, SchedulerTable,
    Service, Snapshot, Tick,
};

mod headers;
mod words;

/// Backends that an answer names, at the most.
const SHOWN: usize = 100;

/// Asks the data plane with these tables. Errors are sentences.
pub fn trace(
    question: &Question,
    snapshot: &Snapshot,
    tables: &FlowTables,
    (now, live): (Tick, bool),
) -> Result<Trace, String> {
    let ingress = question.interface.as_deref().map(|name| interface_of(name, snapshot)).transpose()?;
    let protocol = match question.protocol.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => return Err(format!("{other:?} is no protocol of services: it is tcp or udp")),
    };
    let Question { source, destination, length, .. } = *question;
    let asked = trace::Question { source, destination, protocol, ingress, length };
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(format!("{source} and {destination} are not of one IP version"));
    }
    let answer = trace::ask(&asked, snapshot, tables, now)
        .ok_or_else(|| format!("{length} bytes are more than a frame of this question may have"))?;
    Ok(Teller { question, snapshot, tables, answer: &answer, protocol }.tell(live))
}

fn interface_of(name: &str, snapshot: &Snapshot) -> Result<InterfaceId, String> {
    let found = snapshot.interfaces.iter().find(|interface| interface.name == name);
    found.map(|interface| interface.id).ok_or_else(|| {
        let names: Vec<_> = snapshot.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        format!("the switch has no interface {name:?}; it has {}", names.join(", "))
    })
}

/// Everything that is needed to tell.
struct Teller<'a> {
    question: &'a Question,
    snapshot: &'a Snapshot,
    tables: &'a FlowTables,
    answer: &'a Answer,
    protocol: Protocol,
}

impl<'a> Teller<'a> {
    fn tell(&self, live: bool) -> Trace {
        let service = self.service();
        let access = self.access(service);
        // Nobody is asked for a client that may not connect.
        let chosen = self.chosen().filter(|_| access.as_ref().is_none_or(|access| access.allowed));
        let (backends, backends_left_out) = self.backends(service, chosen);
        let verdict = self.verdict(service);
        Trace {
            live,
            epoch: self.snapshot.epoch,
            packet: self.packet(),
            service: service.map(service_step),
            no_service: if service.is_none() { words::no_service(self) } else { String::new() },
            snat: self.snat(service),
            connection: self.connection(),
            access,
            affinity: self.affinity(service),
            backends,
            backends_left_out,
            choice: chosen.and_then(|chosen| words::choice(self, service, chosen)),
            rewrite: headers::rewrite(self.answer),
            egress: self.egress(chosen),
            notes: words::notes(self, &verdict, live),
            verdict,
        }
    }

    /// The service that the packet, or its connection, is about.
    fn service(&self) -> Option<&'a Service> {
        let destination = self.question.destination;
        let id = match &self.answer.existing {
            Some(existing) => self.snapshot.backend(existing.connection.backend)?.service,
            None => self.snapshot.service_map.get(destination.ip(), destination.port(), self.protocol)?,
        };
        self.snapshot.service(id)
    }

    /// The backend that it goes to, or comes from, or would go to if it could.
    fn chosen(&self) -> Option<&'a Backend> {
        let remembered = || self.answer.remembered.and_then(|remembered| remembered.backend);
        let turn = || self.answer.turns.first().copied().flatten();
        self.backend(self.answer.backend.or_else(remembered).or_else(turn)?)
    }

    fn backend(&self, id: BackendId) -> Option<&'a Backend> {
        self.snapshot.backend(id)
    }

    fn interface(&self, id: InterfaceId) -> String {
        self.snapshot.interfaces.get(id.index()).map_or_else(String::new, |interface| interface.name.clone())
    }

    fn packet(&self) -> PacketStep {
        let Question { source, destination, protocol, interface, .. } = self.question;
        let kind = match self.answer.segment {
            Segment::Syn => "syn",
            Segment::SynAck { .. } => "syn_ack",
            Segment::Data { .. } => "ack",
            Segment::Datagram { .. } => "datagram",
        };
        PacketStep {
            source: *source,
            destination: *destination,
            protocol: protocol.clone(),
            kind: kind.into(),
            length: headers::ip_length(&self.answer.before),
            interface: self.interface(self.answer.ingress),
            interface_given: interface.is_some(),
        }
    }

    fn snat(&self, service: Option<&Service>) -> Option<String> {
        let is_outbound = match &self.answer.existing {
            Some(existing) => existing.connection.is_outbound,
            None => service.is_none() && matches!(self.answer.verdict, Verdict::Forward(_)),
        };
        let Question { source, destination, .. } = self.question;
        let mut rules = self.snapshot.snat_rules.iter().filter(|_| is_outbound);
        let rule = rules.find(|rule| rule.is_inside(source.ip()) || rule.is_public(destination.ip()))?;
        Some(rule.name.clone())
    }

    fn connection(&self) -> Option<ConnectionStep> {
        let existing = self.answer.existing.as_ref()?;
        let connection = &existing.connection;
        Some(ConnectionStep {
            direction: match existing.direction {
                Direction::Request => "request".into(),
                Direction::Reply => "reply".into(),
            },
            client: connection.client,
            destination: connection.destination,
            backend: self.backend(connection.backend).map(|backend| backend.address),
            state: STATES.get(usize::from(connection.state)).copied().unwrap_or_default().into(),
            idle_s: connection.idle_ms / 1000,
            expires_in_s: connection.left_ms / 1000,
            worker: connection.owner,
        })
    }

    fn access(&self, service: Option<&Service>) -> Option<AccessStep> {
        let service = service.filter(|service| !service.acls.is_empty() && self.answer.existing.is_none())?;
        let client = self.question.source.ip();
        Some(AccessStep { client, allowed: service.admits(client) })
    }

    fn affinity(&self, service: Option<&Service>) -> Option<AffinityStep> {
        let (affinity, remembered) = (service?.affinity.as_ref()?, self.answer.remembered?);
        let Affinity { prefix_v4, prefix_v6, .. } = affinity;
        let client = self.question.source.ip();
        let prefix = if client.is_ipv4() { prefix_v4 } else { prefix_v6 };
        Some(AffinityStep {
            client: format!("{client}/{prefix}"),
            remembered: remembered.had,
            backend: remembered.backend.and_then(|id| self.backend(id)).map(|backend| backend.address),
        })
    }

    /// The backends of a service, those first that matter most, and how many are not among them.
    fn backends(&self, service: Option<&Service>, chosen: Option<&Backend>) -> (Vec<BackendStep>, usize) {
        let Some(service) = service else { return (Vec::new(), 0) };
        let mut backends: Vec<_> = service.backends.iter().filter_map(|id| self.backend(*id)).collect();
        let takers: std::collections::HashSet<_> = service.takers.iter().copied().collect();
        if backends.len() > SHOWN {
            let is_chosen = |id| chosen.is_some_and(|chosen| chosen.id == id);
            backends.sort_by_key(|backend| (!is_chosen(backend.id), !takers.contains(&backend.id)));
        }
        let left_out = backends.len().saturating_sub(SHOWN);
        let step = |backend: &&Backend| self.backend_step(service, backend, takers.contains(&backend.id));
        (backends.iter().take(SHOWN).map(step).collect(), left_out)
    }

    fn backend_step(&self, service: &Service, backend: &Backend, takes_new: bool) -> BackendStep {
        let loads = &self.tables.loads;
        let (open, response_us) = (loads.open(backend.id), loads.response_us(backend.id));
        let per_weight = |load: f64| load / f64::from(backend.weight.max(1));
        let load = match &*service.table {
            SchedulerTable::LeastConnections(_) | SchedulerTable::TwoChoices(_) => {
                Some(per_weight(f64::from(open) + 1.0))
            }
            SchedulerTable::LeastResponseTime(members) => {
                let known = members.members.iter().map(|(id, _)| loads.response_us(*id));
                let fastest = known.filter(|response| *response > 0).min().unwrap_or(1);
                let response = if response_us == 0 { fastest } else { response_us };
                Some(per_weight((f64::from(open) + 1.0) * f64::from(response)))
            }
            _ => None,
        };
        BackendStep {
            address: backend.address,
            weight: backend.weight,
            takes_new,
            state: if backend.down { "down".into() } else { String::new() },
            why: String::new(),
            connections_open: open,
            response_us,
            load: load.filter(|_| takes_new),
        }
    }

    /// The next hop: the backend's, or by the routes where it goes to somebody else.
    fn egress(&self, chosen: Option<&Backend>) -> Option<EgressStep> {
        let is_reply =
            self.answer.existing.as_ref().is_some_and(|existing| existing.direction == Direction::Reply);
        let id = match chosen.filter(|_| !is_reply) {
            Some(backend) => backend.next_hop,
            None => match self.snapshot.routes.resolve(self.onward()?) {
                Resolution::NextHop(id) => id,
                Resolution::Unknown(interface) => {
                    let found = self.snapshot.interfaces.get(interface.index())?;
                    let (interface, via) = (found.name.clone(), self.onward()?);
                    return Some(EgressStep { interface, via, mac: None, mtu: found.mtu });
                }
                Resolution::Unroutable => return None,
            },
        };
        let next_hop = self.snapshot.next_hop(id)?;
        let mac = next_hop.macs.first_chunk::<6>().filter(|_| next_hop.resolved);
        Some(EgressStep {
            interface: self.interface(next_hop.interface),
            via: next_hop.address,
            mac: mac.map(|mac| headers::mac(*mac)),
            mtu: next_hop.mtu,
        })
    }

    /// The address that a packet goes to that goes to no backend.
    fn onward(&self) -> Option<IpAddr> {
        match (&self.answer.existing, self.answer.verdict) {
            (Some(existing), _) if existing.direction == Direction::Reply => {
                Some(existing.connection.client.ip())
            }
            (Some(existing), _) => Some(existing.connection.server.ip()),
            (None, Verdict::Forward(_)) => {
                headers::read(&self.answer.after).map(|left| left.destination.ip())
            }
            _ => None,
        }
    }

    fn verdict(&self, service: Option<&Service>) -> VerdictStep {
        let left = service.is_some_and(|service| service.on_no_backend == OnNoBackend::ToKernel);
        match self.answer.verdict {
            Verdict::Forward(id) => self.step("forward", Some(id), None, words::forwarded(self, id)),
            Verdict::Reply(id) => {
                self.step("reply", Some(id), self.answer.reason, words::answered(&self.answer.after))
            }
            Verdict::ToKernel => self.step("to_kernel", None, None, words::to_kernel(self.snapshot)),
            Verdict::Drop(DropReason::NoBackend) if left => {
                self.step("to_kernel", None, Some(DropReason::NoBackend), words::LEFT.to_owned())
            }
            Verdict::Drop(reason) => {
                self.step("drop", None, Some(reason), reason.explanation().trim().to_owned())
            }
        }
    }

    fn step(
        &self,
        verdict: &str,
        interface: Option<InterfaceId>,
        reason: Option<DropReason>,
        text: String,
    ) -> VerdictStep {
        VerdictStep {
            verdict: verdict.into(),
            interface: interface.map(|id| self.interface(id)),
            reason: reason.map(|reason| reason.name().into()),
            text,
        }
    }

    /// The address of a backend.
    fn address(&self, id: Option<BackendId>) -> Option<SocketAddr> {
        self.backend(id?).map(|backend| backend.address)
    }
}

fn service_step(service: &Service) -> ServiceStep {
    ServiceStep {
        name: service.name.clone(),
        vip: service.vip,
        forwarding: service.forwarding.name().into(),
        scheduler: service.scheduler.into(),
    }
}
