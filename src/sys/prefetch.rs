//! A hint to the processor that memory will be read soon.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for every cache line that `value` lies in. Never faults, changes nothing but speed.
#[inline(always)]
pub fn read<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    offsets::<T>().for_each(|offset| at(start.wrapping_add(offset)));
}

/// Offsets into a `T`, with one in every line that it may lie in: all constants, and no more than one for what is a line.
#[inline(always)]
fn offsets<T>() -> impl Iterator<Item = usize> {
    let begins_a_line = align_of::<T>().is_multiple_of(LINE);
    let last = (!begins_a_line).then_some(size_of::<T>().saturating_sub(1));
    (0..size_of::<T>()).step_by(LINE).chain(last)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[repr(align(64))]
    struct Line<const LINES: usize>([[u8; LINE]; LINES]);
    #[repr(align(16))]
    struct Quarters<const BYTES: usize>([u8; BYTES]);

    /// Wherever it begins.
    fn assert_whole<T>() {
        for start in (0..LINE).step_by(align_of::<T>()) {
            let asked: BTreeSet<usize> = offsets::<T>().map(|offset| (start + offset) / LINE).collect();
            let touched = (start..start + size_of::<T>()).map(|byte| byte / LINE).collect();
            assert_eq!(asked, touched, "{} at {start}", std::any::type_name::<T>());
        }
    }

    #[test]
    fn every_line_is_asked_for_and_no_other() {
        assert_whole::<u8>();
        assert_whole::<[u8; 64]>();
        assert_whole::<[u32; 50]>();
        assert_whole::<Quarters<16>>();
        assert_whole::<Quarters<112>>();
        assert_whole::<Quarters<128>>();
        assert_whole::<Line<1>>();
        assert_whole::<Line<3>>();
    }

    #[test]
    fn what_is_a_line_is_asked_for_once() {
        assert_eq!(offsets::<Line<1>>().collect::<Vec<_>>(), [0]);
        assert_eq!(offsets::<Line<2>>().collect::<Vec<_>>(), [0, LINE]);
        assert_eq!(offsets::<Quarters<112>>().collect::<Vec<_>>(), [0, LINE, 111]);
    }
}
