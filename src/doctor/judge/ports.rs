//! Ports and files that two would use. The sentences are those of a start that is refused.

use super::Case;
use crate::config::valid::Config;
use crate::control::api::ApiError;
use crate::control::ports::{self, PortsError, covers};
use crate::doctor::facts::SocketFile;
use crate::doctor::finding::{Action, Finding};

/// With fewer ports than this the kernel itself runs short.
const FEWEST_PORTS: u32 = 4096;

pub(super) fn judge(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(config) = case.config else { return };
    snat(case, config, findings);
    for text in ports::unreachable(config, &case.facts.view, &case.facts.listeners) {
        let subject = text.split(' ').next().unwrap_or_default().to_owned();
        findings.push(
            Finding::warning("hidden-listener", subject, text)
                .because("packets to these ports are the switch's, whoever listens")
                .command("ss --listening --numeric --processes"),
        );
    }
    if case.facts.status.is_none() {
        endpoints(case, config, findings);
    }
    vips(case, config, findings);
}

fn snat(case: &Case<'_>, config: &Config, findings: &mut Vec<Finding>) {
    let Err(error) = ports::conflict(config, &case.facts.view, case.facts.host.local_ports) else { return };
    let finding = Finding::error("snat-ports", "snat", error.to_string()).because("xswitch refuses to start");
    findings.push(match error {
        PortsError::Overlap { above, kernel_first, .. } => {
            let first = above.max(u32::from(kernel_first));
            let range = Action::Sysctl {
                key: "net.ipv4.ip_local_port_range".into(),
                value: format!("{first} 65535"),
            };
            // Connections that exist keep their ports.
            if 65_536 - first.min(65_536) >= FEWEST_PORTS { finding.safely(range) } else { finding }
        }
        PortsError::Endpoint { .. } => finding,
    });
}

/// Of a switch that is to be started.
fn endpoints(case: &Case<'_>, config: &Config, findings: &mut Vec<Finding>) {
    let switch = &config.switch;
    for (key, listen) in [("metrics_listen", switch.metrics_listen), ("status_listen", switch.status_listen)]
    {
        let Some(listen) = listen else { continue };
        let taken = case.facts.listeners.iter().any(|(protocol, bound)| {
            let same = covers(bound.ip(), listen.ip()) || covers(listen.ip(), bound.ip());
            *protocol == "TCP" && bound.port() == listen.port() && same
        });
        if taken {
            findings.push(
                Finding::error("metrics-port", key, ApiError::InUse(key, listen).to_string())
                    .because("xswitch refuses to start")
                    .command(format!("ss --listening --tcp --processes sport = :{}", listen.port())),
            );
        }
    }
    let finding = match &case.facts.socket {
        SocketFile::Free => return,
        SocketFile::Another(path) => {
            let error = ApiError::NotASocket(path.clone());
            Finding::error("control-socket", "control_socket", error.to_string())
        }
        SocketFile::NoDirectory(path) => Finding::error(
            "control-socket",
            "control_socket",
            format!("{} does not exist, and the control socket is to lie in it", path.display()),
        )
        .command(format!("mkdir --parents {}", path.display())),
    };
    findings.push(finding.because("xswitch refuses to start: nobody could ask it anything"));
}

/// Programs of this host at a service's address and port.
fn vips(case: &Case<'_>, config: &Config, findings: &mut Vec<Finding>) {
    for service in &config.services {
        let (ip, port) = (service.vip.ip(), service.vip.port());
        let local = case.facts.view.addresses.iter().any(|(_, address, _)| *address == ip);
        let listens = case.facts.listeners.iter().any(|(protocol, bound)| {
            let here = bound.ip() == ip || local && covers(bound.ip(), ip);
            here && bound.port() == port && protocol.eq_ignore_ascii_case(service.protocol.name())
        });
        if listens {
            findings.push(
                Finding::warning(
                    "vip-listener",
                    format!("service {}", service.name),
                    format!(
                        "a program of this host listens at {} ({})",
                        service.vip,
                        service.protocol.name()
                    ),
                )
                .because("clients get the service's backends; only this host itself reaches the program")
                .command(format!("ss --listening --numeric --processes sport = :{port}")),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{checks, config, facts, found, only};
    use super::*;
    use crate::doctor::{Fix, Severity};

    #[test]
    fn overlapping_ports_are_an_error_that_moving_the_kernels_mends() {
        let (mut config, mut facts) = (config(), facts());
        facts.host.local_ports = Some((20_000, 60_999));
        let finding = only(judge, &config, &facts);
        assert!(
            finding.what.starts_with("snat_ports 1024-32767 overlap the kernel's own"),
            "{}",
            finding.what
        );
        assert_eq!(finding.fix.command(), "sysctl -w net.ipv4.ip_local_port_range=\"32768 65535\"");
        assert!(matches!(finding.fix, Fix::Safe(_)));
        config.switch.snat_ports = (1024, 64_000);
        assert_eq!(only(judge, &config, &facts).fix, Fix::None, "too few would be left");
        facts.host.local_ports = Some((64_001, 65_535));
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn endpoints_are_looked_at_only_before_a_start() {
        let (mut config, mut facts) = (config(), facts());
        config.switch.metrics_listen = Some("127.0.0.1:9500".parse().unwrap());
        facts.listeners =
            vec![("UDP", "0.0.0.0:9500".parse().unwrap()), ("TCP", "198.18.0.2:9500".parse().unwrap())];
        assert!(found(judge, &config, &facts).is_empty());
        facts.listeners.push(("TCP", "0.0.0.0:9500".parse().unwrap()));
        facts.socket = SocketFile::NoDirectory("/run/x".into());
        let findings = found(judge, &config, &facts);
        assert_eq!(checks(&findings), ["metrics-port", "control-socket"]);
        assert!(findings[0].what.contains("the address is in use"));
        facts.status = Some(super::super::running::tests::status());
        assert!(found(judge, &config, &facts).is_empty());
    }

    #[test]
    fn a_program_at_the_vip_is_found_by_address_port_and_protocol() {
        let (config, mut facts) = (config(), facts());
        facts.listeners = vec![("TCP", "0.0.0.0:80".parse().unwrap())];
        assert!(found(judge, &config, &facts).is_empty(), "it hears the host's own addresses only");
        facts.view.addresses.insert((2, "198.18.0.100".parse().unwrap(), 32));
        let finding = only(judge, &config, &facts);
        assert_eq!((finding.check, finding.severity), ("vip-listener", Severity::Warning));
        facts.listeners = vec![("UDP", "198.18.0.100:80".parse().unwrap())];
        assert!(found(judge, &config, &facts).is_empty());
    }
}
