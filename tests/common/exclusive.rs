//! One lab at a time, as root.

use std::fs::File;

use super::namespace;

/// Held as long as a lab stands. A second lab waits for it, in this process or in another.
#[derive(Debug)]
pub struct Exclusive {
    _lock: File,
}

impl Exclusive {
    /// Waits for its turn, then removes what dead runs left behind.
    pub fn acquire() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the namespace tests need root: they create network namespaces and attach XDP programs"
        );
        let path = std::env::temp_dir().join("xswitch-netns.lock");
        let lock = File::create(&path).expect("the lock file can be created");
        lock.lock().expect("the lock file can be locked");
        namespace::sweep();
        Self { _lock: lock }
    }
}
