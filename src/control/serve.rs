//! HTTP with limits: whoever connects, however slowly, takes one of a few places for a few seconds, and gives it to the
//! next one as long as its request is not complete.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::serve::Listener;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

mod stage;

pub use stage::Stage;

/// Connections at a time.
const PLACES: usize = 128;
/// Until the request's headers must have arrived.
const HEADER_LIMIT: Duration = Duration::from_secs(3);
/// Until its body must have arrived after them.
const BODY_LIMIT: Duration = Duration::from_secs(3);
/// Until the whole exchange must be over, or what a stream sent must have been read.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(25);
/// Largest request line with headers: 2^14 bytes.
const HEADER_BYTES: usize = 1 << 14;
/// Largest body: an order is a few hundred bytes.
const BODY_BYTES: usize = 1 << 16;
/// Between two looks at who could be shown out.
const PAUSE: Duration = Duration::from_millis(20);

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

/// Serves until dropped. Each connection is good for one request, which handlers see whole.
pub async fn serve<L>(mut listener: L, router: Router)
where
    L: Listener,
    L::Io: Known + Send + Unpin + 'static,
{
    // Connections end with the listener: this set is dropped with the future.
    let mut exchanges = JoinSet::new();
    let mut guests = Guests::default();
    loop {
        let (stream, _) = listener.accept().await;
        while exchanges.try_join_next().is_some() {}
        while exchanges.len() >= PLACES {
            guests.show_one_out();
            tokio::select! {
                _ = exchanges.join_next() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        let stage = Stage::default();
        let exchange = exchange(stream, TowerToHyperService::new(router.clone()), stage.clone());
        guests.welcome(stage, exchanges.spawn(exchange));
    }
}

/// Those connected, the longest first.
#[derive(Default)]
struct Guests(VecDeque<(Stage, AbortHandle)>);

impl Guests {
    fn welcome(&mut self, stage: Stage, handle: AbortHandle) {
        self.0.retain(|(_, handle)| !handle.is_finished());
        self.0.push_back((stage, handle));
    }

    /// The one that has kept us waiting for its request the longest; else the one that takes our answer the longest. Nobody
    /// for whom we are at work.
    fn show_one_out(&mut self) {
        self.0.retain(|(_, handle)| !handle.is_finished());
        let longest = |wanted: fn(&Stage) -> bool| self.0.iter().position(|(stage, _)| wanted(stage));
        let longest = longest(Stage::is_asking).or_else(|| longest(Stage::is_listening));
        if let Some((_, handle)) = longest.and_then(|position| self.0.remove(position)) {
            handle.abort();
        }
    }
}

async fn exchange<Io>(stream: Io, router: TowerToHyperService<Router>, stage: Stage)
where
    Io: Known + tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let peer = stream.peer();
    let service = service_fn(|request| answer((request, peer), &router, &stage));
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut exchange = pin!(exchange);
    let mut sent = 0;
    loop {
        match tokio::time::timeout(EXCHANGE_LIMIT, &mut exchange).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "a client's request failed"),
            // A stream goes on for as long as somebody reads it.
            Err(_) if stage.sent() > sent => sent = stage.sent(),
            Err(_) => return tracing::debug!("a client took too long"),
        }
    }
}

/// Has the router answer, once the request is here as a whole.
async fn answer(
    (request, peer): (Request<Incoming>, Peer),
    router: &TowerToHyperService<Router>,
    stage: &Stage,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err((status, why)) => return Ok(refuse(status, why)),
    };
    stage.work();
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(stage.clone());
    request.extensions_mut().insert(peer);
    let response = router.call(request).await;
    stage.listen();
    response
}

async fn read(body: Incoming) -> Result<Bytes, (StatusCode, &'static str)> {
    const TOO_LARGE: (StatusCode, &str) = (StatusCode::PAYLOAD_TOO_LARGE, "more than 64 KiB\n");
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(TOO_LARGE);
    }
    match tokio::time::timeout(BODY_LIMIT, Limited::new(body, BODY_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(TOO_LARGE),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body is not what its headers say\n")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in 3 s\n")),
    }
}

fn refuse(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(why));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
