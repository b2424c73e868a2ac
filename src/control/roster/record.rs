//! What is out of the ordinary about one backend, and how it stands because of that.
//!
//! ```text
//!                  disabled, check failed,                                  slow_start_s
//!                  agent: down, maint                                       have passed
//!   up ───────────────────────────────────► out ──────────────► starting ──────────────► up
//!    │                                       ▲   all is well
//!    │ drain, agent: drain, left the file    │
//!    ├──────────────────────────► draining ──┘
//!    │                               │ drain_timeout_s have passed
//!    │      enabled                  ▼
//!    └◄─────────────────── drained: connections are reset
//! ```

use std::time::{Duration, Instant};

use crate::config::valid::{self, AdminState, Backend};
use crate::control::health::{Agent, Wish};
use crate::control::standing::Standing;
use crate::tables::Fate;

/// A backend that left is not taken for idle before: a handshake may be under way that nobody counts yet.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// How long the connections that a backend has after its drain timeout are reset before it is gone: those whose clients are
/// silent until then end by their timeouts.
pub(super) const RESETTING: Duration = Duration::from_secs(5);
/// Between two looks at whether a backend that leaves still has connections.
const LOOK: Duration = Duration::from_millis(100);
/// A starting backend grows by steps of ten percent, from ten to a hundred.
const STEPS: u128 = 9;

/// What a service lays down for its backends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// As the file has it.
    pub service: &'a valid::Service,
    /// What the operator wants of the whole service: the file's word, or an order.
    pub state: AdminState,
    /// Since when the whole service drains.
    pub draining: Option<Instant>,
}

impl Terms<'_> {
    /// When connections are reset that drain since then.
    pub fn deadline(&self, since: Instant) -> Option<Instant> {
        let seconds = u64::from(self.service.drain_timeout_s);
        (seconds > 0).then(|| since + Duration::from_secs(seconds))
    }

    /// Over how long a backend grows.
    fn slow_start(&self) -> Duration {
        Duration::from_secs(u64::from(self.service.slow_start_s))
    }
}

/// A backend that neither the file nor discovery has any longer.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    /// As it was.
    pub backend: Backend,
    /// Since when.
    pub since: Instant,
    /// Whether it was discovered.
    pub discovered: bool,
}

/// What is out of the ordinary about one backend. Of most there is none.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// An operator's order.
    pub state: Option<AdminState>,
    /// An operator's order.
    pub weight: Option<u32>,
    /// Its checks fail: why.
    pub down: Option<String>,
    /// What its agent said.
    pub agent: Agent,
    /// It is on its way out.
    pub leaving: Option<Leaving>,
    /// Since when it drains, for reasons of its own.
    pub draining: Option<Instant>,
    /// Since when it grows.
    pub growing: Option<Instant>,
    /// It did not serve when this was looked at last.
    pub out: bool,
    /// How it stood when this was looked at last: what the caller knows.
    pub told: Standing,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            state: None,
            weight: None,
            down: None,
            agent: Agent::default(),
            leaving: None,
            draining: None,
            growing: None,
            out: false,
            told: Standing::UP,
        }
    }
}

impl Record {
    /// What the operator wants of this backend alone.
    pub fn own_state(&self, backend: &Backend) -> AdminState {
        self.state.unwrap_or(backend.state)
    }

    /// The backend as it is in force.
    pub fn in_force(&self, backend: &Backend) -> Backend {
        let mut state = self.own_state(backend);
        let mut weight = self.weight.unwrap_or(backend.weight);
        if self.leaving.is_some() {
            (state, weight) = (state.max(AdminState::Drain), 0);
        }
        Backend { state, weight, ..backend.clone() }
    }

    /// Whether something keeps it from serving, other than what befalls its whole service.
    fn is_out(&self, backend: &Backend) -> bool {
        self.own_state(backend) == AdminState::Disabled
            || self.down.is_some()
            || matches!(self.agent.wish, Some(Wish::Down | Wish::Maint))
    }

    fn drains(&self, backend: &Backend) -> bool {
        self.own_state(backend) == AdminState::Drain
            || self.agent.wish == Some(Wish::Drain)
            || self.leaving.is_some()
    }

    /// Since when it drains, for whatever reason.
    fn draining_since(&self, terms: &Terms<'_>) -> Option<Instant> {
        self.draining.into_iter().chain(terms.draining).min()
    }

    /// When the connections that it has are reset.
    pub fn deadline(&self, terms: &Terms<'_>) -> Option<Instant> {
        self.draining_since(terms).and_then(|since| terms.deadline(since))
    }

