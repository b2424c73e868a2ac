//! What is found.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::sys::ethtool::Feature;

/// How bad it is. The worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The switch does not start, or loses frames.
    Error,
    /// It works, and will hurt some day.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that can be done without cutting traffic or SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A kernel parameter.
    Sysctl {
        /// Its name, with dots; interfaces' names have slashes where they have dots.
        key: String,
        /// What it is to be.
        value: String,
    },
    /// Sets an interface up.
    Raise {
        /// Which.
        interface: String,
    },
    /// Switches a feature of a device.
    Feature {
        /// Where the device is.
        place: Place,
        /// Which.
        interface: String,
        /// What.
        feature: Feature,
        /// On or off.
        on: bool,
    },
}

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// This one.
    #[default]
    Here,
    /// The one of this file.
    Namespace(PathBuf),
}

impl Place {
    /// What to put in front of a command so that it runs there.
    pub fn prefix(&self) -> String {
        match self {
            Self::Here => String::new(),
            Self::Namespace(path) => match path.strip_prefix("/run/netns") {
                Ok(name) => format!("ip netns exec {} ", name.display()),
                Err(_) => format!("nsenter --net={} ", path.display()),
            },
        }
    }
}

impl fmt::Display for Action {
    /// The command that does the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { key, value } if value.contains(' ') => write!(f, "sysctl -w {key}=\"{value}\""),
            Self::Sysctl { key, value } => write!(f, "sysctl -w {key}={value}"),
            Self::Raise { interface } => write!(f, "ip link set dev {interface} up"),
            Self::Feature { place, interface, feature, on } => {
                let state = if *on { "on" } else { "off" };
                write!(f, "{}ethtool -K {interface} {} {state}", place.prefix(), feature.name())
            }
        }
    }
}

/// What mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Nothing that a command could do.
    None,
    /// A command for a person, who knows what else hangs on it.
    Command(String),
    /// What `--fix` may do by itself.
    Safe(Action),
}

impl Fix {
    /// The command; empty where there is none.
    pub fn command(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Command(command) => command.clone(),
            Self::Safe(action) => action.to_string(),
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the check, for scripts: `checksum-offload`.
    pub check: &'static str,
    /// What it is about: an interface, a service, a backend, `kernel`.
    pub subject: String,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What mends it.
    pub fix: Fix,
}

impl Finding {
    fn new(
        severity: Severity,
        check: &'static str,
        subject: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            check,
            subject: subject.into(),
            what: what.into(),
            why: String::new(),
            fix: Fix::None,
        }
    }

    /// An error.
    pub fn error(check: &'static str, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, check, subject, what)
    }

    /// A warning.
    pub fn warning(check: &'static str, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, check, subject, what)
    }

    /// A note.
    pub fn note(check: &'static str, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, check, subject, what)
    }

    /// Why it matters.
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// A command for a person.
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.fix = Fix::Command(command.into());
        self
    }

    /// Something that may be done without asking what else hangs on it.
    pub fn safely(mut self, action: Action) -> Self {
        self.fix = Fix::Safe(action);
        self
    }

    /// The action, if it is `safe`, or else only its command.
    pub fn act(self, action: Action, safe: bool) -> Self {
        if safe { self.safely(action) } else { self.command(action.to_string()) }
    }
}

impl Serialize for Finding {
    /// `severity`, `check`, `subject`, `what`, `why`; `fix`: the command or null; `safe`: whether `--fix` does it.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let command = self.fix.command();
        let mut object = serializer.serialize_struct("Finding", 7)?;
        object.serialize_field("severity", &self.severity)?;
        object.serialize_field("check", self.check)?;
        object.serialize_field("subject", &self.subject)?;
        object.serialize_field("what", &self.what)?;
        object.serialize_field("why", &self.why)?;
        object.serialize_field("fix", &(!command.is_empty()).then_some(command))?;
        object.serialize_field("safe", &matches!(self.fix, Fix::Safe(_)))?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_and_its_command_are_one() {
        let feature = |place| Action::Feature {
            place,
            interface: "eth0".into(),
            feature: Feature::TransmitChecksum,
            on: false,
        };
        let named = Place::Namespace("/run/netns/blue".into());
        let process = Place::Namespace("/proc/7/ns/net".into());
        assert_eq!(feature(Place::Here).to_string(), "ethtool -K eth0 tx off");
        assert_eq!(feature(named).to_string(), "ip netns exec blue ethtool -K eth0 tx off");
        assert_eq!(feature(process).to_string(), "nsenter --net=/proc/7/ns/net ethtool -K eth0 tx off");
        let sysctl = |value: &str| Action::Sysctl { key: "a.b".into(), value: value.into() }.to_string();
        assert_eq!(sysctl("1"), "sysctl -w a.b=1");
        assert_eq!(sysctl("1 2"), "sysctl -w a.b=\"1 2\"");
    }

    #[test]
    fn a_finding_is_documented_json() {
        let raise = Action::Raise { interface: "eth0".into() };
        let finding = Finding::error("interface-down", "eth0", "eth0 is down").because("b").safely(raise);
        assert_eq!(
            serde_json::to_value(&finding).unwrap(),
            serde_json::json!({
                "severity": "error", "check": "interface-down", "subject": "eth0", "what": "eth0 is down",
                "why": "b", "fix": "ip link set dev eth0 up", "safe": true
            })
        );
        let value = serde_json::to_value(Finding::note("a", "b", "c")).unwrap();
        assert_eq!((&value["fix"], &value["safe"]), (&serde_json::Value::Null, &false.into()));
        assert!(Severity::Error < Severity::Warning && Severity::Warning < Severity::Note);
    }
}
