//! What concerns all targets, done for some at a time: whoever holds the board for a hundred thousand of them holds checks up
//! for half a second.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::probe::{Plan, Role};
use super::{Asked, Board, ProbeId, Question};
use crate::config::valid;
use crate::control::health::{Checked, Target};
use crate::control::standing::BackendKey;

/// Another set of targets that is being taken over.
#[derive(Debug, Default)]
pub struct Change {
    /// Backends of a service share what says how they are checked.
    plans: HashMap<*const valid::Health, Plan>,
    /// Probes that are new.
    fresh: Vec<ProbeId>,
}

impl Board {
    /// From now on these are checked, and no others.
    pub fn set(&mut self, targets: Vec<Target>, now: Instant) {
        let mut change = self.begin();
        self.take(&mut change, targets, now);
        let gone = self.gone();
        self.let_go(&gone);
        self.finish(&change, now);
    }

    /// Another set of targets follows. Until all of them were taken, and those that are gone let go, those of before are
    /// checked as well.
    pub fn begin(&mut self) -> Change {
        self.round += 1;
        Change::default()
    }

    /// Takes some of them. What is new among them is not checked before the end.
    pub fn take(&mut self, change: &mut Change, some: impl IntoIterator<Item = Target>, now: Instant) {
        for target in some {
            let plan =
                change.plans.entry(Arc::as_ptr(&target.check)).or_insert_with(|| Plan::new(&target.check));
            let check = Question::new(&target.key, &plan.check);
            let agent = plan.agent.as_ref().map(|how| Question::new(&target.key, how));
            self.want(target, check, agent, &mut change.fresh, now);
        }
    }

    /// Targets that were not among them.
    pub fn gone(&self) -> Vec<BackendKey> {
        self.targets.iter().filter(|(_, asked)| asked.round != self.round).map(|(key, _)| *key).collect()
    }

    /// Checks these no longer.
    pub fn let_go(&mut self, some: &[BackendKey]) {
        for key in some {
            if let Some(asked) = self.targets.remove(key) {
                self.leave(key, asked.check, Role::Check);
                asked.agent.into_iter().for_each(|agent| self.leave(key, agent, Role::Besides));
            }
        }
    }

    /// That was all: from here on what is new is due.
    pub fn finish(&mut self, change: &Change, now: Instant) {
        for id in &change.fresh {
            if let Some(probe) = self.probes.get_mut(id) {
                probe.due = probe.timing.first(now, change.fresh.len());
                self.due.push(Reverse((probe.due, *id)));
            }
        }
    }

    /// All targets.
    pub fn targets(&self) -> Vec<BackendKey> {
        self.targets.keys().copied().collect()
    }

    /// How the checks of some of them stand.
    pub fn shown<'a>(
        &'a self,
        some: &'a [BackendKey],
        now: Instant,
    ) -> impl Iterator<Item = (BackendKey, Checked)> + 'a {
        let shown = move |asked: &Asked| {
            let agent = asked.agent.and_then(|agent| self.probes.get(&agent));
            Some(self.probes.get(&asked.check)?.shown(agent, now))
        };
        some.iter().filter_map(move |key| Some((*key, shown(self.targets.get(key)?)?)))
    }

    /// How the checks stand.
    pub fn checked(&self, now: Instant) -> HashMap<BackendKey, Checked> {
        self.shown(&self.targets(), now).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::config::valid::Check;
    use crate::control::health::tests::{health, key};
    use crate::tables::{BackendId, Loads};

    #[tokio::test]
    async fn while_pieces_are_taken_those_of_before_are_checked_and_new_ones_are_not() {
        let (mut now, second) = (Instant::now(), Duration::from_secs(1));
        let mut board = Board::new(Arc::new(Loads::new(1, 256)), unbounded_channel().0, now);
        let check = Arc::new(health(Check::Tcp));
        let target = |backend: u16| Target {
            key: key(1, backend),
            row: BackendId(backend.into()),
            check: Arc::clone(&check),
            through: None,
        };
        board.set(vec![target(1), target(2)], now);
        now += 10 * second;
        let mut change = board.begin();
        board.take(&mut change, [target(2)], now);
        board.take(&mut change, [target(3)], now);
        let asked: Vec<_> = std::iter::from_fn(|| {
            let start = board.take_due(now)?;
            let abort = tokio::spawn(std::future::pending::<()>()).abort_handle();
            board.began(start.id, abort, now);
            Some(start.question.address)
        })
        .collect();
        assert_eq!(asked.len(), 2);
        assert!(asked.contains(&key(1, 1).address) && asked.contains(&key(1, 2).address));
        assert_eq!(board.gone(), [key(1, 1)]);
        board.let_go(&[key(1, 1)]);
        // Whatever taking them over took, what is new is not late.
        now += 10 * second;
        board.finish(&change, now);
        assert!(board.next_due().is_some_and(|due| due >= now));
        let mut left = board.targets();
        left.sort_by_key(|key| key.address);
        assert_eq!(left, [key(1, 2), key(1, 3)]);
        assert_eq!(board.shown(&left[1..], now).next().unwrap().0, key(1, 3));
    }
}
