//! A loaded program with a socket on queue 0, and the addresses that it knows.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use xswitch::tables::{Endpoint, InterfaceId, PortRanges, Protocol, Steering};
use xswitch::xsk::steer::Ways;
use xswitch::xsk::{CopyMode, Port, Steer, Umem};

use crate::common::namespace::Namespace;

/// The interface that frames come in at.
pub const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The other one.
pub const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Somebody else.
pub const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];

const PASS: u32 = 2;
const REDIRECT: u32 = 4;

/// The addresses of one family.
#[derive(Debug, Clone, Copy)]
pub struct Net {
    /// VIP that the kernel does not own: services 80 (no headroom), 443 (40 bytes), 53 (UDP, 20 bytes).
    pub vip: &'static str,
    /// VIP that the kernel owns, too: service 80.
    pub owned: &'static str,
    /// Backend of a `nat` service, port 8080.
    pub backend: &'static str,
    /// Far end of tunnels: IP in IP, and GUE at port 6080.
    pub tunnel: &'static str,
    /// Somebody outside.
    pub client: &'static str,
    /// The switch.
    pub local: &'static str,
    /// SNAT address that the kernel does not own, ports 1024 to 2000 and 5000 to 6000.
    pub snat: &'static str,
    /// SNAT address that the kernel owns, ports 1024 to 2000.
    pub local_snat: &'static str,
    /// Inside host.
    pub inside: &'static str,
    /// Inside host in another prefix.
    pub inside_too: &'static str,
    /// In an exception within the first inside prefix.
    pub excepted: &'static str,
    /// Destinations that are nowhere outside.
    pub nowhere: [&'static str; 3],
    pub v6: bool,
}

pub const V4: Net = Net {
    vip: "198.18.0.100",
    owned: "198.18.0.101",
    backend: "198.18.1.11",
    tunnel: "198.18.2.11",
    client: "198.18.9.9",
    local: "198.18.0.2",
    snat: "198.18.0.77",
    local_snat: "198.18.0.3",
    inside: "10.1.0.5",
    inside_too: "10.2.0.5",
    excepted: "10.1.77.5",
    nowhere: ["169.254.0.9", "224.0.0.9", "255.255.255.255"],
    v6: false,
};

pub const V6: Net = Net {
    vip: "2001:db8::100",
    owned: "2001:db8::101",
    backend: "2001:db8:1::11",
    tunnel: "2001:db8:2::11",
    client: "2001:db8:9::9",
    local: "2001:db8::2",
    snat: "2001:db8::77",
    local_snat: "2001:db8::3",
    inside: "2001:db8:a1::5",
    inside_too: "2001:db8:a2::5",
    excepted: "2001:db8:a1:77::5",
    nowhere: ["fe80::9", "ff02::9", "::1"],
    v6: true,
};

pub const BOTH: [Net; 2] = [V4, V6];

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
}

fn endpoint(address: &str, port: u16, protocol: Protocol) -> Endpoint {
    Endpoint { address: ip(address), port, protocol }
}

/// What the program is told, for both families.
pub fn steering() -> Steering {
    let mut steering =
        Steering { macs: vec![OWN, PEER], tags: vec![Default::default(); 2], ..Default::default() };
    for net in BOTH {
        steering.services.insert(endpoint(net.vip, 80, Protocol::Tcp), 0);
        steering.services.insert(endpoint(net.vip, 443, Protocol::Tcp), 40);
        steering.services.insert(endpoint(net.vip, 53, Protocol::Udp), 20);
        steering.services.insert(endpoint(net.owned, 80, Protocol::Tcp), 0);
        steering.replies.insert(endpoint(net.backend, 8080, Protocol::Tcp));
        let mut ranges = PortRanges::of(1024, 2000);
        steering.snat.insert(ip(net.local_snat), ranges.clone());
        ranges.insert(5000, 6000);
        steering.snat.insert(ip(net.snat), ranges);
        let (wide, narrow) = if net.v6 { (48, 64) } else { (16, 24) };
        steering.inside.insert((ip(net.inside), wide));
        steering.inside.insert((ip(net.inside_too), wide));
        steering.not_outside.insert((ip(net.excepted), narrow));
        steering.vips.extend([ip(net.vip), ip(net.owned)]);
        steering.hosts.insert(ip(net.vip));
        steering.tunnels.extend([(ip(net.tunnel), None), (ip(net.tunnel), Some(6080))]);
        steering.announced.extend([ip(net.vip), ip(net.snat)]);
        steering.locals.extend([ip(net.local), ip(net.local_snat)]);
    }
    steering
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "a sentence: it goes to the kernel")]
pub enum Goes {
    ToKernel,
    ToSocket,
    /// With so many bytes of headroom.
    ToSocketWith(usize),
    ToPeer,
}

use Goes::{ToKernel, ToPeer, ToSocket, ToSocketWith};

/// A namespace for one test of several that may run at a time, in one process or in many.
pub fn namespace(label: &str) -> Namespace {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    Namespace::new(&format!("{label}{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
}

/// A program that is loaded.
pub struct Bench {
    pub steer: Steer,
    _port: Port,
    _umem: Umem,
    // Last: what lives in it goes first.
    _namespace: Namespace,
}

impl Bench {
    /// The program of the first interface.
    pub fn new(steering: &Steering) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root: they load an XDP program");
        let namespace = namespace("bench");
        let (steer, port, umem) = namespace.enter(|| {
            let umem = Umem::new(256, 64, false).unwrap();
            let port = Port::open(&umem, "lo", 0, 64, CopyMode::Copy, false).unwrap();
            let mut steer = Steer::load().unwrap();
            steer.set(steering, InterfaceId(0)).unwrap();
            steer.set_socket(0, port.fd()).unwrap();
            // Loopback, in every namespace.
            steer.set_peer(1).unwrap();
            (steer, port, umem)
        });
        Self { steer, _port: port, _umem: umem, _namespace: namespace }
    }

    pub fn set(&mut self, steering: &Steering) {
        self.steer.set(steering, InterfaceId(0)).unwrap();
    }

    /// Runs the program over the frame and looks at the decision, the counters and the bytes.
    pub fn expect(&mut self, sentence: &str, frame: &[u8], goes: Goes) {
        let before = self.steer.ways().unwrap();
        let outcome = self.steer.test(frame).unwrap();
        let after = self.steer.ways().unwrap();
        let delta = Ways {
            kernel: after.kernel - before.kernel,
            socket: after.socket - before.socket,
            peer: after.peer - before.peer,
            no_socket: after.no_socket - before.no_socket,
        };
        let room = outcome.frame.len() - frame.len();
        let found = match (outcome.action, delta) {
            (PASS, Ways { kernel: 1, socket: 0, peer: 0, no_socket: 0 }) => ToKernel,
            (REDIRECT, Ways { kernel: 0, socket: 0, peer: 1, no_socket: 0 }) => ToPeer,
            (REDIRECT, Ways { kernel: 0, socket: 1, peer: 0, no_socket: 0 }) if room == 0 => ToSocket,
            (REDIRECT, Ways { kernel: 0, socket: 1, peer: 0, no_socket: 0 }) => ToSocketWith(room),
            other => panic!("{sentence}: no way of a frame: {other:?}"),
        };
        assert_eq!(found, goes, "{sentence}");
        if room > 0 {
            let mark = [0, 0, 0, 0, 0, 0, 0, room as u8];
            assert_eq!(outcome.frame[..8], mark, "{sentence}: the mark says the room");
        }
        assert!(outcome.frame[room..] == *frame, "{sentence}: the frame itself is untouched");
    }
}
