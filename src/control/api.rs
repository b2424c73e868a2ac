//! The control socket and the metrics endpoint: where they listen and what they answer.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};

use super::client::{self, ClientError};
use super::dataplane::DataPlane;
use super::metrics;
use super::orders::{Order, Outcome, Reload};
use super::requests::{Request, View};
use super::status::{Facts, Limits, Status};
use crate::tables::Snapshot;

/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;
/// How long somebody who accepts connections may take to answer. A process that was killed is silent, too, until the
/// kernel has closed its sockets.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Between two attempts at that.
const ANSWER_PAUSE: Duration = Duration::from_millis(50);
/// Until the loop must have said who serves; status does without after that.
const VIEW_LIMIT: Duration = Duration::from_secs(2);
/// Largest request body: an order is a few hundred bytes.
const BODY_BYTES: usize = 1 << 16;

/// Why an endpoint cannot be opened; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Another instance answers there.
    #[error("another xswitch answers at {0}: stop it, or give this one another `control_socket` in [switch]")]
    Running(PathBuf),
    /// Something else lies there.
    #[error("{0} exists and is not a socket: remove it, or change `control_socket` in [switch]")]
    NotASocket(PathBuf),
    /// The file system says no.
    #[error("cannot listen at {0}: {1}; `control_socket` in [switch] says where")]
    Socket(PathBuf, std::io::Error),
    /// The port is taken.
    #[error(
        "cannot listen at {0}: the address is in use; change `metrics_listen` in [switch], or set it to \"\" for none"
    )]
    MetricsInUse(SocketAddr),
    /// Something else about the port.
    #[error("cannot listen at {0}: {1}; `metrics_listen` in [switch] says where, \"\" is off")]
    Metrics(SocketAddr, std::io::Error),
}

/// The control socket. Its file goes when this does, unless another instance has put its own there meanwhile.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Option<UnixListener>,
    path: PathBuf,
    inode: Option<u64>,
}

impl ControlSocket {
    /// Listens. A file left behind by an instance that was killed is replaced.
    pub async fn bind(path: &Path) -> Result<Self, ApiError> {
        let failed = |error| ApiError::Socket(path.to_owned(), error);
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(ApiError::NotASocket(path.to_owned())),
            Ok(_) if is_answered(path).await => return Err(ApiError::Running(path.to_owned())),
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let mut socket = Self { listener: Some(listener), path: path.to_owned(), inode: None };
        socket.inode = inode(path);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(socket)
    }

    /// The listener, once.
    pub fn take(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.inode.is_some() && self.inode == inode(&self.path) {
            // Nothing is lost if it stays: the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

/// Whether another instance lives there. One that refuses connections is gone; one that accepts them, or whose queue is
/// full, has [`ANSWER_LIMIT`] to answer.
async fn is_answered(path: &Path) -> bool {
    let attempts = async {
        loop {
            match client::exchange(path, "/").await {
                Ok(_) => return true,
                Err(ClientError::Other(..)) => tokio::time::sleep(ANSWER_PAUSE).await,
                Err(_) => return false,
            }
        }
    };
    tokio::time::timeout(ANSWER_LIMIT, attempts).await.unwrap_or(false)
}

/// Opens the metrics endpoint.
pub async fn bind_metrics(address: SocketAddr) -> Result<TcpListener, ApiError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => ApiError::MetricsInUse(address),
        _ => ApiError::Metrics(address, error),
    })
}

/// What the answers are made from.
#[derive(Clone)]
pub struct Source {
    /// The workers.
    pub dataplane: Arc<dyn DataPlane>,
    /// The loop that knows and changes who serves; none where there is none.
    pub requests: Option<mpsc::Sender<Request>>,
    /// The newest snapshot.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// When the switch started.
    pub started: Instant,
    /// Sizes of the connection tables.
    pub limits: Limits,
}

impl Source {
    /// The status of this moment. Without the loop's answer, or while it has other things to do, it says less.
    pub async fn status(&self) -> Status {
        let view = match &self.requests {
            Some(requests) => tokio::time::timeout(VIEW_LIMIT, look(requests)).await.ok().flatten(),
            None => None,
        };
        let view = view.unwrap_or_default();
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let facts =
            Facts { snapshot: &snapshot, uptime: self.started.elapsed(), limits: self.limits, view: &view };
        Status::collect(facts, &*self.dataplane)
    }

    /// Has the loop do something. Refused, nothing has changed.
    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<Outcome, String>>) -> Request,
    ) -> Result<Json<Outcome>, (StatusCode, String)> {
        let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the switch is stopping\n".to_owned());
        let (answer, outcome) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(request(answer)).await.map_err(|_| gone())?;
        match outcome.await.map_err(|_| gone())? {
            Ok(outcome) => Ok(Json(outcome)),
            Err(error) => Err((StatusCode::CONFLICT, error + "\n")),
        }
    }
}

async fn look(requests: &mpsc::Sender<Request>) -> Option<View> {
    let (answer, view) = oneshot::channel();
    requests.send(Request::Look(answer)).await.ok()?;
    view.await.ok()
}

/// Routes of the control socket.
pub fn control_routes(source: Source) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/orders", post(order))
        .route("/v1/reload", post(reload))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(source)
}

/// Routes of the metrics endpoint.
pub fn metrics_routes(source: Source) -> Router {
    Router::new()
        .route("/metrics", get(prometheus))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(source)
}

async fn status(State(source): State<Source>) -> impl IntoResponse {
    Json(source.status().await)
}

async fn order(State(source): State<Source>, Json(order): Json<Order>) -> impl IntoResponse {
    source.ask(|answer| Request::Order(order, answer)).await
}

async fn reload(State(source): State<Source>, Json(reload): Json<Reload>) -> impl IntoResponse {
    source.ask(|answer| Request::Reload(reload, answer)).await
}

async fn prometheus(State(source): State<Source>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&source.status().await))
}

async fn unknown() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "no such path\n")
}
