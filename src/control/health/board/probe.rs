//! One question, asked again and again: what it is, for whom, and what came of it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::AbortHandle;

use crate::config::valid::{self, Check, Via};
use crate::control::health::check::{Answer, Failed, Passed};
use crate::control::health::machine::{Kind, Machine, Verdict};
use crate::control::health::pace::Timing;
use crate::control::health::{Agent, Checked, News, Through};
use crate::control::standing::{BackendKey, ServiceKey};
use crate::tables::BackendId;

/// What a probe asks, whom, and in what rhythm.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The address asked; through the forwarding path, the backend that is to answer for the VIP.
    pub address: SocketAddr,
    /// Without what only others look at ([`Plan`]).
    pub how: Arc<valid::Health>,
    /// Where the question takes the way of a service: of which.
    pub service: Option<ServiceKey>,
}

/// The questions of a `[service.health]`.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) check: Arc<valid::Health>,
    pub(super) agent: Option<Arc<valid::Health>>,
}

impl Plan {
    pub(super) fn new(health: &valid::Health) -> Self {
        let check = valid::Health { passive_failures: 0, agent_port: None, ..health.clone() };
        let agent = health.agent_port.map(|port| {
            let asked =
                valid::Health { check: Check::Agent, via: Via::Direct, port: Some(port), ..check.clone() };
            Arc::new(asked)
        });
        Self { check: Arc::new(check), agent }
    }
}

impl Question {
    pub(super) fn new(key: &BackendKey, how: &Arc<valid::Health>) -> Self {
        let port = how.port.unwrap_or(key.address.port());
        let service = (how.via == Via::Forwarding).then_some(key.service);
        Self { address: SocketAddr::new(key.address.ip(), port), how: Arc::clone(how), service }
    }
}

/// What a probe's results are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// They decide.
    Check,
    /// Only what the agent says counts.
    Besides,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) key: BackendKey,
    pub(super) row: BackendId,
    pub(super) role: Role,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) started: Instant,
    pub(super) abort: AbortHandle,
}

#[derive(Debug)]
pub(super) struct Probe {
    pub(super) question: Question,
    pub(super) through: Option<Through>,
    pub(super) machine: Machine,
    pub(super) timing: Timing,
    pub(super) due: Instant,
    pub(super) running: Option<Running>,
    pub(super) started: Option<Instant>,
    pub(super) last: Option<Answer>,
    pub(super) checks: u64,
    pub(super) failed: u64,
    pub(super) agent: Option<Agent>,
    pub(super) subscribers: Vec<Subscriber>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort.abort();
        }
    }
}

impl Probe {
    pub(super) fn new(question: Question, origin: Instant, now: Instant) -> Self {
        let mut hasher = DefaultHasher::new();
        question.hash(&mut hasher);
        let how = &question.how;
        Self {
            machine: Machine::new(how.rise, how.fall, now),
            timing: Timing::new(origin, hasher.finish(), how.interval_ms, how.fast_interval_ms),
            question,
            through: None,
            due: now,
            running: None,
            started: None,
            last: None,
            checks: 0,
            failed: 0,
            agent: None,
            subscribers: Vec::new(),
        }
    }

    /// The verdict, if this answer changes it.
    pub(super) fn learn(&mut self, answer: Answer, started: Instant, now: Instant) -> Option<Verdict> {
        self.checks += 1;
        self.failed += u64::from(answer.is_err());
        let verdict = match &answer {
            Ok(_) => self.machine.succeeded(started, now),
            Err(Failed::Backend(_)) => self.machine.failed(Kind::Failed, now),
            Err(Failed::NoWay) => self.machine.failed(Kind::NoWay, now),
            // That says nothing of the backend.
            Err(Failed::Ours(_)) => None,
        };
        self.last = Some(answer);
        verdict
    }

    /// What the agent says, if that is new. What it says nothing about stays as it said before.
    pub(super) fn heard(&mut self) -> Option<Agent> {
        let Some(Ok(Passed { agent: Some((said, _)), .. })) = &self.last else { return None };
        let before = self.agent.unwrap_or_default();
        let agent = Agent { percent: said.percent.or(before.percent), wish: said.wish.or(before.wish) };
        let changed = self.agent != Some(agent);
        self.agent = Some(agent);
        changed.then_some(agent)
    }

    pub(super) fn news(&self, verdict: Verdict) -> News {
        match (verdict, &self.last) {
            (Verdict::Up, _) => News::Up,
            (Verdict::Down, Some(Err(failed))) => News::Down(failed.to_string()),
            // Who joins while it rises.
            (Verdict::Down, _) => News::Down("not yet up again".to_owned()),
        }
    }

    pub(super) fn shown(&self, agent: Option<&Self>, now: Instant) -> Checked {
        let last = match &self.last {
            None => "not checked yet".to_owned(),
            Some(Ok(passed)) => passed.to_string(),
            Some(Err(failed)) => failed.to_string(),
        };
        let said = match &agent.unwrap_or(self).last {
            Some(Ok(Passed { agent: Some((_, line)), .. })) => Some(line.clone()),
            // Of an agent besides, nothing else shows that it does not answer.
            Some(Err(failed)) if agent.is_some() => Some(failed.to_string()),
            _ => None,
        };
        Checked {
            state: self.machine.name().to_owned(),
            since_s: self.machine.age(now).as_secs(),
            last,
            checks: self.checks,
            failed: self.failed,
            agent: said,
            suspect: self.machine.is_suspect(),
        }
    }
}
