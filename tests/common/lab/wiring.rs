//! Cables, addresses and routes of the topologies.

use std::net::IpAddr;

use super::setup::{Setup, Topology, address, host_length, inside, prefix_length, vip};
use crate::common::namespace::Namespace;
use crate::common::process;

/// Lets LLDP through a bridge of the kernel, which would keep it: bit 14 is 01:80:c2:00:00:0e.
const FORWARD_LLDP: u16 = 1 << 14;

/// The end of a cable: a host and the name of the interface there.
pub type End<'a> = (&'a Namespace, &'a str);

/// A host like the others of its lab: with IPv6 where they have it.
pub fn new_host(setup: &Setup, label: &str) -> Namespace {
    let host = Namespace::new(label);
    // Answers may come another way than requests go.
    host.sysctl("net.ipv4.conf.all.rp_filter", "0");
    host.sysctl("net.ipv4.conf.default.rp_filter", "0");
    if setup.has_ipv6() {
        host.enable_ipv6();
    }
    host
}

/// A host in which the kernel forwards.
pub fn new_router(setup: &Setup) -> Namespace {
    let router = new_host(setup, "router");
    router.sysctl("net.ipv4.ip_forward", "1");
    router.sysctl("net.ipv6.conf.all.forwarding", "1");
    // Scenes measure what the switch limits, not what the router does.
    router.sysctl("net.ipv4.icmp_ratelimit", "0");
    router.sysctl("net.ipv6.icmp.ratelimit", "0");
    router
}

/// A bridge of the kernel in a namespace of its own.
pub fn new_bridge(label: &str) -> Namespace {
    let bridge = Namespace::new(label);
    bridge.ip(&format!(
        "link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 group_fwd_mask {FORWARD_LLDP}"
    ));
    bridge.ip("link set br0 up");
    bridge
}

/// A veth pair, both ends up and without offloads.
pub fn cable(queues: u16, (host, name): End<'_>, (peer_host, peer): End<'_>) {
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    process::run(&format!(
        "ip link add name {name} netns {} {queues} type veth peer name {peer} netns {} {queues}",
        host.name(),
        peer_host.name(),
    ));
    for (host, interface) in [(host, name), (peer_host, peer)] {
        // A sender on a veth leaves its checksums to the receiving kernel and its segments uncut, which is
        // right between two kernels and wrong when a switch reads the frames in between.
        host.run(&format!("ethtool --offload {interface} tx off tso off gso off gro off"));
        host.ip(&format!("link set {interface} up"));
    }
}

/// Makes the far end of a veth take what an XDP program redirects to the near one: it does so only where it polls, as it
/// does for GRO. A network adapter needs nothing of the kind.
pub fn take_redirected_frames(host: &Namespace, interface: &str) {
    // A tag that was left to the adapter is not in the frame, and an XDP program sees frames alone.
    host.run(&format!("ethtool --offload {interface} gro on txvlan off tx-vlan-stag-hw-insert off"));
}

/// Hosts get one queue towards a bridge: a frame that its sender put on a queue by flow hash keeps that mark, and
/// then the bridge would send every flow to queue 0 instead of spreading them over the switch's queues.
pub fn cable_to_bridge(queues: u16, host: End<'_>, bridge: &Namespace, port: &str) {
    cable(queues, host, (bridge, port));
    bridge.ip(&format!("link set {port} master br0"));
}

/// Gives an interface an address with the prefix of its network.
pub fn give(host: &Namespace, interface: &str, address: IpAddr) {
    let length = prefix_length(address);
    host.ip(&format!("address add {address}/{length} dev {interface}{}", at_once(address)));
}

/// `ip` adds IPv6 addresses only after a second of waiting for objections, unless told otherwise.
fn at_once(address: IpAddr) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}

/// `ip route add PREFIX via GATEWAY`, in the right family.
pub fn route(host: &Namespace, prefix: &str, gateway: IpAddr) {
    let family = if gateway.is_ipv6() { "-6" } else { "-4" };
    host.ip(&format!("{family} route add {prefix} via {gateway}"));
}

/// Puts the VIPs on a backend's loopback, where nobody hears of them.
pub fn hold_vips(host: &Namespace, setup: &Setup) {
    host.sysctl("net.ipv4.conf.all.arp_ignore", "1");
    host.sysctl("net.ipv4.conf.all.arp_announce", "2");
    for &family in setup.families() {
        // IPv6 needs nothing more: neighbour discovery answers only for addresses of the interface itself.
        let vip = vip(family);
        host.ip(&format!("address add {vip}/{} dev lo{}", host_length(vip), at_once(vip)));
    }
}

/// The client's cables, other than the one to the switch, and its routes.
pub fn connect_client(setup: &Setup, client: &Namespace, router: Option<&Namespace>) {
    match (setup.topology, router) {
        (Topology::Far, Some(router)) => {
            cable(1, (client, "eth1"), (router, "eth2"));
            for &family in setup.families() {
                give(client, "eth1", address(family, 3, 1));
                give(router, "eth2", address(family, 3, 254));
                let clients = address(family, 0, 0);
                route(router, &format!("{clients}/{}", prefix_length(clients)), address(family, 3, 1));
            }
        }
        (Topology::Bridge, Some(router)) => {
            cable(1, (client, "eth0"), (router, "eth1"));
            for &family in setup.families() {
                give(client, "eth0", setup.client_address(family));
                give(router, "eth1", address(family, 3, 254));
                route(client, "default", address(family, 3, 254));
            }
        }
        _ => {}
    }
}

/// What lies beyond the switch's subnets.
pub fn route_switch(setup: &Setup, switch: &Namespace) {
    for &family in setup.families() {
        match setup.topology {
            Topology::Far => {
                let backends = address(family, 1, 0);
                let prefix = format!("{backends}/{}", prefix_length(backends));
                route(switch, &prefix, address(family, 2, 254));
            }
            Topology::Bridge => route(switch, "default", address(family, 0, 254)),
            _ => {}
        }
    }
}

/// The inside hosts of a home: their gateway is the switch.
pub fn give_inside(setup: &Setup, host: &Namespace, number: u8) {
    for &family in setup.families() {
        give(host, "eth0", inside(family, 10 + number));
        route(host, "default", inside(family, 1));
    }
}
