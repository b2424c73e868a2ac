//! Backends that the configuration does not list but says where to find.
//!
//! The loop in [`super::follow`] says what is to be watched; what comes back are [`Found`] sets, one for each change. A
//! source that fails, or says less than is believable, changes nothing: the last good set stays.
//!
//! | file | holds |
//! |---|---|
//! | [`judge`] | what is believed of an answer |
//! | [`dns`] | names: A, AAAA and SRV records |
//! | [`file`] | a file with a backend per line |

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::standing::ServiceKey;
use crate::config::valid::{self, Source};
use judge::{Judge, Seen};

mod dns;
mod file;
mod judge;

/// Backends of one source at the most: a name server's mistake is not to fill the tables.
pub const MAX_FOUND: usize = 10_000;

/// What a source says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose backends they are.
    pub service: ServiceKey,
    /// All of them, in ascending order of address, each once.
    pub backends: Vec<valid::Backend>,
}

/// How one source stands, for showing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Watched {
    /// `dns NAME:PORT`, `srv NAME` or `file PATH`.
    pub source: String,
    /// How many backends the last good answer had.
    pub backends: usize,
    /// Why the last look changed nothing; none if it was good.
    pub problem: Option<String>,
    /// Seconds since the last good answer; none before the first.
    pub age_s: Option<u64>,
}

/// The sources.
#[derive(Debug)]
pub struct Discovery {
    found: UnboundedSender<Found>,
    watchers: Mutex<HashMap<ServiceKey, Watcher>>,
}

/// One source that is watched. Its task ends with this value.
#[derive(Debug)]
struct Watcher {
    wanted: valid::Discover,
    resolvers: Vec<SocketAddr>,
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discovery {
    /// Nothing to be watched yet. Within a Tokio runtime only; ends with this value.
    pub fn start() -> (Self, UnboundedReceiver<Found>) {
        let (found, receiver) = unbounded_channel();
        (Self { found, watchers: Mutex::default() }, receiver)
    }

    /// From now on these are watched, and no others; DNS servers are `resolvers`, or the system's where there are none. What
    /// is watched as before goes on as before. Within a Tokio runtime only.
    pub fn set(&self, wanted: Vec<(ServiceKey, valid::Discover)>, resolvers: &[SocketAddr]) {
        let mut watchers = self.watchers();
        let mut former = std::mem::take(&mut *watchers);
        for (service, wanted) in wanted {
            // A file does not care who resolves names.
            let resolvers: &[_] = if matches!(wanted.source, Source::File { .. }) { &[] } else { resolvers };
            let watcher = match former.remove(&service) {
                Some(same) if same.wanted == wanted && same.resolvers == resolvers => same,
                other => self.watch(service, wanted, resolvers, other),
            };
            watchers.insert(service, watcher);
        }
    }

    fn watch(
        &self,
        service: ServiceKey,
        wanted: valid::Discover,
        resolvers: &[SocketAddr],
        former: Option<Watcher>,
    ) -> Watcher {
        // The same source looked at in another way still has what it had: fewer are not believed all of a sudden.
        let known = former.filter(|former| former.wanted.source == wanted.source);
        let seen = known.map_or_else(Default::default, |former| Arc::clone(&former.seen));
        let judge = Judge::new(service, &wanted, Arc::clone(&seen), self.found.clone());
        let task = match wanted.source.clone() {
            Source::File { path } => tokio::spawn(file::watch(path, wanted.weight, judge)),
            source => tokio::spawn(dns::watch(source, wanted.clone(), resolvers.to_vec(), judge)),
        };
        Watcher { wanted, resolvers: resolvers.to_vec(), seen, task: task.abort_handle() }
    }

    /// How the sources stand.
    pub fn watched(&self) -> HashMap<ServiceKey, Watched> {
        let watchers = self.watchers();
        let shown = watchers.iter().map(|(service, watcher)| {
            let seen = judge::lock(&watcher.seen);
            let watched = Watched {
                source: name(&watcher.wanted.source),
                backends: seen.backends,
                problem: seen.problem.clone(),
                age_s: seen.good.map(|good| good.elapsed().as_secs()),
            };
            (*service, watched)
        });
        shown.collect()
    }

    fn watchers(&self) -> MutexGuard<'_, HashMap<ServiceKey, Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source, as it is shown.
fn name(source: &Source) -> String {
    match source {
        Source::Dns { name, port } => format!("dns {name}:{port}"),
        Source::Srv { name } => format!("srv {name}"),
        Source::File { path } => format!("file {}", path.display()),
    }
}

#[cfg(test)]
mod testing {
    use std::time::Duration;

    use super::*;
    use crate::config::valid::{Backend, Discover};
    use crate::tables::Protocol;

    /// The service that tests discover backends for.
    pub fn service(vip: &str) -> ServiceKey {
        (vip.parse().unwrap(), Protocol::Tcp)
    }

    /// Looks every second at least and five at most.
    pub fn wanted(source: Source, min_backends: u32) -> Discover {
        Discover { source, weight: 7, min_backends, interval_s: (1, 5) }
    }

    /// A backend with weight and whether it is a backup.
    pub fn backend(address: &str, weight: u32, backup: bool) -> Backend {
        Backend { backup, ..Backend::new(address.parse().unwrap(), weight) }
    }

    /// The next set, which must come soon.
    pub async fn next(found: &mut UnboundedReceiver<Found>) -> Vec<Backend> {
        let soon = tokio::time::timeout(Duration::from_secs(20), found.recv());
        soon.await.expect("nothing was found in 20 s").expect("the watcher is there").backends
    }

    /// The addresses of the next set.
    pub async fn next_addresses(found: &mut UnboundedReceiver<Found>) -> Vec<String> {
        next(found).await.iter().map(|backend| backend.address.to_string()).collect()
    }

    /// Waits for a problem.
    pub async fn problem(discovery: &Discovery, service: &ServiceKey) -> String {
        for _ in 0..400 {
            if let Some(problem) = discovery.watched()[service].problem.clone() {
                return problem;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no problem in 20 s");
    }
}
