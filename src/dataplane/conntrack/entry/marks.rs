//! What is said of a connection besides its kind.

use super::{Entry, Hit};
use crate::dataplane::conntrack::sync::Ordering;
use crate::dataplane::family::Pair;

/// Some of the things that can be said of a connection. They stand among its traits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u32);

impl Marks {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Its frames are looked at one by one, as its service limits or marks them: the express lane does not know its kind.
    pub const ATTENDED: Self = Self(0x0800);
    /// It counts among the connections that its client has.
    pub const COUNTED: Self = Self(0x1000);

    /// Those among the traits of an entry.
    #[inline(always)]
    pub(in crate::dataplane::conntrack) const fn of_traits(traits: u32) -> Self {
        Self(traits & (Self::ATTENDED.0 | Self::COUNTED.0))
    }

    /// As they stand there.
    #[inline(always)]
    pub(in crate::dataplane::conntrack) const fn bits(self) -> u32 {
        self.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Whether all of those are said.
    #[inline]
    pub const fn has(self, marks: Self) -> bool {
        self.0 & marks.0 == marks.0
    }
}

impl<P: Pair> Entry<P> {
    /// Whether it counts among the connections that its client has.
    pub(in crate::dataplane::conntrack) fn is_counted(&self) -> bool {
        Marks::of_traits(self.traits.load(Ordering::Relaxed)).has(Marks::COUNTED)
    }

    /// Says one thing more of the connection of `hit`. Should another have taken its place meanwhile, it is said of that: so only
    /// what does no harm there.
    #[cold]
    pub fn mark(&self, hit: &Hit<P>, marks: Marks) {
        if self.holds(hit.held()) {
            self.traits.fetch_or(marks.bits(), Ordering::Relaxed);
        }
    }
}
