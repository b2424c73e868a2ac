//! Golden frames: what arrives, what becomes of it, and what leaves, byte for byte.
//!
//! Expected frames are built with etherparse from a description. A last test hands everything that left to tshark,
//! which knows nothing of either.

// The exemption of tests in clippy.toml covers the test functions themselves, not what they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod acl;
mod arp;
mod checksums;
mod cookies;
mod decoders;
mod fragments;
#[path = "../frames/mod.rs"]
mod frames;
mod full_nat;
mod icmp;
mod limits;
mod lost;
mod modes;
mod nat;
mod outbound;
mod passive;
mod refused;
mod reloads;
mod stateless;
mod support;
mod tcp;
mod tshark;
