//! Memory that VMs lend each other. The secure world knows nothing of it, but a dead VM must not go before it is over.

use crate::duty::{Duty, DutySlot, State};
use crate::vm::{VmKey, VmSlot};
use crate::{BeginError, Begun, Engine, ShareId, Storage, Unexpected};

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// Memory of a VM is about to be lent to another one, or the VM to borrow some. Until
    /// [`end_loan`](Self::end_loan) it keeps the VM's identity and reference; nothing that is owed to the secure world
    /// waits for it.
    ///
    /// # Errors
    /// [`BeginError`]; nothing has changed.
    pub fn begin_loan(&mut self, vm: VmKey) -> Result<Begun<ShareId>, BeginError> {
        let (index, take_reference) = self.begin(vm, Duty::Loan)?;
        self.duties[index.get()].state = State::Lent { vm: vm.index };
        Ok(Begun { id: ShareId(index), take_reference })
    }

    /// Nobody has anything of it any more, and its pages are back: the loan is no more.
    ///
    /// # Errors
    /// [`Unexpected`] if the VM has no such loan.
    pub fn end_loan(&mut self, vm: VmKey, loan: ShareId) -> Result<(), Unexpected> {
        self.phase(vm)?;
        let slot = self.duties.get(loan.0.get()).filter(|slot| slot.duty.is_some());
        if !slot.is_some_and(|slot| matches!(slot.state, State::Lent { vm: whose } if whose == vm.index)) {
            return Err(Unexpected::NotInFlight { vm: vm.id });
        }
        self.remove(vm.index, loan.0);
        self.wake(vm.index);
        Ok(())
    }

    /// Whether the secure world has let go of a share whose pages have yet to be given back, by
    /// [`released`](Self::released). As long as VMs have something of them as well, they are not.
    pub fn is_returning(&self, vm: VmKey, share: ShareId) -> bool {
        let slot = self.duties.get(share.0.get()).filter(|_| self.phase(vm).is_ok());
        slot.is_some_and(|slot| matches!(slot.state, State::Returning { vm: whose } if whose == vm.index))
    }
}
