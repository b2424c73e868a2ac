//! Bytes only: no I/O, no state, no knowledge of services.
//!
//! Reading goes through `etherparse` where it knows the format, which checks lengths once; writing goes through the setters here, which change
//! frames in place and keep checksums right by difference (RFC 1624), never by computing them anew.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod fragment;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod plain;
pub mod probe;
pub mod tcp;
pub mod tunnel;
pub mod udp;
