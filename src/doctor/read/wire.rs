//! Asks the neighbours: who has a VIP, who is the next hop, and which way a backend's answers take.
//!
//! Three rounds of half a second each, in which only those are asked again that have not answered; never more than
//! [`MOST`] questions a round.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::config::valid::Config;
use crate::control::frames;
use crate::control::topology::{Exit, Port, Topology, network};
use crate::doctor::facts::{WayBack, Wire};
use crate::doctor::judge::exit;
use crate::sys::packet::{Filter, PacketReceiver, PacketSender};
use crate::tables::Forwarding;
use crate::wire::arp::Reply;
use crate::wire::ip::{Addresses, Family};
use crate::wire::ipv6::Header;
use crate::wire::ndp::Advertisement;
use crate::wire::probe::{Answer, Question, Said};
use crate::wire::{arp, ethernet};

/// Questions per round.
const MOST: usize = 256;
/// Backends whose way back is looked at.
const MOST_BACKENDS: usize = 64;
const ROUNDS: u32 = 3;
const ROUND: Duration = Duration::from_millis(500);
/// Pings from our address on the backend's link, and from the other one, by sequence number.
const NEAR: u16 = 1;
const FAR: u16 = 2;

/// What came, and on which interface.
#[derive(Debug)]
enum Heard {
    Neighbor { interface: String, address: IpAddr, mac: [u8; 6] },
    Echo { interface: String, from: IpAddr, sequence: u16 },
}

/// Asks. Nothing is asked where the kernel does not let us; `running`: a switch has its programs on the interfaces, and takes
/// what is its own.
pub(super) async fn ask(config: &Config, topology: &Topology, running: bool) -> Wire {
    let Ok(sender) = PacketSender::open() else { return Wire::default() };
    // Below the dynamic ports, as pings are numbered by process; it only must not be anybody else's at this moment.
    let id = std::process::id() as u16;
    let ports: Vec<&Port> =
        topology.ports.iter().filter(|port| port.up && port.has_mac && port.ifindex.is_some()).collect();
    let (tell, mut heard) = unbounded_channel();
    let mut listeners = JoinSet::new();
    for port in &ports {
        listen(port, id, &tell, &mut listeners);
    }
    let mut wire = Wire { ways_back: ways_back(config, topology), ..Wire::default() };
    let questions = questions(config, topology, &ports, running);
    wire.asked = questions.iter().map(|(port, target, _)| (port.interface.name.clone(), *target)).collect();
    for _ in 0..ROUNDS {
        for (port, target, source) in &questions {
            let key = (port.interface.name.clone(), *target);
            if !wire.answers.contains_key(&key) {
                let interface = &port.interface;
                let frame = frames::question(*target, *source, interface.mac, &interface.tags);
                send(&sender, port, &frame);
            }
        }
        ping(&sender, topology, &wire, id);
        collect(&mut heard, &mut wire).await;
    }
    wire
}

/// A frame that cannot be sent is one that is not answered.
fn send(sender: &PacketSender, port: &Port, frame: &[u8]) {
    if let Some(index) = port.ifindex {
        let _ = sender.send(index, frame);
    }
}

/// What to ask where, and as whom.
fn questions<'a>(
    config: &Config,
    topology: &Topology,
    ports: &[&'a Port],
    running: bool,
) -> Vec<(&'a Port, IpAddr, Option<IpAddr>)> {
    let mut wanted = BTreeMap::new();
    for service in config.services.iter().filter(|service| service.announce) {
        for port in ports {
            // As nobody: nobody is to learn of a VIP from a question about it.
            wanted.insert((port.interface.id, service.vip.ip()), None);
        }
    }
    for backend in config.services.iter().flat_map(|service| &service.backends) {
        let (id, next) = match exit(topology, backend.address.ip()) {
            Some(Exit::OnLink(id)) => (id, backend.address.ip()),
            Some(Exit::Via(id, router)) => (id, router),
            Some(Exit::None) | None => continue,
        };
        // In a bridge a switch that runs hears the answers, and its status says what came of them.
        if topology.bridge && running {
            continue;
        }
        for port in ports.iter().filter(|port| topology.bridge || port.interface.id == id) {
            wanted.insert((port.interface.id, next), own(port, next));
        }
    }
    let asked = wanted.into_iter().filter_map(|((id, target), source)| {
        let port = ports.iter().find(|port| port.interface.id == id)?;
        Some((*port, target, source))
    });
    asked.take(MOST).collect()
}

/// Our address on the link of this one.
fn own(port: &Port, target: IpAddr) -> Option<IpAddr> {
    let together = |(own, length): &&(IpAddr, u8)| {
        own.is_ipv4() == target.is_ipv4() && network(*own, *length) == network(target, *length)
    };
    port.interface.addresses.iter().find(together).map(|(own, _)| *own)
}

