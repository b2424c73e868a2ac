//! A packet socket that receives, of what is for this host's kernel, what a filter lets pass.

use std::io::{self, Read};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Filter;

/// Room for what comes while nobody looks.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Receives packets, without their Ethernet header, from one interface or from every one. What an XDP program takes away
/// before is not seen.
#[derive(Debug)]
pub struct PacketReceiver(AsyncFd<Socket>);

impl PacketReceiver {
    /// Opens a socket for packets of this EtherType; needs CAP_NET_RAW. Within a Tokio runtime only.
    pub fn open(ethertype: u16, filter: &Filter) -> io::Result<Self> {
        Self::open_at(0, ethertype, filter)
    }

    /// The same from the interface with this index alone; 0 is every one.
    pub fn open_at(ifindex: u32, ethertype: u16, filter: &Filter) -> io::Result<Self> {
        // Protocol 0: nothing comes before the filter is in place.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking().cloexec(), None)?;
        socket.attach_filter(filter.program())?;
        // As large as this host allows will do.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.bind(&place(ifindex, ethertype)?)?;
        // SAFETY: the socket owns its descriptor and closes it only when it is dropped, and nothing here replaces it.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Waits for the next packet, which goes to `buffer`; its length. Where this is given up, no packet is lost.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.async_io(Interest::READABLE, |mut socket| socket.read(buffer)).await
    }
}

fn place(ifindex: u32, ethertype: u16) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the addresses that the storage is made for, and all zeros are valid for it.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a whole sockaddr_ll, which is that long.
    Ok(unsafe { SockAddr::new(storage, length) })
}
