//! Making a frame look as it must when it leaves: in place, checksums by difference.

pub mod arp;
pub mod nat;
