use std::boxed::Box;
use std::vec::Vec;

use ffa_abi::PartitionInfo;
use ffa_hyp_glue::{DraftSlot, LoanSlot, Mediator, Record, Stores, VcpuSlot};
use ffa_mem::{RangeStore, StoreFull, TrackedRange};
use ffa_teardown::{DutySlot, VmSlot};

use super::cpu::Cpu;
use super::fuse::{Fallible, Fuse};
use super::preemption::{Preemption, preempt};

/// Room for page ranges that grows up to a limit.
#[derive(Clone, Debug)]
pub struct VecRanges {
    ranges: Vec<TrackedRange>,
    limit: usize,
    fuse: Option<Fuse>,
}

impl VecRanges {
    /// Empty, for `limit` ranges at most.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { ranges: Vec::new(), limit, fuse: None }
    }

    /// The same, and it may fail at any time.
    pub(super) fn with_fuse(self, fuse: Fuse) -> Self {
        Self { fuse: Some(fuse), ..self }
    }

    fn fails(&self) -> bool {
        self.fuse.as_ref().is_some_and(|fuse| fuse.blows(Fallible::Store))
    }
}

impl RangeStore for VecRanges {
    fn as_slice(&self) -> &[TrackedRange] {
        &self.ranges
    }

    fn as_mut_slice(&mut self) -> &mut [TrackedRange] {
        &mut self.ranges
    }

    fn try_push(&mut self, range: TrackedRange) -> Result<(), StoreFull> {
        if self.fails() || self.ranges.len() >= self.limit || self.ranges.try_reserve(1).is_err() {
            return Err(StoreFull);
        }
        self.ranges.push(range);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.ranges.truncate(len);
    }

    fn try_reserve(&mut self, more: usize) -> Result<(), StoreFull> {
        if self.fails() || self.limit.saturating_sub(self.ranges.len()) < more {
            return Err(StoreFull);
        }
        self.ranges.try_reserve_exact(more).map_err(|_| StoreFull)
    }
}

/// What the model lends: boxed slices, and ranges that grow.
#[derive(Debug)]
pub struct HeapStores;

impl Stores<Cpu> for HeapStores {
    type Vms = Box<[VmSlot]>;
    type Duties = Box<[DutySlot]>;
    type Records = Box<[Option<VmRecord>]>;
    type Ranges = VecRanges;
    type Vcpus = Vec<VcpuSlot>;
    type Drafts = Vec<DraftSlot>;
    type Partitions = Box<[PartitionInfo]>;
    type Loans = Box<[LoanSlot]>;

    fn relax() {
        preempt(Preemption::Waits);
    }

    fn before_lock() {
        preempt(Preemption::Between);
    }
}

/// What the mediator keeps of each VM in them.
pub type VmRecord = Record<Cpu, VecRanges, Vec<VcpuSlot>, Vec<DraftSlot>>;

/// The mediator over this model.
pub type ModelMediator = Mediator<Cpu, HeapStores>;
