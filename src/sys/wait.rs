//! Waiting for file descriptors, and being woken through one (eventfd).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A bell that any thread can ring and one can sleep by.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// A bell that has not been rung.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Rings. Never blocks: a bell that was rung 2^64 − 2 times without being heard stays rung.
    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: eight live bytes are written to an eventfd.
        unsafe { libc::write(self.0.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8) };
    }

    /// Silences it.
    pub fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: eight live bytes are read from an eventfd.
        unsafe { libc::read(self.0.as_raw_fd(), std::ptr::from_mut(&mut count).cast(), 8) };
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A fixed set of descriptors to wait for.
#[derive(Debug)]
pub struct WaitSet<const N: usize> {
    fds: [libc::pollfd; N],
    len: usize,
}

impl<const N: usize> Default for WaitSet<N> {
    fn default() -> Self {
        Self { fds: [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; N], len: 0 }
    }
}

impl<const N: usize> WaitSet<N> {
    /// Forgets all descriptors.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds a descriptor; beyond `N` it is left out.
    pub fn add(&mut self, fd: RawFd) {
        if let Some(slot) = self.fds.get_mut(self.len) {
            slot.fd = fd;
            self.len += 1;
        }
    }

    /// Sleeps until one is readable or the time is up. Whether one is.
    pub fn wait(&mut self, timeout_ms: i32) -> bool {
        // SAFETY: the first `len` structures are initialised and live.
        let ready = unsafe { libc::poll(self.fds.as_mut_ptr(), self.len as libc::nfds_t, timeout_ms) };
        ready > 0
    }

    /// The same for times below a millisecond.
    pub fn wait_for(&mut self, timeout: Duration) {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        };
        let descriptors = self.len as libc::nfds_t;
        // SAFETY: the first `len` structures and `timeout` are initialised and live; no signal mask is passed.
        unsafe { libc::ppoll(self.fds.as_mut_ptr(), descriptors, &raw const timeout, std::ptr::null()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_bell_ends_the_wait_until_it_is_silenced() {
        let waker = Waker::new().unwrap();
        let mut set = WaitSet::<2>::default();
        set.add(waker.as_raw_fd());
        waker.wake();
        waker.wake();
        assert!(set.wait(10_000));
        assert_eq!(set.fds[0].revents & libc::POLLIN, libc::POLLIN);
        set.wait_for(Duration::from_secs(10));
        assert_eq!(set.fds[0].revents & libc::POLLIN, libc::POLLIN);
        waker.clear();
        assert!(!set.wait(0));
        assert_eq!(set.fds[0].revents, 0);
        set.wait_for(Duration::from_micros(1));
        assert_eq!(set.fds[0].revents, 0);
    }
}
