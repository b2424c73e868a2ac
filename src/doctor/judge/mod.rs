//! Facts to findings. Pure: the same facts give the same findings, and each file is tested with facts made by hand.
//!
//! | file | looks at |
//! |---|---|
//! | `kernel` | version, AF_XDP, privileges, the XDP program |
//! | `memory` | limit on locked memory, huge pages, memory for the tables |
//! | `device` | interfaces: there, up, driver, zero copy, queues, other programs |
//! | `offload` | devices that change or hide frames |
//! | `mtu` | sizes of packets |
//! | `host` | what the kernel does with the same traffic |
//! | `ports` | ports that two would use |
//! | `vip` | who else has an address of a service |
//! | `path` | ways to backends and back |
//! | `running` | what a running switch says |
//! | `tuning` | clock, processor |

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::facts::Facts;
use super::finding::Finding;
use crate::config::valid::{self, AdminState, Backend, Config, Service};
use crate::control::topology::{Exit, Topology, network};

mod device;
mod host;
mod kernel;
mod memory;
mod mtu;
mod offload;
mod path;
mod ports;
mod running;
#[cfg(test)]
pub(super) mod testing;
mod tuning;
mod vip;

/// What is judged.
#[derive(Debug)]
pub struct Case<'a> {
    /// What is wanted, if that is known.
    pub config: Option<&'a Config>,
    /// The network as the switch would use it; empty without a configuration.
    pub topology: Topology,
    /// What is known.
    pub facts: &'a Facts,
}

impl<'a> Case<'a> {
    /// Lays the configuration over the facts.
    pub fn new(config: Option<&'a Config>, facts: &'a Facts) -> Self {
        let topology = config.map(|config| Topology::new(config, &facts.view)).unwrap_or_default();
        Self { config, topology, facts }
    }

    /// Whether the switch is a bridge.
    pub fn is_bridge(&self) -> bool {
        self.config.is_some_and(|config| config.switch.topology == valid::Topology::Bridge)
    }

    /// The services that the configuration has.
    pub fn services(&self) -> &'a [Service] {
        self.config.map_or(&[], |config| &config.services)
    }

    /// Their backends that are not taken out.
    pub fn backends(&self) -> impl Iterator<Item = (&'a Service, &'a Backend)> {
        let services = self.services().iter().filter(|service| service.state == AdminState::Enabled);
        services.flat_map(|service| {
            let enabled = service.backends.iter().filter(|backend| backend.state == AdminState::Enabled);
            enabled.map(move |backend| (service, backend))
        })
    }

    /// Every VIP once.
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        self.services().iter().map(|service| service.vip.ip()).collect()
    }
}

/// Where a packet to this address leaves, by the longest prefix; none: there is no route.
pub fn exit(topology: &Topology, address: IpAddr) -> Option<Exit> {
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (0..=longest).rev().find_map(|length| topology.routes.get(&(network(address, length), length)).copied())
}

/// Everything that is found, the worst first; of one check about one subject only the worst.
pub fn judge(config: Option<&Config>, facts: &Facts) -> Vec<Finding> {
    let case = Case::new(config, facts);
    let mut findings = Vec::new();
    for judge in [
        kernel::judge,
        memory::judge,
        device::judge,
        offload::judge,
        mtu::judge,
        host::judge,
        ports::judge,
        vip::judge,
        path::judge,
        running::judge,
        tuning::judge,
    ] {
        judge(&case, &mut findings);
    }
    findings.sort_by_key(|finding: &Finding| finding.severity);
    let mut seen = BTreeSet::new();
    findings.retain(|finding| seen.insert((finding.check, finding.subject.clone())));
    findings
}

#[cfg(test)]
mod tests {
    use super::testing::{checks, config, facts};
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn a_healthy_machine_has_neither_errors_nor_warnings() {
        let (config, facts) = (config(), facts());
        for config in [None, Some(&config)] {
            let findings = judge(config, &facts);
            let bad: Vec<_> = findings.iter().filter(|finding| finding.severity != Severity::Note).collect();
            assert!(bad.is_empty(), "{bad:#?}");
        }
    }

    #[test]
    fn the_worst_comes_first_and_nothing_twice() {
        let (config, mut facts) = (config(), facts());
        facts.devices[1].exists = false;
        facts.host.clocksource = Some("hpet".into());
        facts.host.kernel = Some((5, 4));
        let found = judge(Some(&config), &facts);
        let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
        assert!(severities.is_sorted(), "{severities:?}");
        let names = checks(&found);
        let first: BTreeSet<_> =
            names.iter().zip(&found).map(|(check, finding)| (check, &finding.subject)).collect();
        assert_eq!(first.len(), found.len());
    }

    #[test]
    fn every_finding_of_a_sick_machine_says_why() {
        let (config, mut facts) = (config(), facts());
        facts.host = Default::default();
        for device in &mut facts.devices {
            let name = std::mem::take(&mut device.name);
            *device = crate::doctor::facts::Device { name, ..Default::default() };
        }
        for finding in judge(Some(&config), &facts) {
            assert!(!finding.why.is_empty() && !finding.subject.is_empty(), "{finding:?}");
        }
    }
}
