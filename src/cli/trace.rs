//! `xswitch trace`: what would become of a packet, and why.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;

use super::table::{finish, json};
use crate::boot;
use crate::config;
use crate::config::valid::{Config, StaticInterface};
use crate::control::client::{self, ClientError};
use crate::control::compile::compile_static;
use crate::control::trace::{Question, Trace};
use crate::dataplane::{FlowTables, Secret};
use crate::tables::{Loads, Tick};

mod steps;

/// Connections that the tables have room for that are made for a file alone: none is ever made.
const CONNECTIONS: u32 = 64;

/// Which packet, and who is asked.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Who sends it: ADDRESS:PORT, [ADDRESS]:PORT for IPv6.
    #[arg(value_name = "SRC:PORT")]
    source: SocketAddr,
    /// To whom: ADDRESS:PORT/tcp or ADDRESS:PORT/udp.
    #[arg(value_name = "DST:PORT/PROTO")]
    destination: Target,
    /// Ask a configuration file alone: no root, no running switch, nothing of the kernel.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// The interface that it comes in through; otherwise the one behind which the routes say the sender is.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Length of the IP packet in bytes; otherwise as short as can be.
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=4000))]
    length: u16,
    /// Control socket of the running switch.
    #[arg(long, value_name = "PATH", default_value = "/run/xswitch/xswitch.sock")]
    socket: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// An endpoint with its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    address: SocketAddr,
    protocol: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it is ADDRESS:PORT/tcp or ADDRESS:PORT/udp, for IPv6 [ADDRESS]:PORT/tcp".to_owned();
        let (address, protocol) = text.rsplit_once('/').ok_or_else(wrong)?;
        if !matches!(protocol, "tcp" | "udp") {
            return Err(wrong());
        }
        Ok(Self { address: address.parse().map_err(|_| wrong())?, protocol: protocol.to_owned() })
    }
}

/// Asks the switch, or the file.
pub fn run(arguments: &Arguments) -> ExitCode {
    let question = Question {
        source: arguments.source,
        destination: arguments.destination.address,
        protocol: arguments.destination.protocol.clone(),
        interface: arguments.interface.clone(),
        length: arguments.length,
    };
    let text = match &arguments.config {
        Some(path) => of_file(path, &question)
            .and_then(|trace| if arguments.json { json(&trace) } else { Ok(steps::text(&trace)) }),
        None => of_switch(arguments, &question),
    };
    finish("trace", text)
}

fn of_switch(arguments: &Arguments, question: &Question) -> Result<String, ClientError> {
    if arguments.json {
        let answer: serde_json::Value = client::post(&arguments.socket, "/v1/trace", question)?;
        return json(&answer);
    }
    client::post(&arguments.socket, "/v1/trace", question).map(|trace| steps::text(&trace))
}

/// What a switch would do that has just started with this file.
fn of_file(path: &Path, question: &Question) -> Result<Trace, ClientError> {
    let invalid = |error: String| ClientError::Invalid(error);
    let mut config = config::load(path).map_err(|error| invalid(error.to_string()))?.config;
    let made_up = make_up_addresses(&mut config);
    let (snapshot, _) = compile_static(&config).map_err(|error| invalid(error.to_string()))?;
    let loads = Arc::new(Loads::new(1, snapshot.backends.len()));
    let tables = FlowTables::new(CONNECTIONS, CONNECTIONS, 1, 1, Secret::from_seed(1)).with_loads(loads);
    let mut trace = boot::trace::trace(question, &snapshot, &tables, (Tick(0), false)).map_err(invalid)?;
    if !made_up.is_empty() {
        let text =
            format!("the MAC address of {} is made up: [[interface]] does not name it", made_up.join(", "));
        trace.notes.push(text);
    }
    Ok(trace)
}

/// Gives interfaces a MAC address whose own only the kernel knows. Which.
fn make_up_addresses(config: &mut Config) -> Vec<String> {
    let mut made_up = Vec::new();
    for (last, name) in (1..).zip(config.switch.interfaces.clone()) {
        let position = config.interfaces.iter().position(|interface| interface.name == name);
        let position = position.unwrap_or_else(|| {
            let (name, vlan, addresses) = (name.clone(), Vec::new(), Vec::new());
            config.interfaces.push(StaticInterface { name, mac: None, vlan, addresses, mtu: None });
            config.interfaces.len() - 1
        });
        if let Some(interface) =
            config.interfaces.get_mut(position).filter(|interface| interface.mac.is_none())
        {
            interface.mac = Some([2, 0, 0, 0, 0xFF, last]);
            made_up.push(name);
        }
    }
    made_up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_protocol() {
        let target: Target = "[2001:db8::1]:80/tcp".parse().unwrap();
        assert_eq!((target.address.port(), target.protocol.as_str()), (80, "tcp"));
        assert!("198.18.0.100:53/udp".parse::<Target>().is_ok());
        for wrong in ["198.18.0.100:80", "198.18.0.100/tcp", "198.18.0.100:80/icmp", "2001:db8::1:80/tcp/"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
