//! Huge pages that the administrator reserved (Documentation/admin-guide/mm/hugetlbpage.rst).

use std::fs;

/// How many pages of 2 MiB are reserved, in use or not; 0 where the kernel has none.
pub fn reserved() -> u32 {
    let text = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
