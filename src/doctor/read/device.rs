//! Interfaces, and the far ends of those that are veths.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::features;
use crate::control::netlink::links::LinkFacts;
use crate::control::netlink::{Netlink, NetlinkError};
use crate::doctor::facts::{Device, Far, FarEnd};
use crate::doctor::finding::Place;
use crate::sys::ethtool::{Ethtool, Feature};
use crate::sys::{interface, namespace};
use crate::xsk::programs;

/// What the driver of a veth is called.
const VETH: &str = "veth";

/// Looks at the interfaces of these names.
pub(super) async fn read(netlink: &Netlink, names: &[String]) -> Result<Vec<Device>, NetlinkError> {
    let links = netlink.links().await?;
    let mut devices = Vec::new();
    for name in names {
        let found = links.iter().find(|(_, link)| link.name == *name);
        devices.push(match found {
            Some((index, link)) => device(netlink, &links, *index, link).await,
            None => Device { name: name.clone(), ..Device::default() },
        });
    }
    Ok(devices)
}

async fn device(netlink: &Netlink, links: &BTreeMap<u32, LinkFacts>, index: u32, link: &LinkFacts) -> Device {
    let name = &link.name;
    let ethtool = Ethtool::open().ok();
    let driver = ethtool.as_ref().and_then(|ethtool| ethtool.driver(name).ok());
    let far = match driver.as_deref() {
        Some(VETH) => far(netlink, links, index, link).await,
        _ => Far::NoVeth,
    };
    let program = link.program.clone().map(|attached| {
        let title = programs::name(attached.id);
        (attached, title)
    });
    Device {
        name: name.clone(),
        exists: true,
        is_up: link.is_up,
        has_carrier: link.has_carrier,
        driver,
        is_hardware: interface::is_hardware(name),
        queues: interface::rx_queues(name),
        channels: ethtool.as_ref().and_then(|ethtool| ethtool.channels(name).ok()),
        mtu: link.mtu,
        features: ethtool.as_ref().map(|ethtool| features_of(ethtool, name)).unwrap_or_default(),
        xdp: features::read(index).ok(),
        program,
        indirection: ethtool.as_ref().and_then(|ethtool| ethtool.indirection(name).ok()).unwrap_or_default(),
        master: link.master.and_then(|index| links.get(&index)).map(|master| master.name.clone()),
        far,
    }
}

fn features_of(ethtool: &Ethtool, name: &str) -> BTreeMap<Feature, bool> {
    let state = |feature| ethtool.is_on(name, feature).ok().map(|on| (feature, on));
    Feature::ALL.into_iter().filter_map(state).collect()
}

/// The other end of a veth: here, or in the namespace whose number the link bears.
async fn far(netlink: &Netlink, links: &BTreeMap<u32, LinkFacts>, index: u32, link: &LinkFacts) -> Far {
    let Some(peer) = link.link else { return Far::Unseen };
    let Some(number) = link.link_namespace else {
        return match (links.get(&peer), Ethtool::open()) {
            (Some(peer), Ok(ethtool)) => seen(&ethtool, Place::Here, peer),
            _ => Far::Unseen,
        };
    };
    for path in namespace::others() {
        let Ok(file) = File::open(&path) else { continue };
        if netlink.namespace_number(&file).await == Some(number) {
            return namespace::within(&file, || look(&path, peer, index))
                .ok()
                .and_then(Result::ok)
                .unwrap_or(Far::Unseen);
        }
    }
    Far::Unseen
}

/// Runs on a thread of that namespace.
fn look(path: &Path, peer: u32, index: u32) -> Result<Far, super::DoctorError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let links = runtime.block_on(async { Netlink::open()?.links().await })?;
    let found = links.get(&peer).filter(|link| link.link == Some(index));
    let link = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(seen(&Ethtool::open()?, Place::Namespace(path.to_owned()), link))
}

fn seen(ethtool: &Ethtool, place: Place, link: &LinkFacts) -> Far {
    Far::Seen(Box::new(FarEnd {
        place,
        name: link.name.clone(),
        is_up: link.is_up,
        mtu: link.mtu,
        tx_queues: ethtool.channels(&link.name).map_or(0, |channels| channels.tx),
        has_program: link.program.is_some(),
        features: features_of(ethtool, &link.name),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loopback_is_found_and_what_is_not_there_is_said_to_be_missing() {
        let netlink = Netlink::open().unwrap();
        let devices = read(&netlink, &["lo".to_owned(), "no-such".to_owned()]).await.unwrap();
        assert!(devices[0].exists && devices[0].is_up && devices[0].mtu == 65536);
        assert!(matches!(devices[0].far, Far::NoVeth) && devices[0].is_on(Feature::TransmitChecksum));
        assert_eq!((devices[1].name.as_str(), devices[1].exists), ("no-such", false));
    }
}
