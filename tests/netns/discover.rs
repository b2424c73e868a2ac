//! Backends that nobody listed: a real DNS server whose answers change, and a file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::actors::Actor;
use crate::common::lab::{Lab, nat};
use crate::common::load::{Load, Plan};
use crate::common::process::Background;
use crate::common::services::{self, Service, at};
use crate::common::switch::Switch;
use crate::common::traffic;
use crate::common::wait::wait_until;

const PORT: u16 = 31070;
const LIMIT: Duration = Duration::from_secs(20);
/// Several looks at the least interval of these scenes, a second.
const SEVERAL_LOOKS: Duration = Duration::from_secs(3);

/// dnsmasq at 127.0.0.1:5353 of the switch's host. It reads its names from a file, again at every SIGHUP.
struct Dns {
    process: Background,
    hosts: PathBuf,
}

impl Dns {
    const AT: &str = "127.0.0.1:5353";

    fn start(lab: &Lab, records: &str) -> Self {
        let hosts = lab.directory().join("names");
        std::fs::write(&hosts, "").expect("a file can be written");
        let line = format!(
            "dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --group=root --pid-file= --port=5353 \
             --listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts --local=/test/ --local-ttl=1 \
             --neg-ttl=1 --addn-hosts={} {records}",
            hosts.display()
        );
        let process = lab.switch.spawn(&line, &lab.directory().join("dnsmasq.log"));
        wait_until("dnsmasq listens", LIMIT, || {
            lab.switch.run("ss --no-header --listening --udp --numeric").contains(":5353")
        });
        Self { process, hosts }
    }

    /// From now on `name` has these addresses, and no other name has any.
    fn answer(&mut self, name: &str, backends: &[SocketAddr]) {
        let lines: String = backends.iter().map(|backend| format!("{} {name}\n", backend.ip())).collect();
        std::fs::write(&self.hosts, lines).expect("a file can be written");
        self.process.signal(Signal::HUP);
    }
}

/// Addresses of the backends that the status shows for a service and that are not on their way out, sorted.
fn serving(switch: &Switch<'_>, service: &str) -> Vec<String> {
    let shown = switch.service(service);
    let backends = shown["backends"].as_array().cloned().unwrap_or_default();
    let stays = backends.iter().filter(|backend| backend["state"] != "leaving");
    let mut addresses: Vec<_> =
        stays.filter_map(|backend| backend["address"].as_str().map(str::to_owned)).collect();
    addresses.sort();
    addresses
}

fn wait_for_backends(switch: &Switch<'_>, service: &str, expected: &[SocketAddr]) {
    let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
    wait_until(&format!("{service} has {expected:?}"), LIMIT, || serving(switch, service) == expected);
    switch.settle();
}

#[test]
fn a_name_decides_who_serves_and_a_vanished_name_changes_nothing() {
    let lab = Lab::new(nat(1));
    let _actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, PORT)).collect();
    let [first, second, third] = [1, 2, 3].map(|number| at(&lab, number, PORT));
    let mut dns = Dns::start(&lab, "");
    dns.answer("web.test", &[first, second]);
    let service = Service::new(&lab, "web", PORT)
        .tables(&format!("[service.discover]\ndns = \"web.test\"\nport = {PORT}\ninterval_s = [1, 5]"));
    let resolvers = format!("resolvers = [\"{}\"]", Dns::AT);
    let switch = Switch::start_text(&lab, &services::text_with(&lab, &resolvers, [&service]));
    wait_for_backends(&switch, "web", &[first, second]);
    assert_eq!(traffic::requests(&lab.client, service.vip, 20).counts(), [10, 10, 0]);

    switch.warm_up(service.vip);
    let load = Load::start(&lab.client, Plan::steady(service.vip));
    dns.answer("web.test", &[second, third]);
    wait_for_backends(&switch, "web", &[second, third]);
    std::thread::sleep(Duration::from_millis(100));
    let moved = load.now();
    std::thread::sleep(Duration::from_millis(500));
    let report = load.stop();
    report.assert_nothing_failed();
    assert_eq!(report.answers_since(moved).keys().collect::<Vec<_>>(), [&"b2", &"b3"]);
    wait_until("the one that left is gone", LIMIT, || switch.find_backend("web", first).is_none());

    // The name vanishes, and then the server.
    dns.answer("other.test", &[first]);
    std::thread::sleep(SEVERAL_LOOKS);
    wait_for_backends(&switch, "web", &[second, third]);
    drop(dns);
    std::thread::sleep(SEVERAL_LOOKS);
    wait_for_backends(&switch, "web", &[second, third]);
    assert_eq!(traffic::requests(&lab.client, service.vip, 20).counts(), [0, 10, 10]);

    // A server that comes back is believed again.
    let mut dns = Dns::start(&lab, "");
    dns.answer("web.test", &[first, second, third]);
    wait_for_backends(&switch, "web", &[first, second, third]);
    switch.finish();
}

