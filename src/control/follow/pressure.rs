//! Services that begin to answer SYNs with cookies, or stop, are told in the log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::control::dataplane::WorkerHandle;
use crate::tables::{Service, ServiceId, Snapshot, SynCookies};

/// Between two looks, and so between two lines about one service at the least.
const TURN: Duration = Duration::from_secs(1);
/// Without a cookie for as long, pressure is over: workers notice that with the next SYN only.
const QUIET: Duration = Duration::from_secs(10);

/// What was seen of a service.
#[derive(Debug)]
struct Seen {
    sent: u64,
    /// When a cookie was last seen to be sent.
    at: Instant,
    told: bool,
}

/// The services that send cookies under pressure.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    seen: HashMap<ServiceId, Seen>,
    next: Option<Instant>,
}

impl Pressure {
    /// Tells what has changed since the last look.
    pub(super) fn turn(&mut self, snapshot: &Snapshot, workers: &[WorkerHandle], now: Instant) {
        for (service, is_on) in self.look(snapshot, workers, now) {
            match is_on {
                true => tracing::warn!(
                    service,
                    "SYNs are answered with cookies: more handshakes than half_open are pending, or the table is full"
                ),
                false => tracing::info!(service, "SYN cookies are off again"),
            }
        }
    }

    /// The services that began or stopped.
    fn look(&mut self, snapshot: &Snapshot, workers: &[WorkerHandle], now: Instant) -> Vec<(String, bool)> {
        if self.next.is_some_and(|next| now < next) {
            return Vec::new();
        }
        self.next = Some(now + TURN);
        let is_metered = |service: &&Service| matches!(service.syn_cookies, SynCookies::Auto { .. });
        let mut before = std::mem::take(&mut self.seen);
        let mut changes = Vec::new();
        for service in snapshot.services.iter().flatten().filter(is_metered) {
            let counters = || workers.iter().filter_map(|worker| worker.counters.service(service.id));
            let sent = counters().map(|counters| counters.cookies_sent.get()).sum();
            let mut seen = before.remove(&service.id).unwrap_or(Seen { sent: 0, at: now, told: false });
            if seen.sent != sent {
                (seen.sent, seen.at) = (sent, now);
            }
            if now - seen.at >= QUIET {
                // They say it with each SYN, and none comes. Should one come just now, the next one says it again.
                counters().for_each(|counters| counters.cookies_on.set(0));
            }
            let is_on = counters().any(|counters| counters.cookies_on.get() > 0);
            if std::mem::replace(&mut seen.told, is_on) != is_on {
                changes.push((service.name.clone(), is_on));
            }
            self.seen.insert(service.id, seen);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::valid::Cookies;
    use crate::control::compile::compile_static;
    use crate::control::testing::{config, interfaces};
    use crate::tables::{Mailbox, WorkerCounters};

    #[test]
    fn pressure_is_told_once_when_it_begins_and_once_when_it_is_over() {
        let mut config = config();
        config.interfaces = interfaces();
        config.services[0].syn_cookies = Cookies::Auto;
        let snapshot = compile_static(&config).unwrap().0;
        let counters = WorkerCounters::with_capacity(8, 8);
        let workers = [WorkerHandle { mailbox: Arc::new(Mailbox::default()), counters, core: None }];
        let service = &workers[0].counters.services[0];
        let (mut pressure, mut now) = (Pressure::default(), Instant::now());
        let mut look = |after: Duration| {
            now += after;
            pressure.look(&snapshot, &workers, now).iter().map(|(_, is_on)| *is_on).collect::<Vec<_>>()
        };
        assert!(look(TURN).is_empty());
        service.cookies_on.set(1);
        service.cookies_sent.add(5);
        assert_eq!((look(TURN / 2), look(TURN)), (vec![], vec![true]));
        service.cookies_sent.add(5);
        assert_eq!((look(TURN), look(TURN)), (vec![], vec![]));
        service.cookies_on.set(0);
        assert_eq!((look(TURN), look(TURN)), (vec![false], vec![]));
        service.cookies_on.set(1);
        service.cookies_sent.add(1);
        assert_eq!((look(TURN), look(QUIET)), (vec![true], vec![false]), "nobody came any more");
        assert_eq!(service.cookies_on.get(), 0, "and nobody is told otherwise");
    }
}
