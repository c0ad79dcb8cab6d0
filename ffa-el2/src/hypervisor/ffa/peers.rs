//! Memory of one VM in another one's stage 2. There are no devices of guests that could reach it.

use ffa_abi::PartitionId;
use ffa_hyp_glue::{Access, Lending, PageError, PeerMemory};
use ffa_mem::IpaRange;

use super::memory::ipas;
use super::platform::Platform;
use crate::frames::{FRAMES, Run};
use crate::stage2::{Borrowing, Stage2};
use crate::vm_id::VmId;
use crate::vms;

impl PeerMemory for Platform {
    fn map(&mut self, lending: &Lending, range: IpaRange) -> Result<IpaRange, PageError> {
        let Lending { owner, borrower, access, executable } = *lending;
        let borrowing = Borrowing { writable: access == Access::ReadWrite, executable };
        let (owner, borrower) = (known(owner), known(borrower));
        // Each VM has one vCPU, which makes this call: nobody else takes the room before it is used.
        let room = vms::with_memory(borrower, |stage2| stage2.room_to_borrow(range.pages() as usize));
        let base = room.flatten().ok_or(PageError::NoResources)?;
        let mut mapped = 0;
        while mapped < range.bytes() {
            // One lock at a time: two VMs may borrow from each other.
            let run = run_at(owner, range.base() + mapped, range.bytes() - mapped);
            vms::with_memory(borrower, |stage2| stage2.map_borrowed(base + mapped, run, borrowing))
                .expect("a VM that makes a call lives");
            mapped += run.bytes as u64;
        }
        Ok(IpaRange::new(base, range.pages()).expect("the room is in pages"))
    }

    fn give(&mut self, owner: PartitionId, from: IpaRange, receiver: PartitionId, to: IpaRange) {
        let (owner, receiver) = (known(owner), known(receiver));
        vms::with_stage2(owner, |stage2| {
            for run in stage2.runs(from.base(), from.bytes()) {
                FRAMES.lock().give(run.expect("held pages stay where they are"), receiver);
            }
            stage2.forget_lost(ipas(from));
        })
        .expect("its pages keep what is left of a VM");
        vms::with_memory(receiver, |stage2| stage2.own_borrowed(ipas(to)))
            .expect("a VM that makes a call lives");
    }

    fn unmap(&mut self, borrower: PartitionId, range: IpaRange) {
        vms::with_stage2(known(borrower), |stage2| stage2.unmap_borrowed(ipas(range)))
            .expect("what it has borrowed keeps what is left of a VM");
    }
}

/// What is at `ipa` in the memory of the VM, dead or alive, which is held there.
fn run_at(vm: VmId, ipa: u64, bytes: u64) -> Run {
    let first = |stage2: &mut Stage2| stage2.runs(ipa, bytes).next();
    let run = vms::with_stage2(vm, first).expect("its pages keep what is left of a VM");
    run.expect("there is something to map").expect("held pages stay where they are")
}

fn known(vm: PartitionId) -> VmId {
    VmId::of_partition(vm).expect("the mediator knows no other VMs")
}
