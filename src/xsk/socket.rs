//! The system calls on an AF_XDP socket that `xsk-rs` hides or lacks.

use std::io;
use std::os::fd::RawFd;

use super::port::CopyMode;
use super::umem::describe;

/// How the kernel bound the socket. Sockets that share packet memory take the mode of the first.
pub(super) fn copy_mode(socket: RawFd) -> CopyMode {
    let mut flags = 0u32;
    let mut len = size_of::<u32>() as libc::socklen_t;
    // SAFETY: `flags` and `len` are live and of the size that is passed.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_XDP,
            libc::XDP_OPTIONS,
            std::ptr::from_mut(&mut flags).cast(),
            &mut len,
        )
    };
    if result == 0 && flags & libc::XDP_OPTIONS_ZEROCOPY != 0 { CopyMode::ZeroCopy } else { CopyMode::Copy }
}

/// Asks the kernel to look at the TX ring. The error is the raw number, because each means something else; see [`super::port`].
#[inline]
pub(super) fn send(socket: RawFd) -> Result<(), libc::c_int> {
    // SAFETY: no buffer is passed; on an AF_XDP socket this only asks the kernel to look at the TX ring.
    let sent = unsafe { libc::sendto(socket, std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

/// Asks the driver to look at the fill ring.
#[inline]
pub(super) fn receive(socket: RawFd) {
    let nothing = std::ptr::null_mut();
    // SAFETY: no buffer is passed; on an AF_XDP socket this only asks the driver to look at the fill ring.
    unsafe { libc::recvfrom(socket, nothing, 0, libc::MSG_DONTWAIT, nothing.cast(), nothing.cast()) };
}

/// Sets an integer option.
pub(super) fn set_option(
    socket: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: `value` is a live integer of the size that is passed.
    let result = unsafe {
        libc::setsockopt(
            socket,
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn os_error(error: &dyn std::error::Error) -> Option<i32> {
    error.source()?.downcast_ref::<io::Error>()?.raw_os_error()
}

/// Whether the queue is held by another socket.
pub(super) fn is_busy(error: &dyn std::error::Error) -> bool {
    os_error(error) == Some(libc::EBUSY)
}

/// What went wrong, with what it most likely means.
pub(super) fn explain(error: &dyn std::error::Error) -> String {
    let hint = match os_error(error) {
        Some(libc::EBUSY) => " (another AF_XDP program holds this queue)",
        Some(libc::EPERM) => " (needs root or CAP_NET_RAW)",
        Some(libc::ENODEV | libc::ENXIO) => " (no such interface)",
        Some(libc::EINVAL) => " (no such queue?)",
        Some(libc::EOPNOTSUPP) => " (the driver cannot do that)",
        _ => "",
    };
    format!("{}{hint}", describe(error))
}
