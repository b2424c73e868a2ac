//! Which system calls there are to be, by number, and under which conditions on their arguments.

use std::collections::BTreeMap;

use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// System calls with the conditions of which one must hold; without any, always.
pub(super) type Calls = BTreeMap<i64, Vec<SeccompRule>>;

macro_rules! calls {
    ($($name:ident)*) => { [$(libc::$name),*] };
}

/// What every thread does: memory, waiting, what it has open already, its end.
const EVERYWHERE: &[i64] = &calls![
    SYS_read SYS_write SYS_writev SYS_close SYS_recvfrom SYS_recvmsg SYS_sendto SYS_sendmsg SYS_getsockopt
    SYS_ppoll SYS_futex SYS_clock_gettime SYS_clock_nanosleep SYS_nanosleep SYS_sched_yield SYS_membarrier
    SYS_brk SYS_munmap SYS_mremap SYS_madvise SYS_getrandom
    SYS_rt_sigprocmask SYS_rt_sigaction SYS_rt_sigreturn SYS_sigaltstack SYS_gettid SYS_getpid
    SYS_rseq SYS_set_robust_list SYS_restart_syscall SYS_exit SYS_exit_group
];

/// What the control plane does besides: files, sockets, timers, threads.
const CONTROL: &[i64] = &calls![
    SYS_openat SYS_openat2 SYS_newfstatat SYS_fstat SYS_statx SYS_statfs SYS_fstatfs SYS_lseek SYS_pread64 SYS_pwrite64 SYS_readv
    SYS_getdents64 SYS_readlinkat SYS_getcwd SYS_faccessat SYS_faccessat2 SYS_mkdirat SYS_unlinkat SYS_renameat2
    SYS_fchmod SYS_fchmodat SYS_fchown SYS_fsync SYS_fdatasync SYS_ftruncate SYS_umask SYS_flock
    SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
    SYS_dup SYS_dup3 SYS_fcntl SYS_pipe2 SYS_close_range
    SYS_socketpair SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_shutdown SYS_getsockname SYS_getpeername
    SYS_setsockopt SYS_sendmmsg SYS_recvmmsg
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_pselect6
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_clock_getres SYS_gettimeofday
    SYS_sched_getaffinity SYS_sched_setaffinity SYS_getcpu SYS_set_tid_address SYS_mincore SYS_mlock SYS_mlock2 SYS_munlock
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getppid SYS_uname SYS_sysinfo
    SYS_seccomp SYS_capget SYS_capset
    // Answered with ENOSYS by a filter of its own, for its flags lie in memory: libc then takes `clone`.
    SYS_clone3
];

/// The same under names that only the older architecture has.
#[cfg(target_arch = "x86_64")]
const OLDER_NAMES: (&[i64], &[i64]) = (
    &calls![SYS_poll],
    &calls![
        SYS_open SYS_stat SYS_lstat SYS_access SYS_readlink SYS_mkdir SYS_rmdir SYS_unlink SYS_rename SYS_chmod
        SYS_renameat SYS_dup2 SYS_pipe SYS_epoll_wait SYS_select SYS_time SYS_getrlimit
    ],
);
/// Elsewhere these are missing, but for renameat(2), 38 in the kernel's generic table (`include/uapi/asm-generic/unistd.h`), which
/// `libc` does not name.
#[cfg(not(target_arch = "x86_64"))]
const OLDER_NAMES: (&[i64], &[i64]) = (&[], &[38]);

/// What no thread of the switch would ever do, and whoever has taken it over would.
const NEVER: &[i64] = &calls![
    SYS_execve SYS_execveat SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kexec_load SYS_kexec_file_load
    SYS_init_module SYS_finit_module SYS_delete_module SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_setns SYS_unshare
    SYS_setuid SYS_setgid SYS_setresuid SYS_setresgid SYS_keyctl SYS_add_key SYS_request_key SYS_perf_event_open
    SYS_userfaultfd SYS_open_by_handle_at SYS_memfd_create SYS_io_uring_setup SYS_reboot SYS_swapon SYS_acct
];

/// Families of sockets: the control socket, checks and endpoints, netlink, packets, AF_XDP.
const FAMILIES: [i32; 6] =
    [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_XDP];

/// Requests of ioctl(2): sockets that do not wait, names and properties of interfaces, whether something is a terminal.
const REQUESTS: [u64; 9] = [
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::TCGETS,
    // TCGETS2, which newer C libraries ask instead.
    0x802c_542a,
    libc::SIOCETHTOOL,
    libc::SIOCGIFINDEX,
    libc::SIOCGIFNAME,
    libc::SIOCGIFFLAGS,
    libc::SIOCGIFMTU,
];

/// Commands of bpf(2) (`enum bpf_cmd` in `include/uapi/linux/bpf.h`): elements of maps, 1 to 4; what is behind a descriptor, 15;
/// attaching and detaching, 28 and 34. No program and no map is made any more.
const BPF_COMMANDS: [u64; 7] = [1, 2, 3, 4, 15, 28, 34];

/// What a thread is: it shares memory and signals with the others, and brings no namespace.
const THREAD: u64 = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// The calls of a thread that forwards frames. It opens nothing, and names nothing that is not open already.
pub(super) fn of_workers() -> Result<Calls, BackendError> {
    let mut calls = always(&[EVERYWHERE, OLDER_NAMES.0]);
    add_memory(&mut calls)?;
    Ok(calls)
}

/// The calls of the whole process.
pub(super) fn of_the_process() -> Result<Calls, BackendError> {
    let mut calls = always(&[EVERYWHERE, CONTROL, OLDER_NAMES.0, OLDER_NAMES.1]);
    add_memory(&mut calls)?;
    let families = FAMILIES.iter().map(|family| one(0, Eq, *family as u64));
    calls.insert(libc::SYS_socket, families.collect::<Result<_, _>>()?);
    let requests = REQUESTS.iter().map(|request| one(1, Eq, *request));
    calls.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    let commands = BPF_COMMANDS.iter().map(|command| one(0, Eq, *command));
    calls.insert(libc::SYS_bpf, commands.collect::<Result<_, _>>()?);
    calls.insert(libc::SYS_clone, vec![one(0, MaskedEq(THREAD | NAMESPACES), THREAD)?]);
    let options = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_NO_NEW_PRIVS, libc::PR_SET_VMA];
    let options = options.iter().map(|option| one(0, Eq, *option as u64));
    calls.insert(libc::SYS_prctl, options.collect::<Result<_, _>>()?);
    // Limits of the process itself only.
    calls.insert(libc::SYS_prlimit64, vec![one(0, Eq, 0)?]);
    Ok(calls)
}

/// Memory that is never executable, and signals to the process itself (abort(3)).
fn add_memory(calls: &mut Calls) -> Result<(), BackendError> {
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        calls.insert(call, vec![one(2, MaskedEq(libc::PROT_EXEC as u64), 0)?]);
    }
    calls.insert(libc::SYS_tgkill, vec![one(0, Eq, u64::from(std::process::id()))?]);
    Ok(())
}

pub(super) fn never() -> Calls {
    always(&[NEVER])
}

pub(super) fn clone3() -> Calls {
    always(&[&[libc::SYS_clone3]])
}

fn always(lists: &[&[i64]]) -> Calls {
    lists.iter().flat_map(|list| list.iter()).map(|call| (*call, Vec::new())).collect()
}

/// One condition on the lower half of an argument: all those that are looked at are `int` for the kernel.
fn one(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)?])
}
