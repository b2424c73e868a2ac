//! ICMP in both families: errors that pass, errors of our own, pings, neighbours, and what a host says.

mod host;
mod neighbors;
mod own;
pub mod packets;
mod passing;
mod tunnels;
mod world;
