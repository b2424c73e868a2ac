//! The switch on real AF_XDP sockets between real kernels and real servers, in network namespaces.
//!
//! Needs root. Every scene builds its own lab (see `tests/common/lab.rs` for the drawings), starts the switch, does
//! one thing, and at the end checks that the counters add up and that SIGTERM ends the switch with 0.
//!
//! ```text
//! baseline         the lab itself, with the kernel's NAT in the place of the switch
//! laboratory       the labs of the other modes, with the kernel alone
//! balancing        who gets how many requests
//! schedulers       who gets a connection, by load, by hash, by affinity
//! health           every way of being ill is noticed and named
//! passive          what the traffic shows of a backend, and what it does not
//! silent           a backend that dies without a word
//! ondown           what becomes of connections when their backend goes down
//! drain            taking backends and services out
//! reloads          two hundred reloads under load
//! discover         backends from DNS and from a file
//! agents           agents and certificates
//! asking           connections listed, counted and ended; what trace says is what happens
//! capture          frames as they come and as they leave, read by tshark
//! top              the picture, its keys and its end, in a terminal
//! scale            a thousand services of a hundred backends
//! modes            every forwarding mode over TCP and UDP, IPv4 and IPv6
//! pmtud            packets that are too big for what lies behind the switch
//! icmp             the VIP behaves as a host; errors follow their connection
//! fragments        datagrams that do not fit one frame
//! bridge           the transparent switch and those who are none of its business
//! snat             the router at home
//! vlan             tagged frames
//! transfer         much data, many connections, no bad checksum
//! datagrams        UDP
//! crossing         replies at another worker than their requests
//! kernel_traffic   what is not a service's stays with the switch's kernel
//! neighbors        ARP, gratuitous ARP, next hops that are unknown or move
//! interfaces       links that go down, go away and come back
//! doctor           what is broken is named, and what is well is not
//! lifecycle        kill -9, SIGTERM, refusals to start
//! sandbox          what a running switch may still do
//! supervised       what a service manager is told
//! package          the Debian package, from its installation to its removal
//! first_service    a new user, and six things that go wrong
//! limits           a full connection table
//! floods           four kinds of floods, a hundred downloads, five hundred clients
//! capture, top     frames in pcapng; the live view in a terminal
//! cookies          SYN cookies
//! counters         status and metrics say the same
//! through          checks that take the way of a service's packets, without a switch
//! forwarding_checks  the same from the running switch: what is missing is found, and found to be back
//! soak             half an hour of everything at once
//! layer7           an HTTP and TLS tier behind the switch
//! pktgen           the traffic generator, its sink, its clients and its server
//! ```

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

/// Makes tests of scenes: `scene in { nat_with_one_worker: nat(1), … }` runs `scene` once per setup.
macro_rules! scenes {
    ($($scene:ident in $setups:ident;)+) => { $( $setups!($scene); )+ };
}

/// `nat` and `full-nat`, one-arm too, each with one worker and with two.
macro_rules! every_setup {
    ($scene:ident) => {
        mod $scene {
            use crate::common::lab::{full_nat, full_nat_one_arm, nat};

            #[test]
            fn nat_with_one_worker() {
                super::$scene(nat(1));
            }
            #[test]
            fn nat_with_two_workers() {
                super::$scene(nat(2));
            }
            #[test]
            fn full_nat_with_one_worker() {
                super::$scene(full_nat(1));
            }
            #[test]
            fn full_nat_with_two_workers() {
                super::$scene(full_nat(2));
            }
            #[test]
            fn full_nat_on_one_arm_with_one_worker() {
                super::$scene(full_nat_one_arm(1));
            }
            #[test]
            fn full_nat_on_one_arm_with_two_workers() {
                super::$scene(full_nat_one_arm(2));
            }
        }
    };
}

/// `nat` with one worker and with two.
macro_rules! two_nat_setups {
    ($scene:ident) => {
        mod $scene {
            use crate::common::lab::nat;

            #[test]
            fn nat_with_one_worker() {
                super::$scene(nat(1));
            }
            #[test]
            fn nat_with_two_workers() {
                super::$scene(nat(2));
            }
        }
    };
}

/// The two extremes, for scenes in which the rest makes no difference.
macro_rules! two_setups {
    ($scene:ident) => {
        mod $scene {
            use crate::common::lab::{full_nat_one_arm, nat};

            #[test]
            fn nat_with_one_worker() {
                super::$scene(nat(1));
            }
            #[test]
            fn full_nat_on_one_arm_with_two_workers() {
                super::$scene(full_nat_one_arm(2));
            }
        }
    };
}

/// Every row of the table of forwarding modes, each in both families; with one worker or with two, in turns.
macro_rules! every_row {
    ($scene:ident) => {
        mod $scene {
            use crate::common::lab::{bridge, dsr, full_nat, full_nat_one_arm, gue, ipip, nat};

            #[test]
            fn nat_with_two_workers() {
                super::$scene(nat(2).with_ipv6());
            }
            #[test]
            fn full_nat_with_one_worker() {
                super::$scene(full_nat(1).with_ipv6());
            }
            #[test]
            fn full_nat_on_one_arm_with_two_workers() {
                super::$scene(full_nat_one_arm(2).with_ipv6());
            }
            #[test]
            fn dsr_with_one_worker() {
                super::$scene(dsr(1));
            }
            #[test]
            fn ipip_with_two_workers() {
                super::$scene(ipip(2));
            }
            #[test]
            fn gue_with_one_worker() {
                super::$scene(gue(1));
            }
            #[test]
            fn nat_in_a_bridge_with_one_worker() {
                super::$scene(bridge(1));
            }
        }
    };
}

#[path = "../common/mod.rs"]
mod common;

mod agents;
mod asking;
mod balancing;
mod baseline;
mod bridge;
mod capture;
mod cookies;
mod counters;
mod crossing;
mod datagrams;
mod discover;
mod doctor;
mod drain;
mod first_service;
mod floods;
mod forwarding_checks;
mod fragments;
mod health;
mod icmp;
mod idle;
mod interfaces;
mod jumbo;
mod kernel_traffic;
mod laboratory;
mod layer7;
mod lifecycle;
mod limits;
mod modes;
mod neighbors;
mod ondown;
mod package;
mod passive;
mod pktgen;
mod pmtud;
mod reloads;
mod sandbox;
mod scale;
mod schedulers;
mod silent;
mod snat;
mod soak;
mod supervised;
mod through;
mod top;
mod transfer;
mod vlan;
