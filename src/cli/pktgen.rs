//! `xswitch pktgen`: traffic for any device under test, and what becomes of it.
//!
//! | file | command |
//! |---|---|
//! | [`send`] | frames of many flows |
//! | [`sink`] | counts frames, or sends them back |
//! | [`connect`] | opens, uses and closes TCP connections |
//! | [`serve`] | a server for those |
//! | [`replay`] | frames of a capture |
//! | `common` | what they share: stopping, progress, tables, JSON |
//! | `values` | values of options |

use std::process::ExitCode;

use clap::Subcommand;

mod common;
pub mod connect;
pub mod replay;
pub mod send;
pub mod serve;
pub mod sink;
mod values;

/// Commands of `xswitch pktgen`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send frames of many flows at a rate, or as fast as it goes.
    Send(send::Arguments),
    /// Count frames where they arrive and end them there, or send them back.
    Sink(sink::Arguments),
    /// Open, use and close TCP connections, from addresses that no kernel owns.
    Connect(connect::Arguments),
    /// Be a simple TCP server at addresses that no kernel owns.
    Serve(serve::Arguments),
    /// Send the frames of a capture again.
    Replay(replay::Arguments),
}

/// Runs one of them; ends with a summary, also on SIGINT.
pub fn run(command: &Command) -> ExitCode {
    let (name, outcome) = match command {
        Command::Send(arguments) => ("send", send::run(arguments)),
        Command::Sink(arguments) => ("sink", sink::run(arguments)),
        Command::Connect(arguments) => ("connect", connect::run(arguments)),
        Command::Serve(arguments) => ("serve", serve::run(arguments)),
        Command::Replay(arguments) => ("replay", replay::run(arguments)),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            common::say(format_args!("{name}: {error}"));
            ExitCode::from(if error.is_input() { super::BAD_INPUT } else { super::FAILED })
        }
    }
}