/// The backends whose answers must pass the switch, and from which of our addresses they are pinged.
fn ways_back(config: &Config, topology: &Topology) -> Vec<WayBack> {
    if topology.bridge {
        return vec![];
    }
    // At an address that the switch takes ports of, answers may be the switch's.
    let taken = |address: &IpAddr| {
        let vip = config.services.iter().any(|service| service.vip.ip() == *address);
        let rule = config.snat.iter().any(|rule| rule.addresses.contains(address));
        vip || rule || config.switch.snat_addresses.contains(address)
    };
    let mut ways = BTreeMap::new();
    let services = config.services.iter().filter(|service| service.forwarding == Forwarding::Nat);
    for backend in services.flat_map(|service| &service.backends) {
        let backend = backend.address.ip();
        let Some(Exit::OnLink(id)) = exit(topology, backend) else { continue };
        let Some(port) = topology.port(id) else { continue };
        let on_link = |(own, length): &&(IpAddr, u8)| {
            own.is_ipv4() == backend.is_ipv4() && network(*own, *length) == network(backend, *length)
        };
        let near = port.interface.addresses.iter().find(|own| on_link(own) && !taken(&own.0));
        let others = topology.ports.iter().filter(|other| other.interface.id != id);
        let is_far = |own: &&(IpAddr, u8)| {
            own.0.is_ipv4() == backend.is_ipv4() && !on_link(own) && !taken(&own.0) && !is_link_local(own.0)
        };
        let far = others.flat_map(|other| &other.interface.addresses).find(is_far);
        if let (Some((near, _)), Some((far, _))) = (near, far) {
            let (near, far) = (*near, *far);
            let interface = port.interface.name.clone();
            let way = WayBack { backend, interface, near, far, answers_near: false, answers_far: None };
            ways.insert(backend, way);
        }
    }
    ways.into_values().take(MOST_BACKENDS).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Pings every backend whose MAC address is known, as long as it owes an answer.
fn ping(sender: &PacketSender, topology: &Topology, wire: &Wire, id: u16) {
    for way in &wire.ways_back {
        let Some(port) = topology.ports.iter().find(|port| port.interface.name == way.interface) else {
            continue;
        };
        let asked = wire.answers.get(&(way.interface.clone(), way.backend));
        let known = topology.neighbors.get(&(port.interface.id, way.backend));
        let told = asked.and_then(|macs| macs.first().copied());
        let Some(mac) = told.or(known.and_then(|neighbor| neighbor.mac)) else { continue };
        for (source, sequence, answered) in
            [(way.near, NEAR, way.answers_near), (way.far, FAR, way.answers_far.is_some())]
        {
            let question = Question::Echo { id, sequence, data: b"xswitch doctor" };
            let packet = Addresses::between(source, way.backend).and_then(|both| question.packet(both));
            let Some(packet) = packet.filter(|_| !answered) else { continue };
            let (interface, family) = (&port.interface, Family::of(way.backend));
            let mut frame = vec![0; interface.tags.header_len()];
            let macs = ethernet::macs(mac, interface.mac);
            ethernet::write_header(&mut frame, &macs, &interface.tags, family.ethertype());
            frame.extend(packet);
            send(sender, port, &frame);
        }
    }
}

/// Takes what comes until the round is over.
async fn collect(heard: &mut UnboundedReceiver<Heard>, wire: &mut Wire) {
    let end = Instant::now() + ROUND;
    while let Ok(Some(heard)) = timeout_at(end, heard.recv()).await {
        note(heard, wire);
    }
}

/// Only answers to what was asked count: neighbours talk to others, too.
fn note(heard: Heard, wire: &mut Wire) {
    match heard {
        Heard::Neighbor { interface, address, mac } => {
            let key = (interface, address);
            if wire.asked.contains(&key) {
                wire.answers.entry(key).or_default().insert(mac);
            }
        }
        Heard::Echo { interface, from, sequence } => {
            for way in wire.ways_back.iter_mut().filter(|way| way.backend == from) {
                match sequence {
                    NEAR => way.answers_near = true,
                    FAR => way.answers_far = Some(interface.clone()),
                    _ => {}
                }
            }
        }
    }
}

/// Has everything told that an interface hears. Where it cannot listen, nobody answers.
fn listen(port: &Port, id: u16, tell: &UnboundedSender<Heard>, tasks: &mut JoinSet<()>) {
    type Read = fn(&[u8]) -> Option<(IpAddr, Result<[u8; 6], u16>)>;
    let Some(index) = port.ifindex else { return };
    let wanted: [(u16, Filter, Read); 4] = [
        (ethernet::ARP, Filter::arp(), reply),
        (ethernet::IPV6, Filter::advertisements(), advertisement),
        (ethernet::IPV4, Filter::answers_v4(id..=id), echo),
        (ethernet::IPV6, Filter::answers_v6(id..=id), echo),
    ];
    for (ethertype, filter, read) in wanted {
        let Ok(receiver) = PacketReceiver::open_at(index, ethertype, &filter) else { continue };
        let (tell, interface) = (tell.clone(), port.interface.name.clone());
        tasks.spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok(length) = receiver.receive(&mut buffer).await {
                let heard = buffer.get(..length).and_then(read).map(|(address, said)| match said {
                    Ok(mac) => Heard::Neighbor { interface: interface.clone(), address, mac },
                    Err(sequence) => Heard::Echo { interface: interface.clone(), from: address, sequence },
                });
                if heard.is_some_and(|heard| tell.send(heard).is_err()) {
                    break;
                }
            }
        });
    }
}

