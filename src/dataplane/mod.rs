//! The data plane. Read the modules in the order they are declared and you have followed a frame.

pub mod worker;

pub mod batch;
pub mod pipeline;
pub mod turn;
pub mod verdict;

pub mod parse;

pub mod express;

pub mod known;
pub mod limits;

pub mod passive;

pub mod opening;

pub mod admit;
pub mod place;

pub mod cookies;

pub mod fragments;
pub mod outbound;

pub mod answer;
pub mod stateless;
mod sweep;

pub mod conntrack;
pub mod family;
pub mod rewrite;
pub mod schedule;

pub mod capture;
pub mod trace;

pub use batch::{BATCH, Batch};
pub use conntrack::{FlowTables, Flows, Secret};
pub use pipeline::{process, settle};
pub use verdict::Verdict;
