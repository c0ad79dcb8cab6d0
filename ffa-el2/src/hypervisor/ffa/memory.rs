//! The memory of guests, as the mediator reads, writes and holds it. Everything goes by the VM's own stage 2, whichever
//! VM runs on this CPU, if any.

use ffa_abi::PartitionId;
use ffa_hyp_glue::{Access, GuestFault, GuestMemory, PageError, Pages};
use ffa_mem::{IpaRange, PhysRange};
use ffa_teardown::ShareId;

use super::platform::Platform;
use super::quarantine;
use crate::frames::{self, FRAMES, Frames, PAGE, Run};
use crate::stage2::{NotMapped, Stage2};
use crate::vm_id::VmId;
use crate::{guest_memory, vms};

impl GuestMemory for Platform {
    fn read(&mut self, vm: PartitionId, address: u64, dst: &mut [u8]) -> Result<(), GuestFault> {
        let len = dst.len() as u64;
        let mut rest = dst;
        each_run(vm, address, len, |run| {
            let part = rest.split_off_mut(..run.bytes).ok_or(NotMapped)?;
            guest_memory::read(run, part);
            Ok(())
        })
    }

    fn write(&mut self, vm: PartitionId, address: u64, src: &[u8]) -> Result<(), GuestFault> {
        let mut rest = src;
        each_run(vm, address, src.len() as u64, |run| {
            let part = rest.split_off(..run.bytes).ok_or(NotMapped)?;
            guest_memory::write(run, part);
            Ok(())
        })
    }
}

/// Calls `visit` with each run behind `len` bytes from `address`; all memory of a living VM can be read and written.
fn each_run(
    vm: PartitionId,
    address: u64,
    len: u64,
    mut visit: impl FnMut(Run) -> Result<(), NotMapped>,
) -> Result<(), GuestFault> {
    let mut done = 0;
    let visited = VmId::of_partition(vm).and_then(|id| {
        vms::with_memory(id, |stage2| {
            stage2.translate(address, len, |run| {
                visit(run)?;
                done += run.bytes as u64;
                Ok(())
            })
        })
    });
    match visited {
        Some(Ok(())) => Ok(()),
        Some(Err(NotMapped)) | None => Err(GuestFault { address: address.saturating_add(done) }),
    }
}

impl Pages for Platform {
    /// Whatever stage 2 maps is plain memory, owned by this VM alone, to be read and written: so `access` is always given.
    fn hold(
        &mut self,
        vm: PartitionId,
        range: IpaRange,
        _: Access,
        runs: impl FnMut(PhysRange),
    ) -> Result<(), PageError> {
        VmId::of_partition(vm)
            .and_then(|id| vms::with_memory(id, |stage2| hold(stage2, range, runs)))
            .unwrap_or(Err(PageError::NotOwned { address: range.base() }))
    }

    #[inline]
    fn hold_for(
        &mut self,
        share: ShareId,
        vm: PartitionId,
        range: IpaRange,
        _: Access,
        runs: impl FnMut(PhysRange),
    ) -> Result<(), PageError> {
        VmId::of_partition(vm)
            .and_then(|id| vms::with_memory(id, |stage2| hold_for(stage2, share, range, runs)))
            .unwrap_or(Err(PageError::NotOwned { address: range.base() }))
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
        vms::with_stage2(id, |stage2| {
            let released = stage2.translate(range.base(), range.bytes(), |run| {
                frames::release(run);
                Ok(())
            });
            released.expect("held pages stay where they are");
        })
        .expect("its pages keep what is left of a VM");
    }

    fn quarantine(&mut self, vm: PartitionId, range: IpaRange) {
        let id = VmId::of_partition(vm).expect("the mediator knows no other VMs");
        vms::with_stage2(id, |stage2| {
            let listed = stage2.translate(range.base(), range.bytes(), |run| {
                quarantine::add(vm, range, run);
                Ok(())
            });
            listed.expect("held pages stay where they are");
        })
        .expect("its pages keep what is left of a VM");
    }
}

/// Holds all of `range` or nothing.
fn hold(stage2: &Stage2, range: IpaRange, mut runs: impl FnMut(PhysRange)) -> Result<(), PageError> {
    let mut frames = FRAMES.lock();
    let mut done = 0;
    let held = stage2.translate(range.base(), range.bytes(), |run| {
        frames.hold(run).map_err(|_| NotMapped)?;
        done += run.bytes as u64;
        runs(physical(run));
        Ok(())
    });
    held.map_err(|NotMapped| undo(&mut frames, stage2, range, done))
}

/// Holds all of `range` for `share`, or nothing.
#[inline]
fn hold_for(
    stage2: &Stage2,
    share: ShareId,
    range: IpaRange,
    mut runs: impl FnMut(PhysRange),
) -> Result<(), PageError> {
    let mut frames = FRAMES.lock();
    let mut done = 0;
    let held = stage2.translate(range.base(), range.bytes(), |run| {
        frames.hold_for(share.position(), run);
        done += run.bytes as u64;
        runs(physical(run));
        Ok(())
    });
    held.map_err(|NotMapped| undo(&mut frames, stage2, range, done))
}

/// Ends the hold of the first `done` bytes of `range`. The error is about the page behind them.
#[cold]
fn undo(frames: &mut Frames, stage2: &Stage2, range: IpaRange, done: u64) -> PageError {
    let undone = stage2.translate(range.base(), done, |run| {
        frames.end_hold(run);
        Ok(())
    });
    undone.expect("it was translated just now");
    PageError::NotOwned { address: range.base() + done }
}

fn physical(run: Run) -> PhysRange {
    let pages = u32::try_from(run.bytes / PAGE).expect("a run is a part of the pool");
    PhysRange::new(run.address as u64, pages).expect("a run is whole pages of the pool")
}
