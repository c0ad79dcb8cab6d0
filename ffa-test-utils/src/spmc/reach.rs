use alloc::collections::BTreeMap;
use core::ops::Bound;

use ffa_abi::{Handle, PartitionId, Transaction};

use super::memory::Extent;

/// How a partition can come by memory that is not its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reach {
    /// The SPMC would map it on request.
    Retrievable,
    /// It is mapped: the partition, or its device, may write this very moment.
    Mapped,
}

/// Memory that a partition can reach, and by which share. This is the truth, not what a call would answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Reached {
    /// The memory.
    pub extent: Extent,
    /// The partition.
    pub sp: PartitionId,
    /// The share's handle. It may be free for reuse by now.
    pub handle: Handle,
    /// Who sent it.
    pub owner: PartitionId,
    /// How it was sent.
    pub transaction: Transaction,
    /// How.
    pub reach: Reach,
}

/// Names a share for as long as the model runs, other than its handle.
pub(super) type Serial = u64;

/// Extents by address. They may overlap, since some secure worlds let them.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtentIndex {
    ends: BTreeMap<(u64, Serial, u32), u64>,
    /// Bytes of the longest extent ever: how far back a search must look.
    longest: u64,
}

impl ExtentIndex {
    pub fn insert(&mut self, serial: Serial, extents: &[Extent]) {
        for (number, extent) in (0..).zip(extents) {
            self.longest = self.longest.max(extent.end() - extent.base);
            self.ends.insert((extent.base, serial, number), extent.end());
        }
    }

    pub fn remove(&mut self, serial: Serial, extents: &[Extent]) {
        for (number, extent) in (0..).zip(extents) {
            self.ends.remove(&(extent.base, serial, number));
        }
    }

    /// Shares with an extent that has a byte in `extent`; a share may come up more than once.
    pub fn overlapping(&self, extent: Extent) -> impl Iterator<Item = Serial> + use<'_> {
        let first = (extent.base.saturating_sub(self.longest), 0, 0);
        let last = (extent.end(), 0, 0);
        // An extent that wraps nothing but has no pages covers nothing.
        let range = if first < last { Some((Bound::Included(first), Bound::Excluded(last))) } else { None };
        range
            .into_iter()
            .flat_map(|range| self.ends.range(range))
            .filter(move |&(_, &end)| end > extent.base)
            .map(|(&(_, serial, _), _)| serial)
    }
}
