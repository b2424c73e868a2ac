//! AF_PACKET (packet(7)): sends single Ethernet frames that the rings need not carry, receives what comes to the kernel for
//! nobody, and has adapters let in what they would filter out.
#![allow(unsafe_code)]

mod filter;
mod receiver;

pub use filter::Filter;
pub use receiver::PacketReceiver;

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A socket that sends and never receives.
#[derive(Debug)]
pub struct PacketSender(OwnedFd);

impl PacketSender {
    /// Opens the socket; needs CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        // Protocol 0: the kernel delivers nothing to this socket.
        // SAFETY: socket(2) takes integers only.
        let fd = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Has the adapter let in all multicast frames, or all frames whatsoever where `everything`, for as long as this socket
    /// and the interface live. Adapters drop what is for groups that the kernel has not joined, neighbour solicitations for
    /// a VIP among them.
    pub fn let_in(&self, ifindex: u32, everything: bool) -> io::Result<()> {
        let kind = if everything { libc::PACKET_MR_PROMISC } else { libc::PACKET_MR_ALLMULTI };
        let request = libc::packet_mreq {
            mr_ifindex: i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?,
            mr_type: kind as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        // SAFETY: the pointer is valid for the length given with it, for the duration of the call.
        let done = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                size_of::<libc::packet_mreq>() as libc::socklen_t,
            )
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends one frame, Ethernet header included, through the interface with this index.
    pub fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let ifindex = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: sockaddr_ll is plain data for which all zeros are valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = ifindex;
        // SAFETY: both pointers are valid for the lengths given with them, for the duration of the call.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
