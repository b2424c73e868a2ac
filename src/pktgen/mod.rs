//! Traffic: a generator, a sink, clients and a server, for any device under test.
//!
//! ```text
//!   tuples sizes order stamp rate          what is sent: no I/O
//!         └────┬────┘
//!          template ───▶ plan ─▶ live ──┐  an XDP program makes frames (pktgen.bpf.c)
//!              │                        ├─▶ generator ─▶ interface ─▶ device under test ─▶ interface ─▶ sink
//!              └───────▶ rings ─────────┘  AF_XDP
//!   tcp (client, server) ─▶ host ─▶ rings + divert        connections, both ends in user space
//!   replay ─▶ rings                                       frames of a capture
//! ```
//!
//! | file | question it answers |
//! |---|---|
//! | [`tuples`] | between which endpoints |
//! | [`order`] | whose turn it is |
//! | [`sizes`] | how long |
//! | [`rate`], [`pacer`] | how fast; when the next one is due |
//! | [`stamp`] | what the sink is told |
//! | [`template`] | what the frames look like |
//! | [`histogram`] | how long it took |
//! | [`generator`] | sending: [`generator::Generator`] |
//! | [`sink`] | counting: [`sink::Sink`] |
//! | [`divert`], [`filter`] | what XDP programs take from an interface |
//! | [`tcp`] | how connections are opened, used and closed, from either end |
//! | [`host`] | hosts that live in user space: [`host::Host`] |
//! | [`replay`] | when the frames of a capture are due |
//!
//! The structures that the XDP programs read are written byte by byte, so that this room needs no `unsafe`.

pub mod divert;
pub mod error;
pub mod filter;
pub mod generator;
pub mod histogram;
pub mod host;
mod live;
pub mod order;
pub mod pacer;
mod plan;
mod programs;
pub mod rate;
pub mod replay;
mod rings;
pub mod sink;
pub mod sizes;
pub mod stamp;
pub mod tcp;
pub mod template;
pub mod tuples;

pub use error::Error;
