//! TCP from either end, without I/O: segments in, segments out, time handed in.
//!
//! | file | holds |
//! |---|---|
//! | [`segment`] | reading and writing segments |
//! | [`client`] | connections that are opened, used and closed; their counts |
//! | [`connection`] | one of them: its state machine |
//! | [`server`] | a server that keeps no state |

pub mod client;
pub mod connection;
pub mod segment;
pub mod server;
