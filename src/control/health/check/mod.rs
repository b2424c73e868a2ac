//! How a backend is asked, and what comes back.
//!
//! Every check has one deadline for all that it does, and reads no more than it says. All TCP checks end with a reset
//! (SO_LINGER 0): neither side is left with a TIME-WAIT, of which 20,000 checks/s would make more than a host can hold.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Agent;
use super::Through;
use super::board::Question;
use super::through::Prober;
use crate::config::valid::{Check, Via};
use icmp::Pinger;

pub mod agent;
pub mod http;
pub mod icmp;
pub mod tcp;
pub mod tls;
pub mod udp;

/// What came of a check.
pub type Answer = Result<Passed, Failed>;

/// A check that the backend has passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// How long the backend took.
    pub took: Duration,
    /// Status of the answer, of HTTP.
    pub status: Option<u16>,
    /// What the agent said, and how it said it.
    pub agent: Option<(Agent, String)>,
}

impl Passed {
    /// An answer without contents, to a question asked at `asked`.
    fn since(asked: Instant) -> Self {
        Self { took: asked.elapsed(), status: None, agent: None }
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            let reason =
                hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            write!(out, "{status} {}in ", reason.map(|reason| format!("{reason} ")).unwrap_or_default())?;
        } else if let Some((_, line)) = &self.agent {
            write!(out, "\"{line}\" in ")?;
        } else {
            write!(out, "answered in ")?;
        }
        write!(out, "{:.1} ms", self.took.as_secs_f64() * 1e3)
    }
}

/// A check that the backend has not passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// Because of what it did, or did not do: for a person.
    Backend(String),
    /// Because the way that its packets take is not known.
    NoWay,
    /// Because this host could not ask: that says nothing of the backend.
    Ours(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(cause) => out.write_str(cause),
            Self::NoWay => out.write_str("no way to the backend known yet"),
            Self::Ours(cause) => write!(out, "cannot check: {cause}"),
        }
    }
}

/// A failure of the backend.
pub(super) fn failed(cause: impl Into<String>) -> Failed {
    Failed::Backend(cause.into())
}

/// Until when a check must be done.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    asked: Instant,
    whole: Duration,
}

impl Limit {
    /// From now on.
    pub fn new(whole: Duration) -> Self {
        Self { asked: Instant::now(), whole }
    }

    /// Waits for one step. `before` says what was done until then: `connected, but `.
    async fn within<T>(
        self,
        before: &str,
        step: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let late = || failed(format!("{before}no answer within {}", Spoken(self.whole)));
        let done = tokio::time::timeout_at(self.asked + self.whole, step).await;
        let done = done.map_err(|_| late())?;
        // The timer is asked after the step: an answer that came with the timer came too late.
        if self.asked.elapsed() > self.whole { Err(late()) } else { done }
    }
}

/// A length of time as a person says it.
struct Spoken(Duration);

impl fmt::Display for Spoken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            ms if ms % 1000 == 0 => write!(out, "{} s", ms / 1000),
            ms => write!(out, "{ms} ms"),
        }
    }
}

/// A failure of the kernel's, as a person says it.
fn spoken(error: &io::Error) -> Failed {
    match error.kind() {
        ErrorKind::ConnectionRefused => failed("connection refused"),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => failed("connection reset"),
        ErrorKind::ConnectionAborted => failed("connection aborted"),
        ErrorKind::HostUnreachable => failed("host unreachable"),
        ErrorKind::NetworkUnreachable => failed("network unreachable"),
        ErrorKind::TimedOut => failed("no answer"),
        ErrorKind::AddrNotAvailable => Failed::Ours("no free source port".to_owned()),
        _ if is_ours(error) => Failed::Ours(error.to_string()),
        _ => failed(error.to_string()),
    }
}

/// Whether this host ran out of something, or forbids it.
pub(super) fn is_ours(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EPERM, libc::EACCES];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// What checks share.
#[derive(Debug, Default)]
pub struct Checker {
    trust: tls::Trust,
    pinger_ipv4: Shared<Pinger>,
    pinger_ipv6: Shared<Pinger>,
    prober: Shared<Prober>,
}

impl Checker {
    /// Asks once. Within a Tokio runtime only; bounded by the timeout.
    pub async fn ask(&self, question: &Question, through: Option<&Through>) -> Answer {
        let timeout = Duration::from_millis(question.how.timeout_ms.into());
        let limit = Limit::new(timeout);
        if question.how.via == Via::Forwarding {
            return self.ask_through(question, through, limit).await;
        }
        let address = question.address;
        match &question.how.check {
            Check::Icmp => self.pinger(address)?.check(address.ip(), limit).await,
            Check::Tcp => tcp::check(address, limit).await,
            Check::Udp { send, expect } => udp::check(address, send, expect, limit).await,
            Check::Http(http) => http::check(address, http, limit).await,
            Check::Https(http, tls) => http::check_tls(address, http, tls, &self.trust, limit).await,
            Check::Agent => agent::check(address, limit).await,
        }
    }

    async fn ask_through(&self, question: &Question, through: Option<&Through>, limit: Limit) -> Answer {
        let through = through.ok_or(Failed::NoWay)?;
        let prober = self.prober.open(Prober::open)?;
        let port = question.how.port.unwrap_or(through.vip.port());
        let probe = prober.probe(through, &question.how.check, port, limit.whole);
        // The prober keeps to the limit by itself, and says more about it: this is for the case that it does not.
        let slack = Limit { whole: limit.whole + limit.whole / 10, ..limit };
        let took = slack.within("", probe).await?;
        Ok(Passed { took, status: None, agent: None })
    }

    fn pinger(&self, address: SocketAddr) -> Result<Arc<Pinger>, Failed> {
        match address {
            SocketAddr::V4(_) => self.pinger_ipv4.open(|| Pinger::open(socket2::Domain::IPV4)),
            SocketAddr::V6(_) => self.pinger_ipv6.open(|| Pinger::open(socket2::Domain::IPV6)),
        }
    }
}

/// A socket for all, opened when first needed; when that fails, the next check tries again.
#[derive(Debug)]
struct Shared<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Shared<T> {
    fn open(&self, open: impl FnOnce() -> io::Result<T>) -> Result<Arc<T>, Failed> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = &*slot {
            return Ok(Arc::clone(there));
        }
        let opened = Arc::new(open().map_err(|error| Failed::Ours(format!("no raw socket: {error}")))?);
        *slot = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

#[cfg(test)]
mod tests;
