//! `xswitch run`: the switch in the foreground.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::boot::Plant;
use crate::config::edit::{self, Edit};
use crate::config::{self, Loaded, valid::Config};
use crate::control::{ConfigFile, Control};

use super::{BAD_INPUT, FAILED};

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again.
pub fn run(path: &Path) -> ExitCode {
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(BAD_INPUT);
        }
    };
    if !loaded.warnings.is_empty() {
        eprint!("{}", loaded.warnings);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(serve(loaded.config, path)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "xswitch: {error}\n  = help: `xswitch doctor --config {}` looks at the machine",
                path.display()
            );
            ExitCode::from(FAILED)
        }
    }
}

async fn serve(config: Config, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything else, so that an early signal stops the start in good order.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let control = Control::prepare(config.clone()).await?;
    let plant = Arc::new(Plant::start(&config, &control.snapshot())?);
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