#[test]
fn service_records_bring_their_ports_and_weights() {
    let lab = Lab::new(nat(1));
    let other_port = PORT + 1;
    let _actors = [(0, PORT), (1, other_port), (2, PORT)].map(|(host, port): (usize, u16)| {
        Actor::start(&lab.backends[host].host, &lab.backends[host].name, port)
    });
    let records = format!(
        "--srv-host=_web._tcp.test,one.test,{PORT},10,30 --srv-host=_web._tcp.test,two.test,{other_port},10,10 \
         --srv-host=_web._tcp.test,three.test,{PORT},20,10 --host-record=one.test,{} --host-record=two.test,{} \
         --host-record=three.test,{}",
        at(&lab, 1, 0).ip(),
        at(&lab, 2, 0).ip(),
        at(&lab, 3, 0).ip()
    );
    let _dns = Dns::start(&lab, &records);
    let service = Service::new(&lab, "web", PORT)
        .lines("scheduler = \"wrr\"")
        .tables("[service.discover]\nsrv = \"_web._tcp.test\"\ninterval_s = [1, 5]");
    let resolvers = format!("resolvers = [\"{}\"]", Dns::AT);
    let switch = Switch::start_text(&lab, &services::text_with(&lab, &resolvers, [&service]));
    wait_for_backends(&switch, "web", &[at(&lab, 1, PORT), at(&lab, 2, other_port), at(&lab, 3, PORT)]);
    // The third is of a lower priority: it serves only while no other can.
    assert_eq!(traffic::requests(&lab.client, service.vip, 40).counts(), [30, 10, 0]);
    switch.finish();
}

#[test]
fn a_file_decides_who_serves() {
    let lab = Lab::new(nat(1));
    let _actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, PORT)).collect();
    let [first, second, third] = [1, 2, 3].map(|number| at(&lab, number, PORT));
    let file = lab.directory().join("backends");
    let write = |text: String| std::fs::write(&file, text).expect("a file can be written");
    write(format!("# who serves\n{first} 3\n{second} # weight 1\n"));
    let service = Service::new(&lab, "web", PORT)
        .lines("scheduler = \"wrr\"")
        .tables(&format!("[service.discover]\nfile = {:?}", file.display().to_string()));
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    wait_for_backends(&switch, "web", &[first, second]);
    assert_eq!(traffic::requests(&lab.client, service.vip, 40).counts(), [30, 10, 0]);

    write(format!("{first}\n{second}\n{third}\n"));
    wait_for_backends(&switch, "web", &[first, second, third]);
    assert_eq!(traffic::requests(&lab.client, service.vip, 30).counts(), [10, 10, 10]);

    // Half a file, an empty one, none: the last good set stays.
    write(format!("{first}\n198.18."));
    std::thread::sleep(SEVERAL_LOOKS);
    wait_for_backends(&switch, "web", &[first, second, third]);
    write(String::new());
    std::thread::sleep(SEVERAL_LOOKS);
    wait_for_backends(&switch, "web", &[first, second, third]);
    std::fs::remove_file(&file).expect("the file is there");
    std::thread::sleep(SEVERAL_LOOKS);
    wait_for_backends(&switch, "web", &[first, second, third]);
    assert_eq!(traffic::requests(&lab.client, service.vip, 30).counts(), [10, 10, 10]);
    switch.finish();
}
