//! Finds everything out, without an opinion. The only part of the doctor that looks at anything.
//!
//! | file | asks |
//! |---|---|
//! | `host` | procfs and sysfs |
//! | `device` | netlink and ethtool, at both ends of a veth |
//! | `features` | generic netlink: what XDP may do at a device |
//! | `wire` | neighbours |

use std::collections::BTreeSet;
use std::path::Path;

use super::DoctorError;
use super::facts::{Facts, SocketFile};
use crate::config::valid::Config;
use crate::control::client;
use crate::control::netlink::Netlink;
use crate::control::ports;
use crate::control::status::Status;
use crate::control::topology::Topology;

mod device;
mod features;
mod host;
mod wire;

/// Reads everything that there is to know. What cannot be found out is left out.
pub(super) fn read(config: Option<&Config>, socket: &Path) -> Result<Facts, DoctorError> {
    let status: Option<Status> = client::get(socket, "/v1/status").ok();
    let names = interfaces(config, status.as_ref());
    let host = host::read(&names);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (devices, view, wire) = runtime.block_on(async {
        let netlink = Netlink::open()?;
        let view = netlink.dump().await?;
        let devices = device::read(&netlink, &names).await?;
        let wire = match config {
            Some(config) => {
                let topology = Topology::new(config, &view);
                wire::ask(config, &topology, status.is_some()).await
            }
            None => Default::default(),
        };
        Ok::<_, DoctorError>((devices, view, wire))
    })?;
    Ok(Facts {
        host,
        devices,
        view,
        listeners: ports::listeners(),
        wire,
        socket: socket_file(config),
        status,
    })
}

/// Those of the configuration; without one, those of the running switch.
fn interfaces(config: Option<&Config>, status: Option<&Status>) -> Vec<String> {
    match (config, status) {
        (Some(config), _) => config.switch.interfaces.clone(),
        (None, Some(status)) => {
            let names: BTreeSet<_> = status.ports.iter().map(|port| port.interface.clone()).collect();
            names.into_iter().collect()
        }
        (None, None) => vec![],
    }
}

fn socket_file(config: Option<&Config>) -> SocketFile {
    use std::os::unix::fs::FileTypeExt;
    let Some(path) = config.map(|config| &config.switch.control_socket) else { return SocketFile::Free };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => SocketFile::Another(path.clone()),
        Ok(_) => SocketFile::Free,
        Err(_) => match path.parent() {
            Some(directory) if !directory.is_dir() && !directory.as_os_str().is_empty() => {
                SocketFile::NoDirectory(directory.to_owned())
            }
            _ => SocketFile::Free,
        },
    }
}
