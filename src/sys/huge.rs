//! Memory in huge pages: 2 MiB behind one entry of the processor's address cache instead of 4 KiB, so that looking up one of
//! millions of connections misses that cache no more than once, and not in every level.
//!
//! The kernel is asked (`MADV_HUGEPAGE` of madvise(2)), and may refuse: where transparent huge pages are `never`, or none are
//! free. Everything works without them, only slower.

use std::fs;
use std::io;
use std::sync::atomic::AtomicU64;

/// Less than this is not worth asking for.
const LEAST: usize = 2 << 20;

/// So many items, each of which `make` gives, in huge pages as far as the kernel has any. All of it is written, so that no page
/// is missing later.
pub fn filled<T>(len: usize, make: impl FnMut(usize) -> T) -> Box<[T]> {
    let mut items = Vec::with_capacity(len);
    // Before anything is written: what has small pages already keeps them.
    let _ = ask(items.spare_capacity_mut());
    items.extend((0..len).map(make));
    items.into_boxed_slice()
}

/// So many items of two words, all of them 0. None of it is written: a page is there once somebody writes to it.
pub fn zeroed(len: usize) -> Box<[[AtomicU64; 2]]> {
    let items = Box::<[[AtomicU64; 2]]>::new_zeroed_slice(len);
    // SAFETY: words of zeroes are what atomics of 0 are in memory.
    unsafe { items.assume_init() }
}

/// Asks for huge pages for this memory, of whose pages those that lie in it whole are meant. Its contents do not change.
///
/// # Errors
///
/// The kernel has no transparent huge pages, or the memory is of a kind that cannot have any.
pub fn ask<T>(memory: &[T]) -> io::Result<()> {
    let size = size_of_val(memory);
    if size < LEAST {
        return Ok(());
    }
    // SAFETY: sysconf has no preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1);
    let start = memory.as_ptr() as usize;
    let (first, end) = (start.next_multiple_of(page), (start + size) / page * page);
    if end <= first {
        return Ok(());
    }
    // SAFETY: the pages belong to `memory`, which is borrowed; the advice changes how they are backed and nothing that a
    // program can read.
    match unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many pages of 2 MiB the administrator reserved (Documentation/admin-guide/mm/hugetlbpage.rst), in use or not; 0 where
/// the kernel has none. Those are not the ones that [`ask`] gets.
pub fn reserved() -> u32 {
    count("nr_hugepages")
}

/// How many of those nobody uses now.
pub fn free() -> u32 {
    count("free_hugepages")
}

fn count(file: &str) -> u32 {
    let text = fs::read_to_string(format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{file}"));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Whether [`ask`] is heard: the kernel has transparent huge pages, and they are not `never`.
pub fn are_given() -> bool {
    fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|choices| !choices.contains("[never]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_what_was_made_at_any_size() {
        for len in [0, 1, 1000, 3 * LEAST / 8 + 5] {
            let items = filled(len, |position| position as u64);
            assert_eq!(items.len(), len);
            assert!(items.iter().enumerate().all(|(position, item)| *item == position as u64));
        }
    }

    #[test]
    fn zeroed_items_are_zero() {
        let items = zeroed(LEAST);
        assert_eq!(items.len(), LEAST);
        let load = |word: &AtomicU64| word.load(std::sync::atomic::Ordering::Relaxed);
        assert!(items.iter().step_by(1000).flatten().all(|word| load(word) == 0));
    }

    #[test]
    fn asking_changes_no_contents() {
        let memory: Vec<u8> = (0..2 * LEAST).map(|position| position as u8).collect();
        let _ = ask(&memory[3..]);
        assert!(memory.iter().enumerate().all(|(position, byte)| *byte == position as u8));
    }
}
