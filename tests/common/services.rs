//! Configurations made of services that a scene varies.

use std::fmt::{Display, Formatter, Write};
use std::net::SocketAddr;

use super::lab::Lab;
use super::lab::setup::{Family, V4, V6, vip};
use super::switch::Configuration;

/// A TCP service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What clients connect to.
    pub vip: SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// As in the configuration.
    pub forwarding: &'static str,
    /// More keys of `[[service]]`.
    pub lines: String,
    /// Tables that belong to it: `[service.health]` and others.
    pub tables: String,
    /// Who serves.
    pub backends: Vec<Backend>,
}

/// A backend of a service.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// More keys of `[[service.backend]]`.
    pub lines: &'static str,
}

impl Service {
    /// A TCP service at this port of the VIP, `rr`, with nobody behind it yet.
    pub fn new(lab: &Lab, name: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            vip: SocketAddr::new(vip(V4.vip), port),
            protocol: "tcp",
            forwarding: lab.setup.forwarding,
            lines: "scheduler = \"rr\"\n".to_owned(),
            tables: String::new(),
            backends: Vec::new(),
        }
    }

    /// The same at the VIP of IPv6.
    pub fn ipv6(lab: &Lab, name: &str, port: u16) -> Self {
        Self { vip: SocketAddr::new(vip(V6.vip), port), ..Self::new(lab, name, port) }
    }

    /// With one more backend, of weight 1.
    pub fn with(mut self, address: SocketAddr) -> Self {
        self.backends.push(Backend { address, weight: 1, lines: "" });
        self
    }

    /// With more keys.
    pub fn lines(mut self, lines: &str) -> Self {
        self.lines = format!("{lines}\n");
        self
    }

    /// With tables.
    pub fn tables(mut self, tables: &str) -> Self {
        self.tables = format!("{tables}\n");
        self
    }
}

impl Display for Service {
    fn fmt(&self, text: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { name, vip, protocol, forwarding, lines, tables, backends } = self;
        write!(
            text,
            "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\n\
             forwarding = \"{forwarding}\"\n{lines}\n{tables}"
        )?;
        for Backend { address, weight, lines } in backends {
            write!(text, "[[service.backend]]\naddress = \"{address}\"\nweight = {weight}\n{lines}\n")?;
        }
        Ok(())
    }
}

/// The whole file.
pub fn text<'a>(lab: &Lab, services: impl IntoIterator<Item = &'a Service>) -> String {
    text_with(lab, "", services)
}

/// The whole file, with more keys for `[switch]`.
pub fn text_with<'a>(
    lab: &Lab,
    switch_lines: &str,
    services: impl IntoIterator<Item = &'a Service>,
) -> String {
    let switch = Configuration { switch_lines: format!("{switch_lines}\n"), ..Configuration::of(lab) };
    services.into_iter().fold(switch.switch_table(lab), |mut text, service| {
        writeln!(text, "{service}").expect("a String takes every write");
        text
    })
}

/// The address of backend `number` of a lab (1, 2, 3), at a port.
pub fn at(lab: &Lab, number: u8, port: u16) -> SocketAddr {
    at_of(lab, Family::V4, number, port)
}

/// The same of a family.
pub fn at_of(lab: &Lab, family: Family, number: u8, port: u16) -> SocketAddr {
    SocketAddr::new(lab.setup.backend_address_of(number, family), port)
}
