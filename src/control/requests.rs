//! What the endpoints ask of the loop in [`super::follow`], which alone knows and changes who serves.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::discover::Watched;
use super::health::{CheckDurations, Checked, Pace};
use super::orders::{Order, Outcome, Refusal, Reload, Reloads};
use super::roster::{Shown, Summary};
use super::standing::{BackendKey, ServiceKey};

/// One question, and where its answer goes.
#[derive(Debug)]
pub enum Request {
    /// A change at run time.
    Order(Order, oneshot::Sender<Result<Outcome, Refusal>>),
    /// The configuration file is to be read again. Refused, nothing has changed.
    Reload(Reload, oneshot::Sender<Result<Outcome, Refusal>>),
    /// Who serves, and why.
    Look(oneshot::Sender<View>),
}

/// Who serves, and why: what status adds to the counters.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// How each backend stands.
    pub shown: HashMap<BackendKey, Shown>,
    /// How each service stands.
    pub services: HashMap<ServiceKey, Summary>,
    /// How the checks of each backend stand.
    pub checked: HashMap<BackendKey, Checked>,
    /// How sources of backends stand.
    pub watched: HashMap<ServiceKey, Watched>,
    /// How checking keeps up.
    pub pace: Pace,
    /// How long the checks of each service took.
    pub durations: HashMap<ServiceKey, CheckDurations>,
    /// What became of reloads.
    pub reloads: Reloads,
}
