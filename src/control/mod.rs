//! The control plane: configuration and network in, snapshots and steering out. Threads, locks, async and allocation are
//! fine here; the workers notice nothing but a new snapshot in their mailbox.
//!
//! ```text
//!  configuration ──┐
//!                  ├─► topology ─► compile ─┬─► snapshot ─► mailboxes (workers)
//!  netlink ────────┘       ▲                └─► steering ─► XDP maps (boot)
//!     ▲                    │
//!     └─ neighbors ◄───────┴─ events of the workers        status ◄─ counters
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`network`], [`netlink`] | the kernel's view, and who keeps it current |
//! | [`topology`] | that view with the configuration's static facts laid over it |
//! | [`compile`], [`rows`], [`steering`] | configuration and topology to snapshot and steering |
//! | [`ports`] | who else uses the SNAT ports |
//! | [`neighbors`], [`prober`], [`announce`], [`frames`] | when to ask for a MAC address, when to tell ours, and how |
//! | [`follow`] | the loop that reacts to all of it |
//! | [`fill`] | what is said of a table that fills up |
//! | [`supervisor`] | what the service manager is told |
//! | [`dataplane`] | what the loop asks of the workers' owner |
//! | [`roster`], [`standing`] | who serves |
//! | [`health`], [`discover`] | who can, and who there is |
//! | [`orders`], [`requests`] | what operators change while it runs |
//! | [`api`], [`serve`], [`status`], [`rates`], [`metrics`] | what others may ask |
//! | [`page`] | the same in a browser |
//! | [`connections`], [`trace`] | the same of connections, and of one packet |
//! | [`capture`] | frames as they come and as they leave, as pcapng |
//! | [`client`] | the command line's end |

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::config::Loaded;
use crate::config::edit::Edit;
use crate::config::valid::Config;
use crate::sys::packet::PacketSender;
use crate::tables::{Snapshot, Steering};
use api::{ApiError, ControlSocket, LastView, Source};
use capture::Captures;
use compile::{CompileError, Compiler, Usage};
use connections::Walker;
use dataplane::DataPlane;
use follow::Follower;
use netlink::{Netlink, NetlinkError};
use network::NetworkView;
use page::token::{Token, TokenError, WithToken};
use ports::PortsError;
use rates::Sampler;
use standing::Standings;
use status::Limits;
use supervisor::Supervisor;
use topology::Topology;

pub mod announce;
pub mod api;
pub mod capture;
pub mod client;
pub mod compile;
pub mod connections;
pub mod dataplane;
pub mod discover;
pub mod fill;
pub mod follow;
pub mod frames;
pub mod health;
pub mod metrics;
pub mod neighbors;
pub mod netlink;
pub mod network;
pub mod orders;
pub mod page;
pub mod ports;
pub mod prober;
pub mod rates;
pub mod requests;
pub mod roster;
pub mod rows;
pub mod serve;
pub mod standing;
pub mod status;
pub mod steering;
pub mod supervisor;
#[cfg(test)]
mod testing;
pub mod topology;
pub mod trace;

/// Requests that may wait for the loop; the next ones wait with whoever makes them.
const REQUESTS: usize = 64;

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The kernel does not tell us about the network.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// No snapshot comes out of it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The SNAT ports are somebody else's.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// Nobody could ask us.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nobody could have the page's token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An interface of the configuration does not exist.
    #[error("there is no interface {0}; `interfaces` in [switch] names those to use")]
    NoInterface(String),
}

/// The configuration's file. Errors are what the user should read.
pub trait ConfigFile: Send {
    /// A reload begins that is no dry run: reads what else belongs to the configuration again. What the user should know of it.
    fn refresh(&mut self) -> Option<String> {
        None
    }

    /// Reads it again.
    fn load(&mut self) -> Result<Loaded, String>;

    /// Writes changes into it.
    fn save(&mut self, edits: &[Edit]) -> Result<(), String>;
}

/// A configuration that comes from elsewhere, and cannot be written.
impl<F: FnMut() -> Result<Config, String> + Send> ConfigFile for F {
    fn load(&mut self) -> Result<Loaded, String> {
        self().map(|config| Loaded { config, warnings: Default::default() })
    }

    fn save(&mut self, _: &[Edit]) -> Result<(), String> {
        Err("there is no file".to_owned())
    }
}

/// What is decided once, before workers exist, and followed from then on.
#[derive(Debug)]
pub struct State {
    config: Config,
    view: NetworkView,
    topology: Topology,
    compiler: Compiler,
    snapshot: Arc<Snapshot>,
    steering: Steering,
    wanted: Vec<compile::Wanted>,
}

