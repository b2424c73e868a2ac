//! `via = "forwarding"`: the running switch finds backends that cannot serve although their address answers, because what
//! its packets need on the way is missing: the VIP on the loopback, or what takes tunnels off.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::actors::Actor;
use crate::common::lab::{Backend, Family, Lab, Path, Setup, TUNNEL_DEVICE, dsr, gue, ipip, vip};
use crate::common::namespace::Namespace;
use crate::common::services::{self, Service};
use crate::common::switch::Switch;
use crate::common::traffic;
use crate::common::wait::wait_until;

/// Where the servers listen, at every address that they have; ports of VIPs are counted from here.
const PORT: u16 = 31050;
/// Outer bound of everything that is waited for; what is expected takes a second or two.
const LIMIT: Duration = Duration::from_secs(20);
/// Direct checks that must pass while those through the forwarding path fail.
const DIRECT_CHECKS: u64 = 5;
const RHYTHM: &str = "check = \"tcp\"\ninterval_ms = 300\nfast_interval_ms = 100\ntimeout_ms = 250\nrise = 2\n\
                      fall = 3\npassive_failures = 0";

#[test]
fn dsr_with_one_worker() {
    finds_what_is_missing(dsr(1));
}

#[test]
fn ipip_with_two_workers() {
    finds_what_is_missing(ipip(2));
}

#[test]
fn gue_with_one_worker() {
    finds_what_is_missing(gue(1));
}

/// One service of a path, checked through the forwarding path, and one more with the same servers, checked directly.
struct Checked {
    path: Path,
    through: Service,
    direct: Service,
    /// Of the first backend, which is spoiled, in both services.
    spoiled: [SocketAddr; 2],
}

impl Checked {
    /// Ports are told apart by `number`: VIPs are shared by paths.
    fn new(lab: &Lab, path: Path, number: u16) -> Self {
        let port = PORT + 2 * number;
        let at = |backend, port| SocketAddr::new(lab.setup.backend_address_of(backend, path.backend), port);
        let service = |kind: &str, port: u16, health: &str| {
            let mut service = Service::new(lab, &format!("{kind}-{}", path.label()), port);
            service.vip = SocketAddr::new(vip(path.vip), port);
            let service = service.tables(&format!("[service.health]\n{RHYTHM}\n{health}"));
            (1..=3).fold(service, |service, backend| service.with(at(backend, port)))
        };
        Self {
            path,
            through: service("through", port, "via = \"forwarding\""),
            // The address of the backend, where the same server listens.
            direct: service("direct", port + 1, &format!("port = {port}")),
            spoiled: [at(1, port), at(1, port + 1)],
        }
    }

    fn states(&self, switch: &Switch<'_>) -> [String; 2] {
        let [through, direct] = self.spoiled;
        [switch.state(&self.through.name, through), switch.state(&self.direct.name, direct)]
    }

    fn wait_until_up(&self, switch: &Switch<'_>) {
        for service in [&self.through, &self.direct] {
            for backend in &service.backends {
                switch.wait_for_state(&service.name, backend.address, "up", LIMIT);
            }
        }
    }

    /// Clients of the service are served, and not by the one that is spoiled.
    fn assert_nobody_meets_the_spoiled_one(&self, switch: &Switch<'_>) {
        let [spoiled, _] = self.spoiled;
        let before = switch.connections_new(&self.through.name, spoiled);
        let answers = traffic::requests(&switch.lab().client, self.through.vip, 12);
        assert_eq!(answers.failures, 0, "{}: a client was not served", self.path.label());
        assert_eq!(switch.connections_new(&self.through.name, spoiled), before, "{}", self.path.label());
    }

    /// Checks of the spoiled backend at its own address: how many there were, and how many failed.
    fn direct_checks(&self, switch: &Switch<'_>) -> [u64; 2] {
        let backend = switch.backend(&self.direct.name, self.spoiled[1]);
        ["checks", "failed"].map(|key| backend["health"][key].as_u64().expect("it is checked"))
    }
}

fn finds_what_is_missing(setup: Setup) {
    let lab = Lab::new(setup);
    let checked: Vec<_> =
        (0..).zip(setup.paths).map(|(number, path)| Checked::new(&lab, *path, number)).collect();
    let _actors: Vec<_> = checked.iter().flat_map(|checked| actors(&lab, checked)).collect();
    let services = checked.iter().flat_map(|checked| [&checked.through, &checked.direct]);
    let switch = Switch::start_text(&lab, &services::text(&lab, services));
    checked.iter().for_each(|checked| checked.wait_until_up(&switch));
    checked.iter().for_each(|checked| switch.warm_up(checked.through.vip));

    let host = &lab.backends[0].host;
    for family in [Family::V4, Family::V6] {
        vip_on_lo(host, "delete", family);
        // Those of the other VIP have nothing to do with it.
        let (missing, well): (Vec<_>, Vec<_>) = checked.iter().partition(|one| one.path.vip == family);
        is_found(&switch, &missing, "does the backend have the VIP on its loopback");
        assert!(well.iter().all(|well| well.states(&switch) == ["up", "up"]));
        vip_on_lo(host, "add", family);
        checked.iter().for_each(|checked| checked.wait_until_up(&switch));
    }
    if setup.is_tunnel() {
        host.ip(&format!("link set {TUNNEL_DEVICE} down"));
        is_found(&switch, &checked.iter().collect::<Vec<_>>(), "and the tunnel device");
        host.ip(&format!("link set {TUNNEL_DEVICE} up"));
        checked.iter().for_each(|checked| checked.wait_until_up(&switch));
    }
    switch.finish();
}

/// Waits until the spoiled backend is down in these services, and shows why, while direct checks go on to pass.
fn is_found(switch: &Switch<'_>, spoiled: &[&Checked], cause: &str) {
    let before: Vec<_> = spoiled.iter().map(|checked| checked.direct_checks(switch)).collect();
    for checked in spoiled {
        let [address, _] = checked.spoiled;
        switch.wait_for_state(&checked.through.name, address, "down", LIMIT);
        let why = switch.backend(&checked.through.name, address)["why"].to_string();
        for said in [switch.last_check(&checked.through.name, address), why] {
            assert!(said.contains(cause), "{}: `{cause}` is not in `{said}`", checked.through.name);
        }
        checked.assert_nobody_meets_the_spoiled_one(switch);
    }
    for (checked, [checks, failed]) in spoiled.iter().zip(before) {
        wait_until("more direct checks were made", LIMIT, || {
            checked.direct_checks(switch)[0] >= checks + DIRECT_CHECKS
        });
        assert_eq!(checked.direct_checks(switch)[1], failed, "a direct check finds it as well");
        assert_eq!(checked.states(switch), ["down", "up"]);
    }
}

/// Servers of both services, at the VIP and at the address of every backend.
fn actors(lab: &Lab, checked: &Checked) -> Vec<Actor> {
    // Of both families.
    let start =
        |backend: &Backend| Actor::start_ipv6(&backend.host, &backend.name, checked.through.vip.port());
    lab.backends.iter().map(start).collect()
}

fn vip_on_lo(host: &Namespace, verb: &str, family: Family) {
    let (length, nodad) = if family == Family::V4 { (32, "") } else { (128, " nodad") };
    let nodad = if verb == "add" { nodad } else { "" };
    host.ip(&format!("address {verb} {}/{length} dev lo{nodad}", vip(family)));
}