    /// How it stands. The worst that anybody says of it counts.
    pub fn standing(&self, terms: &Terms<'_>, backend: &Backend, now: Instant) -> Standing {
        let out = self.is_out(backend) || terms.state == AdminState::Disabled;
        let drains = self.drains(backend) || terms.state == AdminState::Drain;
        let ended = self.deadline(terms).is_some_and(|deadline| deadline <= now);
        Standing {
            takes_new: !out && !drains,
            down: out,
            share: if out { 100 } else { self.share(terms, now) },
            fate: match (ended, out) {
                (true, _) => Fate::Reset,
                (false, true) => terms.service.on_down,
                (false, false) => Fate::Keep,
            },
        }
    }

    /// Percent of its weight: what its agent wants, less while it grows. Never nothing unless the agent wants nothing.
    fn share(&self, terms: &Terms<'_>, now: Instant) -> u8 {
        let wanted = agent_share(&self.agent);
        let grown = self.growing.map_or(100, |since| 10 + 10 * steps_grown(since, terms.slow_start(), now));
        match u32::from(wanted) * u32::from(grown) / 100 {
            0 if wanted > 0 => 1,
            share => share as u8,
        }
    }

    /// Notes what follows from a change, for those who will ask how it stands.
    pub fn settle(&mut self, terms: &Terms<'_>, backend: &Backend, now: Instant) {
        self.draining = self.drains(backend).then(|| self.draining.unwrap_or(now));
        let out = self.is_out(backend);
        if self.out && !out && self.leaving.is_none() {
            self.growing = Some(now);
        }
        self.out = out;
        self.tick(terms, backend, now);
    }

    /// Notes what follows from the time that passed. Whether anything does.
    pub fn tick(&mut self, terms: &Terms<'_>, backend: &Backend, now: Instant) -> bool {
        let is_growing = |since: &Instant| (steps_grown(*since, terms.slow_start(), now) as u128) < STEPS;
        self.growing = self.growing.filter(|since| !self.out && is_growing(since));
        let standing = self.standing(terms, backend, now);
        let differs = standing != self.told;
        self.told = standing;
        differs
    }

    /// When time alone may change something next; none: not at all.
    pub fn next(&self, terms: &Terms<'_>, now: Instant) -> Option<Instant> {
        let step = self.growing.map(|since| {
            let slow_start = terms.slow_start();
            let step = u128::from(steps_grown(since, slow_start, now)) + 1;
            since + nanoseconds((slow_start.as_nanos() * step).div_ceil(STEPS))
        });
        let deadline = self.deadline(terms).filter(|deadline| *deadline > now);
        let look = self.leaving.as_ref().map(|leaving| (leaving.since + GRACE).max(now + LOOK));
        step.into_iter().chain(deadline).chain(look).min()
    }

    /// Whether it has left for good.
    pub fn is_gone(&self, terms: &Terms<'_>, open: impl FnOnce() -> u64, now: Instant) -> bool {
        let Some(leaving) = &self.leaving else { return false };
        let was_reset = self.deadline(terms).is_some_and(|deadline| deadline + RESETTING <= now);
        leaving.since + GRACE <= now && (was_reset || open() == 0)
    }

    /// Whether an operator ordered something.
    pub fn is_ordered(&self) -> bool {
        self.state.is_some() || self.weight.is_some()
    }

    /// Whether nothing is out of the ordinary after all.
    pub fn is_ordinary(&self) -> bool {
        !self.is_ordered()
            && !self.out
            && self.draining.is_none()
            && self.growing.is_none()
            && self.leaving.is_none()
            && agent_share(&self.agent) == 100
    }
}

/// Percent of its weight that an agent wants for its backend, by fives: so small changes of a free capacity do not make new
/// tables all the time.
fn agent_share(agent: &Agent) -> u8 {
    match agent.percent.unwrap_or(100).min(100) {
        0 => 0,
        percent => ((percent + 2) / 5 * 5).max(5),
    }
}

/// How many of its nine steps a backend has grown that began at `since`.
fn steps_grown(since: Instant, slow_start: Duration, now: Instant) -> u8 {
    let elapsed = now.saturating_duration_since(since).as_nanos();
    match slow_start.as_nanos() {
        0 => STEPS as u8,
        whole => (elapsed * STEPS / whole).min(STEPS) as u8,
    }
}

fn nanoseconds(number: u128) -> Duration {
    Duration::from_nanos(u64::try_from(number).unwrap_or(u64::MAX))
}
