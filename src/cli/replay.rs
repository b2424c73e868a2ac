//! `xswitch replay`: the very same data path over capture files. No root, no kernel.
//!
//! | file | does |
//! |---|---|
//! | [`capture`] | reads pcap and pcapng, frame by frame |
//! | [`merge`] | several captures as one sequence |
//! | [`drive`] | batches, clock, `process`, expiry, verdicts |
//! | [`output`] | writes pcap |
//! | [`summary`] | what came of it, for people and for programs |
//!
//! Configuration, captures and seed determine every byte of the output. Time is the captures': it starts with the
//! earliest frame and never goes back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use crate::boot;
use crate::config;
use crate::control::compile::{CompileError, compile_static};
use crate::tables::{InterfaceId, Snapshot};

use super::{BAD_INPUT, FAILED};
use capture::{Capture, CaptureError};
use drive::{Replay, Settings};
use merge::Merge;
use output::{Output, OutputError};
use summary::Summary;

pub mod capture;
pub mod drive;
pub mod merge;
pub mod output;
pub mod summary;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file, with [[interface]], [[neighbor]] and [[route]] in place of a kernel.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Captures (pcap or pcapng, Ethernet) of what arrives at interfaces of the switch.
    #[arg(long = "in", value_name = "IF=PCAP", required = true, num_args = 1..)]
    pub inputs: Vec<InterfaceFile>,
    /// Captures to write: what leaves through interfaces, with the time stamps of what arrived.
    #[arg(long = "out", value_name = "IF=PCAP", num_args = 1..)]
    pub outputs: Vec<InterfaceFile>,
    /// What the random choices (source ports, places in the table) follow from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A capture file and the interface whose traffic it holds: `eth0=client.pcap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceFile {
    /// Name of the interface.
    pub interface: String,
    /// The file.
    pub path: PathBuf,
}

impl FromStr for InterfaceFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((interface, path)) if !interface.is_empty() && !path.is_empty() => {
                Ok(Self { interface: interface.to_owned(), path: path.into() })
            }
            _ => {
                Err("an interface, an equals sign and a file are needed, such as eth0=client.pcap".to_owned())
            }
        }
    }
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(#[from] config::Error),
    /// It lacks what a kernel would have told.
    #[error("xswitch replay: {0}")]
    Compile(#[from] CompileError),
    /// The arguments do not go together.
    #[error("xswitch replay: {0}")]
    Arguments(String),
    /// A capture cannot be read.
    #[error("xswitch replay: {0}")]
    Capture(#[from] CaptureError),
    /// A capture cannot be written.
    #[error("xswitch replay: {0}")]
    Output(#[from] OutputError),
}

impl ReplayError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Compile(_) | Self::Arguments(_) => BAD_INPUT,
            Self::Capture(_) | Self::Output(_) => FAILED,
        }
    }
}

/// Replays and prints what came of it.
pub fn run(arguments: &Arguments) -> ExitCode {
    match replay(arguments) {
        Ok(summary) => print(&if arguments.json { summary.json() } else { summary.to_string() }),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    // A reader that has seen enough (`| head`) is no failure of ours.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::from(FAILED),
        _ => ExitCode::SUCCESS,
    }
}

/// Replays. No output file is touched before everything else is known to be right.
pub fn replay(arguments: &Arguments) -> Result<Summary, ReplayError> {
    let config = config::load(&arguments.config)?.config;
    let (snapshot, _) = compile_static(&config)?;
    check_outputs(arguments)?;
    let mut captures = Vec::with_capacity(arguments.inputs.len());
    let mut inputs = Vec::with_capacity(arguments.inputs.len());
    for input in &arguments.inputs {
        inputs.push((interface(&input.interface, "--in", &snapshot)?, &input.path));
    }
    let mut outputs: Vec<Option<Output>> = snapshot.interfaces.iter().map(|_| None).collect();
    let places = arguments
        .outputs
        .iter()
        .map(|output| Ok((interface(&output.interface, "--out", &snapshot)?, &output.path)))
        .collect::<Result<Vec<_>, ReplayError>>()?;
    for (interface, path) in inputs {
        captures.push((interface, Capture::open(path)?));
    }
    let merge = Merge::new(captures)?;
    for (interface, path) in places {
        outputs[interface.index()] = Some(Output::create(path)?);
    }
    let settings = Settings {
        seed: arguments.seed,
        max_connections: config.switch.max_connections,
        max_connections_ipv6: config.switch.max_connections_ipv6,
        max_fragmented: config.switch.max_fragmented,
        max_affinities: config.switch.max_affinities,
        clients: (config.switch.max_clients, boot::client_prefixes(&config.switch)),
    };
    Replay::new(snapshot, settings, outputs).run(merge)
}

fn interface(name: &str, option: &str, snapshot: &Snapshot) -> Result<InterfaceId, ReplayError> {
    let found = snapshot.interfaces.iter().find(|interface| interface.name == name);
    found.map(|interface| interface.id).ok_or_else(|| {
        let names: Vec<_> = snapshot.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        ReplayError::Arguments(format!(
            "{option}: the configuration has no interface {name}; it has {}",
            names.join(", ")
        ))
    })
}

/// One output for each interface, and none that would overwrite an input or another output.
fn check_outputs(arguments: &Arguments) -> Result<(), ReplayError> {
    let refuse = |what: String| Err(ReplayError::Arguments(format!("--out: {what}")));
    for (position, output) in arguments.outputs.iter().enumerate() {
        let earlier = &arguments.outputs[..position];
        if earlier.iter().any(|other| other.interface == output.interface) {
            return refuse(format!("interface {} is named twice", output.interface));
        }
        let place = place(&output.path);
        if arguments.inputs.iter().chain(earlier).any(|other| self::place(&other.path) == place) {
            return refuse(format!("{} is in use already as another capture", output.path.display()));
        }
    }
    Ok(())
}

/// One name for every way to write the same path.
fn place(path: &Path) -> PathBuf {
    let beside = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_and_a_file() {
        let parsed: InterfaceFile = "eth0=a=b.pcap".parse().unwrap();
        assert_eq!((parsed.interface.as_str(), parsed.path.to_str()), ("eth0", Some("a=b.pcap")));
        for wrong in ["", "eth0", "=a.pcap", "eth0="] {
            assert!(wrong.parse::<InterfaceFile>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_place_has_one_name() {
        assert_eq!(place(Path::new("/tmp/../tmp/./none.pcap")), place(Path::new("/tmp/none.pcap")));
        assert_ne!(place(Path::new("/tmp/none.pcap")), place(Path::new("/tmp/other.pcap")));
    }
}
