//! Access lists: prefixes that are allowed or denied, of which the longest that holds an address decides.
//!
//! Prefixes become ranges when the list is built: a sorted list of the addresses at which the answer changes. The number of
//! changes up to an address, odd or even, is the answer. Long IPv4 lists have an index by the first 16 bits besides, so that a
//! lookup is two cache misses however long the list is; IPv6 takes log₂ n steps.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Whether somebody may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Access {
    /// They may.
    #[default]
    Allow,
    /// They may not.
    Deny,
}

/// Changes from which on an index is worth its 256 KiB.
const LONG: usize = 64;
/// Bits of an IPv4 address that the index goes by.
const INDEXED: u32 = 16;

/// An access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    v4: Changes<u32>,
    v6: Changes<u128>,
    /// By the first 16 bits: how many changes lie before all addresses that begin like this. One more than there are of these.
    index: Box<[u32]>,
}

/// Where the answer changes, in ascending order, and what it is before that.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Changes<A> {
    first: Access,
    at: Box<[A]>,
}

impl Acl {
    /// The list of these prefixes, whose host bits are zero; of two equal ones the later stays. `default` is for addresses that
    /// none of them holds.
    pub fn build(default: Access, entries: impl IntoIterator<Item = ((IpAddr, u8), Access)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for ((prefix, length), access) in entries {
            match prefix {
                IpAddr::V4(prefix) => {
                    let host_bits = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                    v4.push((
                        u128::from(u32::from(prefix)),
                        u128::from(u32::from(prefix) | host_bits),
                        access,
                    ));
                }
                IpAddr::V6(prefix) => {
                    let host_bits = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                    v6.push((u128::from(prefix), u128::from(prefix) | host_bits, access));
                }
            }
        }
        let v4 = Changes::of(default, v4, |address| u32::try_from(address).ok());
        let v6 = Changes::of(default, v6, Some);
        let index = if v4.at.len() < LONG { Box::default() } else { index(&v4.at) };
        Self { v4, v6, index }
    }

    /// What becomes of `address`.
    #[inline]
    pub fn decide(&self, address: IpAddr) -> Access {
        match address {
            IpAddr::V4(v4) => self.decide_v4(v4.into()),
            IpAddr::V6(v6) => self.v6.after(self.v6.at.partition_point(|change| *change <= v6.into())),
        }
    }

    #[inline]
    fn decide_v4(&self, address: u32) -> Access {
        let block = (address >> (32 - INDEXED)) as usize;
        let (from, to) = match (self.index.get(block), self.index.get(block + 1)) {
            (Some(from), Some(to)) => (*from as usize, *to as usize),
            _ => (0, self.v4.at.len()),
        };
        let near = self.v4.at.get(from..to).unwrap_or_default();
        self.v4.after(from + near.partition_point(|change| *change <= address))
    }

    /// Whether it allows everything.
    pub fn allows_all(&self) -> bool {
        self.changes() == 0 && self.v4.first == Access::Allow && self.v6.first == Access::Allow
    }

    /// How many times the answer changes over all addresses: what a lookup searches.
    pub fn changes(&self) -> usize {
        self.v4.at.len() + self.v6.at.len()
    }
}

impl<A> Changes<A> {
    /// Of ranges from their first to their last address, each of which lies within another or has nothing in common with it.
    fn of(default: Access, ranges: Vec<(u128, u128, Access)>, narrow: impl Fn(u128) -> Option<A>) -> Self {
        // The widest of those that begin at one address comes first, so that the ones within it come after it.
        let mut sorted: BTreeMap<(u128, u128), Access> = BTreeMap::new();
        for (from, to, access) in ranges {
            sorted.insert((from, u128::MAX - to), access);
        }
        // What is to be answered from an address on, later ones on top.
        let mut answers: Vec<(u128, Access)> = vec![(0, default)];
        let mut open: Vec<(u128, Access)> = Vec::new();
        for ((from, complement), access) in sorted {
            let to = u128::MAX - complement;
            close(&mut open, &mut answers, default, |end| end < from);
            answers.push((from, access));
            open.push((to, access));
        }
        close(&mut open, &mut answers, default, |_| true);
        Self::compact(&answers, narrow)
    }

