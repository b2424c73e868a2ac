//! A million frames cost no allocation: of connections that exist, that are new, and that expire meanwhile.

// The exemption of tests in clippy.toml covers the test functions themselves, not what they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../frames/mod.rs"]
mod frames;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use frames::flow::Flow;
use frames::lab::Lab;
use frames::modes::*;
use frames::network::*;
use frames::{ACK, Arp, FIN, PSH, RST, SYN, tcp, udp};
use xswitch::dataplane::Verdict;
use xswitch::tables::InterfaceId;

const FRAMES: u64 = 1_000_000;
const CLIENTS: u16 = 500;
const VIP: &str = "198.18.0.100:80";
const FULL: &str = "198.18.0.101:80";
const DNS: &str = "198.18.0.100:53";
const BACKEND: &str = "198.18.1.11:8080";

/// The system's allocator, counting what the thread under test asks of it.
struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    // A thread that is ending has no counters any more, and is not the one under test.
    let _ = WATCHED.try_with(|watched| {
        if watched.get() {
            let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        }
    });
}

// SAFETY: every call is handed on as it came; the counters are plain cells that never allocate.
#[allow(unsafe_code, reason = "there is no other way to count allocations")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise about `layout` is the one that `System` needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note();
        // SAFETY: `memory` came from `System.alloc` with this layout, as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as for `dealloc`, and the caller's promise about `size` is the one that `System` needs.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` turned to the allocator.
fn calls(work: impl FnOnce()) -> u64 {
    CALLS.set(0);
    WATCHED.set(true);
    work();
    WATCHED.set(false);
    CALLS.get()
}

type Phase = Vec<(InterfaceId, Vec<u8>)>;

/// The lives of connections, step by step: every frame of a step may lie in one batch with every other.
fn phases() -> Vec<Phase> {
    let client = |number: u16| format!("198.18.0.7:{}", 10_000 + number);
    let step = |frame: &dyn Fn(&str) -> (InterfaceId, Vec<u8>)| -> Phase {
        (0..CLIENTS).map(|number| frame(&client(number))).collect()
    };
    let request = |vip: &'static str, flags: u8, payload: &'static [u8]| {
        step(&move |client| (ETH0, tcp(client, vip, flags).in_at_eth0_from(CLIENT7).payload(payload).build()))
    };
    let reply = |flags: u8, payload: &'static [u8]| {
        step(&move |client| {
            (ETH1, tcp(BACKEND, client, flags).in_at_eth1_from(BACKEND11).payload(payload).build())
        })
    };
    let mut phases = vec![
        request(VIP, SYN, b""),
        reply(SYN | ACK, b""),
        request(VIP, ACK | PSH, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"),
        reply(ACK | PSH, &[b'x'; 1400]),
        request(VIP, ACK | FIN, b""),
        reply(ACK | FIN, b""),
        request(VIP, SYN, b""),
        reply(RST | ACK, b""),
        request(FULL, SYN, b""),
        request(FULL, ACK | PSH, b"data"),
        request(FULL, RST, b""),
        step(&|client| (ETH0, udp(client, DNS).in_at_eth0_from(CLIENT7).build())),
        step(&|client| (ETH1, udp("198.18.1.12:5353", client).in_at_eth1_from(BACKEND12).build())),
    ];
    // A client whose MAC address is unknown, and one that asks for ours: both raise events.
    phases.push(
        (0..CLIENTS)
            .map(|number| {
                let client = format!("198.18.0.9:{}", 10_000 + number);
                (ETH0, tcp(&client, VIP, SYN).in_at_eth0_from(CLIENT9).build())
            })
            .collect(),
    );
    let ask = |number: u16| Arp::request((CLIENT7, [198, 18, 0, number as u8]), [198, 18, 0, 100]).build();
    phases.push((0..CLIENTS).map(|number| (ETH0, ask(number))).collect());
    phases
}

