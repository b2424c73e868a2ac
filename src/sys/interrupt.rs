//! Getting a thread out of a system call that lasts (signal(7), tgkill(2)).

/// By default ignored and used by next to nobody, so that a handler that does nothing disturbs nobody.
const SIGNAL: libc::c_int = libc::SIGURG;

/// A thread whose system calls can be interrupted: they end with EINTR.
#[derive(Debug, Clone, Copy)]
pub struct Interrupt {
    process: libc::pid_t,
    thread: libc::pid_t,
}

extern "C" fn nothing(_: libc::c_int) {}

impl Interrupt {
    /// The thread that calls this. From now on SIGURG does nothing in this process, but is noticed.
    pub fn here() -> Self {
        // SAFETY: sigaction is plain data for which all zeros are valid: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        // SAFETY: `action` is live, its handler touches nothing, and no former action is asked for.
        unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
        // SAFETY: both take nothing and cannot fail.
        let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
        Self { process, thread }
    }

    /// Interrupts it. Nothing happens where it has ended.
    pub fn ring(&self) {
        // SAFETY: takes integers only; the kernel finds out whether there is such a thread in this process.
        unsafe { libc::syscall(libc::SYS_tgkill, self.process, self.thread, SIGNAL) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::sys::wait::WaitSet;

    #[test]
    fn a_thread_that_sleeps_in_a_system_call_is_woken() {
        let (tell, told) = mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            tell.send(Interrupt::here()).unwrap();
            WaitSet::<1>::default().wait(-1);
        });
        let interrupt = told.recv().unwrap();
        // It may not be asleep yet.
        while !sleeper.is_finished() {
            interrupt.ring();
            std::thread::sleep(Duration::from_millis(1));
        }
        sleeper.join().unwrap();
        interrupt.ring();
    }
}
