//! The Debian package on a machine with systemd: installed, started, reloaded, upgraded, killed, removed.

use std::time::Duration;

use crate::common::lab::{Lab, WEB, nat};
use crate::common::machine::{Machine, package};
use crate::common::process;
use crate::common::traffic;
use crate::common::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);

/// The first configuration of README.md, as a new user copies it.
pub fn first_configuration() -> String {
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let block = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("README.md shows a configuration").to_owned()
}

/// Where the package has it.
pub const CONFIGURATION: &str = "/etc/xswitch/xswitch.toml";

#[test]
fn it_is_installed_runs_and_leaves_nothing() {
    let lab = Lab::new(nat(1));
    let package = package(lab.directory());
    has_what_it_should(&package.display().to_string());
    let machine = Machine::start(&lab);
    let before = machine.changed("xswitch");

    machine.does(&format!("dpkg --no-triggers --install {}", package.display()));
    assert_eq!(machine.property("ActiveState"), "inactive", "an example is no configuration");
    assert_eq!(machine.run("systemctl is-enabled xswitch").stdout.trim(), "disabled");
    machine.does("systemd-analyze verify --man=no /usr/lib/systemd/system/xswitch.service");
    machine.write(CONFIGURATION, &first_configuration());
    machine.does(&format!("xswitch check --config {CONFIGURATION}"));
    machine.does("systemctl enable --now xswitch");
    let served = || traffic::is_served(&lab.client, WEB, Duration::from_secs(2));
    wait_until("clients are served", PATIENCE, served);
    assert_eq!(machine.property("StatusText"), "switching: services 1, backends 2");
    assert_eq!(machine.property("WatchdogUSec"), "30s");
    logs_once(&machine);
    reloads(&machine);
    is_upgraded(&machine, &package.display().to_string());
    assert!(served());
    is_started_again(&machine);
    wait_until("clients are served again", PATIENCE, served);

    machine.does("dpkg --no-triggers --remove xswitch");
    for interface in ["eth0", "eth1"] {
        assert!(!lab.has_xdp_program(interface), "{interface}: a program was left");
    }
    assert_eq!(machine.run("pidof xswitch").stdout, "", "a process was left");
    assert_eq!(machine.run("ls /run/xswitch.sock").code, 2, "the control socket was left");
    machine.does(&format!("test -f {CONFIGURATION}"));
    machine.does("dpkg --no-triggers --purge xswitch");
    assert_eq!(machine.changed("xswitch"), before, "files were left");
}

fn has_what_it_should(package: &str) {
    let listed = process::run(&format!("dpkg-deb --contents {package}"));
    for file in [
        "./usr/bin/xswitch",
        "./usr/lib/systemd/system/xswitch.service",
        "./etc/xswitch/xswitch.toml",
        "./etc/default/xswitch",
        "./usr/share/man/man1/xswitch.1.gz",
        "./usr/share/man/man1/xswitch-run.1.gz",
        "./usr/share/bash-completion/completions/xswitch",
        "./usr/share/doc/xswitch/OPERATIONS.md",
        "./usr/share/doc/xswitch/examples/full.toml",
        "./usr/share/doc/xswitch/copyright",
    ] {
        let line = listed.lines().find(|line| line.ends_with(&format!(" {file}")));
        let line = line.unwrap_or_else(|| panic!("{file} is missing: {listed}"));
        assert!(line.contains(" root/root ") || line.contains(" 0/0 "), "{line}");
    }
    let depends = process::run(&format!("dpkg-deb --field {package} Depends"));
    assert!(["libc6", "libelf1", "zlib1g"].iter().all(|library| depends.contains(library)), "{depends}");
}

/// Levels are the journal's, and so is the time.
fn logs_once(machine: &Machine<'_>) {
    let log = machine.journal("");
    let line =
        log.lines().find(|line| line.contains("XDP program attached")).expect("the start is in the journal");
    assert!(line.starts_with("XDP program attached"), "{line}");
    assert!(!machine.journal("--priority warning").contains("XDP program attached"));
    assert!(machine.journal("--priority info").contains("XDP program attached"));
}

fn reloads(machine: &Machine<'_>) {
    machine.write(CONFIGURATION, &first_configuration().replace("\"wrr\"", "\"wr\""));
    let refused = machine.run("systemctl reload xswitch");
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    let log = machine.journal("");
    assert!(log.contains(&format!("{CONFIGURATION}:8:")) && log.contains("\"wr\""), "{log}");
    assert_eq!(machine.property("ActiveState"), "active");
    machine.write(CONFIGURATION, &first_configuration().replace("\"wrr\"", "\"rr\""));
    machine.does("systemctl reload xswitch");
    wait_until("the reload is in the journal", PATIENCE, || {
        machine.journal("").contains("scheduler wrr → rr")
    });
}

/// The former process goes on, with its connections.
fn is_upgraded(machine: &Machine<'_>, package: &str) {
    let process = machine.property("MainPID");
    let upgraded = machine.run(&format!("dpkg --no-triggers --install {package}"));
    assert_eq!(upgraded.code, 0, "{}", upgraded.stderr);
    assert!(upgraded.stderr.contains("systemctl restart xswitch"), "{}", upgraded.stderr);
    assert_eq!(machine.property("MainPID"), process);
    machine.does("grep -q rr /etc/xswitch/xswitch.toml");
    machine.does("systemctl restart xswitch");
    assert_ne!(machine.property("MainPID"), process);
}

fn is_started_again(machine: &Machine<'_>) {
    let process = machine.property("MainPID");
    machine.does("systemctl kill --signal KILL xswitch");
    wait_until("it is started again", PATIENCE, || {
        machine.property("ActiveState") == "active" && machine.property("MainPID") != process
    });
}
