//! Arguments to a command of [`xswitch::cli`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use xswitch::cli;

/// A layer-4 switch in userspace on AF_XDP.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the switch in the foreground. SIGHUP reloads the configuration, SIGTERM stops.
    Run(cli::run::Arguments),
    /// Validate a configuration file: every mistake with its place and what would be right.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON: whether it is right, how many services and backends, and every diagnostic.
        #[arg(long)]
        json: bool,
    },
    /// Look for what is wrong with this machine: each finding with its cause and the command that mends it.
    Doctor(cli::doctor::Arguments),
    /// Run the data path over capture files: no root, no kernel, and for one seed always the same result.
    Replay(cli::replay::Arguments),
    /// Generate traffic for any device, and count what becomes of it.
    #[command(subcommand)]
    Pktgen(cli::pktgen::Command),
    /// Show what a running switch does: services, backends, workers, drops.
    Status {
        /// Control socket of the running switch.
        #[arg(long, value_name = "PATH", default_value = "/run/xswitch.sock")]
        socket: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show services, backends, workers, drops and clients as they change; drain and enable by key.
    Top(cli::top::Arguments),
    /// Show the services of a running switch, and how many backends are able to serve.
    Services(View),
    /// Show the backends of a running switch: who serves, who does not, and why.
    Backends(View),
    /// Show, count or end the connections of a running switch.
    Connections(cli::connections::Arguments),
    /// Say, step by step, what would become of a packet. Nothing changes by the question.
    Trace(cli::trace::Arguments),
    /// Capture frames as they come and as they leave, with what became of them and why, as pcapng.
    Capture(cli::capture::Arguments),
    /// Drain, enable or disable a backend of a running switch, or change its weight.
    #[command(subcommand)]
    Backend(cli::orders::BackendOrder),
    /// Drain, enable or disable a service of a running switch.
    #[command(subcommand)]
    Service(cli::orders::ServiceOrder),
    /// Have a running switch read its configuration again. A file with mistakes changes nothing.
    Reload {
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
        /// Control socket of the running switch.
        #[arg(long, value_name = "PATH", default_value = "/run/xswitch.sock")]
        socket: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a script from which a shell completes commands and options.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
    },
}

/// Options of the commands that show a part of the status.
#[derive(Debug, clap::Args)]
struct View {
    /// Only this service.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Control socket of the running switch.
    #[arg(long, value_name = "PATH", default_value = "/run/xswitch.sock")]
    socket: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !matches!(arguments.command, Command::Run(_)) {
        cli::log::Options::default().start();
    }
    match arguments.command {
        Command::Run(arguments) => cli::run::run(&arguments),
        Command::Check { config, json: false } => cli::check::run(&config),
        Command::Check { config, json: true } => cli::check::run_json(&config),
        Command::Doctor(arguments) => cli::doctor::run(&arguments),
        Command::Replay(arguments) => cli::replay::run(&arguments),
        Command::Pktgen(command) => cli::pktgen::run(&command),
        Command::Status { socket, json } => cli::status::run(&socket, json),
        Command::Top(arguments) => cli::top::run(&arguments),
        Command::Services(View { service, socket, json }) => {
            cli::services::run(&socket, service.as_deref(), json)
        }
        Command::Backends(View { service, socket, json }) => {
            cli::backends::run(&socket, service.as_deref(), json)
        }
        Command::Connections(arguments) => cli::connections::run(&arguments),
        Command::Capture(arguments) => cli::capture::run(&arguments),
        Command::Trace(arguments) => cli::trace::run(&arguments),
        Command::Backend(order) => cli::orders::backend(order),
        Command::Service(order) => cli::orders::service(order),
        Command::Reload { dry_run, socket, json } => cli::orders::reload(&socket, dry_run, json),
        Command::Completions { shell } => cli::pages::completions(shell, Arguments::command()),
        Command::Manual { folder } => cli::pages::manual(&folder, Arguments::command()),
    }
}
