//! Capabilities that a thread has, and how it gives them up (capabilities(7), capset(2), prctl(2)).

use std::io;

use super::kernel::Capabilities;

/// The version of `capset` with two words for each set (`include/uapi/linux/capability.h`).
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    /// 0: the calling thread.
    thread: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Leaves this thread, and those that it starts from now on, no more than `wanted` of the capabilities in force, and none that a
/// program started by it could get back. What is left.
pub fn keep_only(wanted: Capabilities) -> io::Result<Capabilities> {
    let before = current()?;
    // Whoever may not change the bounding set has been confined by others, or has nothing to lose.
    if before.has(Capabilities::SETPCAP) {
        shrink_bounding_set(wanted)?;
    }
    let left = Capabilities(before.0 & wanted.0);
    set(left)?;
    Ok(left)
}

/// The capabilities in force for this thread, without a look into procfs, which may be missing.
pub fn current() -> io::Result<Capabilities> {
    let header = Header { version: VERSION_3, thread: 0 };
    let mut words = [Word::default(); 2];
    // SAFETY: `header` and the two words that its version stands for are live and laid out as the kernel has them.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw const header, words.as_mut_ptr()) };
    let [low, high] = words.map(|word| u64::from(word.effective));
    if got == 0 { Ok(Capabilities(low | high << 32)) } else { Err(io::Error::last_os_error()) }
}

fn shrink_bounding_set(wanted: Capabilities) -> io::Result<()> {
    for capability in (0..64u8).filter(|capability| !wanted.has(*capability)) {
        // SAFETY: takes integers only.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
        if dropped != 0 {
            let error = io::Error::last_os_error();
            // The first number that this kernel does not have.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

fn set(left: Capabilities) -> io::Result<()> {
    let header = Header { version: VERSION_3, thread: 0 };
    let words = [left.0 as u32, (left.0 >> 32) as u32].map(|bits| Word {
        effective: bits,
        permitted: bits,
        inheritable: 0,
    });
    // SAFETY: as in `current`; the kernel reads the words only.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// From now on nothing that this thread or its threads start has more privileges than they have
/// (`Documentation/userspace-api/no_new_privs.rst`).
pub fn gain_no_more() -> io::Result<()> {
    // SAFETY: takes integers only.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_left_with_what_it_had_and_wanted_and_takes_nothing_back() {
        let own = || Capabilities::effective();
        let before = own();
        let confined = std::thread::spawn(move || {
            let left = keep_only(Capabilities::of(&[Capabilities::NET_RAW])).unwrap();
            assert_eq!(left.0, before.0 & 1 << Capabilities::NET_RAW);
            assert_eq!((own(), current().unwrap()), (left, left));
            set(Capabilities(left.0 | 1 << Capabilities::SYS_ADMIN)).unwrap_err();
        });
        confined.join().unwrap();
        assert_eq!(own(), before, "other threads keep theirs");
    }
}
