//! xswitch: a layer-4 switch in userspace on AF_XDP.
pub mod cli;
pub mod config;
pub mod control;
pub mod tables;
