//! A service manager that is told how the switch is doing (sd_notify).

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::devices::HeldThread;
use crate::common::lab::{Lab, WEB, nat};
use crate::common::switch::{BINARY, Configuration, Switch, configuration_text, number, write_configuration};
use crate::common::wait::{wait_for, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);
/// What the switch is told of the watchdog; it looks after all of itself four times as often.
const WATCHDOG: Duration = Duration::from_millis(800);

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn start(lab: &Lab) -> (Self, String) {
        let path = lab.directory().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let line = format!(
            "env NOTIFY_SOCKET={} WATCHDOG_USEC={} {BINARY} run --sandbox strict",
            path.display(),
            WATCHDOG.as_micros()
        );
        (Self(socket), line)
    }

    /// The next message; none: there is none yet.
    fn next(&self) -> Option<String> {
        let mut buffer = [0; 1024];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// The next that is not about the watchdog.
    fn hears(&self) -> String {
        wait_for("the manager is told something", PATIENCE, || {
            self.next().filter(|message| message != "WATCHDOG=1")
        })
    }

    fn is_fed(&self) {
        wait_until("the watchdog is fed", PATIENCE, || self.next().as_deref() == Some("WATCHDOG=1"));
    }
}

#[test]
fn the_manager_hears_of_start_reload_and_end() {
    let lab = Lab::new(nat(1));
    let (manager, line) = Manager::start(&lab);
    let text = configuration_text(&lab, &Configuration::of(&lab));
    let mut switch = Switch::launch_line(&lab, &line, &text);
    let ready = manager.hears();
    assert_eq!(ready, "READY=1\nSTATUS=switching: services 4, backends 12");
    assert!(lab.has_xdp_program("eth0") && lab.has_xdp_program("eth1"), "ready means that it switches");
    manager.is_fed();

    switch.reload(&text.replacen("\"wrr\"", "\"rr\"", 1));
    assert!(manager.hears().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(manager.hears(), ready);
    write_configuration(&lab, "[switch]\ninterfaces = 7\n");
    switch.signal(Signal::HUP);
    assert!(manager.hears().starts_with("RELOADING=1"));
    let refused = manager.hears();
    assert!(refused.starts_with("READY=1") && refused.contains("the last reload was refused"), "{refused}");

    switch.signal(Signal::TERM);
    assert!(manager.hears().starts_with("STOPPING=1"));
    assert_eq!(switch.wait_for_end(), 0);
}

#[test]
fn a_worker_that_hangs_starves_the_watchdog() {
    let lab = Lab::new(nat(2));
    let (manager, line) = Manager::start(&lab);
    let text = configuration_text(&lab, &Configuration::of(&lab));
    let switch = Switch::launch_line(&lab, &line, &text);
    assert!(manager.hears().starts_with("READY=1"));
    switch.warm_up(WEB);
    manager.is_fed();

    let held = HeldThread::hold(thread_of(&switch, "worker-1")).unwrap();
    wait_until("the log names who hangs", PATIENCE, || {
        switch.log().contains("worker 1 makes no progress: the watchdog is not fed")
    });
    while manager.next().is_some() {}
    // However long this takes: while a worker hangs, nothing comes.
    std::thread::sleep(2 * WATCHDOG);
    assert_eq!(manager.next(), None);

    drop(held);
    manager.is_fed();
    switch.finish();
}

fn thread_of(switch: &Switch<'_>, name: &str) -> i32 {
    let tasks = format!("/proc/{}/task", number(&switch.status(), "pid"));
    let named = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let task = std::fs::read_dir(tasks).unwrap().flatten().find(named).expect("the worker is there");
    task.file_name().to_str().unwrap().parse().unwrap()
}
