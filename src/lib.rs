//! xswitch: a layer-4 switch in userspace on AF_XDP.
pub mod boot;
pub mod cli;
pub mod config;
pub mod control;
pub mod dataplane;
#[allow(unsafe_code)]
pub mod sys;
pub mod tables;
pub mod wire;
#[allow(unsafe_code)]
pub mod xsk;
