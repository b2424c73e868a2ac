//! `POST /v1/capture`: frames as they come and as they leave, with what became of them. The answer is a pcapng file that grows
//! until a limit is reached or nobody reads it any more.
//!
//! | file | holds |
//! |---|---|
//! | [`run`] | taps into the workers and out again, and all limits |
//! | [`write`] | records as pcapng blocks |
//!
//! These types are its documentation.

use serde::{Deserialize, Serialize};

use super::connections::{FilterError, client};
use super::orders::{list, no_service};
use crate::tables::capture::{Kind, Outcome, Wanted};
use crate::tables::connection::ClientPrefix;
use crate::tables::{DropReason, InterfaceId, ServiceId, Snapshot};

mod run;
mod write;

pub use run::{Busy, Capture, Captures};
pub use write::Writer;

/// Longest time, in seconds.
pub const MOST_SECONDS: u32 = 3600;
/// Fewest and most bytes that are kept of a frame.
pub const SNAPLEN: (u16, u16) = (128, 9234);
/// Fewest bytes that an answer may be limited to.
pub const FEWEST_BYTES: u64 = 4096;

/// Which frames are meant: those for which everything holds that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // A misspelt condition would mean more than was said.
pub struct Filter {
    /// Name of a service: frames of its connections either way, those that it refused, ICMP errors about them.
    #[serde(default)]
    pub service: Option<String>,
    /// An address or a prefix: of the frame, or of its connection on either side of the switch.
    #[serde(default)]
    pub host: Option<String>,
    /// A port, likewise.
    #[serde(default)]
    pub port: Option<u16>,
    /// `tcp`, `udp`, `icmp` (of both versions) or `arp`.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Name of the interface that they came in through.
    #[serde(default)]
    pub interface: Option<String>,
    /// `forward`, `reply`, `to_kernel`, `drop` or `held`.
    #[serde(default)]
    pub verdict: Option<String>,
    /// Name of a drop reason.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /v1/capture`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Which frames.
    #[serde(default)]
    pub filter: Filter,
    /// Of those, one in so many at each worker.
    #[serde(default = "one")]
    pub sample: u32,
    /// Bytes that are kept of a frame: 128 to 9234.
    #[serde(default = "snaplen")]
    pub snaplen: u16,
    /// It ends after so many frames; null: there is no such limit.
    #[serde(default)]
    pub count: Option<u64>,
    /// It ends after so many seconds: 1 to 3600.
    #[serde(default = "seconds")]
    pub seconds: u32,
    /// It ends before the answer is longer than so many bytes; null: there is no such limit.
    #[serde(default)]
    pub size: Option<u64>,
}

const fn one() -> u32 {
    1
}

const fn snaplen() -> u16 {
    2048
}

const fn seconds() -> u32 {
    60
}

impl Default for Question {
    fn default() -> Self {
        let filter = Filter::default();
        Self { filter, sample: one(), snaplen: snaplen(), count: None, seconds: seconds(), size: None }
    }
}

use FilterError::{Malformed, Unknown};

impl Question {
    /// Whether its numbers can be meant.
    pub fn check(&self) -> Result<(), FilterError> {
        let refuse = |text: String| Err(Malformed(text));
        match self {
            Self { sample: 0, .. } => refuse("one in 0 frames is none: sample is at least 1".into()),
            Self { count: Some(0), .. } => refuse("count is at least 1".into()),
            Self { seconds, .. } if !(1..=MOST_SECONDS).contains(seconds) => {
                refuse(format!("seconds is 1 to {MOST_SECONDS}, not {seconds}"))
            }
            Self { snaplen, .. } if !(SNAPLEN.0..=SNAPLEN.1).contains(snaplen) => {
                refuse(format!("snaplen is {} to {} bytes, not {snaplen}", SNAPLEN.0, SNAPLEN.1))
            }
            Self { size: Some(size), .. } if *size < FEWEST_BYTES => {
                refuse(format!("size is at least {FEWEST_BYTES} bytes, not {size}"))
            }
            _ => Ok(()),
        }
    }

    /// What it means to the data plane.
    pub fn wanted(&self, snapshot: &Snapshot) -> Result<Wanted, FilterError> {
        let Filter { host, port, protocol, verdict, reason, .. } = &self.filter;
        Ok(Wanted {
            service: self.filter.service(snapshot)?,
            host: host.as_deref().map(prefix).transpose().map_err(Malformed)?,
            port: *port,
            kind: protocol.as_deref().map(kind).transpose().map_err(Malformed)?,
            interface: self.filter.interface(snapshot)?,
            outcomes: verdict.as_deref().map_or(Ok(0), outcome).map_err(Malformed)?,
            reason: reason.as_deref().map(drop_reason).transpose().map_err(Malformed)?,
            sample: self.sample,
        })
    }
}

