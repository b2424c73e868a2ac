//! `xswitch check`: is this configuration right, and if not, what would be?

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Severity, valid};

/// Checks the file: diagnostics on standard error; if it is right, one line on standard output.
/// Exit code 0, 2 if it cannot be used, or 1 if it is right but the line cannot be written.
pub fn run(config: &Path) -> ExitCode {
    match config::load(config) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(warning);
            }
            let summary = summary(&loaded.config, loaded.warnings.count(Severity::Warning));
            print(&format!("{}: ok: {summary}", config.display()))
        }
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

/// The same for programs: one JSON object on standard output,
/// `{"ok": true, "services": 3, "backends": 7, "diagnostics": [...]}`.
pub fn run_json(config: &Path) -> ExitCode {
    let (ok, counts, diagnostics) = match config::load(config) {
        Ok(loaded) => (true, counts(&loaded.config), serde_json::json!(loaded.warnings)),
        Err(config::Error::Invalid(diagnostics)) => (false, (0, 0), serde_json::json!(diagnostics)),
        Err(error @ config::Error::Read { .. }) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    let (services, backends) = counts;
    let answer = serde_json::json!({
        "ok": ok, "services": services, "backends": backends, "diagnostics": diagnostics,
    });
    let printed = print(&answer.to_string());
    if ok { printed } else { ExitCode::from(2) }
}

/// One line on standard output.
fn print(line: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{line}") {
        // A reader that has seen enough (`| head`) is no failure of ours.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format_args!("xswitch check: standard output: {error}"));
            ExitCode::from(1)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// On standard error; if nobody can read it there, the exit code still says how it went.
fn complain(what: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

fn counts(config: &valid::Config) -> (usize, usize) {
    (config.services.len(), config.services.iter().map(|service| service.backends.len()).sum())
}

fn summary(config: &valid::Config, warnings: usize) -> String {
    let (services, backends) = counts(config);
    let mut summary = format!("{}, {}", counted(services, "service"), counted(backends, "backend"));
    if warnings > 0 {
        summary.push_str(&format!(", {}", counted(warnings, "warning")));
    }
    summary
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_in_words() {
        let text = "[switch]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"a\"\nvip = \"198.18.0.1:80\"\n\
                    backend = [{ address = \"198.18.1.1:80\" }, { address = \"198.18.1.2:80\" }]\n";
        let loaded = config::parse(text, "f").unwrap();
        assert_eq!(summary(&loaded.config, 0), "1 service, 2 backends");
        assert_eq!(summary(&loaded.config, 1), "1 service, 2 backends, 1 warning");
    }
}
