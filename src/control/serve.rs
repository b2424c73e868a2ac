//! HTTP with limits: whoever connects, however slowly, takes one of a few places for a few seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Connections at a time; the next ones wait in the kernel's queue.
const PLACES: usize = 32;
/// Until the request's headers must have arrived.
const HEADER_LIMIT: Duration = Duration::from_secs(3);
/// Until the whole exchange must be over.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(15);
/// Largest request line with headers: 2^14 bytes.
const HEADER_BYTES: usize = 1 << 14;

/// When an exchange must be over. Every request has it among its extensions, for answers that take longer.
#[derive(Debug, Clone)]
pub struct Deadline(Arc<Mutex<Instant>>);

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + limit)))
    }

    /// The exchange may take so long from now on.
    pub fn extend(&self, limit: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + limit;
    }

    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is over, wherever it was moved meanwhile.
    async fn passed(&self) {
        while Instant::now() < self.get() {
            tokio::time::sleep_until(self.get()).await;
        }
    }
}

/// Serves until dropped. Each connection is good for one request.
pub async fn serve<L>(mut listener: L, router: Router)
where
    L: Listener,
    L::Io: Send + Unpin + 'static,
{
    let places = Arc::new(Semaphore::new(PLACES));
    // Connections end with the listener: this set is dropped with the future.
    let mut exchanges = tokio::task::JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, _) = listener.accept().await;
        while exchanges.try_join_next().is_some() {}
        let (deadline, router) = (Deadline::new(EXCHANGE_LIMIT), TowerToHyperService::new(router.clone()));
        let of_request = deadline.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(of_request.clone());
            router.call(request)
        });
        exchanges.spawn(async move {
            let exchange = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .max_buf_size(HEADER_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                ended = exchange => if let Err(error) = ended {
                    tracing::debug!(%error, "a client's request failed");
                },
                () = deadline.passed() => tracing::debug!("a client took too long"),
            }
            drop(place);
        });
    }
}
