//! The way to backends and clients, and the way back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Case, exit};
use crate::control::topology::Exit;
use crate::doctor::finding::Finding;
use crate::tables::Forwarding;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    // A backend of several services is looked at once.
    let mut backends: BTreeMap<IpAddr, Forwarding> = BTreeMap::new();
    for (service, backend) in case.backends() {
        let known = backends.entry(backend.address.ip()).or_insert(service.forwarding);
        if service.forwarding == Forwarding::Nat {
            *known = Forwarding::Nat;
        }
    }
    for address in backends.keys() {
        way_there(case, *address, findings);
    }
    behind_routers(case, findings);
    ways_back(case, &backends, findings);
    defaults(case, findings);
}

fn way_there(case: &Case<'_>, backend: IpAddr, findings: &mut Vec<Finding>) {
    let subject = format!("backend {backend}");
    let (id, next) = match exit(&case.topology, backend) {
        Some(Exit::OnLink(id)) => (id, backend),
        Some(Exit::Via(id, router)) => (id, router),
        Some(Exit::None) => {
            findings.push(
                Finding::error(
                    "route-elsewhere",
                    subject,
                    format!("the route to {backend} leads out of no interface of the switch"),
                )
                .because(
                    "frames to it are dropped as `no_route`: `interfaces` in [switch] names those to \
                        use",
                )
                .command(format!("ip route get {backend}")),
            );
            return;
        }
        None => {
            findings.push(
                Finding::error("no-route", subject, format!("there is no route to {backend}"))
                    .because(
                        "frames to it are dropped as `no_route`: an address on its link, a route, or \
                        [[route]]",
                    )
                    .command(format!("ip route add {backend} via ROUTER")),
            );
            return;
        }
    };
    let Some(port) = case.topology.port(id) else { return };
    let name = &port.interface.name;
    // A link that is down is a finding of its own.
    if case.facts.devices.iter().any(|device| device.name == *name && !(device.is_up && device.has_carrier)) {
        return;
    }
    let place = case.topology.place(id, next);
    let key = (case.topology.port(place).map_or(name, |port| &port.interface.name).clone(), next);
    let entry = case.topology.neighbors.get(&(case.topology.segment(id), next));
    let silent = if entry.is_some_and(|neighbor| neighbor.pinned) {
        false
    } else if case.facts.wire.asked.iter().any(|(_, asked)| *asked == next) {
        // In a bridge it may be at either end of the wire.
        !case.facts.wire.answers.iter().any(|((_, address), macs)| *address == next && !macs.is_empty())
    } else {
        // The kernel tried and failed; where it never tried, nothing is known.
        entry.is_some_and(|neighbor| neighbor.mac.is_none())
    };
    if silent {
        let (what, why) = if next == backend {
            (
                format!("backend {backend} does not answer on {}", key.0),
                "it is off, elsewhere, or the link is not what it seems",
            )
        } else {
            (
                format!("router {next}, which leads to {backend}, does not answer on {}", key.0),
                "the gateway of the route is wrong, or down",
            )
        };
        findings.push(
            Finding::error("next-hop-silent", subject, what)
                .because(format!("frames to it are dropped as `next_hop_unresolved`: {why}"))
                .command(format!("ip route get {backend}; ip neighbor show {next}")),
        );
    }
}

/// With `dsr` only the MAC address is written: a router would send the VIP's packets back.
fn behind_routers(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for (service, backend) in case.backends().filter(|(service, _)| service.forwarding == Forwarding::Dsr) {
        let ip = backend.address.ip();
        if let Some(Exit::Via(_, router)) = exit(&case.topology, ip) {
            findings.push(
                Finding::error(
                    "dsr-routed",
                    format!("backend {ip}"),
                    format!("backend {ip} of {}, which is `dsr`, lies behind the router {router}", service.name),
                )
                .because(
                    "`dsr` writes the MAC address of the next hop and nothing else: the router sends what is for the VIP \
                     back to the switch; `ipip` and `gue` reach other subnets",
                )
                .command(format!("ip route get {ip}")),
            );
        }
    }
}

/// Answers of `nat` backends must come back through the switch: their gateway is to be the switch.
fn ways_back(case: &Case<'_>, backends: &BTreeMap<IpAddr, Forwarding>, findings: &mut Vec<Finding>) {
    for way in &case.facts.wire.ways_back {
        let translated = backends.get(&way.backend) == Some(&Forwarding::Nat);
        let right = way.answers_far.as_ref() == Some(&way.interface);
        if !translated || right || !way.answers_near || case.is_bridge() {
            continue;
        }
        let (backend, near, far) = (way.backend, way.near, way.far);
        let came = match &way.answers_far {
            Some(other) => format!("comes back on {other}"),
            None => "does not come back".to_owned(),
        };
        findings.push(
            Finding::error(
                "wrong-gateway",
                format!("backend {backend}"),
                format!("backend {backend} answers {near}, but what it answers to {far}, off its link, {came}"),
            )
            .because(
                "with `nat` answers to clients must pass the switch, or clients get them from an address that they do not \
                 know: its gateway is to be the switch; or use full-nat",
            )
            .command(format!("ip route replace default via {near}    # at {backend}")),
        );
    }
}

