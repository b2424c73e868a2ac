//! `xswitch top` in a real terminal, which tmux stands in for.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::common::lab::{Lab, WEB, nat};
use crate::common::switch::{Switch, socket};
use crate::common::traffic;
use crate::common::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

/// A terminal with a shell in it, beside a switch. It ends with this.
struct Screen {
    server: PathBuf,
}

impl Screen {
    /// A terminal of this size, in the namespace of the switch.
    fn open(lab: &Lab, (columns, lines): (u16, u16)) -> Self {
        let screen = Self { server: lab.directory().join("tmux") };
        let size = [columns.to_string(), lines.to_string()];
        let shell = format!("ip netns exec {} sh", lab.switch.name());
        let words = ["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1]];
        screen.tmux(&[&words[..], &["-e", "LC_ALL=C.UTF-8", &shell]].concat());
        screen.wait_for("#");
        // In two pieces, so that it is not taken for the prompt that it makes.
        screen.run("PS1='rea''dy> '; clear");
        screen.wait_until("the shell is ready", |picture| picture.trim() == "ready>");
        screen
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = Command::new("timeout")
            .args(["20", "tmux", "-u", "-S"])
            .arg(&self.server)
            .args(words)
            .output()
            .expect("tmux can be started");
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types text as it is.
    fn type_in(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Presses a key by its name.
    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn run(&self, line: &str) {
        self.type_in(line);
        self.press("Enter");
    }

    /// What is to be seen.
    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until a text is to be seen; the whole picture then.
    fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |picture| picture.contains(text))
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let start = std::time::Instant::now();
        loop {
            let picture = self.text();
            if holds(&picture) {
                return picture;
            }
            assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}\n{picture}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What tmux knows of the terminal.
    fn flag(&self, name: &str) -> String {
        self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    /// Waits until the shell is back, and the terminal is as it was.
    fn wait_for_shell(&self, code: u8) {
        self.wait_until("the shell is back", |picture| picture.trim_end().ends_with("ready>"));
        assert_eq!((self.flag("alternate_on"), self.flag("cursor_flag")), ("0".to_owned(), "1".to_owned()));
        self.run("echo code:$?:; stty -a");
        let picture = self.wait_for("icanon");
        assert!(picture.contains(&format!("code:{code}:")), "{picture}");
        assert!(
            !picture.contains("-icanon") && !picture.contains("-echo "),
            "the terminal is raw:\n{picture}"
        );
        self.run("clear");
        self.wait_until("it is clear", |picture| picture.trim() == "ready>");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Its own server, with nothing else in it.
        let _ = Command::new("tmux").arg("-S").arg(&self.server).arg("kill-server").output();
    }
}

fn top(switch: &Switch<'_>) -> String {
    format!("{} top --interval 0.5 --socket {}", switch.binary(), socket(switch.lab()).display())
}

#[test]
fn a_backend_is_seen_drained_by_key_and_enabled_again() {
    let lab = Lab::new(nat(2));
    let switch = Switch::start(&lab);
    switch.warm_up(WEB);
    let screen = Screen::open(&lab, (100, 30));
    screen.run(&top(&switch));
    screen.wait_for("198.18.0.100:80/tcp");
    assert_eq!(screen.flag("alternate_on"), "1");
    assert_eq!(traffic::requests(&lab.client, WEB, 20).failures, 0);

    screen.press("Tab");
    screen.wait_for("Backends: ");
    screen.type_in("/web");
    screen.press("Enter");
    let picture = screen.wait_for("with \"web\"");
    assert!(picture.contains("198.18.1.12:8080"), "{picture}");
    screen.type_in("jd");
    screen.wait_for("drain backend 198.18.1.12:8080 of service web? y/n");
    screen.type_in("n");
    screen.wait_for("nothing was changed");
    assert_eq!(switch.state("web", "198.18.1.12:8080".parse().unwrap()), "up");
    screen.type_in("dy");
    let line =
        |picture: &str| picture.lines().find(|line| line.contains("198.18.1.12:8080")).map(str::to_owned);
    screen.wait_until("it is drained", |picture| line(picture).is_some_and(|line| line.contains("drain")));
    let state = switch.state("web", "198.18.1.12:8080".parse().unwrap());
    assert!(state.starts_with("drain"), "{state}");
    assert_eq!(traffic::requests(&lab.client, WEB, 20).counts()[1], 0, "it gets new connections");
    screen.type_in("ey");
    screen.wait_until("it is up", |picture| line(picture).is_some_and(|line| line.contains(" up ")));

    for (key, seen) in [("3", "POOL FREE"), ("5", "most recently active"), ("?", "any key ends this")] {
        screen.type_in(key);
        screen.wait_for(seen);
    }
    screen.tmux(&["resize-window", "-x", "160", "-y", "50"]);
    screen
        .wait_until("all panes", |picture| picture.contains("Workers: 2") && picture.contains("Backends: "));
    screen.tmux(&["resize-window", "-x", "30", "-y", "6"]);
    screen.wait_for("too small");
    screen.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    screen.type_in("q1");
    screen.wait_for("198.18.0.100:80/tcp");
    screen.type_in("q");
    screen.wait_for_shell(0);
    drop(screen);
    switch.finish();
}

#[test]
fn a_switch_that_goes_away_is_named_and_signals_leave_the_terminal_as_it_was() {
    let lab = Lab::new(nat(1));
    let switch = Switch::start(&lab);
    let screen = Screen::open(&lab, (100, 30));
    screen.run(&top(&switch));
    screen.wait_for("198.18.0.100:80/tcp");
    switch.finish();
    screen.wait_for("no answer, all below is");
    let switch = Switch::start(&lab);
    screen.wait_for("the switch was started anew");
    screen.press("C-c");
    screen.wait_for_shell(0);
    screen.run(&format!("NO_COLOR=1 {}", top(&switch)));
    screen.wait_for("198.18.0.100:80/tcp");
    let pid = screen.tmux(&["display-message", "-p", "#{pane_pid}"]);
    wait_until("top runs", LIMIT, || !child_of(pid.trim(), "xswitch").is_empty());
    crate::common::process::run(&format!("kill -TERM {}", child_of(pid.trim(), "xswitch")));
    screen.wait_for_shell(0);
    screen.run(&format!("{} | cat", top(&switch)));
    screen.wait_for("standard output is no terminal");
    drop(screen);
    switch.finish();
}

/// The first process of this name below another one.
fn child_of(parent: &str, name: &str) -> String {
    let children =
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let found = children.split_whitespace().find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    });
    found
        .map(str::to_owned)
        .or_else(|| children.split_whitespace().map(|pid| child_of(pid, name)).find(|pid| !pid.is_empty()))
        .unwrap_or_default()
}
