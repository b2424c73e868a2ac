//! `[[neighbor]]`, `[[route]]` and `[[interface]]`.

use std::net::IpAddr;

use crate::config::reader::{Field, Reader};
use crate::config::{texts, values, variants};

/// `[[neighbor]]`.
#[derive(Debug)]
pub(in crate::config) struct Neighbor {
    pub interface: Field<String>,
    pub address: Field<IpAddr>,
    pub mac: Field<[u8; 6]>,
}

/// `[[route]]`.
#[derive(Debug)]
pub(in crate::config) struct Route {
    pub prefix: Field<(IpAddr, u8)>,
    pub interface: Field<String>,
    pub via: Field<Option<IpAddr>>,
}

/// `[[interface]]`.
#[derive(Debug)]
pub(in crate::config) struct Interface {
    pub name: Field<String>,
    pub mac: Field<Option<[u8; 6]>>,
    pub vlan: Field<Vec<u16>>,
    pub addresses: Field<Vec<Field<(IpAddr, u8)>>>,
    pub mtu: Field<Option<u16>>,
}

impl Neighbor {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        let interface = table.text("interface", texts::interface_name);
        let address = table.text("address", values::host_address);
        let mac = table.text("mac", values::mac);
        Self {
            interface: table.require("interface", interface, "add where it is: interface = \"eth1\""),
            address: table.require("address", address, "add its address: address = \"198.18.1.11\""),
            mac: table.require("mac", mac, "add its MAC address: mac = \"02:00:00:00:01:0b\""),
        }
    }
}

impl Route {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        let prefix = table.text("prefix", values::network);
        let interface = table.text("interface", texts::interface_name);
        Self {
            prefix: table.require("prefix", prefix, "add the destination: prefix = \"0.0.0.0/0\""),
            interface: table.require("interface", interface, "add where it leaves: interface = \"eth0\""),
            via: table.text("via", values::host_address).optional(),
        }
    }
}

impl Interface {
    pub(super) fn read(table: &mut Reader<'_, '_>) -> Self {
        let name = table.text("name", texts::interface_name);
        Self {
            name: table.require("name", name, "add which one it is: name = \"eth0\""),
            mac: table.text("mac", values::mac).optional(),
            vlan: table.value("vlan", variants::vlans).or(Vec::new()),
            addresses: table.texts("addresses", values::interface_address).or(Vec::new()),
            // 68 bytes: what every IPv4 link carries (RFC 791 §3.2).
            mtu: table.integer("mtu", 68..=65535).optional(),
        }
    }
}
