//! The kernel's monotonic clock, as XDP programs read it (`bpf_ktime_get_ns`), and what a thread has used.

use std::time::Duration;

/// Nanoseconds since the machine was started, without the time that it slept.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC).as_nanos() as u64
}

/// Processor time that this thread has used since it began.
pub fn thread_cpu() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live structure that the kernel may write to. The clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let (first, second) = (monotonic_ns(), monotonic_ns());
        assert!(first > 0 && second >= first);
    }

    #[test]
    fn a_thread_that_sleeps_uses_nothing() {
        let before = thread_cpu();
        std::thread::sleep(Duration::from_millis(50));
        assert!(thread_cpu() - before < Duration::from_millis(50));
        let mut used = 0u64;
        while thread_cpu() == before {
            used = std::hint::black_box(used + 1);
        }
    }
}
