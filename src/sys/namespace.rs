//! Network namespaces other than ours (setns(2), network_namespaces(7)).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Namespaces that are looked at, at the most.
const MOST: usize = 512;

/// Does `work` on a thread that lives in the namespace of this file, and waits for it. What it opens there stays there.
/// `/proc/sys` is the namespace's own, `/sys` is not. Needs CAP_SYS_ADMIN.
pub fn within<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: takes integers only, and changes this thread alone, which ends below.
            match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => Ok(work()),
                _ => Err(io::Error::last_os_error()),
            }
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace ended in a panic")))
    })
}

/// The namespaces that have a name (`ip netns`) or else a process, each once: their files.
pub fn others() -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let own = identity(Path::new("/proc/thread-self/ns/net"));
    let named = entries("/run/netns").map(|entry| entry.path());
    let of_processes = entries("/proc")
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .map(|entry| entry.path().join("ns/net"));
    for path in named.chain(of_processes) {
        if found.len() >= MOST {
            break;
        }
        if let Some(id) = identity(&path).filter(|id| Some(*id) != own) {
            found.entry(id).or_insert(path);
        }
    }
    found.into_values().collect()
}

fn entries(directory: &str) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_no_other_and_work_comes_back() {
        let own = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        assert!(others().iter().all(|path| fs::metadata(path).is_ok_and(|file| file.ino() != own)));
        let file = File::open("/proc/thread-self/ns/net").unwrap();
        // Who may not enter is told so.
        match within(&file, || 7) {
            Ok(seven) => assert_eq!(seven, 7),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        assert!(within(&File::open("/dev/null").unwrap(), || 7).is_err(), "not a namespace");
    }
}
