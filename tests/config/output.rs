//! `xswitch check` where nobody listens.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

fn check(stdout: Stdio) -> (Option<i32>, String) {
    let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/minimal.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xswitch"));
    command.arg("check").arg("--config").arg(minimal).stdout(stdout).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_full_output_is_an_error_that_is_named() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, said) = check(full.into());
    assert_eq!(code, Some(1));
    assert!(said.starts_with("xswitch check: standard output: "), "{said}");
}

#[test]
fn a_reader_that_is_gone_is_none() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(check(writer.into()), (Some(0), String::new()));
}
