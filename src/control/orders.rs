//! What an operator may ask of a running switch, as it travels over the control socket.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

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

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What changed, or would: a sentence each. Empty: nothing.
    pub changes: Vec<String>,
    /// What the operator should know besides.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Number of the snapshot that has it.
    pub epoch: u64,
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
