//! What only the kernel hands out: a TUN device, a packet socket, UDP datagrams without a checksum, a thread held still. The only `unsafe`
//! of the test tools.
#![allow(unsafe_code, reason = "there is no safe way to these calls")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Creates a TUN device in the namespace of this thread. IP packets that are written arrive as if from a wire; the device
/// goes away with the file.
pub fn tun(name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is plain data for which all zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

/// Opens a packet socket on an interface in the namespace of this thread: `send` and `recv` take and give whole Ethernet
/// frames. The kernel takes the outermost VLAN tag off what it gives.
pub fn packet(interface: &str) -> io::Result<UdpSocket> {
    let name = CString::new(interface)?;
    // SAFETY: the name ends with a zero and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket(2) takes integers only.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: `sockaddr_ll` is plain data for which all zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET.cast_unsigned().try_into().map_err(io::Error::other)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
    address.sll_ifindex = index.cast_signed();
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the address is as long as said and outlives the call.
    if unsafe { libc::bind(fd, (&raw const address).cast(), length) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket.into())
}

/// Lets an IPv6 UDP socket take datagrams without a checksum, which tunnels may send (RFC 6935).
pub fn accept_zero_checksums(socket: &UdpSocket) -> io::Result<()> {
    const UDP_NO_CHECK6_RX: libc::c_int = 102;
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the value is as long as said and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_UDP,
            UDP_NO_CHECK6_RX,
            (&raw const on).cast(),
            length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A thread of another process that stands still until this goes out of scope, as if it hung (ptrace(2)). Only the thread that
/// holds it can let it go.
#[derive(Debug)]
pub struct HeldThread {
    thread: libc::pid_t,
    _here: std::marker::PhantomData<*const ()>,
}

impl HeldThread {
    /// Holds it, by its number.
    pub fn hold(thread: libc::pid_t) -> io::Result<Self> {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: these requests take no memory of ours.
        let held = unsafe {
            libc::ptrace(libc::PTRACE_SEIZE, thread, none, none) == 0
                && libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none) == 0
        };
        let mut status = 0;
        // SAFETY: `status` is a live integer that the kernel may write to.
        if held && unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) } == thread {
            Ok(Self { thread, _here: std::marker::PhantomData })
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: this request takes no memory of ours.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.thread, none, none) };
    }
}
