//! Services that are left to the kernel while no backend may take a connection (`on_no_backend = "to_kernel"`).
//!
//! What is redirected is decided by address and port, not by connection: either the workers get everything for a VIP, or
//! the kernel does. So a service stays with the workers for as long as connections go on that it has: those of backends
//! that drain, and those of backends that are down where the service keeps them (`on_down = "keep"`).

use std::collections::{HashMap, HashSet};

use super::Usage;
use crate::control::standing::ServiceKey;
use crate::tables::{Backend, Fate, OnNoBackend, Service, Snapshot};

/// Who is left to the kernel.
#[derive(Debug, Default)]
pub struct Left {
    /// Of services that may be, once nothing keeps them: the first of the snapshots, up to the newest, in which no backend
    /// may take a connection.
    idle_since: HashMap<ServiceKey, u64>,
    services: HashSet<ServiceKey>,
}

impl Left {
    /// Those that are left when `snapshot` is the newest.
    pub(super) fn decide(&mut self, snapshot: &Snapshot, usage: &Usage<'_>) -> &HashSet<ServiceKey> {
        let former = std::mem::take(&mut self.idle_since);
        let idle = idle(snapshot).map(|service| {
            let key = key(service);
            (key, former.get(&key).copied().unwrap_or(snapshot.epoch))
        });
        self.idle_since = idle.collect();
        self.services = self.wanted(snapshot, usage);
        &self.services
    }

    /// Whether the last connection has ended that kept a service from being left. Nothing but the counts of connections
    /// tells when that is.
    pub fn is_due(&self, snapshot: &Snapshot, usage: &Usage<'_>) -> bool {
        self.wanted(snapshot, usage) != self.services
    }

    /// A worker that has an older snapshot may still place a connection: until all have one in which that cannot be, no count
    /// means anything. Afterwards it only falls.
    fn wanted(&self, snapshot: &Snapshot, usage: &Usage<'_>) -> HashSet<ServiceKey> {
        let is_known = |key: &ServiceKey| {
            let runs = usage.adopted > 0;
            !runs || self.idle_since.get(key).is_some_and(|since| *since <= usage.adopted)
        };
        let goes_on = |backend: &Backend| !backend.down || backend.fate == Fate::Keep;
        let left = idle(snapshot).filter(|service| {
            let mut backends = service.backends.iter().filter_map(|id| snapshot.backend(*id));
            is_known(&key(service)) && !backends.any(|backend| goes_on(backend) && usage.in_use(backend) > 0)
        });
        left.map(key).collect()
    }
}

/// The services that are the kernel's when nobody can serve, and of which that is so.
fn idle(snapshot: &Snapshot) -> impl Iterator<Item = &Service> {
    let services = snapshot.services.iter().flatten();
    services.filter(|service| service.on_no_backend == OnNoBackend::ToKernel && service.table.is_empty())
}

fn key(service: &Service) -> ServiceKey {
    (service.vip, service.protocol)
}

#[cfg(test)]
mod tests {
    use super::super::Compiler;
    use super::super::tests::topology;
    use super::*;
    use crate::config::valid::Config;
    use crate::control::standing::{BackendKey, Standing, Standings};
    use crate::control::testing::config;
    use crate::tables::{BackendId, Forwarding};

    /// A service that is the kernel's when nobody can serve, and whose backends all stand like this.
    struct Leaving {
        compiler: Compiler,
        config: Config,
        standing: Standing,
        snapshot: Snapshot,
    }

    impl Leaving {
        /// Backends serve, and are checked.
        fn new(forwarding: Forwarding) -> Self {
            let mut config = config();
            let service = &mut config.services[0];
            (service.on_no_backend, service.forwarding) = (OnNoBackend::ToKernel, forwarding);
            let mut leaving = Self {
                compiler: Compiler::default(),
                config,
                standing: Standing::UP,
                snapshot: Snapshot::default(),
            };
            assert!(leaving.is_steered(&Usage::NONE));
            leaving
        }

        /// Compiles and says whether the workers get what comes for the service.
        fn is_steered(&mut self, usage: &Usage<'_>) -> bool {
            let service = &self.config.services[0];
            let standing = |backend| (BackendKey::of(service, backend), self.standing);
            let standings = Standings(service.backends.iter().map(standing).collect());
            let (vip, topology) = (service.vip, topology(&self.config));
            let compiled = self.compiler.compile(&self.config, &topology, &standings, usage).unwrap();
            self.snapshot = compiled.snapshot;
            compiled.steering.services.iter().any(|(at, _)| (at.address, at.port) == (vip.ip(), vip.port()))
        }

        fn is_due(&self, usage: &Usage<'_>) -> bool {
            self.compiler.left().is_due(&self.snapshot, usage)
        }
    }

    const DRAINS: Standing = Standing { takes_new: false, ..Standing::UP };
    const KEPT: Standing = Standing { takes_new: false, down: true, ..Standing::UP };

    #[test]
    fn a_service_is_left_to_the_kernel_once_the_connections_that_go_on_have_ended() {
        let one = |id: BackendId| u64::from(id.0 == 1);
        for standing in [DRAINS, KEPT] {
            let mut leaving = Leaving::new(Forwarding::Nat);
            leaving.standing = standing;
            let busy = Usage { adopted: 2, open: &one, ..Usage::NONE };
            let done = Usage { open: &|_| 0, ..busy };
            assert!(leaving.is_steered(&busy), "its connection is not cut");
            assert!(!leaving.is_due(&busy));
            assert!(leaving.is_due(&done));
            assert!(!leaving.is_steered(&done));
            assert!(!leaving.is_due(&done), "that is said once");
            leaving.standing = Standing::UP;
            assert!(leaving.is_steered(&done));
        }
    }

    #[test]
    fn connections_that_end_with_their_backend_keep_no_service_from_the_kernel() {
        for fate in [Fate::Reset, Fate::Reschedule] {
            let mut leaving = Leaving::new(Forwarding::Nat);
            leaving.standing = Standing { fate, ..KEPT };
            assert!(!leaving.is_steered(&Usage { adopted: 2, open: &|_| 1, ..Usage::NONE }));
        }
    }

    #[test]
    fn a_service_is_not_left_before_the_last_worker_knows_that_nobody_serves() {
        let mut leaving = Leaving::new(Forwarding::Nat);
        leaving.standing = KEPT;
        let late = Usage { adopted: 1, ..Usage::NONE };
        assert!(leaving.is_steered(&late), "a worker may still place a connection");
        assert!(!leaving.is_due(&late));
        let known = Usage { adopted: 2, ..Usage::NONE };
        assert!(leaving.is_due(&known));
        assert!(leaving.is_steered(&late));
        assert!(
            !leaving.is_steered(&known),
            "newer snapshots in which nobody serves either need not be known"
        );
    }

    #[test]
    fn who_listens_past_the_switch_keeps_a_service_from_the_kernel() {
        let mut leaving = Leaving::new(Forwarding::Dsr);
        leaving.standing = KEPT;
        let listens = Usage { adopted: 2, active: &|_| 1, ..Usage::NONE };
        assert!(leaving.is_steered(&listens) && !leaving.is_due(&listens));
        assert!(!leaving.is_steered(&Usage { active: &|_| 0, ..listens }));
    }
}
