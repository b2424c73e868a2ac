//! Why the switch cannot start.

use crate::xsk::jumbo;

/// Why the switch cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// An interface has another number of RX queues than the others, or than there are to be workers.
    #[error(
        "{interface} has {found} RX queues, but {wanted} {reason}: one worker owns one queue of every interface; \
         set them alike with `ethtool -L {interface} combined {wanted}`, or correct `workers` in [switch]"
    )]
    Queues {
        /// Which interface.
        interface: String,
        /// How many it has.
        found: u32,
        /// How many it should have.
        wanted: u32,
        /// Why.
        reason: String,
    },
    /// An interface carries packets that are larger than any the switch can hold.
    #[error(
        "{interface} has MTU {mtu}, but {} is the largest that can be forwarded: `ip link set dev {interface} mtu 9000`",
        jumbo::LARGEST_PACKET
    )]
    Mtu {
        /// Which interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
    },
    /// Packet memory or sockets.
    #[error("{0}")]
    Rings(String),
    /// The kernel does not let the workers poll a driver.
    #[error(
        "cannot poll the driver of {interface} ({source}): `busy_poll` needs Linux 5.11 with CONFIG_NET_RX_BUSY_POLL and \
         CAP_NET_ADMIN; or busy_poll = false in [switch]"
    )]
    BusyPoll {
        /// Which interface.
        interface: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The XDP program.
    #[error(transparent)]
    Steer(#[from] crate::xsk::steer::Error),
    /// The operating system refused something else.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: std::io::Error,
    },
}

pub(super) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> BootError {
    move |error| BootError::System { what, error }
}
