//! What the paths to tunnel backends carry, where a router told us that it is less than our own link does.
//!
//! The encapsulated packets are the switch's own, so that it is the switch that routers complain to (RFC 2003 §5.1), and
//! that must remember. Ten minutes later a larger packet may try again (RFC 1191 §6.3, RFC 8201 §4).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tables::counters::MAX_BACKENDS;
use crate::tables::{BackendId, Coarse};

/// How long a path is taken to be as narrow as it was.
const LIFETIME: u32 = Coarse::from_seconds(600);

/// By backend row: MTU << 32 | when it was learnt; 0 where nothing was. Shared by all workers.
#[derive(Debug)]
pub struct PathMtus(Box<[AtomicU64]>);

impl Default for PathMtus {
    fn default() -> Self {
        Self((0..MAX_BACKENDS).map(|_| AtomicU64::default()).collect())
    }
}

impl PathMtus {
    /// Notes that the path to this backend carries `mtu` bytes. Of two routers on it the one that says less is right.
    pub fn note(&self, backend: BackendId, mtu: u16, now: Coarse) {
        if let Some(slot) = self.0.get(backend.index())
            && self.get(backend, now).is_none_or(|known| mtu <= known)
        {
            slot.store(u64::from(mtu) << 32 | u64::from(now.0), Ordering::Relaxed);
        }
    }

    /// What the path to this backend carries, where that is known.
    #[inline]
    pub fn get(&self, backend: BackendId, now: Coarse) -> Option<u16> {
        let word = self.0.get(backend.index())?.load(Ordering::Relaxed);
        // Another worker's clock may be a tick ahead of this one's.
        let age = now.0.wrapping_add(1).wrapping_sub(word as u32);
        (word != 0 && age <= LIFETIME + 1).then_some((word >> 32) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_counts_and_for_ten_minutes() {
        let (paths, backend) = (PathMtus::default(), BackendId(3));
        assert_eq!(paths.get(backend, Coarse(5)), None);
        paths.note(backend, 1400, Coarse(5));
        paths.note(backend, 1480, Coarse(6));
        assert_eq!(paths.get(backend, Coarse(4)), Some(1400), "another worker's clock");
        assert_eq!(paths.get(BackendId(2), Coarse(5)), None);
        paths.note(backend, 1300, Coarse(7));
        assert_eq!(paths.get(backend, Coarse(7 + LIFETIME)), Some(1300));
        assert_eq!(paths.get(backend, Coarse(8 + LIFETIME)), None);
        paths.note(backend, 1480, Coarse(9 + LIFETIME));
        assert_eq!(paths.get(backend, Coarse(9 + LIFETIME)), Some(1480));
        paths.note(BackendId::NONE, 1300, Coarse(7));
        assert_eq!(paths.get(BackendId::NONE, Coarse(7)), None);
    }
}