/// Clients elsewhere are answered by the default route.
fn defaults(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let answers = |forwarding| matches!(forwarding, Forwarding::Nat | Forwarding::FullNat);
    for (family, any) in [("IPv4", "0.0.0.0"), ("IPv6", "::")] {
        let Ok(any) = any.parse::<IpAddr>() else { continue };
        let needed = case
            .services()
            .iter()
            .any(|service| service.vip.is_ipv4() == any.is_ipv4() && answers(service.forwarding));
        let command = format!("ip {}route add default via ROUTER", if any.is_ipv4() { "" } else { "-6 " });
        match case.topology.routes.get(&(any, 0)) {
            None if needed => findings.push(
                Finding::note("no-default-route", family, format!("there is no default route for {family}"))
                    .because("only clients that other routes lead to are answered")
                    .command(command),
            ),
            Some(Exit::None) if needed => findings.push(
                Finding::warning(
                    "no-default-route",
                    family,
                    format!("the default route for {family} leads out of no interface of the switch"),
                )
                .because(
                    "answers to clients elsewhere are dropped as `no_route`; a [[route]] for the switch \
                    alone will do",
                )
                .command("ip route show default"),
            ),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{checks, config, facts, found, only};
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::facts::WayBack;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn backends_need_a_route_through_the_switch() {
        let (mut config, mut facts) = (config(), facts());
        config.services[0].backends.truncate(1);
        facts.view.routes.remove(2);
        facts.view.routes.remove(1);
        assert_eq!(checks(&found(judge, &config, &facts)), ["no-route", "no-default-route"]);
        facts.view.routes = super::super::testing::view().routes;
        facts.view.routes[1].hops[0].ifindex = 9;
        assert_eq!(only(judge, &config, &facts).check, "route-elsewhere");
    }

    #[test]
    fn a_next_hop_is_silent_where_it_was_asked_or_the_kernel_failed() {
        let (mut config, mut facts) = (config(), facts());
        config.services[0].backends.truncate(1);
        let backend = ip("198.18.1.11");
        facts.wire.asked.insert(("eth1".into(), backend));
        let finding = only(judge, &config, &facts);
        assert!(finding.what.starts_with("backend 198.18.1.11 does not answer on eth1"), "{}", finding.what);
        facts.wire.answers.insert(("eth1".into(), backend), [[2; 6]].into());
        assert!(found(judge, &config, &facts).is_empty());
        facts.wire = Default::default();
        facts.view.neighbors.get_mut(&(3, backend)).unwrap().mac = None;
        assert_eq!(only(judge, &config, &facts).check, "next-hop-silent");
        facts.devices[1].is_up = false;
        assert!(found(judge, &config, &facts).is_empty(), "said elsewhere");
    }

    #[test]
    fn a_router_that_is_silent_is_named_with_what_lies_behind() {
        let (mut config, mut facts) = (config(), facts());
        config.services[0].backends.truncate(1);
        config.services[0].backends[0].address = "203.0.113.1:80".parse().unwrap();
        facts.wire.asked.insert(("eth0".into(), ip("198.18.0.1")));
        let finding = only(judge, &config, &facts);
        assert!(
            finding.what.starts_with("router 198.18.0.1, which leads to 203.0.113.1,"),
            "{}",
            finding.what
        );
        assert_eq!(finding.subject, "backend 203.0.113.1");
    }

    #[test]
    fn dsr_ends_at_a_router() {
        let (mut config, facts) = (config(), facts());
        config.services[0].forwarding = Forwarding::Dsr;
        assert!(found(judge, &config, &facts).is_empty());
        config.services[0].backends[1].address = "203.0.113.1:80".parse().unwrap();
        let finding = only(judge, &config, &facts);
        assert_eq!((finding.check, finding.severity), ("dsr-routed", Severity::Error));
    }

    #[test]
    fn answers_of_nat_backends_must_come_back_on_their_interface() {
        let (mut config, mut facts) = (config(), facts());
        let way = |near: bool, far: Option<&str>| WayBack {
            backend: ip("198.18.1.11"),
            interface: "eth1".into(),
            near: ip("198.18.1.1"),
            far: ip("198.18.0.2"),
            answers_near: near,
            answers_far: far.map(str::to_owned),
        };
        for (near, far, wrong) in [
            (true, None, true),
            (true, Some("eth0"), true),
            (true, Some("eth1"), false),
            (false, None, false),
        ] {
            facts.wire.ways_back = vec![way(near, far)];
            let findings = found(judge, &config, &facts);
            assert_eq!(!findings.is_empty(), wrong, "{near} {far:?}");
            if wrong {
                assert_eq!((findings[0].check, findings[0].severity), ("wrong-gateway", Severity::Error));
                assert!(findings[0].fix.command().starts_with("ip route replace default via 198.18.1.1 "));
            }
        }
        facts.wire.ways_back = vec![way(true, None)];
        config.services[0].forwarding = Forwarding::FullNat;
        assert!(found(judge, &config, &facts).is_empty(), "full NAT asks nothing of them");
    }

    #[test]
    fn without_a_default_route_some_clients_are_not_answered() {
        let (config, mut facts) = (config(), facts());
        facts.view.routes[2].hops[0].ifindex = 9;
        assert_eq!(only(judge, &config, &facts).severity, Severity::Warning);
        facts.view.routes.remove(2);
        assert_eq!(only(judge, &config, &facts).severity, Severity::Note);
    }
}
