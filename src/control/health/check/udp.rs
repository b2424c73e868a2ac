//! Whether a backend answers a datagram.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{Answer, Failed, Limit, Passed, failed, spoken};

/// Bytes of an answer that are looked at.
const LONGEST_ANSWER: usize = 4096;

/// Sends one datagram, of which `send` may be nothing, and waits for one that contains `expect`. The socket is connected:
/// only the backend's answers come in, and the ICMP error of a closed port, which is a refusal.
pub async fn check(address: SocketAddr, send: &[u8], expect: &[u8], limit: Limit) -> Answer {
    let asked = Instant::now();
    limit.within("", exchange(address, send, expect)).await?;
    Ok(Passed::since(asked))
}

async fn exchange(address: SocketAddr, send: &[u8], expect: &[u8]) -> Result<(), Failed> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut answer = vec![0; LONGEST_ANSWER];
    let talk = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        socket.send(send).await?;
        socket.recv(&mut answer).await
    };
    let length = talk.await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => failed("port unreachable"),
        _ => spoken(&error),
    })?;
    let answer = answer.get(..length).unwrap_or_default();
    if contains(answer, expect) {
        return Ok(());
    }
    Err(failed(format!("the answer lacks \"{}\"", expect.escape_ascii())))
}

/// Whether `part` occurs in `whole`; nothing always does.
pub fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}
