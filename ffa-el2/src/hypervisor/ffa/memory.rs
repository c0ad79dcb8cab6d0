//! The memory of guests, as the mediator reads, writes and holds it. Everything goes by the VM's own stage 2, whichever
//! VM runs on this CPU, if any.

use core::ops::Range;

use ffa_abi::PartitionId;
use ffa_hyp_glue::{Access, GuestFault, GuestMemory, OwnerAccess, PageError, Pages};
use ffa_mem::{IpaRange, PhysRange};
use ffa_teardown::ShareId;

use super::platform::Platform;
use super::quarantine;
use crate::frames::{self, FRAMES, Frames, PAGE, Run};
use crate::stage2::{NotMapped, Stage2};
use crate::vm_id::VmId;
use crate::{guest_memory, vms};

impl GuestMemory for Platform {
    #[inline(always)] // for every descriptor
    fn read(&mut self, vm: PartitionId, address: u64, dst: &mut [u8]) -> Result<(), GuestFault> {
        with_memory(vm, |stage2| {
            let mut rest = dst;
            for run in stage2.runs(address, rest.len() as u64) {
                let run = run?;
                let (part, behind) = rest.split_at_mut(run.bytes);
                guest_memory::read(run, part);
                rest = behind;
            }
            Ok(())
        })
        .unwrap_or(Err(NotMapped { ipa: address }))
        .map_err(|NotMapped { ipa }| GuestFault { address: ipa })
    }

    fn write(&mut self, vm: PartitionId, address: u64, src: &[u8]) -> Result<(), GuestFault> {
        with_memory(vm, |stage2| {
            let mut rest = src;
            for run in stage2.runs(address, rest.len() as u64) {
                let run = run?;
                let (part, behind) = rest.split_at(run.bytes);
                guest_memory::write(run, part);
                rest = behind;
            }
            Ok(())
        })
        .unwrap_or(Err(NotMapped { ipa: address }))
        .map_err(|NotMapped { ipa }| GuestFault { address: ipa })
    }
}

/// Lets `use_it` look at or change the stage 2 of a VM that lives: all memory there can be read and written. `None` if there
/// is no such VM.
#[inline(always)] // for every descriptor, and every range that is shared
fn with_memory<T>(vm: PartitionId, use_it: impl FnOnce(&mut Stage2) -> T) -> Option<T> {
    VmId::of_partition(vm).and_then(|id| vms::with_memory(id, use_it))
}

impl Pages for Platform {
    /// Whatever a VM has of its own is plain memory, to be read and written: so `access` is always given.
    fn hold(
        &mut self,
        vm: PartitionId,
        range: IpaRange,
        _: Access,
        owner: OwnerAccess,
        runs: impl FnMut(PhysRange),
    ) -> Result<(), PageError> {
        with_memory(vm, |stage2| {
            hold(stage2, range, runs)?;
            if owner == OwnerAccess::Lost {
                stage2.lose(ipas(range));
            }
            Ok(())
        })
        .unwrap_or(Err(PageError::NotOwned { address: range.base() }))
    }

    #[inline(always)] // for every range that is shared
    fn hold_for(
        &mut self,
        share: ShareId,
        vm: PartitionId,
        range: IpaRange,
        access: Access,
        owner: OwnerAccess,
        runs: impl FnMut(PhysRange),
    ) -> Result<(), PageError> {
        // Those that a guest loses its access to are released one by one.
        if owner == OwnerAccess::Lost {
            FRAMES.lock().hold_singly(share.position());
            return self.hold(vm, range, access, owner, runs);
        }
        with_memory(vm, |stage2| hold_for(stage2, share, range, runs))
            .unwrap_or(Err(PageError::NotOwned { address: range.base() }))
    }

    fn runs(&mut self, vm: PartitionId, range: IpaRange, mut runs: impl FnMut(PhysRange)) {
        with_memory(vm, |stage2| {
            for run in stage2.runs(range.base(), range.bytes()) {
                runs(physical(run.expect("held pages stay where they are")));
            }
        });
    }

    #[inline]
    fn release_share(&mut self, vm: PartitionId, share: ShareId) -> bool {
        // Whether it is one of those on the list is to be found out range by range.
        !quarantine::is_used()
            && VmId::of_partition(vm).is_some_and(|id| FRAMES.lock().release_share(id, share.position()))
    }

