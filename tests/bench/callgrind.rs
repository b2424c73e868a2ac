//! Counting instructions: the program that wants to know runs itself under callgrind.

use std::process::Command;

use super::Error;

/// Instructions within `function`, by each of so many `times` that this program does what it is to be counted for when it is
/// started with these arguments.
pub fn count(function: &str, arguments: &[&str], times: u32) -> Result<f64, Error> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(std::env::current_exe()?)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    match collected {
        Some(instructions) if output.status.success() && instructions > 0 => {
            Ok(instructions as f64 / f64::from(times))
        }
        _ => Err(format!("{arguments:?}: valgrind counted nothing:\n{text}").into()),
    }
}
