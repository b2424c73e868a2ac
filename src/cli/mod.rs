//! The command line: one file per command.

pub mod backends;
pub mod capture;
pub mod check;
pub mod connections;
pub mod doctor;
pub mod log;
pub mod orders;
pub mod pages;
pub mod pktgen;
pub mod replay;
pub mod run;
pub mod services;
pub mod status;
mod table;
pub mod top;
pub mod trace;

/// Exit code of a command that failed while running.
pub const FAILED: u8 = 1;
/// Exit code for bad arguments or configuration.
pub const BAD_INPUT: u8 = 2;
