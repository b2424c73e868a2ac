//! Who is checked how, and what is known of each.
//!
//! A [`Probe`] asks one [`Question`] again and again; backends that would be asked the same, in the same rhythm, share it. A
//! backend has one probe for its check, and one more where an agent is asked besides.

use std::cmp::Reverse;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::check::{Answer, Failed, Passed};
use super::machine::{Kind, Machine, Verdict};
use super::pace::{Lateness, Pace, Timing};
use super::{Agent, Checked, News, Report, Target, Through};
use crate::config::valid::{self, Check, Via};
use crate::control::standing::{BackendKey, ServiceKey};
use crate::tables::{BackendId, Loads};

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
struct Plan {
    check: Arc<valid::Health>,
    agent: Option<Arc<valid::Health>>,
}

impl Plan {
    fn new(health: &valid::Health) -> Self {
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
    fn new(key: &BackendKey, how: &Arc<valid::Health>) -> Self {
        let port = how.port.unwrap_or(key.address.port());
        let service = (how.via == Via::Forwarding).then_some(key.service);
        Self { address: SocketAddr::new(key.address.ip(), port), how: Arc::clone(how), service }
    }
}

/// What a probe's results are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// They decide.
    Check,
    /// Only what the agent says counts.
    Besides,
}

#[derive(Debug)]
struct Subscriber {
    key: BackendKey,
    row: BackendId,
    role: Role,
}

/// Names a probe; never used again.
pub type ProbeId = u64;

#[derive(Debug)]
struct Running {
    started: Instant,
    abort: AbortHandle,
}

#[derive(Debug)]
struct Probe {
    question: Question,
    through: Option<Through>,
    machine: Machine,
    timing: Timing,
    due: Instant,
    running: Option<Running>,
    started: Option<Instant>,
    last: Option<Answer>,
    checks: u64,
    failed: u64,
    agent: Option<Agent>,
    subscribers: Vec<Subscriber>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort.abort();
        }
    }
}

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

#[derive(Debug)]
struct Asked {
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
    checks: u64,
    in_flight: u64,
    lateness: Lateness,
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
            checks: 0,
            in_flight: 0,
            lateness: Lateness::new(now),
        }
    }

    /// From now on these are checked, and no others.
    pub fn set(&mut self, targets: Vec<Target>, now: Instant) {
        // Backends of a service share what says how they are checked.
        let mut plans: HashMap<*const valid::Health, Plan> = HashMap::new();
        let mut wanted = HashSet::with_capacity(targets.len());
        let mut fresh = Vec::new();
        for target in targets {
            let plan = plans.entry(Arc::as_ptr(&target.check)).or_insert_with(|| Plan::new(&target.check));
            let check = Question::new(&target.key, &plan.check);
            let agent = plan.agent.as_ref().map(|how| Question::new(&target.key, how));
            wanted.insert(target.key);
            self.want(target, check, agent, &mut fresh, now);
        }
        let gone: Vec<_> = self.targets.keys().filter(|key| !wanted.contains(key)).copied().collect();
        for key in gone {
            if let Some(asked) = self.targets.remove(&key) {
                self.leave(&key, asked.check, Role::Check);
                asked.agent.into_iter().for_each(|agent| self.leave(&key, agent, Role::Besides));
            }
        }
        for id in &fresh {
            if let Some(probe) = self.probes.get_mut(id) {
                probe.due = probe.timing.first(now, fresh.len());
                self.due.push(Reverse((probe.due, *id)));
            }
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
        let before = self.targets.remove(&key);
        let moved = before.as_ref().is_some_and(|before| before.row != row);
        let check =
            self.join(before.as_ref().map(|before| before.check), check, &key, row, Role::Check, fresh, now);
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
        self.targets.insert(key, Asked { check, agent, row });
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
    pub fn suspect(&mut self, key: BackendKey, now: Instant) -> bool {
        let id = self.targets.get(&key).map(|asked| asked.check);
        let Some((id, probe)) = id.and_then(|id| Some((id, self.probes.get_mut(&id)?))) else { return false };
        if !probe.machine.suspect(now) || probe.running.is_some() {
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
                if let Some(Ok(passed)) = &probe.last
                    && probe.question.how.check != Check::Agent
                {
                    self.loads.probed(one.row, u32::try_from(passed.took.as_micros()).unwrap_or(u32::MAX));
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

    /// How the checks stand.
    pub fn checked(&self, now: Instant) -> HashMap<BackendKey, Checked> {
        let shown = |asked: &Asked| {
            let agent = asked.agent.and_then(|agent| self.probes.get(&agent));
            Some(self.probes.get(&asked.check)?.shown(agent, now))
        };
        self.targets.iter().filter_map(|(key, asked)| Some((*key, shown(asked)?))).collect()
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

impl Probe {
    fn new(question: Question, origin: Instant, now: Instant) -> Self {
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
    fn learn(&mut self, answer: Answer, started: Instant, now: Instant) -> Option<Verdict> {
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
    fn heard(&mut self) -> Option<Agent> {
        let Some(Ok(Passed { agent: Some((said, _)), .. })) = &self.last else { return None };
        let before = self.agent.unwrap_or_default();
        let agent = Agent { percent: said.percent.or(before.percent), wish: said.wish.or(before.wish) };
        let changed = self.agent != Some(agent);
        self.agent = Some(agent);
        changed.then_some(agent)
    }

    fn news(&self, verdict: Verdict) -> News {
        match (verdict, &self.last) {
            (Verdict::Up, _) => News::Up,
            (Verdict::Down, Some(Err(failed))) => News::Down(failed.to_string()),
            // Who joins while it rises.
            (Verdict::Down, _) => News::Down("not yet up again".to_owned()),
        }
    }

    fn shown(&self, agent: Option<&Self>, now: Instant) -> Checked {
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

#[cfg(test)]
mod tests;
