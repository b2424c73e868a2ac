//! Carries out what is safe.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::DoctorError;
use super::finding::{Action, Place};
use crate::control::netlink::Netlink;
use crate::sys::ethtool::Ethtool;
use crate::sys::{interface, namespace};

/// Does it.
///
/// # Errors
///
/// The kernel does not let us.
pub fn perform(action: &Action) -> Result<(), DoctorError> {
    match action {
        Action::Sysctl { key, value } => Ok(set(key, value)?),
        Action::Raise { interface } => raise(interface),
        Action::Feature { place: Place::Here, interface, feature, on } => {
            Ok(Ethtool::open()?.switch(interface, *feature, *on)?)
        }
        Action::Feature { place: Place::Namespace(path), interface, feature, on } => {
            let file = File::open(path)?;
            Ok(namespace::within(&file, || Ethtool::open()?.switch(interface, *feature, *on))??)
        }
    }
}

/// Writes a parameter, and looks whether it took: some take less than they are given.
fn set(key: &str, value: &str) -> io::Result<()> {
    let path = parameter(key);
    fs::write(&path, value)?;
    let now = fs::read_to_string(&path)?;
    match now.split_whitespace().eq(value.split_whitespace()) {
        true => Ok(()),
        false => Err(io::Error::other(format!("the kernel made it {}", now.trim()))),
    }
}

/// The file of a parameter: dots and slashes change places (sysctl(8)).
pub(super) fn parameter(key: &str) -> std::path::PathBuf {
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    Path::new("/proc/sys").join(key.chars().map(swap).collect::<String>())
}

fn raise(name: &str) -> Result<(), DoctorError> {
    let index = interface::index(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Ok(Netlink::open()?.raise(index).await?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_of_interfaces_are_slashes_in_the_name_of_a_parameter() {
        assert_eq!(parameter("net.ipv4.ip_forward"), Path::new("/proc/sys/net/ipv4/ip_forward"));
        let path = parameter("net.ipv4.conf.eth0/100.rp_filter");
        assert_eq!(path, Path::new("/proc/sys/net/ipv4/conf/eth0.100/rp_filter"));
    }

    #[test]
    fn what_is_not_there_cannot_be_mended() {
        let sysctl = Action::Sysctl { key: "net.no.such".into(), value: "1".into() };
        assert!(perform(&sysctl).is_err());
        assert!(perform(&Action::Raise { interface: "no-such".into() }).is_err());
    }
}
