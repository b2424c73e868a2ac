//! The network that the tests are about.
//!
//! ```text
//!  client 198.18.0.7 ─────────┐
//!  client 198.18.0.8 ─────────┤ eth0 ┌────────┐ eth1 ├── backend 198.18.1.11
//!  client 198.18.0.9 (no MAC) ┼──────┤ switch ├──────┼── backend 198.18.1.12
//!  backend 198.18.0.20 ───────┤ .2   └────────┘ .1   ├── backend 198.18.1.13 (no MAC)
//!  router 198.18.0.1 ─────────┘                      └── router 198.18.1.254 ── backend 10.9.0.5
//!   └── the world
//! ```

use xswitch::tables::InterfaceId;

use super::{Mac, Packet};

pub const ETH0: InterfaceId = InterfaceId(0);
pub const ETH1: InterfaceId = InterfaceId(1);

pub const SWITCH0: Mac = [2, 0, 0, 0, 0, 1];
pub const SWITCH1: Mac = [2, 0, 0, 0, 0, 2];
pub const CLIENT7: Mac = [2, 0, 0, 0, 1, 7];
pub const CLIENT8: Mac = [2, 0, 0, 0, 1, 8];
pub const CLIENT9: Mac = [2, 0, 0, 0, 1, 9];
pub const ROUTER0: Mac = [2, 0, 0, 0, 2, 1];
pub const ROUTER1: Mac = [2, 0, 0, 0, 2, 2];
pub const BACKEND11: Mac = [2, 0, 0, 0, 3, 11];
pub const BACKEND12: Mac = [2, 0, 0, 0, 3, 12];
pub const BACKEND20: Mac = [2, 0, 0, 0, 3, 20];

/// The one address and port of full NAT.
pub const SNAT: &str = "198.18.1.2:20000";

/// `[switch]` and everything around it; services are added by the tests.
pub const NETWORK: &str = r#"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
addresses = ["198.18.0.2/24"]
[[interface]]
name = "eth1"
mac = "02:00:00:00:00:02"
addresses = ["198.18.1.1/24"]
[[neighbor]]
interface = "eth0"
address = "198.18.0.7"
mac = "02:00:00:00:01:07"
[[neighbor]]
interface = "eth0"
address = "198.18.0.8"
mac = "02:00:00:00:01:08"
[[neighbor]]
interface = "eth0"
address = "198.18.0.1"
mac = "02:00:00:00:02:01"
[[neighbor]]
interface = "eth0"
address = "198.18.0.20"
mac = "02:00:00:00:03:14"
[[neighbor]]
interface = "eth1"
address = "198.18.1.11"
mac = "02:00:00:00:03:0b"
[[neighbor]]
interface = "eth1"
address = "198.18.1.12"
mac = "02:00:00:00:03:0c"
[[neighbor]]
interface = "eth1"
address = "198.18.1.254"
mac = "02:00:00:00:02:02"
[[route]]
prefix = "10.9.0.0/16"
interface = "eth1"
via = "198.18.1.254"
"#;

/// The way to the world.
pub const DEFAULT_ROUTE: &str = r#"
[[route]]
prefix = "0.0.0.0/0"
interface = "eth0"
via = "198.18.0.1"
"#;

/// The switch between two interfaces.
pub const SWITCH: &str = r#"
[switch]
interfaces = ["eth0", "eth1"]
snat_addresses = ["198.18.1.2"]
snat_ports = "20000-20000"
"#;

/// One service. `backends` are addresses with weights.
pub fn service(name: &str, vip: &str, protocol: &str, forwarding: &str, backends: &[(&str, u32)]) -> String {
    let mut text = format!(
        "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\n\
         forwarding = \"{forwarding}\"\nscheduler = \"rr\"\n"
    );
    for (address, weight) in backends {
        text.push_str(&format!("[[service.backend]]\naddress = \"{address}\"\nweight = {weight}\n"));
    }
    text
}

impl Packet {
    /// From a neighbour of eth0 to the switch.
    pub fn in_at_eth0_from(self, neighbor: Mac) -> Self {
        self.macs(neighbor, SWITCH0)
    }

    /// From a neighbour of eth1 to the switch.
    pub fn in_at_eth1_from(self, neighbor: Mac) -> Self {
        self.macs(neighbor, SWITCH1)
    }

    /// From the switch to a neighbour of eth0.
    pub fn out_of_eth0_to(self, neighbor: Mac) -> Self {
        self.macs(SWITCH0, neighbor)
    }

    /// From the switch to a neighbour of eth1.
    pub fn out_of_eth1_to(self, neighbor: Mac) -> Self {
        self.macs(SWITCH1, neighbor)
    }
}
