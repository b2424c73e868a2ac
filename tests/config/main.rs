//! The configuration: what is accepted, and what is said about what is not.

// Outside of `#[test]` functions clippy does not see that this is a test.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod acl;
mod difference;
mod discover;
mod edit;
mod examples;
mod forwarding;
mod health;
mod limits;
mod mistakes;
mod output;
mod places;
mod property;
mod protection;
mod services;
mod snat;

use xswitch::config::{self, Diagnostic, Error, Loaded};

/// Everything said about a text, errors and warnings.
fn said(text: &str) -> Vec<Diagnostic> {
    match config::parse(text, "x.toml") {
        Ok(Loaded { warnings, .. }) => warnings.iter().cloned().collect(),
        Err(Error::Invalid(diagnostics)) => diagnostics.iter().cloned().collect(),
        Err(error) => panic!("{error}"),
    }
}
