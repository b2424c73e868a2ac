//! Who gets how many of 10,000 connections: each scheduler as the compiler prepares it and the data plane reads it, under
//! several workers that share one count of open connections.
//!
//! No network and no clock: time is counted in connections. With `XSWITCH_DISTRIBUTIONS=DIRECTORY` each distribution is
//! written there, one JSON object per scheduler; `tools/plot-balancing` makes the pictures of docs/BALANCING.md from them.

// The exemption of tests in clippy.toml covers the test functions themselves, not what they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod hashes;
mod loads;
mod model;
mod record;
mod rounds;
mod threads;
