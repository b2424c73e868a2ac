//! Who is checked how, and what is known of each.
//!
//! A probe asks one [`Question`] again and again; backends that would be asked the same, in the same rhythm, share it. A
//! backend has one probe for its check, and one more where an agent is asked besides.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::check::Answer;
use super::durations::Durations;
use super::machine::Suspicion;
use super::pace::{Lateness, Pace};
use super::{News, Report, Target, Through};
use crate::config::valid::Check;
use crate::control::standing::{BackendKey, ServiceKey};
use crate::tables::{BackendId, Loads};
use probe::{Probe, Role, Running, Subscriber};

mod pieces;
mod probe;

pub use pieces::Change;
pub use probe::Question;

/// Names a probe; never used again.
pub type ProbeId = u64;

/// A check that is to begin.
#[derive(Debug)]
pub struct Start {
    /// Of which probe.
    pub id: ProbeId,
    /// What is asked.
    pub question: Question,
    /// The way, where it is not the usual one; none: it is not known.
    pub through: Option<Through>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Which [`Board::set`] wanted it last.
    round: u64,
    check: ProbeId,
    agent: Option<ProbeId>,
    row: BackendId,
}

/// All probes.
#[derive(Debug)]
pub struct Board {
    loads: Arc<Loads>,
    reports: UnboundedSender<Report>,
    origin: Instant,
    probes: HashMap<ProbeId, Probe>,
    questions: HashMap<Question, ProbeId>,
    targets: HashMap<BackendKey, Asked>,
    /// When which probe is due. An entry with another time than its probe's is out of date.
    due: BinaryHeap<Reverse<(Instant, ProbeId)>>,
    next_id: ProbeId,
    round: u64,
    checks: u64,
    in_flight: u64,
    lateness: Lateness,
    /// Of services that are checked, or were when their last check ended.
    pub(super) durations: HashMap<ServiceKey, Durations>,
}

impl Board {
    /// Nothing to be checked yet.
    pub fn new(loads: Arc<Loads>, reports: UnboundedSender<Report>, now: Instant) -> Self {
        Self {
            loads,
            reports,
            origin: now,
            probes: HashMap::new(),
            questions: HashMap::new(),
            targets: HashMap::new(),
            due: BinaryHeap::new(),
            next_id: 0,
            round: 0,
            checks: 0,
            in_flight: 0,
            lateness: Lateness::new(now),
            durations: HashMap::new(),
        }
    }

    fn want(
        &mut self,
        target: Target,
        check: Question,
        agent: Option<Question>,
        fresh: &mut Vec<ProbeId>,
        now: Instant,
    ) {
        let (key, row) = (target.key, target.row);
        let before = self.targets.get(&key).copied();
        let moved = before.is_some_and(|before| before.row != row);
        let check = self.join(before.map(|before| before.check), check, &key, row, Role::Check, fresh, now);
        let before_agent = before.and_then(|before| before.agent);
        let agent = match agent {
            Some(question) => Some(self.join(before_agent, question, &key, row, Role::Besides, fresh, now)),
            None => {
                before_agent.into_iter().for_each(|agent| self.leave(&key, agent, Role::Besides));
                None
            }
        };
        if let Some(probe) = self.probes.get_mut(&check) {
            probe.through = target.through;
            if moved {
                let own = probe.subscribers.iter_mut().filter(|subscriber| subscriber.key == key);
                own.for_each(|subscriber| subscriber.row = row);
            }
        }
        self.targets.insert(key, Asked { round: self.round, check, agent, row });
    }

