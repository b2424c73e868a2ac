//! What is wrong with a machine on which the switch runs or is to run, why that matters, and which command mends it.
//!
//! ```text
//!  configuration ┐
//!  kernel ───────┼─► read ─► Facts ─► judge ─► Finding … ─► fix (the safe ones, where asked)
//!  the wire ─────┤
//!  a switch ─────┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`facts`] | everything that is known, as plain data |
//! | [`read`] | who finds it out, and the only place that does |
//! | [`judge`] | facts to findings: pure, one file per subject |
//! | [`finding`] | what is found, and the command that mends it |
//! | [`fix`] | carries a command out |

use std::path::Path;

use crate::config::valid::Config;

pub mod facts;
pub mod finding;
pub mod fix;
pub mod judge;
pub mod read;

pub use facts::Facts;
pub use finding::{Action, Finding, Fix, Severity};

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The kernel does not tell us about the network.
    #[error(transparent)]
    Netlink(#[from] crate::control::netlink::NetlinkError),
    /// The operating system refused something without which there is no looking.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// Examines the machine: for what `config` needs, where there is one, and for what the switch at `socket` says, if one
/// answers. The worst first. Takes up to two seconds, because questions are asked on the wire.
///
/// # Errors
///
/// There is no netlink socket to be had.
pub fn examine(config: Option<&Config>, socket: &Path) -> Result<Vec<Finding>, DoctorError> {
    let facts = read::read(config, socket)?;
    Ok(judge::judge(config, &facts))
}
