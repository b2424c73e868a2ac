//! Random lives of many connections, against a model that is nothing but maps.

// The exemption of tests in clippy.toml covers the test functions themselves, not what they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod affinity;
mod batches;
mod capture;
mod cookies;
mod fragments;
#[path = "../frames/mod.rs"]
mod frames;
mod model;
mod modes;
mod opening;
mod outbound;
mod schedulers;
mod sequences;
mod trace;
mod world;
