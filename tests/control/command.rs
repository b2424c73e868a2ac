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