impl Filter {
    fn service(&self, snapshot: &Snapshot) -> Result<Option<ServiceId>, FilterError> {
        let Some(name) = &self.service else { return Ok(None) };
        let services = || snapshot.services.iter().flatten();
        let found = services().find(|service| service.name == *name);
        let unknown = || Unknown(no_service(name, services().map(|service| service.name.as_str())));
        found.map(|service| Some(service.id)).ok_or_else(unknown)
    }

    fn interface(&self, snapshot: &Snapshot) -> Result<Option<InterfaceId>, FilterError> {
        let Some(name) = &self.interface else { return Ok(None) };
        let found = snapshot.interfaces.iter().find(|interface| interface.name == *name);
        let names = || list(snapshot.interfaces.iter().map(|interface| interface.name.clone()));
        let unknown = || Unknown(format!("there is no interface {name:?}; there are {}", names()));
        found.map(|interface| Some(interface.id)).ok_or_else(unknown)
    }
}

fn prefix(text: &str) -> Result<ClientPrefix, String> {
    let wrong = || format!("{text:?} is no host: an address, or a prefix like 203.0.113.0/24");
    let prefix = client(text).map_err(|_| wrong())?;
    // The port would be that of another end.
    if prefix.port.is_some() { Err(wrong()) } else { Ok(prefix) }
}

fn kind(name: &str) -> Result<Kind, String> {
    match name {
        "tcp" => Ok(Kind::Tcp),
        "udp" => Ok(Kind::Udp),
        "icmp" => Ok(Kind::Icmp),
        "arp" => Ok(Kind::Arp),
        _ => Err(format!("{name:?} is no protocol that can be asked for: it is tcp, udp, icmp or arp")),
    }
}

fn outcome(name: &str) -> Result<u8, String> {
    let found = Outcome::NAMES.iter().position(|known| *known == name);
    let names = || Outcome::NAMES.join(", ");
    found.map(|bit| 1 << bit).ok_or_else(|| format!("there is no verdict {name:?}: it is one of {}", names()))
}

fn drop_reason(name: &str) -> Result<DropReason, String> {
    let found = DropReason::ALL.iter().find(|reason| reason.name() == name);
    let names = || DropReason::ALL.iter().map(|reason| reason.name()).collect::<Vec<_>>().join(", ");
    found.copied().ok_or_else(|| format!("there is no drop reason {name:?}: it is one of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::compile::compile_static;
    use crate::control::testing;

    fn snapshot() -> Snapshot {
        let config = crate::config::valid::Config { interfaces: testing::interfaces(), ..testing::config() };
        compile_static(&config).unwrap().0
    }

    fn question(json: &str) -> Question {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_not_said_means_all_frames_for_a_minute() {
        let question = question("{}");
        assert_eq!(question, Question::default());
        assert_eq!((question.sample, question.snaplen, question.seconds), (1, 2048, 60));
        assert!(question.check().is_ok());
        assert_eq!(question.wanted(&snapshot()), Ok(Wanted { sample: 1, ..Wanted::default() }));
    }

    #[test]
    fn every_condition_is_understood() {
        let asked = question(
            r#"{"filter": {"service": "web", "host": "203.0.113.0/24", "port": 80, "protocol": "tcp",
                "interface": "eth1", "verdict": "drop", "reason": "no_route"}, "sample": 10}"#,
        );
        let wanted = asked.wanted(&snapshot()).unwrap();
        assert_eq!((wanted.service.map(|id| id.0), wanted.interface.map(|id| id.0)), (Some(0), Some(1)));
        assert!(wanted.host.unwrap().contains("203.0.113.7".parse().unwrap(), 1));
        assert_eq!((wanted.port, wanted.kind, wanted.sample), (Some(80), Some(Kind::Tcp), 10));
        assert_eq!((wanted.outcomes, wanted.reason), (1 << 3, Some(DropReason::NoRoute)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        for (json, said) in [
            (r#"{"filter": {"service": "wep"}}"#, "web"),
            (r#"{"filter": {"host": "203.0.113.7:80"}}"#, "an address, or a prefix"),
            (r#"{"filter": {"protocol": "sctp"}}"#, "tcp, udp, icmp or arp"),
            (r#"{"filter": {"interface": "eth7"}}"#, "eth0"),
            (r#"{"filter": {"verdict": "dropped"}}"#, "forward, reply"),
            (r#"{"filter": {"reason": "no_root"}}"#, "no_route"),
        ] {
            let error = question(json).wanted(&snapshot()).unwrap_err().to_string();
            assert!(error.contains(said), "{json}: {error}");
        }
        for json in [
            r#"{"sample": 0}"#,
            r#"{"count": 0}"#,
            r#"{"seconds": 0}"#,
            r#"{"seconds": 3601}"#,
            r#"{"snaplen": 64}"#,
            r#"{"snaplen": 9235}"#,
            r#"{"size": 100}"#,
        ] {
            assert!(question(json).check().is_err(), "{json}");
        }
    }
}
