//! The command line's end of the control socket.

use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

mod stream;

pub use stream::{Streamed, stream};

/// Until the answer must be complete.
const LIMIT: Duration = Duration::from_secs(10);
/// Until an order must be carried out: a large configuration takes a while, and one is done after the other. A little less
/// than what the other end gives an exchange.
const ORDER_LIMIT: Duration = Duration::from_secs(24);
/// Largest answer: 2^28 bytes, above what the most backends a switch can have take.
const ANSWER_BYTES: usize = 1 << 28;

/// Why there is no answer; each says what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No such file.
    #[error("{0} does not exist: is xswitch running? Another `control_socket` is named with --socket")]
    Missing(PathBuf),
    /// A file, but nobody behind it.
    #[error("nobody listens at {0}: xswitch was killed, or is only starting")]
    Nobody(PathBuf),
    /// A file of another kind.
    #[error("{0} is no socket: --socket takes what `control_socket` in [switch] names")]
    NotASocket(PathBuf),
    /// Not for this user.
    #[error("no permission to use {0}: run as root, or as a member of the socket's group")]
    Denied(PathBuf),
    /// It does not answer in time.
    #[error("no answer from {0} within {1} s")]
    Silence(PathBuf, u64),
    /// It will not do what was asked, and says why.
    #[error("{0}")]
    Refused(String),
    /// It has no service of this name.
    #[error("{0}")]
    NoService(String),
    /// The configuration file that it was to read cannot be used: all that is wrong with it.
    #[error("{0}")]
    Invalid(String),
    /// It answers with an error.
    #[error("{path} answered {status}: {text}")]
    Status {
        /// What was asked for.
        path: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// It answers something else.
    #[error("not an answer of this version of xswitch: {0}")]
    Garbage(String),
    /// Anything else.
    #[error("cannot talk to {0}: {1}")]
    Other(PathBuf, String),
}

/// Asks the switch at `socket` for `path`, and waits.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    wait_for(socket, path, exchange(socket, path), LIMIT)
}

/// Has the switch at `socket` do what `body` says, and waits.
pub fn post<T: DeserializeOwned>(socket: &Path, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
    let body = serde_json::to_vec(body).map_err(|error| ClientError::Garbage(error.to_string()))?;
    let request = hyper::Request::post(path).header(hyper::header::CONTENT_TYPE, "application/json");
    wait_for(socket, path, send(socket, request, body.into()), ORDER_LIMIT)
}

fn wait_for<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    exchange: impl Future<Output = Result<(u16, Bytes), ClientError>>,
    limit: Duration,
) -> Result<T, ClientError> {
    let other = |error: std::io::Error| ClientError::Other(socket.to_owned(), error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(other)?;
    let exchange = runtime.block_on(async { tokio::time::timeout(limit, exchange).await });
    let silence = |_| ClientError::Silence(socket.to_owned(), limit.as_secs());
    let (status, body) = exchange.map_err(silence)??;
    match status {
        200 => serde_json::from_slice(&body).map_err(|error| ClientError::Garbage(error.to_string())),
        status => Err(refused(path, status, &body)),
    }
}

/// What an answer means that is none.
fn refused(path: &str, status: u16, body: &[u8]) -> ClientError {
    let text = String::from_utf8_lossy(body).trim().to_owned();
    match status {
        409 => ClientError::Refused(text),
        422 => ClientError::Invalid(text),
        status => ClientError::Status { path: path.to_owned(), status, text },
    }
}

/// One question and its answer: status and body.
pub(super) async fn exchange(socket: &Path, path: &str) -> Result<(u16, Bytes), ClientError> {
    send(socket, hyper::Request::get(path), Bytes::new()).await
}

async fn send(
    socket: &Path,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<(u16, Bytes), ClientError> {
    let answer = begin(socket, request, body).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| ClientError::Other(socket.to_owned(), error.to_string()))?;
    Ok((status, body.to_bytes()))
}

/// One question, and the beginning of its answer.
async fn begin(
    socket: &Path,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<hyper::Response<hyper::body::Incoming>, ClientError> {
    let other = |error: String| ClientError::Other(socket.to_owned(), error);
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => ClientError::Missing(socket.to_owned()),
        // What the kernel says of any file that is no socket, too.
        ErrorKind::ConnectionRefused if is_another_file(socket) => ClientError::NotASocket(socket.to_owned()),
        ErrorKind::ConnectionRefused => ClientError::Nobody(socket.to_owned()),
        ErrorKind::PermissionDenied => ClientError::Denied(socket.to_owned()),
        _ => other(error.to_string()),
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| other(error.to_string()))?;
    // Ends with the runtime.
    tokio::spawn(connection);
    let request = request
        .header(hyper::header::HOST, "xswitch")
        .body(Full::new(body))
        .map_err(|error| other(error.to_string()))?;
    sender.send_request(request).await.map_err(|error| other(error.to_string()))
}

fn is_another_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket())
}