    /// Leaves out what changes nothing: of several answers from one address on the last holds.
    fn compact(answers: &[(u128, Access)], narrow: impl Fn(u128) -> Option<A>) -> Self {
        let mut first = Access::default();
        let mut at: Vec<u128> = Vec::new();
        for (from, access) in answers {
            if at.last() == Some(from) {
                at.pop();
            }
            if *from == 0 {
                first = *access;
            } else if state(first, at.len()) != *access {
                at.push(*from);
            }
        }
        // One that ends with the last address there is would change what comes after it.
        Self { first, at: at.into_iter().map_while(narrow).collect() }
    }

    /// The answer after so many changes.
    #[inline]
    fn after(&self, changes: usize) -> Access {
        state(self.first, changes)
    }
}

/// Ends those of the open ranges that `is_over`: what they lie in holds from then on.
fn close(
    open: &mut Vec<(u128, Access)>,
    answers: &mut Vec<(u128, Access)>,
    default: Access,
    is_over: impl Fn(u128) -> bool,
) {
    while let Some((end, _)) = open.last()
        && is_over(*end)
    {
        let after = end.checked_add(1);
        open.pop();
        let outer = open.last().map_or(default, |(_, access)| *access);
        answers.extend(after.map(|after| (after, outer)));
    }
}

#[inline]
fn state(first: Access, changes: usize) -> Access {
    match (first, changes & 1 == 0) {
        (Access::Allow, true) | (Access::Deny, false) => Access::Allow,
        (Access::Deny, true) | (Access::Allow, false) => Access::Deny,
    }
}