fn reply(packet: &[u8]) -> Option<(IpAddr, Result<[u8; 6], u16>)> {
    let reply = Reply::parse(packet.get(..arp::PACKET)?)?;
    Some((IpAddr::V4(reply.sender.into()), Ok(reply.sender_mac)))
}

fn advertisement(packet: &[u8]) -> Option<(IpAddr, Result<[u8; 6], u16>)> {
    let said = Advertisement::parse(packet, &Header::parse(packet).ok()?)?;
    Some((IpAddr::V6(said.target.into()), Ok(said.target_mac?)))
}

fn echo(packet: &[u8]) -> Option<(IpAddr, Result<[u8; 6], u16>)> {
    let answer = Answer::read(packet)?;
    match answer.said {
        Said::Echo { sequence, .. } => Some((answer.addresses.source(), Err(sequence))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::judge::testing::{config, parse, view};
    use crate::wire::{ipv6, ndp};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn vips_are_asked_for_as_nobody_and_next_hops_by_their_neighbour() {
        let config = config();
        let topology = Topology::new(&config, &view());
        let ports: Vec<_> = topology.ports.iter().collect();
        let asked: Vec<_> = questions(&config, &topology, &ports, false)
            .into_iter()
            .map(|(port, target, source)| (port.interface.name.clone(), target, source))
            .collect();
        let (vip, own) = (ip("198.18.0.100"), Some(ip("198.18.1.1")));
        let wanted = [
            ("eth0", vip, None),
            ("eth1", vip, None),
            ("eth1", ip("198.18.1.11"), own),
            ("eth1", ip("198.18.1.12"), own),
        ];
        for (name, target, source) in wanted {
            assert!(asked.contains(&(name.to_owned(), target, source)), "{name} {target}: {asked:?}");
        }
        assert_eq!(asked.len(), wanted.len());
    }

    #[test]
    fn questions_are_bounded() {
        let backends: Vec<_> = (0..600)
            .map(|n| format!("{{ address = \"198.18.{}.{}:80\" }}", 2 + n / 250, 1 + n % 250))
            .collect();
        let text = format!(
            "[switch]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\nvip = \"198.18.0.100:80\"\n\
             forwarding = \"nat\"\nbackend = [{}]\n[[interface]]\nname = \"eth0\"\naddresses = \
                 [\"198.18.0.2/16\"]\n",
            backends.join(", ")
        );
        let config = parse(&text);
        let topology = Topology::new(&config, &view());
        let ports: Vec<_> = topology.ports.iter().collect();
        assert_eq!(questions(&config, &topology, &ports, false).len(), MOST);
        assert!(ways_back(&config, &topology).len() <= MOST_BACKENDS);
    }

    #[test]
    fn the_way_back_is_tried_from_an_address_off_the_link_that_is_not_the_switchs() {
        let config = config();
        let ways = ways_back(&config, &Topology::new(&config, &view()));
        assert_eq!(ways.len(), 2);
        assert_eq!((ways[0].near, ways[0].far), (ip("198.18.1.1"), ip("198.18.0.2")));
        let mut view = view();
        view.addresses.remove(&(2, ip("198.18.0.2"), 24));
        assert!(ways_back(&config, &Topology::new(&config, &view)).is_empty(), "nothing to try from");
    }

    #[test]
    fn only_what_was_asked_for_is_believed() {
        let mut wire = Wire { asked: [("eth0".to_owned(), ip("198.18.0.100"))].into(), ..Wire::default() };
        for (interface, address) in
            [("eth0", "198.18.0.100"), ("eth1", "198.18.0.100"), ("eth0", "198.18.0.7")]
        {
            note(
                Heard::Neighbor { interface: interface.into(), address: ip(address), mac: [6; 6] },
                &mut wire,
            );
        }
        assert_eq!(wire.answers.len(), 1);
    }

    #[test]
    fn answers_are_read_as_their_senders_wrote_them() {
        let mut frame = arp::announcement(0xC612_0064, [2, 0, 0, 0, 0, 9]);
        frame[21] = 2;
        assert_eq!(reply(&frame[14..]), Some((ip("198.18.0.100"), Ok([2, 0, 0, 0, 0, 9]))));
        let frame = ndp::unsolicited(0x2001_0DB8 << 96 | 1, [2; 6], false);
        assert_eq!(advertisement(&frame[14..]), Some((ip("2001:db8::1"), Ok([2; 6]))));
        assert_eq!(advertisement(&frame[14..14 + ipv6::HEADER]), None);
        assert_eq!(echo(&[0x45; 40]), None);
    }
}
