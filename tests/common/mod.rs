//! The namespace lab: a small real network on one machine, in which the switch meets real kernels and real servers.
//!
//! ```text
//! exclusive   one lab at a time, as root; what dead runs left behind is removed first
//! namespace   a network namespace that goes away with its guard
//! process     commands with a time limit, background processes that end with their guard
//! lab         the topologies: hosts, cables, servers
//! actors      servers that change their manners when they are told
//! filters     black holes, and a count of resets
//! servers     nginx, a UDP server that says its name, a TCP echo
//! decapsulator  the backend's end of a tunnel (in tests/tools, as it is a program, too)
//! devices     what needs `unsafe`: a TUN device, a packet socket
//! machine     a throw-away machine with systemd around the switch's namespace
//! switch      the xswitch process: its configuration, its status, its end
//! services    configurations made of services that a scene varies
//! operator    what an operator asks of a running switch, and sees of it
//! packets     frames that no socket would send
//! traffic     what clients do, and what they got
//! load        clients by the second, and long downloads
//! capture     tcpdump at a host, judged by tshark
//! wait        polling with an outer bound
//! ```
//!
//! Everything here panics with a sentence when something is wrong with the lab itself.

#![allow(dead_code, reason = "every test crate uses another part of the lab")]

pub mod actors;
pub mod capture;
#[path = "../tools/decapsulator.rs"]
pub mod decapsulator;
#[path = "../tools/devices.rs"]
pub mod devices;
pub mod exclusive;
pub mod filters;
pub mod lab;
pub mod load;
pub mod machine;
pub mod namespace;
pub mod operator;
pub mod packets;
pub mod process;
pub mod servers;
pub mod services;
pub mod switch;
pub mod traffic;
pub mod wait;
