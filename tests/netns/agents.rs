//! Agents and certificates: what backends say of themselves.

use std::path::PathBuf;
use std::time::Duration;

use crate::common::actors::Actor;
use crate::common::lab::{Lab, nat};
use crate::common::process::{self, Background};
use crate::common::services::{self, Service, at};
use crate::common::switch::Switch;
use crate::common::traffic;
use crate::common::wait::wait_until;

const PORT: u16 = 31060;
const AGENT: u16 = 31061;
const TLS: u16 = 31062;
const LIMIT: Duration = Duration::from_secs(15);

/// The agent: says what stands in a file, to everybody who connects.
const SCRIPT: &str = include_str!("agent.sh");

/// An agent of a backend.
struct Agent {
    _process: Background,
    says: PathBuf,
}

impl Agent {
    fn start(lab: &Lab, number: u8, says: &str) -> Self {
        let script = lab.directory().join("agent.sh");
        std::fs::write(&script, SCRIPT).expect("a file can be written");
        let file = lab.directory().join(format!("agent-{number}.says"));
        let agent = |process| Self { _process: process, says: file.clone() };
        std::fs::write(&file, says).expect("a file can be written");
        let line = format!("bash {} {AGENT} {}", script.display(), file.display());
        let host = &lab.backends[usize::from(number) - 1].host;
        let started = agent(host.spawn(&line, &lab.directory().join(format!("agent-{number}.log"))));
        wait_until("the agent listens", LIMIT, || {
            host.run("ss --no-header --listening --tcp --numeric").contains(&format!(":{AGENT}"))
        });
        started
    }

    fn say(&self, line: &str) {
        std::fs::write(&self.says, line).expect("a file can be written");
    }
}

#[test]
fn an_agent_of_a_few_lines_of_shell_says_what_its_backend_can_take() {
    assert!(SCRIPT.lines().count() <= 20, "an agent is a few lines of shell");
    let lab = Lab::new(nat(1));
    let _actors: Vec<_> =
        lab.backends.iter().map(|backend| Actor::start(&backend.host, &backend.name, PORT)).collect();
    let agents = [(1, "75%"), (2, "25%"), (3, "0%")].map(|(number, says)| Agent::start(&lab, number, says));
    let health = format!(
        "[service.health]\ncheck = \"agent\"\nport = {AGENT}\ninterval_ms = 300\nfast_interval_ms = 100\n\
         timeout_ms = 250\npassive_failures = 0"
    );
    let service = Service::new(&lab, "web", PORT).lines("scheduler = \"resource\"").tables(&health);
    let service = (1..=3).fold(service, |service, number| service.with(at(&lab, number, PORT)));
    let switch = Switch::start_text(&lab, &services::text(&lab, [&service]));
    let share = |number| switch.backend("web", at(&lab, number, PORT))["share"].as_u64();
    let shares = |expected: [u64; 3]| {
        wait_until("the shares are as the agents say", LIMIT, || [1, 2, 3].map(share) == expected.map(Some));
        switch.settle();
    };
    shares([75, 25, 0]);
    // Whole rounds of the schedule: exactly three to one.
    assert_eq!(traffic::requests(&lab.client, service.vip, 80).counts(), [60, 20, 0]);

    agents[2].say("100%");
    shares([75, 25, 100]);
    assert_eq!(traffic::requests(&lab.client, service.vip, 80).counts(), [30, 10, 40]);

    for (says, state) in
        [("drain", "drain"), ("maint", "disabled"), ("down #disk full", "down"), ("up 50%", "up")]
    {
        agents[0].say(says);
        let address = at(&lab, 1, PORT);
        switch.wait_for_state("web", address, state, LIMIT);
        let backend = switch.backend("web", address);
        assert!(
            backend["why"].as_str().is_some_and(|why| state == "up" || why.contains("agent")),
            "{backend:#}"
        );
        let got = traffic::requests(&lab.client, service.vip, 14).counts()[0];
        assert_eq!(got > 0, state == "up", "told {says}, it got {got} of 14");
    }
    switch.finish();
}

#[test]
fn a_bad_certificate_is_down_unless_nobody_looks() {
    let lab = Lab::new(nat(1));
    let host = &lab.backends[0].host;
    let path = |name: &str| lab.directory().join(name).display().to_string();
    let new_key = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    process::run(&format!(
        "{new_key} -keyout {} -out {} -subj /CN=authority.test",
        path("authority.key"),
        path("authority.pem")
    ));
    process::run(&format!(
        "{new_key} -CA {} -CAkey {} -keyout {} -out {} -subj /CN=web.test -addext subjectAltName=DNS:web.test \
         -addext basicConstraints=critical,CA:FALSE",
        path("authority.pem"),
        path("authority.key"),
        path("key.pem"),
        path("certificate.pem")
    ));
    let line = format!(
        "openssl s_server -www -quiet -accept {TLS} -cert {} -key {}",
        path("certificate.pem"),
        path("key.pem")
    );
    let _server = host.spawn(&line, &lab.directory().join("s_server.log"));
    let service = |name: &str, port: u16, lines: &str| {
        Service::new(&lab, name, port).with(at(&lab, 1, TLS)).tables(&format!(
            "[service.health]\ncheck = \"https\"\ninterval_ms = 500\ntimeout_ms = 400\npassive_failures = 0\n{lines}"
        ))
    };
    let trusted = format!("ca_file = {:?}", path("authority.pem"));
    let services = [
        service("unknown-issuer", PORT, "sni = \"web.test\""),
        service("not-verified", PORT + 10, "verify = false"),
        service("trusted", PORT + 20, &format!("sni = \"web.test\"\n{trusted}")),
        service("other-name", PORT + 30, &format!("sni = \"shop.test\"\n{trusted}")),
    ];
    let switch = Switch::start_text(&lab, &services::text(&lab, &services));
    let address = at(&lab, 1, TLS);
    for (name, state) in
        [("unknown-issuer", "down"), ("not-verified", "up"), ("trusted", "up"), ("other-name", "down")]
    {
        let was_checked = || switch.backend(name, address)["health"]["checks"].as_u64() > Some(0);
        wait_until("it was checked", LIMIT, was_checked);
        switch.wait_for_state(name, address, state, LIMIT);
        let last = switch.last_check(name, address);
        eprintln!("{name}: {last}");
        assert_eq!(last.contains("certificate"), state == "down", "{name}: {last}");
    }
    switch.finish();
}
