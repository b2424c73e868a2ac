//! Ten million damaged frames through the data path: no panic, no frame lost, every frame counted once.
//!
//! Frames that led to a defect once lie in `crashes/` and come first. Everything follows from a seed: a failure prints
//! the batch that led to it in the form of those files.

// The exemption of tests in clippy.toml covers the test functions themselves, not what they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod corpus;
mod crashes;
#[path = "../frames/mod.rs"]
mod frames;
mod modes;
mod mutate;
#[allow(dead_code, reason = "the golden frames need more of it")]
#[path = "../golden/icmp/packets.rs"]
mod packets;
mod random;
mod sound;
mod storm;
