//! What is believed of an answer.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::{Found, MAX_FOUND};
use crate::config::valid::{Backend, Discover};
use crate::control::standing::ServiceKey;

/// What is known of one source.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many backends the last good answer had.
    pub backends: usize,
    /// Why the last look changed nothing.
    pub problem: Option<String>,
    /// When the last good answer came.
    pub good: Option<Instant>,
}

/// Hears one source.
#[derive(Debug)]
pub(super) struct Judge {
    service: ServiceKey,
    min_backends: usize,
    seen: Arc<Mutex<Seen>>,
    found: UnboundedSender<Found>,
    told: Option<Vec<Backend>>,
}

impl Judge {
    /// Nothing heard yet, unless `seen` says so.
    pub fn new(
        service: ServiceKey,
        wanted: &Discover,
        seen: Arc<Mutex<Seen>>,
        found: UnboundedSender<Found>,
    ) -> Self {
        Self { service, min_backends: wanted.min_backends as usize, seen, found, told: None }
    }

    /// Whether addresses are to be IPv4.
    pub fn wants_ipv4(&self) -> bool {
        self.service.0.is_ipv4()
    }

    /// An answer, or why there is none. Whether it is believed.
    pub fn hear(&mut self, answer: Result<Vec<Backend>, String>) -> bool {
        match answer.and_then(|backends| self.believe(backends)) {
            Ok(backends) => {
                let mut seen = lock(&self.seen);
                *seen = Seen { backends: backends.len(), problem: None, good: Some(Instant::now()) };
                drop(seen);
                if self.told.as_ref() != Some(&backends) {
                    self.told = Some(backends.clone());
                    // Nobody listens any longer: this task ends with the others.
                    let _ = self.found.send(Found { service: self.service, backends });
                }
                true
            }
            Err(problem) => {
                let mut seen = lock(&self.seen);
                if seen.problem.as_ref() != Some(&problem) {
                    let (vip, protocol) = self.service;
                    tracing::warn!(service = %format!("{vip}/{}", protocol.name()), %problem, "discovery");
                }
                seen.problem = Some(problem);
                false
            }
        }
    }

    fn believe(&self, mut backends: Vec<Backend>) -> Result<Vec<Backend>, String> {
        // Two records that name one server, as SRV records of two names may: the better place counts.
        backends.sort_unstable_by_key(|backend| (backend.address, backend.backup, Reverse(backend.weight)));
        backends.dedup_by_key(|backend| backend.address);
        let (number, known) = (backends.len(), lock(&self.seen).backends);
        if number > MAX_FOUND {
            return Err(format!("{number} backends are more than {MAX_FOUND}: last good set kept"));
        }
        if number < self.min_backends && number < known {
            return Err(format!(
                "{number} backends are fewer than min_backends = {}: last good set of {known} kept",
                self.min_backends
            ));
        }
        Ok(backends)
    }
}

/// A lock that nobody holds for long. What a panic left behind is as good as anything.
pub(super) fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::config::valid::Source;
    use crate::control::discover::testing::{backend, service, wanted};

    fn judge(min_backends: u32) -> (Judge, UnboundedReceiver<Found>) {
        let (sender, receiver) = unbounded_channel();
        let wanted = wanted(Source::Srv { name: "any".into() }, min_backends);
        (Judge::new(service("198.18.0.100:80"), &wanted, Arc::default(), sender), receiver)
    }

    fn backends(number: u32) -> Vec<Backend> {
        let address = |n: u32| format!("10.0.{}.{}:80", n / 250, n % 250 + 1);
        (0..number).map(|n| backend(&address(n), 1, false)).collect()
    }

    #[test]
    fn the_same_answer_is_told_once() {
        let (mut judge, mut found) = judge(1);
        assert!(judge.hear(Ok(backends(2))));
        assert!(judge.hear(Ok(backends(2).into_iter().rev().collect())));
        assert_eq!(found.try_recv().unwrap().backends, backends(2));
        assert!(found.try_recv().is_err());
    }

    #[test]
    fn fewer_than_min_backends_are_not_believed_while_there_are_more() {
        let (mut judge, mut found) = judge(3);
        assert!(judge.hear(Ok(backends(1))), "at first there is nothing to keep");
        assert!(judge.hear(Ok(backends(5))));
        assert!(judge.hear(Ok(backends(3))));
        assert!(!judge.hear(Ok(backends(2))));
        assert!(!judge.hear(Ok(vec![])));
        let seen = lock(&judge.seen).problem.clone();
        assert_eq!(
            seen.as_deref(),
            Some("0 backends are fewer than min_backends = 3: last good set of 3 kept")
        );
        let told: Vec<usize> =
            std::iter::from_fn(|| found.try_recv().ok()).map(|f| f.backends.len()).collect();
        assert_eq!(told, [1, 5, 3]);
        assert!(judge.hear(Ok(backends(4))));
        assert_eq!(lock(&judge.seen).problem, None);
    }

    #[test]
    fn too_many_are_not_believed() {
        let (mut judge, _found) = judge(1);
        assert!(!judge.hear(Ok(backends(10_001))));
        assert!(judge.hear(Ok(backends(10_000))));
    }

    #[test]
    fn a_server_that_is_named_twice_has_the_better_place() {
        let (mut judge, mut found) = judge(1);
        let twice = vec![
            backend("10.0.0.1:80", 9, true),
            backend("10.0.0.1:80", 2, false),
            backend("10.0.0.1:80", 5, false),
        ];
        judge.hear(Ok(twice));
        assert_eq!(found.try_recv().unwrap().backends, [backend("10.0.0.1:80", 5, false)]);
    }
}
