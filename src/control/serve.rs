//! HTTP with limits: whoever connects, however slowly, takes one of a few places for a few seconds.

use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

/// Connections at a time; the next ones wait in the kernel's queue.
const PLACES: usize = 32;
/// Until the request's headers must have arrived.
const HEADER_LIMIT: Duration = Duration::from_secs(3);
/// Until the whole exchange must be over.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(15);
/// Largest request line with headers: 2^14 bytes.
const HEADER_BYTES: usize = 1 << 14;

/// Who is at the other end, as far as the kernel knows: user and process of the control socket's clients (`SO_PEERCRED`). For
/// the log: who may connect is a matter of the socket's mode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer(Option<(u32, Option<i32>)>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some((user, Some(process))) => write!(f, "user {user}, process {process}"),
            Some((user, None)) => write!(f, "user {user}"),
            None => write!(f, "somebody"),
        }
    }
}

/// A stream whose other end may be known.
pub trait Known {
    /// Who that is.
    fn peer(&self) -> Peer;
}

impl Known for UnixStream {
    fn peer(&self) -> Peer {
        Peer(self.peer_cred().ok().map(|credentials| (credentials.uid(), credentials.pid())))
    }
}

impl Known for TcpStream {
    fn peer(&self) -> Peer {
        Peer(None)
    }
}

/// Serves until dropped. Each connection is good for one request.
pub async fn serve<L>(mut listener: L, router: Router)
where
    L: Listener,
    L::Io: Known + Send + Unpin + 'static,
{
    let places = Arc::new(Semaphore::new(PLACES));
    // Connections end with the listener: this set is dropped with the future.
    let mut exchanges = tokio::task::JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, _) = listener.accept().await;
        while exchanges.try_join_next().is_some() {}
        let router = router.clone().layer(Extension(stream.peer()));
        let service = TowerToHyperService::new(router);
        exchanges.spawn(async move {
            let exchange = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .max_buf_size(HEADER_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(EXCHANGE_LIMIT, exchange).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a client's request failed"),
                Err(_) => tracing::debug!("a client took too long"),
            }
            drop(place);
        });
    }
}
