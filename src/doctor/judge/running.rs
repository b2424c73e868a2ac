//! What a running switch says of itself. Its counters count since its start: what is long past is said, too.

use std::collections::BTreeMap;

use super::Case;
use crate::control::status::{BackendStatus, ServiceStatus, Status, drop_explanations};
use crate::doctor::finding::{Finding, Severity};

/// Packets to a backend after which silence means something.
const ENOUGH: u64 = 10;
/// So many frames, and one of so many, may be dropped for these reasons without a word: while neighbours are asked for.
const RARE: u64 = 100;

/// Reasons to drop frames that a person can do something about: how bad they are, and what to do.
const DROPS: [(&str, Severity, &str); 8] = [
    ("checksum_offload", Severity::Error, "ethtool -K DEV tx off    # at the sender, a veth"),
    ("no_tunnel_source", Severity::Error, "ip address show    # or tunnel_sources in [switch]"),
    (
        "table_full",
        Severity::Warning,
        "xswitch status    # max_connections, max_connections_ipv6 in [switch]",
    ),
    ("snat_ports_exhausted", Severity::Warning, "xswitch status    # more snat_addresses, wider snat_ports"),
    ("tuple_conflict", Severity::Warning, "xswitch services    # one of the two as full-nat"),
    ("no_route", Severity::Warning, "ip route get ADDRESS    # of backends, and of clients"),
    ("next_hop_unresolved", Severity::Warning, "ip neighbor show; xswitch backends"),
    ("tx_ring_full", Severity::Warning, "xswitch status    # ring_size in [switch], more queues"),
];
/// Of these a few are nothing to speak of.
const SOME_ARE_NORMAL: [&str; 3] = ["no_route", "next_hop_unresolved", "tx_ring_full"];

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(status) = &case.facts.status else { return };
    drops(status, findings);
    ports(case, status, findings);
    for service in &status.services {
        serving(service, findings);
        for backend in &service.backends {
            answers(service, backend, findings);
            next_hop(backend, findings);
        }
    }
}

fn drops(status: &Status, findings: &mut Vec<Finding>) {
    let explanations = drop_explanations();
    for (reason, severity, command) in DROPS {
        let count = status.dropped.get(reason).copied().unwrap_or(0);
        let rare = SOME_ARE_NORMAL.contains(&reason) && count < RARE.max(status.totals.received / RARE);
        if count == 0 || rare {
            continue;
        }
        let why = explanations.get(reason).copied().unwrap_or_default();
        let what = format!("the switch dropped {count} frames as `{reason}` since its start");
        let finding = Finding { severity, ..Finding::note("drops", reason, what) };
        findings.push(finding.because(why).command(command));
    }
}

fn ports(case: &Case<'_>, status: &Status, findings: &mut Vec<Finding>) {
    let ports: BTreeMap<&str, _> = status.ports.iter().map(|port| (port.interface.as_str(), port)).collect();
    for (name, port) in ports {
        let device = case.facts.devices.iter().find(|device| device.name == name);
        if port.xdp_mode == "generic" && device.and_then(|device| device.is_native()) == Some(true) {
            findings.push(
                Finding::warning(
                    "xdp-mode",
                    name,
                    format!("XDP is generic at {name}, whose driver could do native XDP"),
                )
                .because(
                    "the driver refused it at the start, and the slow way was left; the kernel's log \
                        may say why",
                )
                .command("dmesg | tail"),
            );
        }
        if port.xdp_mode.is_empty() && device.is_some_and(|device| device.exists) {
            findings.push(
                Finding::error(
                    "not-attached",
                    name,
                    format!("the running switch has no XDP program on {name}"),
                )
                .because("it gets no frames from there; its log says why")
                .command("xswitch status"),
            );
        }
        let lost: u64 = status
            .workers
            .iter()
            .flat_map(|worker| &worker.ports)
            .filter(|traffic| traffic.interface == name)
            .map(|traffic| traffic.rx_dropped)
            .sum();
        if lost > 0 {
            findings.push(
                Finding::warning(
                    "rx-dropped",
                    name,
                    format!("the kernel dropped {lost} frames from {name} before the switch"),
                )
                .because(
                    "they were larger than a chunk of packet memory: GRO where XDP is generic, or an \
                        MTU raised since the start",
                )
                .command(format!("ethtool -K {name} gro off    # or restart, after the MTU was raised")),
            );
        }
    }
}

