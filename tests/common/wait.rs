//! Polling with an outer bound, so that the speed of the machine never decides a result.

use std::time::{Duration, Instant};

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Polls until `condition` holds and returns how long that took; panics with `what` when `limit` has passed.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    loop {
        if condition() {
            return start.elapsed();
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        std::thread::sleep(INTERVAL);
    }
}

/// Polls until `attempt` gives something and returns it; panics with `what` when `limit` has passed.
pub fn wait_for<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    wait_until(what, limit, || {
        found = attempt();
        found.is_some()
    });
    found.expect("wait_until returns only when something was found")
}