/// The control plane, ready to run: the endpoints are open, the first snapshot is compiled.
#[derive(Debug)]
pub struct Control {
    state: State,
    netlink: Netlink,
    socket: ControlSocket,
    metrics: Option<TcpListener>,
    page: Option<(TcpListener, Arc<Token>)>,
    started: Instant,
    hangup: Option<Signal>,
    sender: Option<PacketSender>,
    supervisor: Supervisor,
}

impl Control {
    /// Opens the endpoints, reads the network and compiles the first snapshot. Everything that can be wrong at start is
    /// found here, before a worker runs. Within a Tokio runtime only.
    pub async fn prepare(config: Config) -> Result<Self, ControlError> {
        // First of all: until somebody listens for it, SIGHUP ends the process.
        let hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP will not reload"))
            .ok();
        let socket = ControlSocket::bind(&config.switch.control_socket).await?;
        let metrics = match config.switch.metrics_listen {
            Some(address) => Some(api::bind("metrics_listen", address).await?),
            None => None,
        };
        let page = match config.switch.status_listen {
            Some(address) => Some((
                api::bind("status_listen", address).await?,
                Arc::new(Token::read(config.switch.status_token_file.as_deref())?),
            )),
            None => None,
        };
        if let Some(address) = config.switch.status_listen.filter(|address| !address.ip().is_loopback()) {
            tracing::warn!(%address, "whoever reaches the status page sees services, backends and clients");
        }
        // Opened here and not where it is used, so that it is older than the XDP programs' links: after a kill the kernel
        // closes the youngest descriptors first, and a packet socket takes it long.
        let sender = PacketSender::open()
            .inspect_err(|error| tracing::warn!(%error, "addresses cannot be announced: no packet socket"))
            .ok();
        let supervisor = Supervisor::from_environment();
        let netlink = Netlink::open()?;
        let view = netlink.dump().await?;
        let topology = Topology::new(&config, &view);
        if let Some(port) = topology.ports.iter().find(|port| port.ifindex.is_none()) {
            return Err(ControlError::NoInterface(port.interface.name.clone()));
        }
        ports::check(&config, &view)?;
        let mut compiler = Compiler::default();
        let compiled = compiler.compile(&config, &topology, &Standings::default(), &Usage::NONE)?;
        let state = State {
            config,
            view,
            topology,
            compiler,
            snapshot: Arc::new(compiled.snapshot),
            steering: compiled.steering,
            wanted: compiled.wanted,
        };
        let started = Instant::now();
        Ok(Self { state, netlink, socket, metrics, page, started, hangup, sender, supervisor })
    }

    /// The first snapshot, for workers to start with.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state.snapshot)
    }

    /// The first steering, for XDP programs to be attached with once the workers run.
    pub fn steering(&self) -> &Steering {
        &self.state.steering
    }

    /// Answers requests, follows the network and reloads on SIGHUP, until `shutdown` is ready. The control socket's file
    /// is gone when this returns.
    pub async fn run(
        mut self,
        dataplane: Arc<dyn DataPlane>,
        mut file: Box<dyn ConfigFile>,
        shutdown: impl Future<Output = ()>,
    ) {
        let (publisher, snapshot) = watch::channel(self.snapshot());
        let switch = &self.state.config.switch;
        let (requests, asked) = mpsc::channel(REQUESTS);
        let source = Source {
            dataplane: Arc::clone(&dataplane),
            requests: Some(requests),
            last_view: LastView::default(),
            walker: Walker::default(),
            captures: Captures::default(),
            sampler: Sampler::default(),
            snapshot,
            started: self.started,
            limits: Limits { v4: switch.max_connections, v6: switch.max_connections_ipv6 },
        };
        // Aborted when this function returns: the set is dropped.
        let mut endpoints = tokio::task::JoinSet::new();
        if let Some(listener) = self.socket.take() {
            endpoints.spawn(serve::serve(listener, api::control_routes(source.clone())));
        }
        if let Some(listener) = self.metrics.take() {
            endpoints.spawn(serve::serve(listener, api::metrics_routes(source.clone())));
        }
        if let Some((listener, token)) = self.page.take() {
            file = Box::new(WithToken { file, token: Arc::clone(&token) });
            endpoints.spawn(serve::serve(listener, page::routes(source.clone(), token)));
        }
        endpoints.spawn(source.sampler.run(Arc::clone(&dataplane), source.snapshot));
        let supervisor = self.supervisor;
        endpoints.spawn(supervisor.clone().feed(Arc::clone(&dataplane)));
        let told = (self.netlink, supervisor.clone());
        let follower = Follower::new(self.state, told, self.sender, dataplane, publisher, asked);
        tokio::select! {
            () = follower.run(file, self.hangup) => {}
            () = shutdown => {}
        }
        supervisor.stopping();
    }
}
