//! Small integer names for rows of the snapshot.
//!
//! A connection outlives many snapshots, so what it remembers must mean the same row in all of them.
//! The control plane therefore never moves a row: an id keeps its meaning until nothing refers to it.

/// One interface of the switch: its position in `[switch] interfaces`, and in a worker's list of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u8);

/// One service: the row of [`crate::tables::Snapshot::services`] and of the service counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// One backend of one service: the row of [`crate::tables::Snapshot::backends`] and of the backend counters.
///
/// The same server behind two services is two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// One next hop: the row of [`crate::tables::Snapshot::next_hops`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHopId(pub u32);

impl NextHopId {
    /// No row: the kernel has no route to that address.
    pub const NONE: Self = Self(u32::MAX);
}

impl BackendId {
    /// No row: the connection is one of outbound source NAT.
    pub const NONE: Self = Self(u32::MAX);
}

impl InterfaceId {
    /// The row in a list of interfaces.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

macro_rules! row {
    ($($name:ident),*) => { $(
        impl $name {
            /// The row this id names.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )* };
}
row!(ServiceId, BackendId, NextHopId);
