//! What the process cannot do any more once it runs: capabilities, privileges to be gained, system calls (seccomp(2)).
//!
//! ```text
//!  start ── capabilities ── no_new_privs ── filter of the process ─┬─ control threads
//!                                                                  └─ workers: no capability, filter of their own
//! ```
//!
//! All of it is done before the first thread is started, because threads inherit it; what binds a worker is done by the
//! worker.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use super::kernel::Capabilities;
use super::privileges;

mod calls;

/// How strictly the process is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Sandbox {
    /// Not at all.
    Off,
    /// A system call that the switch does not need fails with EPERM; one that it would never do ends the process.
    #[default]
    On,
    /// Each of them ends the process.
    Strict,
}

/// How this process is bound.
static BOUND: AtomicU8 = AtomicU8::new(Sandbox::Off as u8);

/// Binds the process, which must not have other threads yet. What is left of its capabilities.
///
/// # Errors
///
/// Where the kernel has no seccomp filters, or does not let them be set.
pub fn confine_process(sandbox: Sandbox, wanted: Capabilities) -> io::Result<Capabilities> {
    if sandbox == Sandbox::Off {
        return privileges::current();
    }
    let left = privileges::keep_only(wanted)?;
    privileges::gain_no_more()?;
    apply(calls::never(), SeccompAction::Allow, SeccompAction::KillProcess)?;
    apply(calls::clone3(), SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
    let process = calls::of_the_process().map_err(io::Error::other)?;
    apply(process, otherwise(sandbox), SeccompAction::Allow)?;
    BOUND.store(sandbox as u8, Ordering::Relaxed);
    Ok(left)
}

/// Binds the calling thread, which forwards frames from now on; where the process is bound at all.
pub fn confine_worker() -> io::Result<()> {
    let sandbox = match BOUND.load(Ordering::Relaxed) {
        off if off == Sandbox::Off as u8 => return Ok(()),
        on if on == Sandbox::On as u8 => Sandbox::On,
        _ => Sandbox::Strict,
    };
    bind_worker(sandbox)
}

fn bind_worker(sandbox: Sandbox) -> io::Result<()> {
    privileges::keep_only(Capabilities(0))?;
    let worker = calls::of_workers().map_err(io::Error::other)?;
    apply(worker, otherwise(sandbox), SeccompAction::Allow)
}

const fn otherwise(sandbox: Sandbox) -> SeccompAction {
    match sandbox {
        Sandbox::Strict => SeccompAction::KillProcess,
        Sandbox::On | Sandbox::Off => SeccompAction::Errno(libc::EPERM as u32),
    }
}

fn apply(
    calls: BTreeMap<i64, Vec<seccompiler::SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> io::Result<()> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(calls, otherwise, matching, architecture).map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    apply_filter(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        other => io::Error::other(other),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::UdpSocket;

    use super::*;

    /// Filters bind the thread that sets them: every test has one to give away.
    fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().unwrap()
    }

    #[test]
    fn a_worker_opens_nothing_and_goes_on_with_what_it_has() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (file, new, sent, memory) = thread(move || {
            bind_worker(Sandbox::On).unwrap();
            let to = socket.local_addr().unwrap_err();
            assert_eq!(to.kind(), io::ErrorKind::PermissionDenied);
            let sent = socket.send(b"x").map_err(|error| error.kind());
            (File::open("/etc/passwd"), UdpSocket::bind("127.0.0.1:0"), sent, vec![7u8; 64 << 20])
        });
        assert_eq!(file.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(new.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_ne!(
            sent,
            Err(io::ErrorKind::PermissionDenied),
            "it is not connected, and the kernel says that"
        );
        assert!(memory.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn the_process_starts_threads_and_opens_files_and_no_strange_sockets() {
        thread(|| {
            let process = calls::of_the_process().unwrap();
            apply(calls::clone3(), SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32)).unwrap();
            apply(process, otherwise(Sandbox::On), SeccompAction::Allow).unwrap();
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            File::open("/etc/passwd").unwrap();
            UdpSocket::bind("127.0.0.1:0").unwrap();
            // SAFETY: takes integers only.
            let fd = unsafe { libc::socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0) };
            assert_eq!((fd, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
            let error = std::process::Command::new("true").status().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        });
    }

    #[test]
    fn no_call_is_both_needed_and_never_to_happen() {
        let never = calls::never();
        assert!(calls::of_the_process().unwrap().keys().all(|call| !never.contains_key(call)));
        let process = calls::of_the_process().unwrap();
        assert!(calls::of_workers().unwrap().keys().all(|call| process.contains_key(call)));
    }
}
