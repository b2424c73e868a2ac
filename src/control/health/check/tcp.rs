//! Whether a backend accepts connections.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::{Answer, Failed, Limit, Passed, spoken};

/// Connects, and resets at once. With quick acknowledgments off the kernel waits with the third packet of the handshake, so
/// that the reset comes in its place: the backend's kernel has shown that the port is open and that its queue has room, and
/// the server's log and accept queue see nothing of it.
pub async fn check(address: SocketAddr, limit: Limit) -> Answer {
    let asked = Instant::now();
    let stream = limit.within("", connect(address, Manner::Silent)).await?;
    let passed = Passed::since(asked);
    drop(stream);
    Ok(passed)
}

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing.
    Silent,
    /// To talk.
    Talking,
}

/// Connects; the connection ends with a reset when it is dropped.
pub async fn connect(address: SocketAddr, manner: Manner) -> Result<TcpStream, Failed> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_zero_linger()?;
        match manner {
            Manner::Silent => SockRef::from(&socket).set_tcp_quickack(false)?,
            Manner::Talking => socket.set_nodelay(true)?,
        }
        Ok(socket)
    };
    let socket = open().map_err(|error| spoken(&error))?;
    socket.connect(address).await.map_err(|error| spoken(&error))
}
