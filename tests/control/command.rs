//! The command as a whole: its flags, and how it writes where nobody reads colours.

use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_xswitch");

fn xswitch(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).env("XSWITCH_LOG", "trace").output().unwrap()
}

#[test]
fn check_answers_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xswitch.toml");
    for (text, code) in [("[switch]\ninterfaces = [\"eth0\"]\n", 0), ("[switch]\n", 2)] {
        std::fs::write(&file, text).unwrap();
        let output = xswitch(&["check", "--json", "--config", file.to_str().unwrap()]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), answer["ok"].as_bool()), (Some(code), Some(code == 0)), "{answer}");
        assert_eq!(answer["diagnostics"].as_array().map(Vec::is_empty), Some(false), "{answer}");
    }
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xswitch.toml");
    let socket = folder.path().join("xswitch.sock");
    let text = format!(
        "[switch]\ninterfaces = [\"no-such-link\"]\ncontrol_socket = \"{}\"\nmetrics_listen = \"\"\n",
        socket.display()
    );
    std::fs::write(&file, text).unwrap();
    let output = xswitch(&["run", "--config", file.to_str().unwrap()]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "there is a log:\n{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[test]
fn a_log_for_machines_is_json_to_its_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xswitch.toml");
    let socket = folder.path().join("xswitch.sock");
    let right = format!(
        "[switch]\ninterfaces = [\"no-such-link\"]\ncontrol_socket = \"{}\"\nmetrics_listen = \"\"\n",
        socket.display()
    );
    for (text, code) in [(right.as_str(), 1), ("[switch]\ninterfaces = 7\n", 2)] {
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        let output = xswitch(&["run", "--log-format", "json", "--log-level", "info", "--config", path]);
        assert_eq!(output.status.code(), Some(code));
        let log = String::from_utf8(output.stderr).unwrap();
        let events: Vec<serde_json::Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        let last = events.last().expect("it says why it ends");
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(events.iter().all(|event| event["timestamp"].is_string() && event["message"].is_string()));
    }
}

#[test]
fn there_is_a_manual_page_and_a_completion_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = xswitch(&["manual", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let script = String::from_utf8(xswitch(&["completions", "bash"]).stdout).unwrap();
    let help = String::from_utf8(xswitch(&["--help"]).stdout).unwrap();
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let names: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.contains(&"run") && names.len() > 10, "{names:?}");
    assert!(!names.contains(&"manual"), "only the package is built with it");
    for name in names.iter().filter(|name| **name != "help") {
        let page = std::fs::read_to_string(folder.path().join(format!("xswitch-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
        assert!(script.contains(&format!("xswitch,{name})")), "{name} is not completed");
    }
}
