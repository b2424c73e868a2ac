//! A throw-away machine around a lab's switch: a root of its own over the real one, and a systemd in it, so that a package is
//! installed, started and removed as users do it, and the real machine does not change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lab::Lab;
use super::process::{self, Background, Finished};
use super::switch::BINARY;
use super::wait::{wait_for, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Builds the Debian package of the binary under test.
pub fn package(folder: &Path) -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/package");
    let line = format!("{} --binary {BINARY} --fast --output {}", tool.display(), folder.display());
    let built = process::run_within(Duration::from_secs(240), &line);
    assert_eq!(built.code, 0, "tools/package: {}", built.stderr);
    let path = built.stdout.lines().last().map(PathBuf::from);
    path.filter(|path| path.is_file())
        .unwrap_or_else(|| panic!("no package: {}{}", built.stdout, built.stderr))
}

/// The machine. All of it ends when this goes out of scope.
pub struct Machine<'lab> {
    lab: &'lab Lab,
    folder: PathBuf,
    /// Of its first process, as the real machine numbers it.
    first: String,
    process: Background,
}

impl<'lab> Machine<'lab> {
    /// Starts one in the namespace of the switch.
    pub fn start(lab: &'lab Lab) -> Self {
        let folder = lab.directory().join("machine");
        std::fs::create_dir(&folder).expect("a folder can be made");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/machine.sh");
        let line = format!(
            "unshare --mount --pid --fork --kill-child --cgroup --uts --ipc {} {} {}",
            script.display(),
            folder.display(),
            lab.directory().display()
        );
        let process = lab.switch.spawn(&line, &lab.directory().join("machine.log"));
        let first = wait_for("the machine has a first process", PATIENCE, || {
            let children = process::run_within(PATIENCE, &format!("pgrep --parent {}", process.id())).stdout;
            children.lines().next().map(str::to_owned)
        });
        let machine = Self { lab, folder, first, process };
        wait_until("the machine runs", PATIENCE, || {
            let state = machine.run("systemctl is-system-running").stdout;
            ["running", "degraded"].contains(&state.trim())
        });
        machine
    }

    /// Runs a command line in it; it may fail.
    pub fn run(&self, line: &str) -> Finished {
        let inside = "--mount --pid --net --ipc --uts --cgroup --root --wd=/";
        process::run_within(PATIENCE, &format!("nsenter --target {} {inside} {line}", self.first))
    }

    /// The same; it must succeed. What it printed.
    pub fn does(&self, line: &str) -> String {
        let finished = self.run(line);
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.code, 0, "{line}: {said}{}", self.process.log());
        finished.stdout
    }

    /// Writes a file in it.
    pub fn write(&self, path: &str, text: &str) {
        let beside = self.lab.directory().join("written");
        std::fs::write(&beside, text).expect("a file can be written");
        self.does(&format!("cp --no-preserve=all {} {path}", beside.display()));
    }

    /// What the unit has logged, with the newest last.
    pub fn journal(&self, words: &str) -> String {
        self.run("journalctl --sync");
        self.run(&format!("journalctl --unit xswitch --no-pager --output cat {words}")).stdout
    }

    /// A property of the unit.
    pub fn property(&self, name: &str) -> String {
        self.does(&format!("systemctl show --value --property {name} xswitch")).trim().to_owned()
    }

    /// Files that the machine has changed or made, and whose name has this in it.
    pub fn changed(&self, name: &str) -> Vec<String> {
        let upper = self.folder.join("upper");
        let line = format!(
            "nsenter --target {} --mount find {} -path *{name}* -not -type c",
            self.first,
            upper.display()
        );
        let found = process::run_within(PATIENCE, &line).stdout;
        let inside = |line: &str| line.strip_prefix(&*upper.to_string_lossy()).map(str::to_owned);
        found.lines().filter_map(inside).collect()
    }
}
