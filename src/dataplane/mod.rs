//! The data plane. Read the modules in the order they are declared and you have followed a frame.

pub mod worker;

pub mod batch;
pub mod pipeline;
pub mod verdict;

pub mod admit;
pub mod conntrack;
pub mod known;
pub mod parse;
pub mod rewrite;
pub mod schedule;

pub use batch::{BATCH, Batch};
pub use conntrack::{FlowTable, Flows, Secret};
pub use pipeline::{process, settle};
pub use verdict::Verdict;
