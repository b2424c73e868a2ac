//! `xswitch doctor`: what is wrong with this machine, and what mends it.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::{BAD_INPUT, FAILED};
use crate::config::{self, valid::Config};
use crate::doctor::{self, Action, DoctorError, Finding, Fix, Severity, fix};

mod show;

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file: look at what it needs. Without it, at the machine and at the running switch.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Control socket of the running switch, if one runs [default: that of the configuration, or /run/xswitch/xswitch.sock].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON: `ok`, `errors`, `warnings`, `notes`, `findings`, and `fixed` with `--fix`.
    #[arg(long)]
    json: bool,
    /// Ask for every fix that cuts no traffic, and do it.
    #[arg(long)]
    fix: bool,
    /// With `--fix`: do not ask.
    #[arg(long, requires = "fix")]
    yes: bool,
}

/// A fix that was tried.
#[derive(Debug, Serialize)]
struct Fixed {
    check: &'static str,
    subject: String,
    command: String,
    /// `done`, or why not.
    outcome: String,
}

/// Where a switch is looked for unless somebody says otherwise.
const SOCKET: &str = "/run/xswitch/xswitch.sock";

/// Exit code 0 without errors, 1 with errors or where nothing could be looked at, 2 where arguments or configuration are wrong.
pub fn run(arguments: &Arguments) -> ExitCode {
    if arguments.fix && !arguments.yes && (arguments.json || !std::io::stdin().is_terminal()) {
        eprintln!(
            "xswitch doctor: --fix asks on a terminal; where there is none, or with --json, say --yes as \
            well"
        );
        return ExitCode::from(BAD_INPUT);
    }
    let loaded = match arguments.config.as_deref().map(config::load) {
        None => None,
        Some(Ok(loaded)) => Some(loaded),
        Some(Err(error)) => {
            eprintln!("{error}");
            return ExitCode::from(BAD_INPUT);
        }
    };
    if let Some(loaded) = loaded.as_ref().filter(|loaded| !loaded.warnings.is_empty()) {
        eprint!("{}", loaded.warnings);
    }
    let config = loaded.map(|loaded| loaded.config);
    match visit(arguments, config.as_ref()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xswitch doctor: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn visit(arguments: &Arguments, config: Option<&Config>) -> Result<ExitCode, DoctorError> {
    let of_config = config.map(|config| config.switch.control_socket.clone());
    let socket = arguments.socket.clone().or(of_config).unwrap_or_else(|| PathBuf::from(SOCKET));
    let examine = || doctor::examine(config, Path::new(&socket));
    let mut findings = examine()?;
    let mut fixed = vec![];
    if arguments.fix {
        if !arguments.json {
            print(&show::text(&findings, std::io::stdout().is_terminal()))?;
        }
        fixed = mend(&findings, arguments);
        if fixed.iter().any(|fixed| fixed.outcome == DONE) {
            findings = examine()?;
            if !arguments.json {
                print(&format!("\nNow:\n\n{}", show::text(&findings, std::io::stdout().is_terminal())))?;
            }
        }
    } else if !arguments.json {
        print(&show::text(&findings, std::io::stdout().is_terminal()))?;
    }
    let ok = findings.iter().all(|finding| finding.severity != Severity::Error);
    if arguments.json {
        print(&show::json(&findings, arguments.fix.then_some(&fixed)))?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

const DONE: &str = "done";

/// Does what is safe, of errors and warnings: notes are no reason to change a machine.
fn mend(findings: &[Finding], arguments: &Arguments) -> Vec<Fixed> {
    let mut fixed = Vec::new();
    for finding in findings.iter().filter(|finding| finding.severity != Severity::Note) {
        let Fix::Safe(action) = &finding.fix else { continue };
        if !(arguments.yes || agreed(action)) {
            continue;
        }
        let outcome = match fix::perform(action) {
            Ok(()) => DONE.to_owned(),
            Err(error) => format!("failed: {error}"),
        };
        if !arguments.json {
            println!("{}: {outcome}: {action}", finding.subject);
        }
        let (check, subject) = (finding.check, finding.subject.clone());
        fixed.push(Fixed { check, subject, command: action.to_string(), outcome });
    }
    fixed
}

/// Asks the person at the terminal. Anything but a yes is a no.
fn agreed(action: &Action) -> bool {
    print!("\nDo `{action}`? [y/N] ");
    let mut answer = String::new();
    let asked = std::io::stdout().flush().and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    asked.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

fn print(text: &str) -> std::io::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no failure of ours.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
