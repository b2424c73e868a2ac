//! The configuration: raw → valid.
pub mod valid;
