//! What others read of the command line: shells complete from it, `man` shows it.

use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::FAILED;

/// Prints a script from which `shell` completes commands and options.
pub fn completions(shell: Shell, mut command: Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "xswitch", &mut script);
    match std::io::Write::write_all(&mut std::io::stdout(), &script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Writes a manual page for the program and one for each command into a folder that exists.
pub fn manual(folder: &Path, command: Command) -> ExitCode {
    match clap_mangen::generate_to(command, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &std::io::Error) -> ExitCode {
    eprintln!("xswitch: {error}");
    ExitCode::from(FAILED)
}
