//! Donations are had back while it is certain what their handles name.

use ffa_abi::{Handle, RunTarget};

use crate::arena::Arena;
use crate::duty::{Duty, DutySlot};
use crate::index::Index;
use crate::vm::{VmKey, VmSlot};
use crate::{BeginError, Engine, ShareId, Storage};

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// A guest wants a donation of its own back, as with [`begin_reclaim`](Self::begin_reclaim).
    ///
    /// No call that sends memory may be in flight from before this until it has been
    /// [answered](Self::reclaim_answered): the receiver can retrieve the donation at any moment, whereupon its handle is
    /// free to be another's, and success would be about that one.
    ///
    /// # Errors
    /// [`BeginError::NotFound`] if the guest has no donation of that name, or another call works on it; also since some
    /// send came to [`SendOutcome::Unknown`](crate::SendOutcome::Unknown) without a handle, which may have been this one.
    pub fn begin_donation_reclaim(
        &mut self,
        vm: VmKey,
        handle: Handle,
    ) -> Result<(ShareId, Option<RunTarget>), BeginError> {
        if self.handle_in_doubt {
            return Err(BeginError::NotFound);
        }
        self.begin_reclaim_of(vm, handle, Duty::is_named_donation)
    }

    /// Whether the call that [`Action::Call`](crate::Action::Call) asks for is to have a donation back. Then no call that
    /// sends memory may be in flight meanwhile, for the reason that
    /// [`begin_donation_reclaim`](Self::begin_donation_reclaim) gives; and when that is so,
    /// [`may_ask_for_donation`](Self::may_ask_for_donation) must be asked first. If either cannot be, the call is not
    /// made, and [`Status::Busy`](ffa_abi::Status::Busy) reported for its answer.
    #[must_use]
    pub fn asks_for_donation(&self, vm: VmKey) -> bool {
        self.donation_in_flight(vm).is_some()
    }

    /// Whether the handle of the donation can still name nothing else.
    #[must_use]
    pub fn may_ask_for_donation(&self, vm: VmKey) -> bool {
        let Some(index) = self.donation_in_flight(vm) else { return false };
        let Some(Duty::Share { handle: Some(handle), .. }) = self.duties[index.get()].duty else {
            return false;
        };
        !self.handle_in_doubt && !Arena::names_another(&self.duties, handle, index)
    }

    fn donation_in_flight(&self, vm: VmKey) -> Option<Index> {
        let index = self.phase(vm).ok().and_then(|_| self.vms[vm.index.get()].in_flight)?;
        self.duties[index.get()].duty.as_ref().is_some_and(Duty::is_donation).then_some(index)
    }

    /// Whether [`begin_donation_reclaim`](Self::begin_donation_reclaim) finds the guest's donation.
    #[must_use]
    pub fn has_donation(&self, vm: VmKey, handle: Handle) -> bool {
        !self.handle_in_doubt && self.find_owed(vm, handle, Duty::is_named_donation).is_ok()
    }
}
