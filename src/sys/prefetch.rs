//! A hint to the processor that memory will be read soon.

/// Asks for the cache line that `value` starts in. Never faults, changes nothing but speed.
#[inline(always)]
pub fn read<T: ?Sized>(value: &T) {
    at(std::ptr::from_ref(value).cast());
}

/// Asks for the cache line at `address`. Never faults, whatever the address.
#[inline(always)]
pub fn at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no architectural effect and cannot fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
