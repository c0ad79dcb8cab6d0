//! What guests bring about while their VM lives: each obligation has its place before the call that may incur it.

use ffa_abi::{Answer, FirmwareStatus, Handle, PartitionId, RunTarget, Status, Width};

use crate::arena::Arena;
use crate::duty::{
    Duty, DutySlot, KnownTo, LastAnswer, Resume, STAGE_CALL, STAGE_RX, STAGE_SHARE, STAGE_SP, Standing, State,
};
use crate::index::Index;
use crate::running::preempted_target;
use crate::vm::{Phase, VmKey, VmSlot};
use crate::{AnswerClass, Engine, Storage, Time, Unexpected, Verdict};

/// Names one share of a VM, in the mediator's own tables.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ShareId(pub(crate) Index);

impl ShareId {
    /// A small number of its own while the share exists: position of its slot in the lent storage.
    #[must_use]
    pub const fn position(self) -> usize {
        self.0.get()
    }
}

/// Names one direct request of a vCPU while it lasts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CallId(Index);

/// Names one [`Standing`] of a VM.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct StandingId(pub(crate) Index);

impl StandingId {
    /// The name under which the pages of [`Standing::RxTxMapped`] are held and come back, as if it were a share.
    #[must_use]
    pub const fn pages(self) -> ShareId {
        ShareId(self.0)
    }
}

/// An obligation that is about to be incurred.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Begun<Id> {
    /// Its name.
    pub id: Id,
    /// Take the VM reference now: this is the first obligation.
    pub take_reference: bool,
}

/// Why nothing can be incurred.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The VM does not live.
    #[error(transparent)]
    NotLive(#[from] Unexpected),
    /// The lent storage is full.
    #[error("no room for another obligation")]
    NoRoom,
    /// The VM has nothing that fits: no such share that is not in use, no such call of this vCPU.
    #[error("the VM has nothing of that name")]
    NotFound,
    /// Another call works on it, or nobody knows what became of an earlier one.
    #[error("another call works on it, or has left it in doubt")]
    Busy,
}

/// What became of a memory transaction that a guest sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum SendOutcome {
    /// The secure world has it, under this handle.
    Sent(Handle),
    /// The secure world has begun it under this handle, and wants the next fragment:
    /// [`Engine::fragment_answered`] reports its answer, [`Engine::await_rest`] leaves it to a later call.
    More(Handle),
    /// It is half-sent and cannot come about any more: cancel it, with [`Engine::cancel`]. Until then pages stay held.
    Spoilt,
    /// Nothing was sent: release the pages, then call [`Engine::released`].
    Refused(FirmwareStatus),
    /// Nobody can tell: the pages stay held. With a handle they are reclaimed when the VM dies, without one they are
    /// quarantined.
    Unknown {
        /// The handle that the answer gave, if it can be used.
        handle: Option<Handle>,
    },
    /// An SP was preempted: make FFA_RUN and report its answer the same way.
    Resume(RunTarget),
}

