//! xswitch: a layer-4 switch in userspace on AF_XDP.
//!
//! ```text
//!                 NIC queue                                                     NIC queue
//!                     │                                                             ▲
//!   kernel ◀── no ── steer.bpf.c: ours?                                             │
//!                     │ yes                                                         │
//!              ┌──────▼──────┐    ┌───────┐   ┌─────────┐   ┌─────────┐      ┌──────┴──────┐
//!              │ rx ring     │───▶│ parse │──▶│ known?  │──▶│ rewrite │─────▶│ tx ring     │
//!              │ (fill ring) │    └───────┘   │ tier 1  │   └────▲────┘      │(completion) │
//!              └─────────────┘                └────┬────┘        │           └─────────────┘
//!                                               no │   ┌─────────┴─────────┐
//!                                                  └──▶│ admit: service,   │
//!                                                      │ schedule, insert  │  tier 2
//!                                                      └───────────────────┘
//! ```
//!
//! One worker per RX queue runs this loop ([`dataplane::worker`]) and owns that queue on every interface. What it reads
//! is an immutable [`tables::Snapshot`]; what it knows of connections is a table that all workers share without a lock.
//!
//! | room | holds | may use |
//! |---|---|---|
//! | [`wire`] | bytes: headers, checksums | nothing |
//! | [`tables`] | plain data that both planes share | wire |
//! | [`xsk`] | rings, packet memory, the XDP program | tables, sys |
//! | [`sys`] | what only the operating system can do | nothing |
//! | [`dataplane`] | the path of a frame | wire, tables, xsk, sys |
//! | [`pktgen`] | traffic generator, sink, clients and server | wire, tables, xsk, sys |
//! | [`config`] | raw → valid | wire, tables |
//! | [`control`] | configuration and network → snapshot; status, metrics | config, tables, wire, sys |
//! | [`boot`] | starts everything in the right order | all |
//! | [`doctor`] | what is wrong with a machine, and what mends it | config, control, boot, tables, wire, xsk, sys |
//! | [`cli`] | one file per command | config, boot, doctor, pktgen, sys, control's client side; `replay` drives the data plane, `trace` asks it |

pub mod boot;
pub mod cli;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod doctor;
pub mod pktgen;
#[allow(unsafe_code)]
pub mod sys;
pub mod tables;
pub mod wire;
#[allow(unsafe_code)]
pub mod xsk;