    fn release(&mut self, vm: PartitionId, range: IpaRange) {
        if quarantine::release(vm, range) {
            return;
        }
        let id = VmId::of_partition(vm).expect("the mediator knows no other VMs");
        let released = vms::with_stage2(id, |stage2| {
            let mut is_back = false;
            for run in stage2.runs(range.base(), range.bytes()) {
                is_back = frames::release_to_owner(run.expect("held pages stay where they are"));
            }
            if is_back && stage2.is_lost(range.base()) {
                stage2.regain(ipas(range));
            }
        });
        quarantine::done_or_lost(released);
    }

    /// All memory of guests can be written.
    fn owner_writes(&mut self, _: PartitionId, _: IpaRange) -> bool {
        true
    }

    fn zero(&mut self, vm: PartitionId, range: IpaRange) {
        let id = VmId::of_partition(vm).expect("the mediator knows no other VMs");
        vms::with_stage2(id, |stage2| {
            for run in stage2.runs(range.base(), range.bytes()) {
                let run = run.expect("held pages stay where they are");
                guest_memory::clear(run);
                guest_memory::publish(run);
            }
        })
        .expect("its pages keep what is left of a VM");
    }

    fn donated(&mut self, vm: PartitionId, range: IpaRange) {
        let donate = |run| FRAMES.lock().donate(run);
        if quarantine::take(vm, range, donate) {
            return;
        }
        let id = VmId::of_partition(vm).expect("the mediator knows no other VMs");
        let donated = vms::with_stage2(id, |stage2| {
            for run in stage2.runs(range.base(), range.bytes()) {
                donate(run.expect("held pages stay where they are"));
            }
            stage2.forget_lost(ipas(range));
        });
        quarantine::done_or_lost(donated);
    }

    fn quarantine(&mut self, vm: PartitionId, range: IpaRange) {
        let id = VmId::of_partition(vm).expect("the mediator knows no other VMs");
        vms::with_stage2(id, |stage2| {
            for run in stage2.runs(range.base(), range.bytes()) {
                quarantine::add(vm, range, run.expect("held pages stay where they are"));
            }
        })
        .expect("its pages keep what is left of a VM");
    }
}

/// Addresses of a range.
pub(super) fn ipas(range: IpaRange) -> Range<u64> {
    range.base()..range.base() + range.bytes()
}

/// Holds all of `range` or nothing.
fn hold(stage2: &Stage2, range: IpaRange, mut runs: impl FnMut(PhysRange)) -> Result<(), PageError> {
    let mut frames = FRAMES.lock();
    let mut next = range.base();
    for run in stage2.runs(range.base(), range.bytes()) {
        let is_own = |run: &Run| frames.are_owned(*run, stage2.vm());
        let own = run.ok().filter(is_own);
        let held = own.filter(|&run| frames.hold(run).is_ok());
        let run = held.ok_or_else(|| undo(&mut frames, stage2, range, next))?;
        next += run.bytes as u64;
        runs(physical(run));
    }
    Ok(())
}

/// Holds all of `range` for `share`, or nothing.
#[inline(always)] // likewise
fn hold_for(
    stage2: &Stage2,
    share: ShareId,
    range: IpaRange,
    mut runs: impl FnMut(PhysRange),
) -> Result<(), PageError> {
    let mut frames = FRAMES.lock();
    for run in stage2.runs(range.base(), range.bytes()) {
        let run = run.map_err(|NotMapped { ipa }| undo(&mut frames, stage2, range, ipa))?;
        // What a VM has borrowed the mediator does not let it share.
        debug_assert!(frames.are_owned(run, stage2.vm()), "{range:x?} is another VM's");
        frames.hold_for(share.position(), run);
        runs(physical(run));
    }
    Ok(())
}

/// Takes back the hold of `range` up to `end`, where the page is that is wrong.
#[cold]
fn undo(frames: &mut Frames, stage2: &Stage2, range: IpaRange, end: u64) -> PageError {
    for run in stage2.runs(range.base(), end - range.base()) {
        frames.undo_hold(run.expect("it was found just now"));
    }
    PageError::NotOwned { address: end }
}

fn physical(run: Run) -> PhysRange {
    let pages = u32::try_from(run.bytes / PAGE).expect("a run is a part of the pool");
    PhysRange::new(run.address as u64, pages).expect("a run is whole pages of the pool")
}
