//! `[[snat]]`, `[[neighbor]]`, `[[route]]` and `[[interface]]`.

use std::net::IpAddr;

use super::said::{Said, several};
use super::{Entry, Part};
use crate::config::valid::{Snat, StaticInterface, StaticNeighbor, StaticRoute};

impl Entry for Snat {
    type Key = String;
    const SEVERAL: &'static str = "[[snat]]";

    fn key(&self) -> String {
        self.name.clone()
    }

    fn label(&self) -> String {
        format!("[[snat]] {:?}", self.name)
    }

    fn detail(&self) -> String {
        several(self.inside.iter())
    }

    fn compare(&self, new: &Self, part: &mut Part<'_>) {
        let Self { name, inside, addresses, ports, mapping, filtering, hairpinning } = self;
        part.key("name", name, &new.name);
        part.list("inside", inside, &new.inside);
        part.list("addresses", addresses, &new.addresses);
        part.key("ports", ports, &new.ports);
        part.key("mapping", mapping, &new.mapping);
        part.key("filtering", filtering, &new.filtering);
        part.key("hairpinning", hairpinning, &new.hairpinning);
    }
}

impl Entry for StaticNeighbor {
    type Key = (String, IpAddr);
    const SEVERAL: &'static str = "[[neighbor]]";

    fn key(&self) -> Self::Key {
        (self.interface.clone(), self.address)
    }

    fn label(&self) -> String {
        format!("[[neighbor]] {} at {}", self.address, self.interface)
    }

    fn detail(&self) -> String {
        format!("mac {}", self.mac.said())
    }

    fn compare(&self, new: &Self, part: &mut Part<'_>) {
        let Self { interface, address, mac } = self;
        part.key("interface", interface, &new.interface);
        part.key("address", address, &new.address);
        part.key("mac", mac, &new.mac);
    }
}

impl Entry for StaticRoute {
    type Key = (IpAddr, u8);
    const SEVERAL: &'static str = "[[route]]";

    fn key(&self) -> Self::Key {
        self.prefix
    }

    fn label(&self) -> String {
        format!("[[route]] {}", self.prefix.said())
    }

    fn detail(&self) -> String {
        match self.via {
            Some(via) => format!("via {via} at {}", self.interface),
            None => format!("at {}", self.interface),
        }
    }

    fn compare(&self, new: &Self, part: &mut Part<'_>) {
        let Self { prefix, interface, via } = self;
        part.key("prefix", prefix, &new.prefix);
        part.key("interface", interface, &new.interface);
        part.key("via", via, &new.via);
    }
}

impl Entry for StaticInterface {
    type Key = String;
    const SEVERAL: &'static str = "[[interface]]";

    fn key(&self) -> String {
        self.name.clone()
    }

    fn label(&self) -> String {
        format!("[[interface]] {}", self.name)
    }

    fn detail(&self) -> String {
        format!("mac {}", self.mac.said())
    }

    fn compare(&self, new: &Self, part: &mut Part<'_>) {
        let Self { name, mac, vlan, addresses, mtu } = self;
        part.key("name", name, &new.name);
        part.key("mac", mac, &new.mac);
        part.list("vlan", vlan, &new.vlan);
        part.list("addresses", addresses, &new.addresses);
        part.key("mtu", mtu, &new.mtu);
    }
}
