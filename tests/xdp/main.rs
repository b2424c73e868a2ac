//! The XDP program as the kernel runs it: frames in, decisions out.
//!
//! Needs root. The real program is loaded, its maps are filled through `Steer::set`, and `BPF_PROG_TEST_RUN` runs it over
//! one frame at a time. Each case is a sentence.
//!
//! ```text
//! bench       a loaded program with a socket on queue 0, and the addresses that it knows
//! frames      frames for it
//! flows       TCP, UDP, other protocols
//! icmp        echo and errors
//! fragments   first ones, later ones, in any order
//! neighbors   ARP and neighbour discovery
//! framing     VLANs, MAC addresses, headroom, frames cut short
//! bridge      what crosses and what does not
//! attached    on a veth, native and generic, with frames of one and of several buffers
//! ```

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod attached;
mod bench;
mod bridge;
mod flows;
mod fragments;
mod frames;
mod framing;
mod icmp;
mod neighbors;
