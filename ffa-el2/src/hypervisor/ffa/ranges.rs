//! Room for the page ranges that a VM may share: one static list for each VM.

use ffa_el2::lock::{Mutex, MutexGuard};
use ffa_mem::{FixedRanges, RangeStore, StoreFull, TrackedRange};

use crate::vm_id::{MAX_VMS, VmId};

/// Ranges of one VM: two shares of [as many pages as they may have](super::settings), none of which touch, and buffers.
const RANGES: usize = 2100;

static LISTS: [Mutex<FixedRanges<RANGES>>; MAX_VMS] = [const { Mutex::new(FixedRanges::new()) }; MAX_VMS];

/// A VM's list. Whoever has it is its only user, until it is dropped.
pub struct LentRanges(MutexGuard<'static, FixedRanges<RANGES>>);

impl LentRanges {
    /// The list of `vm`, which nobody else has: the mediator knows no VM with this id, or the one that it knows keeps
    /// this from being used.
    pub fn of(vm: VmId) -> Option<Self> {
        let mut list = LISTS[vm.slot()].try_lock()?;
        list.truncate(0);
        Some(Self(list))
    }
}

impl RangeStore for LentRanges {
    #[inline]
    fn as_slice(&self) -> &[TrackedRange] {
        self.0.as_slice()
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [TrackedRange] {
        self.0.as_mut_slice()
    }

    #[inline]
    fn try_push(&mut self, range: TrackedRange) -> Result<(), StoreFull> {
        self.0.try_push(range)
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}