    /// The probe that asks this question for a backend, which it asked for by `before` until now.
    #[expect(clippy::too_many_arguments, reason = "who wants what, and what there was before")]
    fn join(
        &mut self,
        before: Option<ProbeId>,
        question: Question,
        key: &BackendKey,
        row: BackendId,
        role: Role,
        fresh: &mut Vec<ProbeId>,
        now: Instant,
    ) -> ProbeId {
        if let Some(before) = before {
            if self.probes.get(&before).is_some_and(|probe| probe.question == question) {
                return before;
            }
            self.leave(key, before, role);
        }
        let id = match self.questions.entry(question) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let id = self.next_id;
                self.next_id += 1;
                self.probes.insert(id, Probe::new(entry.key().clone(), self.origin, now));
                entry.insert(id);
                fresh.push(id);
                id
            }
        };
        if let Some(probe) = self.probes.get_mut(&id) {
            probe.subscribers.push(Subscriber { key: *key, row, role });
            // What is known already is news to the one that joins.
            let verdict =
                probe.machine.verdict().filter(|_| role == Role::Check).map(|verdict| probe.news(verdict));
            for news in verdict.into_iter().chain(probe.agent.map(News::Agent)) {
                let _ = self.reports.send(Report { key: *key, news });
            }
        }
        id
    }

    fn leave(&mut self, key: &BackendKey, id: ProbeId, role: Role) {
        let Some(probe) = self.probes.get_mut(&id) else { return };
        if let Some(at) = probe.subscribers.iter().position(|one| one.key == *key && one.role == role) {
            probe.subscribers.swap_remove(at);
        }
        if probe.subscribers.is_empty()
            && let Some(probe) = self.probes.remove(&id)
        {
            self.in_flight -= u64::from(probe.running.is_some());
            self.questions.remove(&probe.question);
        }
    }

    /// The traffic gives cause for suspicion. Whether a check is due sooner than before.
    pub fn suspect(&mut self, key: BackendKey, suspicion: Suspicion, now: Instant) -> bool {
        let id = self.targets.get(&key).map(|asked| asked.check);
        let Some((id, probe)) = id.and_then(|id| Some((id, self.probes.get_mut(&id)?))) else { return false };
        if !probe.machine.suspect(suspicion, now) || probe.running.is_some() {
            return false;
        }
        let due = probe.timing.at_once(probe.started, now);
        if due >= probe.due {
            return false;
        }
        probe.due = due;
        self.due.push(Reverse((due, id)));
        true
    }

    /// When the next check is due.
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((due, id))) = self.due.peek() {
            if self.probes.get(id).is_some_and(|probe| probe.running.is_none() && probe.due == *due) {
                return Some(*due);
            }
            self.due.pop();
        }
        None
    }

    /// Takes a check that is due now.
    pub fn take_due(&mut self, now: Instant) -> Option<Start> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((due, id)) = self.due.pop()?;
        let probe = self.probes.get_mut(&id)?;
        self.lateness.began(due, now);
        Some(Start { id, question: probe.question.clone(), through: probe.through.clone() })
    }

    /// The check that was taken has begun; `abort` ends it.
    pub fn began(&mut self, id: ProbeId, abort: AbortHandle, now: Instant) {
        if let Some(probe) = self.probes.get_mut(&id) {
            probe.started = Some(now);
            probe.running = Some(Running { started: now, abort });
            self.in_flight += 1;
        }
    }

    /// A check has ended.
    pub fn ended(&mut self, id: ProbeId, answer: Answer, now: Instant) {
        let Some(probe) = self.probes.get_mut(&id) else { return };
        let Some(running) = probe.running.take() else { return };
        self.in_flight -= 1;
        self.checks += 1;
        let verdict = probe.learn(answer, running.started, now);
        let agent = probe.heard();
        for one in &probe.subscribers {
            if one.role == Role::Check {
                if let Some(Ok(passed)) = &probe.last {
                    self.loads.passed(one.row);
                    // How fast its agent is says nothing of the backend.
                    if probe.question.how.check != Check::Agent {
                        let micros = u32::try_from(passed.took.as_micros()).unwrap_or(u32::MAX);
                        self.loads.probed(one.row, micros);
                        self.durations.entry(one.key.service).or_default().add(passed.took);
                    }
                }
                if let Some(verdict) = verdict {
                    let _ = self.reports.send(Report { key: one.key, news: probe.news(verdict) });
                }
            }
            if let Some(agent) = agent {
                let _ = self.reports.send(Report { key: one.key, news: News::Agent(agent) });
            }
        }
        // A check that took longer than the interval is followed by the next one at once: that is not late.
        probe.due = probe.timing.next(running.started, probe.machine.is_fast()).max(now);
        self.due.push(Reverse((probe.due, id)));
    }

    /// How checking keeps up.
    pub fn pace(&mut self, now: Instant) -> Pace {
        let (late_max_ms, late_mean_ms) = self.lateness.shown(now);
        Pace {
            checks: self.checks,
            in_flight: self.in_flight,
            late_max_ms,
            late_mean_ms,
            targets: self.targets.len() as u64,
            probes: self.probes.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests;
