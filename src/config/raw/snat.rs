//! `[[snat]]`.

use std::net::IpAddr;

use crate::config::reader::{Field, Reader};
use crate::config::{texts, values, words};
use crate::tables::{Filtering, Mapping};

/// `[[snat]]`.
#[derive(Debug)]
pub(in crate::config) struct Snat {
    pub name: Field<String>,
    pub inside: Field<Vec<Field<(IpAddr, u8)>>>,
    pub addresses: Field<Vec<Field<IpAddr>>>,
    /// None where they are those of full NAT.
    pub ports: Field<Option<(u16, u16)>>,
    pub mapping: Field<Mapping>,
    pub filtering: Field<Filtering>,
    pub hairpinning: Field<bool>,
}

impl Snat {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        let name = table.text("name", texts::rule_name);
        let inside = table.texts("inside", values::network);
        let addresses = table.texts("addresses", values::forwarded_address);
        let inside_help = "add whose packets are translated: inside = [\"10.0.0.0/24\"]";
        let addresses_help = "add what they are translated to: addresses = [\"198.18.0.3\"]";
        Self {
            name: table.require("name", name, "add a unique name: name = \"home\""),
            inside: table.require("inside", inside, inside_help),
            addresses: table.require("addresses", addresses, addresses_help),
            ports: table.text("ports", values::port_range).optional(),
            mapping: table.word("mapping", &words::MAPPING).or(Mapping::default()),
            filtering: table.word("filtering", &words::FILTERING).or(Filtering::default()),
            hairpinning: table.flag("hairpinning").or(true),
        }
    }
}
