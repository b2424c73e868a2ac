//! The control socket, the metrics endpoint and the status page: where they listen; and what the first two answer.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};

use super::capture::Captures;
use super::client::{self, ClientError};
use super::connections::Walker;
use super::dataplane::DataPlane;
use super::metrics;
use super::orders::{Order, Outcome, Refusal, Reload};
use super::rates::Sampler;
use super::requests::{Request, View};
use super::serve::Peer;
use super::status::{Facts, Limits, Status};
use crate::tables::Snapshot;

pub(super) mod ask;
mod capture;

/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;
/// Of the folder that is made for it: it is the socket that is guarded.
const FOLDER_MODE: u32 = 0o755;
/// How long somebody who accepts connections may take to answer. A process that was killed is silent, too, until the
/// kernel has closed its sockets.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Between two attempts at that.
const ANSWER_PAUSE: Duration = Duration::from_millis(50);
/// Until the loop must have said who serves; after that status repeats what it said last.
const VIEW_LIMIT: Duration = Duration::from_secs(2);

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
        "cannot listen at {1}: the address is in use; change `{0}` in [switch], or set it to \"\" for none"
    )]
    InUse(&'static str, SocketAddr),
    /// Something else about the port.
    #[error("cannot listen at {1}: {2}; `{0}` in [switch] says where, \"\" is off")]
    Listen(&'static str, SocketAddr, std::io::Error),
}

/// The control socket. Its file goes when this does, unless another instance has put its own there meanwhile.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Option<UnixListener>,
    path: PathBuf,
    inode: Option<u64>,
    /// That it lies in, if it was made for it.
    folder: Option<PathBuf>,
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
        let folder = make_folder(path).map_err(failed)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let mut socket = Self { listener: Some(listener), path: path.to_owned(), inode: None, folder };
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
        if let Some(folder) = &self.folder {
            // It stays where others have put something there.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Makes the folder for a socket where only that is missing, as it is for the default after the machine was started.
fn make_folder(path: &Path) -> std::io::Result<Option<PathBuf>> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(None) };
    match std::fs::DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Ok(()) => Ok(Some(folder.to_owned())),
        // The error of listening there says more.
        Err(error) if [ErrorKind::AlreadyExists, ErrorKind::NotFound].contains(&error.kind()) => Ok(None),
        Err(error) => Err(error),
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

/// Opens a TCP endpoint that this key of `[switch]` asks for.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, ApiError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => ApiError::InUse(key, address),
        _ => ApiError::Listen(key, address, error),
    })
}

/// What the loop said last, and when. Without it, counters would seem to begin anew, and backends to be down, whenever the
/// loop is busy for long.
#[derive(Debug, Clone, Default)]
pub struct LastView(Arc<Mutex<Option<Dated>>>);

/// A view, and when it came.
type Dated = (Instant, Arc<View>);

impl LastView {
    fn keep(&self, view: View) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::new(view)));
    }

    /// The view and how old it is; an empty one and none before there is any.
    fn get(&self) -> (Arc<View>, Option<Duration>) {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((at, view)) => (Arc::clone(view), Some(at.elapsed())),
            None => (Arc::default(), None),
        }
    }
}

/// What the answers are made from.
#[derive(Clone)]
pub struct Source {
    /// The workers.
    pub dataplane: Arc<dyn DataPlane>,
    /// The loop that knows and changes who serves; none where there is none.
    pub requests: Option<mpsc::Sender<Request>>,
    /// What that loop said last.
    pub last_view: LastView,
    /// Who looks through the connections.
    pub walker: Walker,
    /// Who sees frames.
    pub captures: Captures,
    /// What the counters were a moment ago.
    pub sampler: Sampler,
    /// The newest snapshot.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// When the switch started.
    pub started: Instant,
    /// Sizes of the connection tables.
    pub limits: Limits,
}

impl Source {
    /// The status of this moment; what only the loop knows is as it said last, while it has other things to do.
    pub async fn status(&self) -> Status {
        if let Some(requests) = &self.requests
            && let Ok(Some(view)) = tokio::time::timeout(VIEW_LIMIT, look(requests)).await
        {
            self.last_view.keep(view);
        }
        let (view, view_age) = self.last_view.get();
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let uptime = self.started.elapsed();
        let before = self.sampler.before(Instant::now());
        let (snapshot, view, before) = (&snapshot, &view, before.as_deref());
        let facts = Facts { snapshot, uptime, limits: self.limits, view, view_age, before };
        Status::collect(facts, &*self.dataplane)
    }

    /// The newest snapshot.
    fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Has the loop do something. Refused, nothing has changed: 409, or 422 where it is the configuration file that cannot
    /// be used. A body that is not understood is answered with 400, so that 422 means nothing else.
    pub(super) async fn ask<T>(
        &self,
        body: Result<Json<T>, JsonRejection>,
        request: impl FnOnce(T, oneshot::Sender<Result<Outcome, Refusal>>) -> Request,
    ) -> Result<Json<Outcome>, (StatusCode, String)> {
        let gone = || (StatusCode::SERVICE_UNAVAILABLE, "the switch is stopping\n".to_owned());
        let Json(body) = body.map_err(|error| (StatusCode::BAD_REQUEST, error.body_text() + "\n"))?;
        let (answer, outcome) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(request(body, answer)).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?.map(Json).map_err(|refusal| {
            let status = match refusal {
                Refusal::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
                Refusal::Conflict(_) => StatusCode::CONFLICT,
            };
            (status, format!("{refusal}\n"))
        })
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
        .route("/v1/connections", post(ask::list))
        .route("/v1/connections/kill", post(ask::kill))
        .route("/v1/trace", post(ask::trace))
        .route("/v1/capture", post(capture::capture))
        .fallback(unknown)
        .with_state(source)
}

/// Routes of the metrics endpoint.
pub fn metrics_routes(source: Source) -> Router {
    Router::new().route("/metrics", get(prometheus)).fallback(unknown).with_state(source)
}

async fn status(State(source): State<Source>) -> impl IntoResponse {
    Json(source.status().await)
}

async fn order(
    State(source): State<Source>,
    Extension(peer): Extension<Peer>,
    order: Result<Json<Order>, JsonRejection>,
) -> impl IntoResponse {
    tracing::info!(%peer, "an order comes in");
    source.ask(order, Request::Order).await
}

async fn reload(
    State(source): State<Source>,
    Extension(peer): Extension<Peer>,
    reload: Result<Json<Reload>, JsonRejection>,
) -> impl IntoResponse {
    tracing::info!(%peer, "a reload is asked for");
    source.ask(reload, Request::Reload).await
}

async fn prometheus(State(source): State<Source>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&source.status().await))
}

async fn unknown() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "no such path\n")
}