/// What became of a reclaim that a guest asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum ReclaimOutcome {
    /// The secure world has let go: release the pages, then call [`Engine::released`].
    Confirmed,
    /// It has not. The share stands as before.
    Refused(FirmwareStatus),
    /// It was a donation, and is its receiver's: take its pages from the VM for good, then call [`Engine::released`]. The
    /// guest is refused all the same.
    Gone(FirmwareStatus),
    /// An SP was preempted: make FFA_RUN and report its answer the same way.
    Resume(RunTarget),
}

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// A guest is about to send memory. Its pages are held from now on.
    ///
    /// # Errors
    /// [`BeginError`]; nothing has changed.
    #[inline]
    pub fn begin_send(&mut self, vm: VmKey) -> Result<Begun<ShareId>, BeginError> {
        self.begin_share(vm, false)
    }

    /// As [`begin_send`](Self::begin_send), for memory that the guest gives away: once the secure world has it, a reclaim
    /// that comes too late ends it as well as one that works.
    ///
    /// # Errors
    /// [`BeginError`]; nothing has changed.
    pub fn begin_donation(&mut self, vm: VmKey) -> Result<Begun<ShareId>, BeginError> {
        self.begin_share(vm, true)
    }

    #[inline(always)] // what it is is known where it is called
    fn begin_share(&mut self, vm: VmKey, donated: bool) -> Result<Begun<ShareId>, BeginError> {
        let duty = Duty::Share { handle: None, known: KnownTo::Nobody, handed_over: false, donated };
        self.begin(vm, duty).map(|(index, take_reference)| Begun { id: ShareId(index), take_reference })
    }

    /// The guest's transaction does not happen after all: no call was made, and what pages were held are released. The
    /// share is no more.
    ///
    /// # Errors
    /// [`Unexpected`] if it is not being sent.
    pub fn abandon_send(&mut self, vm: VmKey, share: ShareId) -> Result<(), Unexpected> {
        Self::guest_duty(&self.vms, &mut self.duties, vm, share.0, Duty::is_unsent)?;
        self.remove(vm.index, share.0);
        self.wake(vm.index);
        Ok(())
    }

    /// Reports the answer to the call that sends memory, or to the FFA_RUN that resumes it.
    ///
    /// # Errors
    /// [`Unexpected`] if it is not being sent.
    #[inline(always)] // once for each share
    pub fn send_answered(
        &mut self,
        vm: VmKey,
        share: ShareId,
        answer: &Answer,
        now: Time,
    ) -> Result<SendOutcome, Unexpected> {
        let resume = Self::guest_duty(&self.vms, &mut self.duties, vm, share.0, Duty::is_unsent)?.resume;
        let resumed = resume != Resume::Anew;
        let (class, handle) = match *answer {
            // It may name another share.
            _ if resume == Resume::Lost => (AnswerClass::Malformed, None),
            Answer::Success(success) => {
                let handle = Handle::from_words(success.w2(), success.w3()).ok();
                // A handle that is in use says that the secure world has lost count.
                let handle = handle.filter(|&handle| self.learn_handle(handle, share.0));
                match (success.width, handle) {
                    (Width::Smc32, Some(_)) => (AnswerClass::Success, handle),
                    _ => (AnswerClass::Malformed, handle),
                }
            }
            Answer::MemFragRx(rx) => {
                let is_new = self.learn_handle(rx.handle, share.0);
                (AnswerClass::Malformed, is_new.then_some(rx.handle))
            }
            _ => (AnswerClass::of_refusal(answer), None),
        };
        let verdict = self.policy.answers.mem_send.verdict(class);
        let slot = &mut self.duties[share.0.get()];
        slot.set_last(LastAnswer::new(class, answer));
        if let (Verdict::Done, Some(handle)) = (verdict, handle) {
            slot.tries = 0;
            slot.set_handle(Some(handle), KnownTo::Guest);
            slot.state = State::Owed;
            if resumed {
                self.forget_target(share.0);
            }
            self.wake(vm.index);
            return Ok(SendOutcome::Sent(handle));
        }
        if let Some(target) = preempted_target(answer).filter(|_| resume != Resume::Lost) {
            let again = verdict == Verdict::Resume && slot.tries < self.policy.tries;
            slot.tries = slot.tries.saturating_add(1);
            self.works_for(target, share.0);
            if again {
                return Ok(SendOutcome::Resume(target));
            }
        }
        self.forget_target(share.0);
        let slot = &mut self.duties[share.0.get()];
        // After FFA_RUN an error may be FFA_RUN's own, and say nothing of the transaction.
        let refused = matches!(verdict, Verdict::GiveUp | Verdict::Retry(_) | Verdict::Limited(_));
        if refused && handle.is_none() && !resumed {
            slot.state = State::Returning { vm: vm.index };
            return Ok(SendOutcome::Refused(status(answer)));
        }
        slot.tries = 0;
        slot.set_handle(handle, if handle.is_some() { KnownTo::Us } else { KnownTo::Nobody });
        slot.state = match handle {
            Some(_) => State::Owed,
            None => State::GivenUp { at: now },
        };
        if handle.is_none() {
            self.handle_is_in_doubt(resume, answer);
        }
        self.wake(vm.index);
        Ok(SendOutcome::Unknown { handle })
    }

    /// A guest wants a share of its own back. Gives the SP to resume if an earlier reclaim was preempted, instead of
    /// a new FFA_MEM_RECLAIM.
    ///
    /// # Errors
    /// [`BeginError::NotFound`] if the guest has no share of that name, or another call works on it; also if it is a
    /// donation.
    #[inline]
    pub fn begin_reclaim(
        &mut self,
        vm: VmKey,
        handle: Handle,
    ) -> Result<(ShareId, Option<RunTarget>), BeginError> {
        self.begin_reclaim_of(vm, handle, |duty| {
            matches!(duty, Duty::Share { known: KnownTo::Guest, donated: false, .. })
        })
    }

    #[inline(always)] // little more than its argument
    pub(crate) fn begin_reclaim_of(
        &mut self,
        vm: VmKey,
        handle: Handle,
        kind: impl Fn(&Duty) -> bool,
    ) -> Result<(ShareId, Option<RunTarget>), BeginError> {
        let index = self.find_owed(vm, handle, kind)?;
        let slot = &mut self.duties[index.get()];
        slot.state = State::Guest { vm: vm.index };
        Ok((ShareId(index), slot.run()))
    }

    /// The transaction of a live VM that has this handle, and that no call works on.
    #[inline(always)] // little more than its argument
    pub(crate) fn find_owed(
        &self,
        vm: VmKey,
        handle: Handle,
        kind: impl Fn(&Duty) -> bool,
    ) -> Result<Index, BeginError> {
        self.live(vm)?;
        let wanted = Some(handle);
        let mut at = self.vms[vm.index.get()].lists[STAGE_SHARE].head;
        while let Some(index) = at {
            let slot = &self.duties[index.get()];
            let found = matches!(slot.duty, Some(duty @ Duty::Share { handle, .. }) if handle == wanted && kind(&duty));
            if found && slot.state == State::Owed {
                return Ok(index);
            }
            at = slot.next;
        }
        Err(BeginError::NotFound)
    }

    /// Reports the answer to a guest's reclaim, or to the FFA_RUN that resumes it.
    ///
    /// # Errors
    /// [`Unexpected`] if it is not being reclaimed.
    #[inline(always)] // ends every share
    pub fn reclaim_answered(
        &mut self,
        vm: VmKey,
        share: ShareId,
        answer: &Answer,
    ) -> Result<ReclaimOutcome, Unexpected> {
        let stale = Unexpected::NotInFlight { vm: vm.id };
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, share.0, Duty::is_sent)?;
        let Some(duty @ Duty::Share { .. }) = slot.duty else { return Err(stale) };
        let class = duty.classify(vm.id, answer);
        slot.set_last(LastAnswer::new(class, answer));
        let resume = slot.resume;
        let answers = &self.policy.answers;
        let (verdict, keep_running) = match resume {
            // As `judge` has it, and nearly always so.
            Resume::Anew if !duty.is_donation() => (answers.mem_reclaim.verdict(class), false),
            Resume::Lost => (duty.verdict_lost(), false),
            Resume::Anew | Resume::Run | Resume::Last => duty.judge(answers, class, resume, answer),
        };
        if verdict == Verdict::Done {
            slot.state = State::Returning { vm: vm.index };
            if resume != Resume::Anew {
                self.forget_target(share.0);
            }
            return Ok(ReclaimOutcome::Confirmed);
        }
        if verdict == Verdict::Gone && duty.is_donation() {
            slot.state = State::Returning { vm: vm.index };
            self.forget_target(share.0);
            return Ok(ReclaimOutcome::Gone(status(answer)));
        }
        let mut refused = if resume == Resume::Lost { Status::Retry.into() } else { status(answer) };
        if let Some(target) = preempted_target(answer).filter(|_| resume != Resume::Lost) {
            let again = verdict == Verdict::Resume && slot.tries < self.policy.tries;
            slot.tries = slot.tries.saturating_add(1);
            self.works_for(target, share.0);
            if again {
                return Ok(ReclaimOutcome::Resume(target));
            }
            refused = Status::Retry.into();
        }
        if !keep_running && verdict != Verdict::Resume {
            self.forget_target(share.0);
        }
        self.reclaim_failed(vm, share);
        Ok(ReclaimOutcome::Refused(refused))
    }

    /// A guest's reclaim does not happen after all: no call was made. The share stands as before.
    ///
    /// # Errors
    /// [`Unexpected`] if it is not being reclaimed.
    pub fn abandon_reclaim(&mut self, vm: VmKey, share: ShareId) -> Result<(), Unexpected> {
        Self::guest_duty(&self.vms, &mut self.duties, vm, share.0, Duty::is_sent)?;
        self.reclaim_failed(vm, share);
        Ok(())
    }

    /// Gives up a share whose reclaim was refused or abandoned, if its handle is another one's by now: nobody can ask for it any
    /// more, and its pages are quarantined. Whether that is so; never of a donation, which is its receiver's then.
    pub fn give_up_nameless(&mut self, vm: VmKey, share: ShareId, now: Time) -> bool {
        let mut at = self.live(vm).ok().and_then(|()| self.vms[vm.index.get()].lists[STAGE_SHARE].head);
        while let Some(index) = at.filter(|index| *index != share.0) {
            at = self.duties[index.get()].next;
        }
        let Some(index) = at else { return false };
        let slot = &mut self.duties[index.get()];
        let is_lost = slot.state == State::Owed
            && slot.duty.is_some_and(|duty| duty.is_unsent() && !duty.is_to_be_donated());
        if is_lost {
            slot.state = State::GivenUp { at: now };
        }
        is_lost
    }

    /// Puts a share back to where it was before the guest asked for it.
    fn reclaim_failed(&mut self, vm: VmKey, share: ShareId) {
        let slot = &mut self.duties[share.0.get()];
        (slot.state, slot.tries) = (State::Owed, 0);
        self.lose_handle(share.0);
        self.wake(vm.index);
    }

    /// A vCPU is about to send a direct request.
    ///
    /// # Errors
    /// [`BeginError`]; nothing has changed.
    #[inline]
    pub fn begin_call(&mut self, vm: VmKey, vcpu: u16, sp: PartitionId) -> Result<Begun<CallId>, BeginError> {
        self.begin(vm, Duty::Call { vcpu, sp })
            .map(|(index, take_reference)| Begun { id: CallId(index), take_reference })
    }

    /// Whether the VM has so many direct requests that are not over, those included that an SP was preempted in. Looks at no
    /// more than that, and what is half-sent.
    #[inline]
    #[must_use]
    pub fn has_calls(&self, vm: VmKey, count: u32) -> bool {
        let slot = self.vms.get(vm.index.get()).filter(|slot| slot.id == vm.id);
        let mut at = slot.and_then(|slot| slot.lists[STAGE_CALL].head);
        let mut left = count;
        while left > 0 {
            let Some(index) = at else { return false };
            let slot = &self.duties[index.get()];
            left -= u32::from(slot.duty.as_ref().is_some_and(Duty::is_call));
            at = slot.next;
        }
        true
    }

    /// A vCPU wants a preempted SP to go on: only the vCPU whose request it works for may.
    ///
    /// # Errors
    /// [`BeginError::NotFound`] if that SP works for nobody, or for another vCPU.
    pub fn begin_run(&mut self, vm: VmKey, vcpu: u16, target: RunTarget) -> Result<CallId, BeginError> {
        self.live(vm)?;
        let mut at = self.vms[vm.index.get()].lists[STAGE_CALL].head;
        while let Some(index) = at {
            let slot = &mut self.duties[index.get()];
            let own = matches!(slot.duty, Some(Duty::Call { vcpu: owner, .. }) if owner == vcpu);
            if own && slot.state == State::Owed && slot.target == target {
                if slot.resume == Resume::Anew {
                    self.remove(vm.index, index);
                    return Err(BeginError::NotFound);
                }
                slot.state = State::Guest { vm: vm.index };
                return Ok(CallId(index));
            }
            at = slot.next;
        }
        Err(BeginError::NotFound)
    }

    /// Reports the answer to a direct request or to the FFA_RUN that resumes it. Returns whether the SP was preempted
    /// and waits for FFA_RUN.
    ///
    /// An error in answer to FFA_RUN that says "not now" leaves the call as it was.
    ///
    /// # Errors
    /// [`Unexpected`] if no such call is in flight.
    pub fn call_answered(&mut self, vm: VmKey, call: CallId, answer: &Answer) -> Result<bool, Unexpected> {
        let stale = Unexpected::NotInFlight { vm: vm.id };
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, call.0, Duty::is_call)?;
        let Some(duty) = slot.duty else { return Err(stale) };
        let class = duty.classify(vm.id, answer);
        let preempted = match preempted_target(answer) {
            _ if slot.resume == Resume::Lost => false,
            Some(_) => class != AnswerClass::Malformed,
            None => duty.judge(&self.policy.answers, class, slot.resume, answer).1,
        };
        if preempted {
            slot.state = State::Owed;
            slot.set_last(LastAnswer::new(class, answer));
            if let Some(target) = preempted_target(answer) {
                self.works_for(target, call.0);
            }
        } else {
            self.remove(vm.index, call.0);
        }
        self.wake(vm.index);
        Ok(preempted)
    }

    /// Reports that the SP has answered a direct request with a message of its own: the request is over.
    /// [`call_answered`](Self::call_answered) with that message comes to the same.
    ///
    /// # Errors
    /// [`Unexpected`] if no such call is in flight.
    #[inline(always)] // after most direct requests
    pub fn call_over(&mut self, vm: VmKey, call: CallId) -> Result<(), Unexpected> {
        Self::guest_duty(&self.vms, &mut self.duties, vm, call.0, Duty::is_call)?;
        self.remove(vm.index, call.0);
        self.wake(vm.index);
        Ok(())
    }

    /// The mediator holds something of the VM, whatever the secure world has of it. Returns whether to take the VM
    /// reference now; it is given back as ever.
    pub fn refer_to(&mut self, vm: VmKey) -> bool {
        let lives = self.phase(vm) == Ok(Phase::Live);
        lives && !core::mem::replace(&mut self.vms[vm.index.get()].reference, true)
    }

    /// The mediator is about to make the SPMC keep something for a VM that lives or is being created.
    ///
    /// # Errors
    /// [`BeginError`]; nothing has changed. [`BeginError::Busy`] if it is to own an RX buffer that is being mapped or
    /// unmapped.
    pub fn begin_standing(&mut self, vm: VmKey, standing: Standing) -> Result<Begun<StandingId>, BeginError> {
        self.phase(vm)?;
        if standing == Standing::RxOwned && self.guest_works_on(vm, Standing::RxTxMapped) {
            return Err(BeginError::Busy);
        }
        self.begin(vm, Duty::new_standing(standing))
            .map(|(index, take_reference)| Begun { id: StandingId(index), take_reference })
    }

    /// The SPMC keeps it from now on, as far as anybody knows: unless it certainly does not, say this.
    ///
    /// # Errors
    /// [`Unexpected`] if it is not about to begin.
    pub fn standing_incurred(&mut self, vm: VmKey, standing: StandingId) -> Result<(), Unexpected> {
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, standing.0, Duty::is_standing)?;
        slot.state = State::Owed;
        self.wake(vm.index);
        Ok(())
    }

    /// The SPMC never kept it, or confirmed to the VM that it no longer does. What is bound in a bitmap is over with it,
    /// and so is who owns RX with the mapping.
    ///
    /// # Errors
    /// [`Unexpected`] if it is neither about to begin nor about to end.
    pub fn standing_over(&mut self, vm: VmKey, standing: StandingId) -> Result<(), Unexpected> {
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, standing.0, Duty::is_standing)?;
        let what = slot.duty.and_then(|duty| duty.standing());
        self.remove(vm.index, standing.0);
        match what {
            Some(Standing::Bitmap) => self.unbound_with_bitmap(vm.index),
            Some(Standing::RxTxMapped) => self.unowned_with_mapping(vm.index),
            Some(Standing::RxOwned) | None => {}
        }
        self.wake(vm.index);
        Ok(())
    }

    /// The VM itself is about to end it.
    ///
    /// # Errors
    /// [`BeginError`] if the VM does not live, or it is not in force; [`BeginError::Busy`] if another call works on what
    /// would be over with it: what is bound in the bitmap, or who owns RX.
    pub fn end_standing(&mut self, vm: VmKey, standing: StandingId) -> Result<(), BeginError> {
        self.live(vm)?;
        if self.bitmap(vm) == Some(standing.0) && self.bindings(vm).any(|bound| bound.in_flight) {
            return Err(BeginError::Busy);
        }
        let duty = self.duties.get(standing.0.get()).and_then(|slot| slot.duty);
        let is_mapping = duty.is_some_and(|duty| duty.standing() == Some(Standing::RxTxMapped));
        if is_mapping && self.guest_works_on(vm, Standing::RxOwned) {
            return Err(BeginError::Busy);
        }
        let lists = self.vms[vm.index.get()].lists;
        for mut at in lists[STAGE_RX..STAGE_SP].iter().map(|list| list.head) {
            while let Some(index) = at {
                let slot = &mut self.duties[index.get()];
                let found = index == standing.0 && slot.duty.as_ref().is_some_and(Duty::is_standing);
                if found && slot.state == State::Owed {
                    slot.state = State::Guest { vm: vm.index };
                    return Ok(());
                }
                at = slot.next;
            }
        }
        Err(BeginError::NotFound)
    }

    /// Who owns RX is nothing any more once it is not mapped.
    pub(crate) fn unowned_with_mapping(&mut self, vm: Index) {
        let mut at = self.vms[vm.get()].lists[STAGE_RX].head;
        while let Some(index) = at {
            at = self.duties[index.get()].next;
            self.remove(vm, index);
            self.vms[vm.get()].pass.again = true;
        }
    }

    /// Whether a call in flight for the VM begins or ends something of this kind.
    fn guest_works_on(&self, vm: VmKey, what: Standing) -> bool {
        let list = self.vms[vm.index.get()].lists[what.stage()];
        let next = |index: &Index| self.duties[index.get()].next;
        core::iter::successors(list.head, next).map(|index| &self.duties[index.get()]).any(|slot| {
            matches!(slot.state, State::Guest { .. })
                && slot.duty.is_some_and(|duty| duty.standing() == Some(what))
        })
    }

    pub(crate) fn live(&self, vm: VmKey) -> Result<(), BeginError> {
        match self.phase(vm)? {
            Phase::Live => Ok(()),
            phase => Err(Unexpected::Phase { vm: vm.id, phase }.into()),
        }
    }

    #[inline(always)] // before every call that may incur something
    pub(crate) fn begin(&mut self, vm: VmKey, duty: Duty) -> Result<(Index, bool), BeginError> {
        match self.phase(vm)? {
            Phase::Live => {}
            Phase::Creating if matches!(duty, Duty::Standing { .. }) => {}
            phase => return Err(Unexpected::Phase { vm: vm.id, phase }.into()),
        }
        let slot = &mut self.vms[vm.index.get()];
        let state = State::Guest { vm: vm.index };
        let index = self.arena.add(&mut self.duties, slot, duty, state).ok_or(BeginError::NoRoom)?;
        let take_reference = !core::mem::replace(&mut slot.reference, true);
        Ok((index, take_reference))
    }

    /// The duty of `vm` at `index`, of the right kind, on which a call of the guest must be working. Borrows no more
    /// than it needs, so that the policy need not be copied to be read meanwhile.
    #[inline]
    pub(crate) fn guest_duty<'a>(
        vms: &[VmSlot],
        duties: &'a mut [DutySlot],
        vm: VmKey,
        index: Index,
        kind: impl Fn(&Duty) -> bool,
    ) -> Result<&'a mut DutySlot, Unexpected> {
        vm.phase_in(vms)?;
        duties
            .get_mut(index.get())
            .filter(|slot| {
                slot.state == State::Guest { vm: vm.index } && slot.duty.as_ref().is_some_and(kind)
            })
            .ok_or(Unexpected::NotInFlight { vm: vm.id })
    }

    /// Enters a new share under `handle`, unless another one has it. Returns whether it did.
    pub(crate) fn learn_handle(&mut self, handle: Handle, index: Index) -> bool {
        Arena::learn_handle(&mut self.duties, handle, index)
    }

    /// Takes from a share whose reclaim failed a handle that names another share by now: to use it again would take
    /// that one's memory away. Returns whether it did; the share can never be asked for again.
    pub(crate) fn lose_handle(&mut self, index: Index) -> bool {
        let Some(Duty::Share { handle: Some(handle), .. }) = self.duties[index.get()].duty else {
            return false;
        };
        let lost = Arena::names_another(&self.duties, handle, index);
        if lost {
            self.drop_handle(handle, index);
        }
        lost
    }

    /// The share at `index` is not known as `handle` any more, nor is anybody run to have it back.
    fn drop_handle(&mut self, handle: Handle, index: Index) {
        Arena::forget_handle(&mut self.duties, handle, index);
        if let Some(Duty::Share { handle, .. }) = &mut self.duties[index.get()].duty {
            *handle = None;
        }
        self.forget_target(index);
    }
}

/// The status that an answer other than success comes down to.
pub(crate) fn status(answer: &Answer) -> FirmwareStatus {
    match answer {
        Answer::Error(status) => *status,
        _ => Status::Aborted.into(),
    }
}