fn serving(service: &ServiceStatus, findings: &mut Vec<Finding>) {
    let counted = &service.serving;
    if service.state != "enabled" || counted.serving + counted.backups_serving > 0 {
        return;
    }
    if counted.backends + counted.backups == 0 {
        return;
    }
    let why: Vec<String> = service
        .backends
        .iter()
        .take(3)
        .map(|backend| {
            let last = backend.health.as_ref().map(|health| health.last.as_str()).unwrap_or_default();
            let why = [backend.why.as_str(), last].into_iter().find(|text| !text.is_empty());
            format!("{} is {}: {}", backend.address, backend.state, why.unwrap_or("no reason known"))
        })
        .collect();
    findings.push(
        Finding::error(
            "no-backend",
            format!("service {}", service.name),
            format!("no backend of {} takes connections", service.name),
        )
        .because(format!("new connections are refused as `no_backend`. {}", why.join("; ")))
        .command(format!("xswitch backends {}", service.name)),
    );
}

/// Where answers are to pass the switch, some must.
fn answers(service: &ServiceStatus, backend: &BackendStatus, findings: &mut Vec<Finding>) {
    let through_us = matches!(service.forwarding.as_str(), "nat" | "full-nat");
    let traffic = &backend.traffic;
    if !through_us || traffic.packets_in < ENOUGH || traffic.packets_out > 0 {
        return;
    }
    let address = backend.address;
    let (why, command) = if service.forwarding == "nat" {
        (
            "with `nat` its gateway is to be the switch, or its answers take another way and clients do not know them; or \
             nothing listens there, or a firewall drops it",
            format!("ip route get CLIENT    # at {}", address.ip()),
        )
    } else {
        (
            "nothing listens there, a firewall drops it, or the way back is another",
            format!("xswitch backends {}", service.name),
        )
    };
    findings.push(
        Finding::error(
            "no-answers",
            format!("backend {address}"),
            format!(
                "backend {address} of {} got {} packets, and none came back",
                service.name, traffic.packets_in
            ),
        )
        .because(why)
        .command(command),
    );
}

