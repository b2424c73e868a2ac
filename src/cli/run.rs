//! `xswitch run`: the switch in the foreground.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::boot::{Plant, Programs};
use crate::config::edit::{self, Edit};
use crate::config::valid::{Config, Switch};
use crate::config::{self, Loaded};
use crate::control::{ConfigFile, Control};
use crate::sys::kernel::Capabilities;
use crate::sys::limits;
use crate::sys::sandbox::{self, Sandbox};

use super::log::{self, Format};
use super::{BAD_INPUT, FAILED};

/// Arguments of `xswitch run`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file (TOML; every key is explained in config/full.toml).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    log: log::Options,
    /// What becomes of system calls that the switch does not need: they fail (on), end the process (strict), or succeed, with
    /// all privileges kept (off, for debugging).
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Strictness::On)]
    sandbox: Strictness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Strictness {
    Off,
    On,
    Strict,
}

/// What is needed all the time: attaching the XDP programs to interfaces that come back, AF_XDP sockets, neighbours, checks by
/// ICMP, maps (before Linux 5.19). Locked memory is for where the limit on it could not be lifted.
const NEEDED: [u8; 4] =
    [Capabilities::NET_ADMIN, Capabilities::NET_RAW, Capabilities::BPF, Capabilities::IPC_LOCK];
/// Listening on ports below this needs a capability of its own.
const FIRST_FREE_PORT: u16 = 1024;

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again.
pub fn run(arguments: &Arguments) -> ExitCode {
    let (path, format) = (&*arguments.config, arguments.log.start());
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(format, &error);
            return ExitCode::from(BAD_INPUT);
        }
    };
    match format {
        Format::Text if loaded.warnings.is_empty() => {}
        Format::Text => eprint!("{}", loaded.warnings),
        Format::Json => loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
    }
    let outcome = confine(arguments.sandbox, &loaded.config, path).and_then(|programs| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("control")
            .enable_all()
            .build()?;
        runtime.block_on(serve(loaded.config, programs, path))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let help = format!("`xswitch doctor --config {}` looks at the machine", path.display());
            complain(format, &format!("xswitch: {error}\n  = help: {help}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Says why it ends: in the log where machines read that.
fn complain(format: Format, error: &dyn Display) {
    match format {
        Format::Text => eprintln!("{error}"),
        Format::Json => tracing::error!("{error}"),
    }
}

/// Loads what only the privileged load, then gives up what the switch does not need. Before the first thread is started: they
/// inherit it.
fn confine(
    strictness: Strictness,
    valid: &Config,
    path: &Path,
) -> Result<Programs, Box<dyn std::error::Error>> {
    if let Err(error) = limits::unlock_memory() {
        tracing::debug!(%error, "the limit on locked memory stays as it is");
    }
    let programs = Programs::load(&valid.switch)?;
    let sandbox = match strictness {
        Strictness::Off => Sandbox::Off,
        Strictness::On => Sandbox::On,
        Strictness::Strict => Sandbox::Strict,
    };
    let left = sandbox::confine_process(sandbox, needed(&valid.switch))
        .map_err(|error| format!("cannot give up privileges: {error}; `--sandbox off` starts with them"))?;
    if sandbox == Sandbox::Off {
        tracing::warn!("the switch keeps all privileges: --sandbox off");
    } else {
        tracing::info!(capabilities = left.names().join(" "), "privileges given up");
    }
    let files: BTreeSet<_> = std::iter::once(path).chain(valid.lists()).collect();
    for path in files {
        if let Err(error) = config::file::open(path) {
            let path = path.display();
            tracing::warn!(%error, "{path} cannot be read again without privileges: reloads will fail until it belongs to this user");
        }
    }
    Ok(programs)
}

fn needed(switch: &Switch) -> Capabilities {
    let mut needed = Capabilities::of(&NEEDED);
    let listened = [switch.metrics_listen, switch.status_listen];
    if listened.iter().flatten().any(|address| address.port() < FIRST_FREE_PORT) {
        needed.0 |= Capabilities::of(&[Capabilities::NET_BIND_SERVICE]).0;
    }
    needed
}

async fn serve(config: Config, programs: Programs, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything else, so that an early signal stops the start in good order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let control = Control::prepare(config.clone()).await?;
    let plant = Arc::new(Plant::start(&config, &control.snapshot(), programs)?);
    if let Err(error) = plant.attach(control.steering()) {
        plant.stop();
        return Err(error.into());
    }
    tracing::info!(pid = std::process::id(), version = env!("CARGO_PKG_VERSION"), "switching");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    control.run(Arc::clone(&plant) as _, Box::new(File(path.to_path_buf())), stop).await;
    tracing::info!("stopping: the kernel has its traffic back");
    plant.stop();
    Ok(())
}

/// The file that `--config` names.
struct File(PathBuf);

impl ConfigFile for File {
    /// Reads the file again; its warnings go to the log.
    fn load(&mut self) -> Result<Loaded, String> {
        let loaded = config::load(&self.0).map_err(|error| error.to_string())?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }

    fn save(&mut self, edits: &[Edit]) -> Result<(), String> {
        edit::save(&self.0, edits).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_reload_logs_the_warnings_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("xswitch.toml"), folder.path().join("log"));
        std::fs::write(&path, "[switch]\ninterfaces = [\"eth0\"]\n").unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::new(File::create(&log).unwrap()))
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || File(path).load().unwrap());
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains("WARN") && log.contains("no [[service]]"), "{log}");
    }
}
