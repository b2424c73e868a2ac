//! The backend's end of a tunnel, for kernels without tunnel devices: takes IP in IP (RFC 2003, RFC 2473, RFC 4213) and
//! GUE off and hands the inner packets to the kernel through a TUN device.
//!
//! ```text
//!  eth0 ──▶ raw sockets, protocol 4 and 41, over IPv4 and IPv6 ─┐
//!       ──▶ UDP socket, GUE variants 0 and 1 ───────────────────┴──▶ TUN device ──▶ the VIP on lo
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

use super::devices;

/// How long a thread waits for a packet before it looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);
/// Room for what arrives in a burst.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The largest IP packet.
const LARGEST: usize = 65_535;

/// What is around the inner packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// IPv4 in IPv4.
    V4InV4,
    /// IPv6 in IPv4.
    V6InV4,
    /// IPv4 in IPv6.
    V4InV6,
    /// IPv6 in IPv6.
    V6InV6,
    /// GUE over UDP, of either version.
    Gue,
}

impl Tunnel {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::V4InV4, Self::V6InV4, Self::V4InV6, Self::V6InV6, Self::Gue];

    /// A socket that receives what comes in this tunnel.
    fn open(self, gue_port: u16) -> io::Result<UdpSocket> {
        let (family, protocol) = match self {
            Self::V4InV4 => (AddressFamily::INET, ipproto::IPIP),
            Self::V6InV4 => (AddressFamily::INET, ipproto::IPV6),
            Self::V4InV6 => (AddressFamily::INET6, ipproto::IPIP),
            Self::V6InV6 => (AddressFamily::INET6, ipproto::IPV6),
            Self::Gue => return open_gue(gue_port),
        };
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
        Ok(socket.into())
    }

    /// The inner packet of what the socket received.
    fn inner(self, received: &[u8]) -> Option<&[u8]> {
        match self {
            // Raw IPv4 sockets hand out the outer header as well, raw IPv6 sockets do not.
            Self::V4InV4 | Self::V6InV4 => received.get(usize::from(received.first()? & 0x0f) * 4..),
            Self::V4InV6 | Self::V6InV6 => Some(received),
            Self::Gue => gue_payload(received),
        }
    }
}

fn open_gue(port: u16) -> io::Result<UdpSocket> {
    // On a host without IPv6 the dual-stack socket does not exist.
    let Ok(socket) = UdpSocket::bind(("::", port)) else { return UdpSocket::bind(("0.0.0.0", port)) };
    devices::accept_zero_checksums(&socket)?;
    Ok(socket)
}

/// The packet in a GUE datagram: variant 1 is an IP header right away, variant 0 has a header of its own
/// (version and control bit and length, protocol, flags), which may be longer than four bytes.
fn gue_payload(datagram: &[u8]) -> Option<&[u8]> {
    const CONTROL: u8 = 0x20;
    let first = *datagram.first()?;
    match first >> 6 {
        1 => Some(datagram),
        0 if first & CONTROL == 0 && matches!(datagram.get(1)?, 4 | 41) => {
            datagram.get(4 + usize::from(first & 0x1f) * 4..)
        }
        _ => None,
    }
}

/// Threads that take tunnels off until this goes out of scope.
#[derive(Debug)]
pub struct Decapsulator {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    device: File,
    taken: [AtomicU64; Tunnel::ALL.len()],
}

impl Decapsulator {
    /// Creates the TUN device and opens the sockets in the namespace of this thread. Whoever calls sets the device up.
    pub fn start(device: &str, gue_port: u16) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            device: devices::tun(device)?,
            taken: [const { AtomicU64::new(0) }; Tunnel::ALL.len()],
        });
        let mut started = Self { shared, threads: vec![] };
        for tunnel in Tunnel::ALL {
            let socket = match tunnel.open(gue_port) {
                // A host without IPv6 gets no tunnels over it.
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
                result => result?,
            };
            sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
            socket.set_read_timeout(Some(TICK))?;
            let shared = Arc::clone(&started.shared);
            started.threads.push(std::thread::spawn(move || shared.carry(tunnel, &socket)));
        }
        Ok(started)
    }

    /// Packets so far that came in this tunnel.
    pub fn taken(&self, tunnel: Tunnel) -> u64 {
        self.shared.taken[tunnel as usize].load(Ordering::Relaxed)
    }
}

impl Shared {
    fn carry(&self, tunnel: Tunnel, socket: &UdpSocket) {
        let mut buffer = vec![0; LARGEST];
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            let Some(packet) = tunnel.inner(&buffer[..length]) else { continue };
            // Before the answer to it can be anywhere.
            self.taken[tunnel as usize].fetch_add(1, Ordering::Relaxed);
            // What a device takes that is down, or what is no IP packet, is lost as on a wire.
            let _ = (&self.device).write(packet);
        }
    }
}

impl Drop for Decapsulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