/// How many of `changes` lie before the addresses that begin with each value of the first 16 bits.
fn index(changes: &[u32]) -> Box<[u32]> {
    let before =
        |block: u64| changes.partition_point(|change| u64::from(*change) < block << (32 - INDEXED)) as u32;
    (0..=1u64 << INDEXED).map(before).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> (IpAddr, u8) {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse().unwrap(), length.parse().unwrap())
    }

    fn acl(default: Access, entries: &[(&str, Access)]) -> Acl {
        Acl::build(default, entries.iter().map(|(text, access)| (prefix(text), *access)))
    }

    fn decide(acl: &Acl, address: &str) -> Access {
        acl.decide(address.parse().unwrap())
    }

    use Access::{Allow, Deny};

    #[test]
    fn the_longest_prefix_decides() {
        let acl = acl(
            Allow,
            &[
                ("198.18.0.0/16", Deny),
                ("198.18.7.0/24", Allow),
                ("198.18.7.9/32", Deny),
                ("2001:db8::/32", Deny),
            ],
        );
        for (address, access) in [
            ("198.17.255.255", Allow),
            ("198.18.0.0", Deny),
            ("198.18.7.0", Allow),
            ("198.18.7.8", Allow),
            ("198.18.7.9", Deny),
            ("198.18.7.10", Allow),
            ("198.18.8.0", Deny),
            ("198.18.255.255", Deny),
            ("198.19.0.0", Allow),
            ("2001:db7:ffff::", Allow),
            ("2001:db8::", Deny),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Deny),
            ("2001:db9::", Allow),
        ] {
            assert_eq!(decide(&acl, address), access, "{address}");
        }
    }

    #[test]
    fn the_ends_of_all_addresses_are_addresses() {
        let acl = acl(
            Deny,
            &[("0.0.0.0/0", Allow), ("255.255.255.255/32", Deny), ("::/0", Allow), ("::/128", Deny)],
        );
        assert_eq!((decide(&acl, "0.0.0.0"), decide(&acl, "255.255.255.255")), (Allow, Deny));
        assert_eq!((decide(&acl, "::"), decide(&acl, "::1")), (Deny, Allow));
        assert_eq!(decide(&acl, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Allow);
    }

    #[test]
    fn what_changes_nothing_takes_no_room() {
        assert_eq!(acl(Allow, &[("198.18.0.0/16", Allow), ("2001:db8::/32", Allow)]).changes(), 0);
        let neighbors = acl(Allow, &[("198.18.0.0/17", Deny), ("198.18.128.0/17", Deny)]);
        assert_eq!(neighbors, acl(Allow, &[("198.18.0.0/16", Deny)]));
    }

    /// 50,000 prefixes: an answer looks at what begins with the same 16 bits alone.
    #[test]
    fn long_lists_have_an_index() {
        let entries = (1..=50_000u32).map(|i| ((IpAddr::V4((i << 15).into()), 24), Deny));
        let acl = Acl::build(Allow, entries);
        assert_eq!(acl.changes(), 100_000);
        for i in [1, 2, 50_000] {
            let inside: IpAddr = std::net::Ipv4Addr::from((i << 15) + 77).into();
            let outside: IpAddr = std::net::Ipv4Addr::from((i << 15) + 256).into();
            assert_eq!((acl.decide(inside), acl.decide(outside)), (Deny, Allow), "{i}");
        }
        let busiest = acl.index.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert_eq!(busiest, Some(4));
    }

    /// What everybody would write first.
    fn plainly(default: Access, entries: &[((IpAddr, u8), Access)], address: IpAddr) -> Access {
        let holds = |(prefix, length): (IpAddr, u8)| match (prefix, address) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) => {
                let mask = !u32::MAX.checked_shr(length.into()).unwrap_or(0);
                u32::from(address) & mask == u32::from(prefix)
            }
            (IpAddr::V6(prefix), IpAddr::V6(address)) => {
                let mask = !u128::MAX.checked_shr(length.into()).unwrap_or(0);
                u128::from(address) & mask == u128::from(prefix)
            }
            _ => false,
        };
        let longest =
            entries.iter().filter(|(prefix, _)| holds(*prefix)).max_by_key(|((_, length), _)| *length);
        longest.map_or(default, |(_, access)| *access)
    }

    /// Prefixes and addresses out of few bits, so that they meet.
    fn narrow(v4: bool, bits: u32) -> IpAddr {
        match v4 {
            true => IpAddr::V4((bits.rotate_right(8) ^ 0xC612_0000).into()),
            false => IpAddr::V6((u128::from(bits).rotate_right(8) ^ 0x2001_0DB8 << 96).into()),
        }
    }

    fn network(v4: bool, bits: u32, length: u8) -> (IpAddr, u8) {
        let length = if v4 { length % 33 } else { length % 129 };
        let address = match narrow(v4, bits) {
            IpAddr::V4(v4) => {
                IpAddr::V4((u32::from(v4) & !u32::MAX.checked_shr(length.into()).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) => {
                IpAddr::V6((u128::from(v6) & !u128::MAX.checked_shr(length.into()).unwrap_or(0)).into())
            }
        };
        (address, length)
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_way(
            default in any::<bool>(),
            entries in proptest::collection::vec((any::<bool>(), 0u32..4096, any::<u8>(), any::<bool>()), 0..120),
            addresses in proptest::collection::vec((any::<bool>(), 0u32..4096), 64),
        ) {
            let access = |deny: bool| if deny { Deny } else { Allow };
            let mut listed: Vec<((IpAddr, u8), Access)> = Vec::new();
            for (v4, bits, length, deny) in entries {
                let prefix = network(v4, bits, length);
                listed.retain(|(other, _)| *other != prefix);
                listed.push((prefix, access(deny)));
            }
            let acl = Acl::build(access(default), listed.iter().copied());
            for (v4, bits) in addresses {
                let address = narrow(v4, bits);
                prop_assert_eq!(acl.decide(address), plainly(access(default), &listed, address), "{}", address);
            }
        }
    }
}
