//! The backend's end of a tunnel as a program, for `tools/demo` and for hands at a keyboard: see `decapsulator.rs`.

use std::process::ExitCode;

use clap::Parser;

#[allow(dead_code, reason = "the tests use the rest")]
mod decapsulator;
#[allow(dead_code, reason = "the tests use the rest")]
mod devices;

/// Takes IP in IP and GUE off until it is killed.
#[derive(Debug, Parser)]
struct Arguments {
    /// TUN device to create. It comes up by itself.
    #[arg(long, default_value = "tun0")]
    device: String,
    /// UDP port of GUE.
    #[arg(long, default_value_t = 6080)]
    gue_port: u16,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = decapsulator::Decapsulator::start(&arguments.device, arguments.gue_port);
    let up = std::process::Command::new("ip").args(["link", "set", &arguments.device, "up"]).status();
    match (started, up) {
        (Ok(_running), Ok(status)) if status.success() => loop {
            println!("taking tunnels off");
            std::thread::park();
        },
        (Err(error), _) => {
            eprintln!("error: cannot create {} or open its sockets: {error}", arguments.device);
            ExitCode::FAILURE
        }
        _ => {
            eprintln!("error: `ip link set {} up` failed", arguments.device);
            ExitCode::FAILURE
        }
    }
}
