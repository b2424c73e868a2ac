//! Response times of backends that get no connections fade, so that `lrt` tries them again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::tables::{BackendId, Loads, SchedulerTable, Snapshot};

/// Between two looks.
const TURN: Duration = Duration::from_secs(1);

/// What was known at the last look.
#[derive(Debug, Default)]
pub(super) struct Fading {
    /// SYNs that were answered.
    seen: HashMap<BackendId, u32>,
    next: Option<Instant>,
}

impl Fading {
    /// Lets fade what was not measured since the last look.
    pub(super) fn turn(&mut self, snapshot: &Snapshot, loads: &Loads, now: Instant) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + TURN);
        let mut seen = HashMap::new();
        for service in snapshot.services.iter().flatten() {
            let SchedulerTable::LeastResponseTime(members) = &*service.table else { continue };
            for (id, _) in &members.members {
                let answers = loads.answers(*id);
                if self.seen.get(id) == Some(&answers) {
                    loads.fade(*id);
                }
                seen.insert(*id, answers);
            }
        }
        self.seen = seen;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::compile::compile_static;
    use crate::control::testing::config;
    use crate::tables::Weighted;

    #[test]
    fn only_what_was_not_measured_fades() {
        let (id, other) = (BackendId(0), BackendId(1));
        let mut config = config();
        config.interfaces = crate::control::testing::interfaces();
        let (mut snapshot, _) = compile_static(&config).unwrap();
        let members = Weighted::of(&[(id, 1), (other, 1)]);
        snapshot.services[0].as_mut().unwrap().table = Arc::new(SchedulerTable::LeastResponseTime(members));
        let (loads, mut fading, start) = (Loads::new(1, 8), Fading::default(), Instant::now());
        loads.answered(id, 800);
        loads.answered(other, 800);
        fading.turn(&snapshot, &loads, start);
        // As long as it took before: what was measured does not move, and yet it was measured.
        loads.answered(other, 800);
        fading.turn(&snapshot, &loads, start + TURN / 2);
        assert_eq!(loads.connect_us(id), 800, "it was just measured");
        fading.turn(&snapshot, &loads, start + TURN);
        assert_eq!((loads.connect_us(id), loads.connect_us(other)), (700, 800));
    }
}
