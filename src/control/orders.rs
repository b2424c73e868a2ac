//! What an operator may ask of a running switch, as it travels over the control socket.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::nearest;

/// Names in an error: more do not help anybody.
const MOST_NAMES: usize = 10;

/// `POST /v1/orders`: a change at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // A misspelt `backend` would mean the whole service.
pub struct Order {
    /// Name of the service.
    pub service: String,
    /// One of its backends; null: the service itself.
    #[serde(default)]
    pub backend: Option<SocketAddr>,
    /// What is to change.
    pub change: Change,
    /// Whether it is to be written into the configuration file as well.
    #[serde(default)]
    pub save: bool,
}

/// What is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It serves again.
    Enable,
    /// No new connections; those that there are go on.
    Drain,
    /// Taken out.
    Disable,
    /// Another weight. Backends only.
    Weight(u32),
}

/// `POST /v1/reload`: the configuration file is to be read again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // A misspelt `dry_run` would not be one.
pub struct Reload {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of the reloads since the start; dry runs do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// Those that were done.
    pub done: u64,
    /// Those that were refused, and changed nothing.
    pub refused: u64,
    /// Whether the last one was refused: the file is not what runs.
    pub last_refused: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What changed, or would: a sentence each. Empty: nothing.
    pub changes: Vec<String>,
    /// Orders given at run time that end because the file now says something else: a sentence each.
    #[serde(default)]
    pub overruled: Vec<String>,
    /// Orders given at run time that stay in force, although the file says something else: a sentence each.
    #[serde(default)]
    pub kept: Vec<String>,
    /// What the operator should know besides.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Number of the snapshot that has it.
    pub epoch: u64,
}

/// Why it was not done. Nothing has changed, unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The configuration file cannot be used: what `xswitch check` says of it.
    #[error("{0}")]
    Invalid(String),
    /// It does not fit what runs.
    #[error("{0}")]
    Conflict(String),
}

/// What is wrong with a name that no service has, and which names would be right.
pub fn no_service<'a>(name: &str, services: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = nearest(name, services.clone());
    let meant = near.map_or_else(|| ";".to_owned(), |near| format!(": did you mean {near:?}?"));
    let names = list(services.map(|name| format!("{name:?}")));
    format!("there is no service {name:?}{meant} there are {names}")
}

/// The first of them, and how many more.
pub(super) fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.len().saturating_sub(MOST_NAMES) {
        _ if names.is_empty() => "none".to_owned(),
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..MOST_NAMES].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_misspelt_is_refused() {
        let misspelt = r#"{"service": "web", "backends": "10.0.0.1:80", "change": "drain"}"#;
        let error = serde_json::from_str::<Order>(misspelt).unwrap_err().to_string();
        assert!(error.starts_with("unknown field `backends`"), "{error}");
        assert!(serde_json::from_str::<Reload>(r#"{"dryrun": true}"#).is_err());
    }
}