fn next_hop(backend: &BackendStatus, findings: &mut Vec<Finding>) {
    let ip = backend.address.ip();
    if matches!(backend.state.as_str(), "disabled" | "drained" | "leaving") {
        return;
    }
    let subject = format!("backend {ip}");
    match &backend.next_hop {
        None => findings.push(
            Finding::error("no-route", subject, format!("the running switch has no route to {ip}"))
                .because("frames to it are dropped as `no_route`")
                .command(format!("ip route get {ip}")),
        ),
        Some(hop) if !hop.resolved => findings.push(
            Finding::error(
                "next-hop-silent",
                subject,
                format!("{}, the next hop to {ip} on {}, does not answer", hop.address, hop.interface),
            )
            .because(
                "frames to it are dropped as `next_hop_unresolved`: it is off, elsewhere, or the gateway \
                is wrong",
            )
            .command(format!("ip neighbor show {}", hop.address)),
        ),
        Some(_) => {}
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::testing::{checks, config, facts, found, only};
    use super::*;
    use crate::doctor::Facts;

    /// What a switch with nothing to complain about says.
    pub fn status() -> Status {
        let port = |name: &str| {
            serde_json::json!({
                "interface": name, "queue": 0, "worker": 0, "xdp_mode": "native", "copy_mode": "copy", "link": "up"
            })
        };
        let backend = serde_json::json!({
            "address": "198.18.1.11:8080", "weight": 1, "state": "up", "share": 100,
            "packets_in": 50, "packets_out": 50, "bytes_in": 1, "bytes_out": 1,
            "connections_new": 1, "connections_active": 1,
            "next_hop": {"address": "198.18.1.11", "interface": "eth1", "mac": "02:00:00:00:01:0b", "resolved": true}
        });
        let service = serde_json::json!({
            "name": "web", "vip": "198.18.0.100:80", "protocol": "tcp", "forwarding": "nat", "scheduler": "rr",
            "state": "enabled", "serving": {
                "backends": 1, "serving": 1, "backups": 0, "backups_able": 0, "backups_serving": 0, "leaving": 0
            },
            "packets_in": 50, "packets_out": 50, "bytes_in": 1, "bytes_out": 1,
            "connections_new": 1, "connections_active": 1, "refused": 0, "backends": [backend]
        });
        let totals = serde_json::json!({
            "received": 1000, "forwarded": 1000, "replied": 0, "to_kernel": 0, "dropped_total": 0, "unexplained": 0
        });
        serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "pid": 7, "uptime_s": 61, "epoch": 3, "totals": totals,
            "connections": {"active": 1, "max": 64, "new": 2, "closed": 1, "reclaimed": 0},
            "dropped": {}, "workers": [], "ports": [port("eth0"), port("eth1")], "services": [service]
        }))
        .unwrap()
    }

    fn with(change: impl FnOnce(&mut Status)) -> Facts {
        let mut status = status();
        change(&mut status);
        Facts { status: Some(status), ..facts() }
    }

    #[test]
    fn a_switch_that_is_well_says_nothing() {
        assert!(found(judge, &config(), &with(|_| {})).is_empty());
        assert!(found(judge, &config(), &facts()).is_empty(), "nor one that does not run");
    }

    #[test]
    fn drops_are_explained_unless_a_few_are_normal() {
        let dropped = |reason: &str, count| {
            let facts = with(|status| status.dropped = [(reason.into(), count)].into());
            found(judge, &config(), &facts)
        };
        let finding = &dropped("checksum_offload", 1)[0];
        assert_eq!((finding.check, finding.severity), ("drops", Severity::Error));
        assert!(finding.fix.command().starts_with("ethtool -K DEV tx off") && !finding.why.is_empty());
        assert!(dropped("next_hop_unresolved", 99).is_empty());
        assert_eq!(dropped("next_hop_unresolved", 100)[0].severity, Severity::Warning);
        let known = drop_explanations();
        assert!(
            DROPS.iter().all(|(reason, ..)| known.contains_key(reason)),
            "a reason without an explanation"
        );
    }

    #[test]
    fn a_backend_from_which_nothing_comes_back_is_suspected_of_another_gateway() {
        let silent = |forwarding: &str| {
            with(|status| {
                status.services[0].forwarding = forwarding.into();
                status.services[0].backends[0].traffic.packets_out = 0;
            })
        };
        let finding = only(judge, &config(), &silent("nat"));
        assert_eq!(finding.check, "no-answers");
        assert!(finding.why.contains("gateway"), "{}", finding.why);
        assert!(!only(judge, &config(), &silent("full-nat")).why.contains("gateway"));
        assert!(found(judge, &config(), &silent("dsr")).is_empty(), "answers do not pass");
    }

    #[test]
    fn backends_that_cannot_be_reached_and_services_without_any_are_errors() {
        let facts = with(|status| {
            let service = &mut status.services[0];
            service.serving.serving = 0;
            service.backends[0].state = "down".into();
            service.backends[0].why = "checks fail".into();
            service.backends[0].next_hop = None;
        });
        let findings = found(judge, &config(), &facts);
        assert_eq!(checks(&findings), ["no-backend", "no-route"]);
        assert!(findings[0].why.ends_with("198.18.1.11:8080 is down: checks fail"), "{}", findings[0].why);
        let facts = with(|status| {
            if let Some(hop) = &mut status.services[0].backends[0].next_hop {
                hop.resolved = false;
            }
        });
        assert_eq!(only(judge, &config(), &facts).check, "next-hop-silent");
    }

    #[test]
    fn a_slow_attachment_is_told_from_none() {
        let facts = with(|status| {
            status.ports[0].xdp_mode = "generic".into();
            status.ports[1].xdp_mode.clear();
        });
        assert_eq!(checks(&found(judge, &config(), &facts)), ["xdp-mode", "not-attached"]);
    }
}