#[test]
fn a_million_frames_cost_no_allocation() {
    let config = [
        &SWITCH.replace("20000-20000", "20000-29999"),
        &service("web", VIP, "tcp", "nat", &[(BACKEND, 1)]),
        &service("full", FULL, "tcp", "full-nat", &[(BACKEND, 1), ("198.18.1.12:8080", 1)]),
        &service("dns", DNS, "udp", "nat", &[("198.18.1.12:5353", 1)]),
        NETWORK,
    ]
    .concat();
    let mut lab = Lab::new(&config, 8192);
    let phases = phases();
    let (mut sent, mut dropped) = (0u64, 0u64);
    let calls = calls(|| {
        while sent < FRAMES {
            for phase in &phases {
                for batch in phase.chunks(lab.room()) {
                    batch.iter().for_each(|(ingress, frame)| lab.add(*ingress, frame));
                    lab.run(|verdict, _| dropped += u64::from(matches!(verdict, Verdict::Drop(_))));
                    lab.pass(1);
                }
                sent += phase.len() as u64;
            }
            // Everything is forgotten: the next round is new.
            for _ in 0..40 {
                lab.pass(10_000);
            }
        }
    });
    assert_eq!(calls, 0, "calls of the allocator during {sent} frames");
    let counters = &lab.counters;
    assert_eq!(dropped, 0);
    assert_eq!(counters.received.get(), sent);
    assert!(counters.connections_new.get() > sent / 10, "{} new", counters.connections_new.get());
    assert_eq!(counters.connections_closed.get(), counters.connections_new.get(), "all expired");
    assert_eq!((counters.connections_active.get(), lab.flows.tables().references()), (0, 0));
}

/// Every mode in both families: of connections that are new, that exist, in pieces, and what is said about a last hop.
fn phases_of_every_mode(world: &World) -> Vec<Phase> {
    let clients = || 10_000..10_000 + CLIENTS / 2;
    let mut phases = Vec::new();
    for row in rows() {
        let mut phase = |flow: Flow| {
            phases.push(
                clients()
                    .map(|port| {
                        let mut flow = flow.clone();
                        flow.source.set_port(port);
                        (ETH0, world.arriving(ETH0, CLIENT7, &flow.packet()))
                    })
                    .collect(),
            );
        };
        phase(first(row));
        phase(row.request(ACK | PSH).payload(&[b'x'; 700]));
        if row.client == V4 {
            phase(row.request(ACK | PSH).payload(&[b'x'; 1500]).head(|head| head.dont_fragment = false));
        }
        phase(row.request(ACK).head(|head| head.ttl = 1));
        phase(row.request(ACK | FIN));
        if row.mode == "nat" {
            let reply = |port| {
                let mut flow = row.reply(SYN | ACK);
                flow.destination.set_port(port);
                (ETH1, world.arriving(ETH1, BACKEND11, &flow.packet()))
            };
            phases.push(clients().map(reply).collect());
        }
    }
    phases
}

#[test]
fn a_million_frames_of_every_mode_cost_no_allocation() {
    let switch = "snat_ports = \"20000-29999\"\n";
    let world = World { switch, vlans: [&[100], &[200, 7]], room: 40, ..World::default() };
    let mut lab = Lab::new(&world.config(), 16384).with_room(world.room);
    let phases = phases_of_every_mode(&world);
    let (mut sent, mut forwarded) = (0u64, 0u64);
    let calls = calls(|| {
        while sent < FRAMES {
            for phase in &phases {
                for batch in phase.chunks(lab.room()) {
                    batch.iter().for_each(|(ingress, frame)| lab.add(*ingress, frame));
                    lab.run(|verdict, _| forwarded += u64::from(matches!(verdict, Verdict::Forward(_))));
                    lab.pass(1);
                }
                sent += phase.len() as u64;
            }
            for _ in 0..800 {
                lab.pass(10_000);
            }
        }
    });
    assert_eq!(calls, 0, "calls of the allocator during {sent} frames");
    let counters = &lab.counters;
    assert_eq!(counters.received.get(), sent);
    assert!(forwarded > sent * 3 / 4, "{forwarded} of {sent}");
    assert!(
        counters.created.get() > sent / 20 && counters.replied.get() > 0 && counters.icmp_limited.get() > 0
    );
    assert!(counters.connections_new.get() > sent / 10, "{} new", counters.connections_new.get());
    assert_eq!(counters.connections_closed.get(), counters.connections_new.get(), "all expired");
    assert_eq!((counters.connections_active.get(), lab.flows.tables().references()), (0, 0));
}

#[test]
fn the_counter_counts() {
    assert!(calls(|| drop(std::hint::black_box(vec![1]))) >= 2);
}
