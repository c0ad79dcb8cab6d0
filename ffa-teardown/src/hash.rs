//! What an engine will do, as a hash.

use core::hash::{Hash, Hasher};

use crate::arena::Arena;
use crate::duty::{Duty, DutySlot};
use crate::index::Index;
use crate::vm::{Pass, Place, VmSlot};
use crate::{Engine, Storage};

/// Engines under the same policy that will do the same hash alike, whichever slots their duties stand in and
/// whatever answers they keep for reports: lists are walked, not slots, and no decision ever reads
/// [`LastAnswer`](crate::LastAnswer). A search over its states sees them once.
impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Hash for Engine<V, D> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for vm in self.vms.iter() {
            vm.phase.hash(hasher);
            if vm.phase.is_some() {
                self.hash_vm(vm, hasher);
            }
        }
        self.queue.order(&self.vms).for_each(|vm| vm.hash(hasher));
    }
}

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    fn hash_vm<H: Hasher>(&self, vm: &VmSlot, hasher: &mut H) {
        (vm.id, vm.reference, vm.settled, vm.place).hash(hasher);
        if vm.place == Place::Waiting {
            (vm.deadline, vm.first).hash(hasher);
        }
        let Pass { stage, cursor, earliest, open, kept_share, kept_other, again } = vm.pass;
        (stage, earliest, open, kept_share, kept_other, again).hash(hasher);
        for list in vm.lists {
            let mut at = list.head;
            while let Some(index) = at {
                let slot = &self.duties[index.get()];
                let is = |other: Option<Index>| other == Some(index);
                (slot.duty, slot.state, slot.resume, slot.run(), slot.step, slot.tries).hash(hasher);
                (is(cursor), is(vm.in_flight)).hash(hasher);
                if let Some(Duty::Share { handle: Some(handle), .. }) = slot.duty {
                    Arena::names_another(&self.duties, handle, index).hash(hasher);
                }
                at = slot.next;
            }
            // Where one list ends and the next begins is part of what is hashed.
            at.hash(hasher);
        }
    }
}
