//! The control plane from outside: what its socket and its metrics endpoint answer, and how it follows a real kernel.

// The exemption of tests in clippy.toml covers the test functions themselves, not what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod browser;
mod capture;
mod command;
mod connections;
mod endpoints;
mod fake;
mod hostile;
#[macro_use]
mod kernel;
mod operator;
mod page;
mod prometheus;
mod reloads;
mod schema;
mod trace;
