//! `xswitch replay` as a user meets it: the program, capture files, exit codes.
//!
//! As root the program runs as nobody, so that needing a privilege would show.

// The exemption of tests in clippy.toml covers the test functions themselves, not what they share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod captures;
#[path = "../frames/mod.rs"]
mod frames;
mod runs;
mod traffic;

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Nobody, in every distribution.
const NOBODY: u32 = 65_534;

/// A folder that anybody may use, with the program in it.
struct Place {
    folder: TempDir,
    root: bool,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        // Where it was built may be a place that only root can enter.
        let (built, here) = (env!("CARGO_BIN_EXE_xswitch"), folder.path().join("xswitch"));
        if std::fs::hard_link(built, &here).is_err() {
            std::fs::copy(built, &here).unwrap();
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
        Self { folder, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs `xswitch replay --config switch.toml` with these arguments, in this folder and without privileges.
    fn replay(&self, arguments: &str) -> Output {
        let mut command = Command::new(self.path("xswitch"));
        command.current_dir(self.folder.path()).env_clear();
        command.args(["replay", "--config", "switch.toml"]).args(arguments.split_whitespace());
        if self.root {
            // The standard library drops the supplementary groups along with the user.
            command.uid(NOBODY).gid(NOBODY);
        }
        loop {
            match command.output() {
                // A process that another test is just starting still holds the copy open for writing.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                output => return output.unwrap(),
            }
        }
    }

    /// The same with `--json`, which must succeed: the summary.
    fn summary(&self, arguments: &str) -> serde_json::Value {
        let output = self.replay(&format!("{arguments} --json"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn exists(&self, name: &str) -> bool {
        Path::new(&self.path(name)).exists()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
