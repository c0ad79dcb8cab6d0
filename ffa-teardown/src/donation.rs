//! Donations are had back while it is certain what their handles name.

use ffa_abi::{Answer, Handle, RunTarget};

use crate::arena::Arena;
use crate::duty::{Duty, DutySlot, Resume, STAGE_SHARE, State};
use crate::index::Index;
use crate::vm::{VmKey, VmSlot};
use crate::{BeginError, Engine, ShareId, Storage, Unexpected};

/// Whether the secure world may have memory under a handle that nobody knows, and that a donation may have had before.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Doubt {
    /// It has not.
    None,
    /// It may, but then it has had it since the answer to some call that sends memory.
    Settled,
    /// It may, or may come to that yet: nobody knows whether some such call is over.
    Open,
}

impl Doubt {
    /// What this answer to a call that sends memory leaves, from which no handle was learnt.
    pub(crate) fn after(resume: Resume, answer: &Answer) -> Self {
        match answer {
            // One to FFA_RUN may be FFA_RUN's own.
            Answer::Success(_) | Answer::Error(_) if resume == Resume::Anew => Self::Settled,
            _ => Self::Open,
        }
    }

    /// Whether nobody can find out what the handle of a donation names.
    pub(crate) fn hides(self, slot: &DutySlot, can_ask: bool) -> bool {
        match self {
            Self::None => false,
            Self::Settled => {
                // A reclaim that is to be resumed may be that of whatever has the handle by now. What was handed over may
                // be behind nobody's stage 2 any more: what the secure world says it has could be compared with nothing.
                let is_handed_over = slot.duty.as_ref().is_some_and(Duty::is_handed_over);
                !can_ask || slot.resume != Resume::Anew || is_handed_over
            }
            Self::Open => true,
        }
    }
}

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// The secure world says what a handle names, and is asked where [`must_ask_first`](Self::must_ask_first) says so. To
    /// be told before any VM is created.
    pub fn can_ask_what_handles_name(&mut self) {
        self.can_ask = true;
    }

    /// No handle was learnt from this answer to a call that sends memory, and nobody knows what became of it.
    #[cold]
    pub(crate) fn handle_is_in_doubt(&mut self, resume: Resume, answer: &Answer) {
        self.doubt = self.doubt.max(Doubt::after(resume, answer));
    }

    /// Whether a donation is reclaimed only after the secure world was asked what its handle names, and has said that it
    /// is the donation: since some send came to [`SendOutcome::Unknown`](crate::SendOutcome::Unknown) without a handle,
    /// that one may have it as well. What it names must not change from the question to the answer to the reclaim, so no
    /// call that sends memory may be in flight meanwhile.
    #[must_use]
    pub fn must_ask_first(&self) -> bool {
        self.doubt != Doubt::None
    }

    /// A guest wants a donation of its own back, as with [`begin_reclaim`](Self::begin_reclaim).
    ///
    /// No call that sends memory may be in flight from before this until it has been
    /// [answered](Self::reclaim_answered): the receiver can retrieve the donation at any moment, whereupon its handle is
    /// free to be another's, and success would be about that one.
    ///
    /// # Errors
    /// [`BeginError::NotFound`] if the guest has no donation of that name, or another call works on it; also since some
    /// send came to [`SendOutcome::Unknown`](crate::SendOutcome::Unknown) without a handle, which may have been this one,
    /// unless that can be [asked](Self::must_ask_first). If the answer is not that it is the donation,
    /// [`abandon_reclaim`](Self::abandon_reclaim) follows.
    pub fn begin_donation_reclaim(
        &mut self,
        vm: VmKey,
        handle: Handle,
    ) -> Result<(ShareId, Option<RunTarget>), BeginError> {
        let index = self.find_owed(vm, handle, Duty::is_named_donation)?;
        if self.doubt.hides(&self.duties[index.get()], self.can_ask) {
            return Err(BeginError::NotFound);
        }
        self.begin_reclaim_of(vm, handle, Duty::is_named_donation)
    }

    /// Whether the call that [`Action::Call`](crate::Action::Call) asks for is to have a donation back. Then no call that
    /// sends memory may be in flight meanwhile, for the reason that
    /// [`begin_donation_reclaim`](Self::begin_donation_reclaim) gives; and when that is so,
    /// [`may_ask_for_donation`](Self::may_ask_for_donation) must be asked first. If either cannot be, the call is not
    /// made, and [`Status::Busy`](ffa_abi::Status::Busy) reported for its answer. If its handle turns out to name something
    /// else, [`donation_lost`](Self::donation_lost) is reported instead.
    #[must_use]
    pub fn asks_for_donation(&self, vm: VmKey) -> bool {
        self.donation_in_flight(vm).is_some()
    }

    /// Whether the handle of the donation can still name nothing else, or what it names can be
    /// [asked](Self::must_ask_first).
    #[must_use]
    pub fn may_ask_for_donation(&self, vm: VmKey) -> bool {
        let Some(index) = self.donation_in_flight(vm) else { return false };
        let Some(Duty::Share { handle: Some(handle), .. }) = self.duties[index.get()].duty else {
            return false;
        };
        let hidden = self.doubt.hides(&self.duties[index.get()], self.can_ask);
        !hidden && !Arena::names_another(&self.duties, handle, index)
    }

    /// The donation that the call is to have back, and its handle.
    #[must_use]
    pub fn donation_asked_for(&self, vm: VmKey) -> Option<(ShareId, Handle)> {
        let index = self.donation_in_flight(vm)?;
        let handle = self.duties[index.get()].duty.as_ref().and_then(Duty::handle)?;
        Some((ShareId(index), handle))
    }

    /// Reports in place of an answer that the secure world was [asked](Self::must_ask_first), and did not say that the
    /// handle is that of the donation: the call is not made. Take the pages from the VM for good, as with
    /// [`Action::Gone`](crate::Action::Gone), then call [`released`](Self::released).
    ///
    /// # Errors
    /// [`Unexpected`] if no call is in flight that is to have a donation back.
    pub fn donation_lost(&mut self, vm: VmKey) -> Result<ShareId, Unexpected> {
        self.phase(vm)?;
        let in_flight = self.donation_in_flight(vm);
        let index = in_flight.filter(|index| self.duties[index.get()].state == State::InFlight);
        let index = index.ok_or(Unexpected::NotInFlight { vm: vm.id })?;
        self.duties[index.get()].state = State::Returning { vm: vm.index };
        self.forget_target(index);
        Ok(ShareId(index))
    }

    /// A donation of a live VM whose handle is another transaction's by now, which says that its receiver has it. Take its
    /// pages from the VM for good, as with [`Action::Gone`](crate::Action::Gone), then call [`released`](Self::released).
    pub fn next_lost_donation(&mut self, vm: VmKey) -> Option<ShareId> {
        self.live(vm).ok()?;
        let mut at = self.vms[vm.index.get()].lists[STAGE_SHARE].head;
        while let Some(index) = at {
            let slot = &mut self.duties[index.get()];
            let is_lost = slot.duty.is_some_and(|duty| duty.is_donation() && duty.is_unsent());
            if is_lost && slot.state == State::Owed {
                slot.state = State::Returning { vm: vm.index };
                self.forget_target(index);
                return Some(ShareId(index));
            }
            at = slot.next;
        }
        None
    }

    fn donation_in_flight(&self, vm: VmKey) -> Option<Index> {
        let index = self.phase(vm).ok().and_then(|_| self.vms[vm.index.get()].in_flight)?;
        self.duties[index.get()].duty.as_ref().is_some_and(Duty::is_donation).then_some(index)
    }

    /// Whether [`begin_donation_reclaim`](Self::begin_donation_reclaim) finds the guest's donation.
    #[must_use]
    pub fn has_donation(&self, vm: VmKey, handle: Handle) -> bool {
        let found = self.find_owed(vm, handle, Duty::is_named_donation);
        found.is_ok_and(|index| !self.doubt.hides(&self.duties[index.get()], self.can_ask))
    }
}
