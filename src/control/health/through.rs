//! Probes through the forwarding path.

use std::io;
use std::time::Duration;

use super::Through;
use crate::config::valid;

/// Sends what a client would send, as the data plane would forward it.
#[derive(Debug)]
pub struct Prober {}

impl Prober {
    /// Opens the sockets; needs CAP_NET_RAW. Within a Tokio runtime only.
    pub fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Asks the backend behind `through` at the VIP's address and `port`. How long the answer took, or why there is none.
    pub async fn probe(
        &self,
        _through: &Through,
        _check: &valid::Check,
        _port: u16,
        _timeout: Duration,
    ) -> Result<Duration, String> {
        Err("not supported".to_owned())
    }
}
