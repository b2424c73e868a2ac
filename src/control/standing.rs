//! How each backend stands at this moment: what health, operators and the passing of time make of what the configuration
//! says. The compiler reads it; [`super::roster`] writes it.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::config::valid::{self, AdminState};
use crate::tables::{Fate, Protocol};

/// Names a service, through reloads that rename it.
pub type ServiceKey = (SocketAddr, Protocol);

/// The key of a service.
pub fn service_key(service: &valid::Service) -> ServiceKey {
    (service.vip, service.protocol)
}

/// Names a backend of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BackendKey {
    /// The service.
    pub service: ServiceKey,
    /// The backend's address.
    pub address: SocketAddr,
}

impl BackendKey {
    /// The key of `backend` in `service`.
    pub fn of(service: &valid::Service, backend: &valid::Backend) -> Self {
        Self { service: service_key(service), address: backend.address }
    }
}

/// How one backend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It may take new connections, if it has a weight.
    pub takes_new: bool,
    /// It does not serve at all: a SYN that it has not answered goes elsewhere.
    pub down: bool,
    /// Percent of its weight that count: less while it starts slowly, or its agent says so. 0 takes nothing.
    pub share: u8,
    /// What becomes of the connections that it has.
    pub fate: Fate,
}

impl Standing {
    /// As good as can be.
    pub const UP: Self = Self { takes_new: true, down: false, share: 100, fate: Fate::Keep };

    /// What the configuration alone makes of a backend.
    pub fn configured(service: &valid::Service, backend: &valid::Backend) -> Self {
        Self::wanted(service.state.max(backend.state), service.on_down)
    }

    /// What an operator's wish alone makes of a backend.
    pub const fn wanted(state: AdminState, on_down: Fate) -> Self {
        match state {
            AdminState::Enabled => Self::UP,
            AdminState::Drain => Self { takes_new: false, ..Self::UP },
            AdminState::Disabled => Self { takes_new: false, down: true, fate: on_down, ..Self::UP },
        }
    }
}

/// How all backends stand. Of one that is not listed, the configuration says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings(pub HashMap<BackendKey, Standing>);

impl Standings {
    /// How this backend stands.
    pub fn of(&self, service: &valid::Service, backend: &valid::Backend) -> Standing {
        let known = self.0.get(&BackendKey::of(service, backend));
        known.copied().unwrap_or_else(|| Standing::configured(service, backend))
    }
}
