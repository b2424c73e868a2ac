//! Who calls the driver: knobs of an interface that leave it to programs that poll (Documentation/networking/napi.rst).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// File in sysfs, and what it is set to while programs poll.
const KNOBS: [(&str, &str); 2] = [
    // Empty polls before interrupts are switched on again.
    ("napi_defer_hard_irqs", "2"),
    // Nanoseconds after which the kernel polls by itself where no program did.
    ("gro_flush_timeout", "200000"),
];

/// Interrupts of an interface that wait for programs to poll. Dropping it gives the interface its former settings back,
/// unless somebody else changed them meanwhile.
#[derive(Debug)]
pub struct Deferral {
    former: Vec<(PathBuf, String, &'static str)>,
    was_set: bool,
}

impl Deferral {
    /// Defers the interrupts of `interface`. An error where the kernel (5.11 or newer has the knobs) does not let us; then
    /// everything is as before.
    pub fn set(interface: &str) -> io::Result<Self> {
        Self::set_in(&Path::new("/sys/class/net").join(interface))
    }

    /// Whether the interface had these settings before: maybe left behind by a process that was killed, and then they stay.
    pub fn was_set(&self) -> bool {
        self.was_set
    }

    fn set_in(directory: &Path) -> io::Result<Self> {
        let mut deferral = Self { former: Vec::new(), was_set: false };
        for (knob, value) in KNOBS {
            let path = directory.join(knob);
            let former = fs::read_to_string(&path)?.trim().to_owned();
            deferral.was_set |= former == value;
            fs::write(&path, value)?;
            deferral.former.push((path, former, value));
        }
        Ok(deferral)
    }
}

impl Drop for Deferral {
    fn drop(&mut self) {
        for (path, former, ours) in &self.former {
            // The interface may be gone, and its settings with it.
            if fs::read_to_string(path).is_ok_and(|now| now.trim() == *ours) {
                let _ = fs::write(path, former);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(directory: &Path) {
        fs::write(directory.join("napi_defer_hard_irqs"), "0\n").unwrap();
        fs::write(directory.join("gro_flush_timeout"), "7\n").unwrap();
    }

    fn values(directory: &Path) -> [String; 2] {
        KNOBS.map(|(knob, _)| fs::read_to_string(directory.join(knob)).unwrap().trim().to_owned())
    }

    #[test]
    fn former_settings_come_back_unless_somebody_else_changed_them() {
        let directory = tempfile::tempdir().unwrap();
        interface(directory.path());
        let deferral = Deferral::set_in(directory.path()).unwrap();
        assert_eq!(values(directory.path()), ["2", "200000"]);
        assert!(!deferral.was_set() && Deferral::set_in(directory.path()).unwrap().was_set());
        fs::write(directory.path().join("napi_defer_hard_irqs"), "5\n").unwrap();
        drop(deferral);
        assert_eq!(values(directory.path()), ["5", "7"]);
    }

    #[test]
    fn what_cannot_be_set_leaves_nothing_changed() {
        let directory = tempfile::tempdir().unwrap();
        interface(directory.path());
        fs::remove_file(directory.path().join("gro_flush_timeout")).unwrap();
        assert!(Deferral::set_in(directory.path()).is_err());
        assert_eq!(fs::read_to_string(directory.path().join("napi_defer_hard_irqs")).unwrap(), "0");
    }
}
