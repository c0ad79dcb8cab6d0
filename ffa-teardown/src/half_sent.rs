//! Memory transactions whose descriptor goes to the secure world in several fragments. Until the last byte has arrived
//! no partition can reach a page of it, and the transaction can be ended only by a fragment that is refused.

use ffa_abi::{Answer, Handle, PartitionId, Width};

use crate::arena::Arena;
use crate::duty::{
    Duty, DutySlot, Held, KnownTo, LastAnswer, Resume, STAGE_CALL, State, WillBe, fragment_len,
};
use crate::guest::status;
use crate::index::Index;
use crate::running::preempted_target;
use crate::vm::{VmKey, VmSlot};
use crate::{
    AnswerClass, BeginError, Engine, SecureCall, SendOutcome, ShareId, Storage, Time, Unexpected, Verdict,
};

/// A fragment, as its answer is held against it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fragment {
    /// Bytes of the descriptor that the secure world has with this one.
    pub sent: u32,
    /// Bytes of the whole descriptor.
    pub total: u32,
    /// 4 KiB pages of TX, and so of the longest fragment.
    pub room: u8,
    /// Whether pages are held, of which the secure world may know some by now.
    pub holds_pages: bool,
}

impl Fragment {
    /// Whether the whole descriptor is there with it.
    const fn is_last(&self) -> bool {
        self.sent >= self.total
    }
}

/// What became of a half-sent transaction that is being cancelled.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use]
pub enum CancelOutcome {
    /// The secure world wants still more: make the next call.
    GoesOn,
    /// The transaction is over: release what pages are held, then call [`Engine::released`].
    Gone,
    /// Not yet, or it has come about all the same. What pages are held stay held; it is ended when the VM dies.
    Left,
    /// Nobody can tell, and nobody can ask: the pages that are held are quarantined.
    Unknown,
    /// An SP was preempted: make FFA_RUN and report its answer the same way.
    Resume(ffa_abi::RunTarget),
}

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// Reports the answer to a fragment, which may be the whole descriptor: to the call that begins the transaction, to
    /// FFA_MEM_FRAG_TX, or to the FFA_RUN that resumes either. [`send_answered`](Self::send_answered) is for those who never
    /// send fragments: it does not ask for a cancellation.
    ///
    /// Where no pages are held and no handle is known, nothing is owed, whatever the answer.
    ///
    /// # Errors
    /// [`Unexpected`] if the share is not being sent.
    pub fn fragment_answered(
        &mut self,
        vm: VmKey,
        share: ShareId,
        answer: &Answer,
        fragment: Fragment,
        now: Time,
    ) -> Result<SendOutcome, Unexpected> {
        let kind = |duty: &Duty| duty.is_unsent() || duty.is_half();
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, share.0, kind)?;
        let known = slot.duty.as_ref().and_then(Duty::handle);
        let resume = slot.resume;
        let class = match (answer, known) {
            (Answer::Success(_), _) => AnswerClass::Success,
            _ => AnswerClass::of_refusal(answer),
        };
        slot.set_last(LastAnswer::new(class, answer));
        // After that it may name another transaction.
        let says = if resume == Resume::Lost { None } else { Some(answer) };
        let donated = self.duties[share.0.get()].duty.is_some_and(|duty| duty.is_to_be_donated());
        if let Some(Answer::MemFragRx(rx)) = says {
            if self.is_its_handle(share.0, known, rx.handle) {
                let next = rx.offset == fragment.sent && !fragment.is_last();
                let named = [PartitionId(0), vm.id].contains(&rx.endpoint);
                // Nothing vouches for a handle that comes first with the wish for more when nothing is missing: that there is no
                // share by that name does not say that there is none.
                let asked_once = donated || known.is_none();
                return Ok(match (fragment.is_last(), asked_once) {
                    (true, true) => self.may_have_come_about(vm, share, rx.handle),
                    (true, false) => self.set_half(vm, share, rx.handle, fragment, WillBe::PerhapsShare),
                    (false, _) => {
                        let will_be = if donated { WillBe::Donation } else { WillBe::Share };
                        let spoilt = self.set_half(vm, share, rx.handle, fragment, will_be);
                        if next && named { SendOutcome::More(rx.handle) } else { spoilt }
                    }
                });
            }
        }
        if let Some(Answer::Success(success)) = says {
            let handle = Handle::from_words(success.w2(), success.w3()).ok();
            let handle = handle.filter(|&handle| self.is_its_handle(share.0, known, handle));
            if let Some(handle) = handle {
                if fragment.is_last() && success.width == Width::Smc32 {
                    self.set_share(vm.index, share.0, Some(handle), true);
                    self.duties[share.0.get()].state = State::Owed;
                    self.wake(vm.index);
                    return Ok(SendOutcome::Sent(handle));
                }
                // Before its last byte it can hardly be whole, and without pages nobody has any by it.
                return Ok(if fragment.is_last() || donated && fragment.holds_pages {
                    self.may_have_come_about(vm, share, handle)
                } else {
                    let will_be = if donated { WillBe::Donation } else { WillBe::PerhapsShare };
                    self.set_half(vm, share, handle, fragment, will_be)
                });
            }
        }
        let row = if known.is_some() { &self.policy.answers.mem_frag } else { &self.policy.answers.mem_send };
        let verdict = row.verdict(class);
        if let Some(target) = says.and_then(preempted_target) {
            if self.is_resumed_again(share.0, target, verdict) {
                return Ok(SendOutcome::Resume(target));
            }
        }
        self.forget_target(share.0);
        // After FFA_RUN an error may be FFA_RUN's own.
        let own_error = matches!(answer, Answer::Error(_)) && resume == Resume::Anew;
        let transient = matches!(verdict, Verdict::Retry(_) | Verdict::Limited(_));
        let refused = own_error && (verdict == Verdict::GiveUp || known.is_none() && transient);
        if refused || known.is_none() && !fragment.holds_pages {
            self.duties[share.0.get()].state = State::Returning { vm: vm.index };
            return Ok(SendOutcome::Refused(status(answer)));
        }
        match known {
            // This one was not taken.
            Some(_) if own_error && transient => {
                if let Some(Duty::Half { held: held @ Held::No, .. }) = &mut self.duties[share.0.get()].duty {
                    *held = if fragment.holds_pages { Held::Yes } else { Held::No };
                }
                Ok(SendOutcome::Spoilt)
            }
            Some(handle) if !own_error && !fragment.is_last() => {
                let will_be = if donated { WillBe::Donation } else { WillBe::Share };
                Ok(self.set_half(vm, share, handle, fragment, will_be))
            }
            // It may have come about, and is asked for by its handle. An error leaves it none.
            _ => {
                let handle = known.filter(|_| !own_error);
                self.set_share(vm.index, share.0, handle, false);
                if known.is_none() {
                    self.handle_is_in_doubt(resume, answer);
                }
                let given_up = State::GivenUp { at: now };
                self.duties[share.0.get()].state = handle.map_or(given_up, |_| State::Owed);
                self.wake(vm.index);
                Ok(SendOutcome::Unknown { handle })
            }
        }
    }

    /// Nobody knows whether the transaction is a share by now. It is asked for by its handle when the VM dies.
    fn may_have_come_about(&mut self, vm: VmKey, share: ShareId, handle: Handle) -> SendOutcome {
        self.set_share(vm.index, share.0, Some(handle), false);
        self.duties[share.0.get()].state = State::Owed;
        self.wake(vm.index);
        SendOutcome::Unknown { handle: Some(handle) }
    }

    /// The guest has yet to bring the rest of a descriptor. If it dies before, the transaction is cancelled.
    ///
    /// # Errors
    /// [`Unexpected`] if no call works on the transaction, or it is not half-sent.
    pub fn await_rest(&mut self, vm: VmKey, share: ShareId) -> Result<(), Unexpected> {
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, share.0, Duty::is_half)?;
        (slot.state, slot.tries) = (State::Owed, 0);
        self.wake(vm.index);
        Ok(())
    }

    /// The guest has brought the rest, or gives the transaction up: a call works on it from now on.
    ///
    /// # Errors
    /// [`BeginError::NotFound`] if it is not half-sent, or another call works on it. If its handle is another one's by now it is no
    /// more: there was nothing of it but that.
    pub fn begin_rest(&mut self, vm: VmKey, share: ShareId) -> Result<(), BeginError> {
        self.live(vm)?;
        let mut at = self.vms[vm.index.get()].lists[STAGE_CALL].head;
        while let Some(index) = at {
            let slot = &mut self.duties[index.get()];
            match slot.duty {
                Some(Duty::Half { handle, held, .. }) if index == share.0 && slot.state == State::Owed => {
                    if handle.is_some() {
                        slot.state = State::Guest { vm: vm.index };
                        return Ok(());
                    }
                    if held == Held::No {
                        self.remove(vm.index, index);
                    }
                    return Err(BeginError::NotFound);
                }
                _ => at = slot.next,
            }
        }
        Err(BeginError::NotFound)
    }

    /// The next call that cancels a half-sent transaction. Report its answer with
    /// [`cancel_answered`](Self::cancel_answered).
    ///
    /// # Errors
    /// [`Unexpected`] if no call works on the transaction, or it is not half-sent.
    pub fn cancel(&mut self, vm: VmKey, share: ShareId) -> Result<SecureCall, Unexpected> {
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, share.0, Duty::is_half)?;
        let call = slot.duty.as_ref().and_then(|duty| duty.call(vm.id, slot.run()));
        call.ok_or(Unexpected::NotInFlight { vm: vm.id })
    }

    /// Reports the answer to a call that cancels a half-sent transaction, or to the FFA_RUN that resumes it.
    ///
    /// # Errors
    /// [`Unexpected`] if it is not being cancelled.
    pub fn cancel_answered(
        &mut self,
        vm: VmKey,
        share: ShareId,
        answer: &Answer,
        now: Time,
    ) -> Result<CancelOutcome, Unexpected> {
        let slot = Self::guest_duty(&self.vms, &mut self.duties, vm, share.0, Duty::is_half)?;
        let Some(duty) = slot.duty else { return Err(Unexpected::NotInFlight { vm: vm.id }) };
        let class = duty.classify(vm.id, answer);
        slot.set_last(LastAnswer::new(class, answer));
        let resume = slot.resume;
        match self.judge_whole(share.0, class) {
            Some(Whole::Back) => {
                self.forget_target(share.0);
                self.duties[share.0.get()].state = State::Returning { vm: vm.index };
                return Ok(CancelOutcome::Gone);
            }
            Some(Whole::No) => return Ok(CancelOutcome::GoesOn),
            Some(Whole::Perhaps(handle)) => {
                let _for_when_the_vm_dies = self.may_have_come_about(vm, share, handle);
                return Ok(CancelOutcome::Left);
            }
            None => {}
        }
        if self.wants_more(share.0, answer) {
            return Ok(CancelOutcome::GoesOn);
        }
        let verdict = match resume {
            Resume::Lost => duty.verdict_lost(),
            _ => duty.judge(&self.policy.answers, class, resume, answer).0,
        };
        let verdict = self.half_verdict(share.0, verdict, class);
        if let Some(target) = preempted_target(answer).filter(|_| resume != Resume::Lost) {
            if self.is_resumed_again(share.0, target, verdict) {
                return Ok(CancelOutcome::Resume(target));
            }
        } else {
            self.forget_target(share.0);
        }
        let ended = self.end_half(vm.index, share.0, verdict);
        let slot = &mut self.duties[share.0.get()];
        let (state, outcome) = match ended {
            HalfEnd::Gone => (State::Returning { vm: vm.index }, CancelOutcome::Gone),
            HalfEnd::InDoubt => (State::GivenUp { at: now }, CancelOutcome::Unknown),
            HalfEnd::CameAbout | HalfEnd::Stays => (State::Owed, CancelOutcome::Left),
        };
        (slot.state, slot.tries) = (state, 0);
        self.wake(vm.index);
        Ok(outcome)
    }

    /// What a reclaim says of a transaction that [may be whole](Duty::may_be_whole); `None` if there is no such doubt, or the
    /// reclaim is not over. One that is not whole has to be cancelled from then on.
    pub(crate) fn judge_whole(&mut self, index: Index, class: AnswerClass) -> Option<Whole> {
        let verdict = self.policy.answers.mem_reclaim.verdict(class);
        let slot = &mut self.duties[index.get()];
        let Some(Duty::Half { handle: Some(handle), will_be: will_be @ WillBe::PerhapsShare, .. }) =
            &mut slot.duty
        else {
            return None;
        };
        match (slot.resume, class) {
            (Resume::Lost, _) => Some(Whole::Perhaps(*handle)),
            (_, AnswerClass::Preempted | AnswerClass::Yielded) => None,
            _ if verdict == Verdict::Done => Some(Whole::Back),
            // Neither a share nor anything else, or not yet.
            (Resume::Anew, AnswerClass::InvalidParameters) => {
                *will_be = WillBe::Share;
                Some(Whole::No)
            }
            _ => Some(Whole::Perhaps(*handle)),
        }
    }

    /// Whether the answer to a fragment that cancels says that still more is wanted, so that another one may do it.
    pub(crate) fn wants_more(&mut self, index: Index, answer: &Answer) -> bool {
        /// How often that is borne when nothing should be missing any more. Hafnium takes more than it wants, and gives up
        /// with its 20th fragment.
        const MOST: u8 = 32;
        let slot = &mut self.duties[index.get()];
        let (Some(Duty::Half { handle, missing, room, .. }), Answer::MemFragRx(rx)) =
            (&mut slot.duty, answer)
        else {
            return false;
        };
        if Some(rx.handle) != *handle || slot.resume == Resume::Lost {
            return false;
        }
        if *missing == 0 {
            slot.tries = slot.tries.saturating_add(1);
            if slot.tries >= MOST {
                return false;
            }
        }
        *missing = missing.saturating_sub(fragment_len(*room));
        slot.step = 0;
        self.forget_target(index);
        true
    }

    /// The verdict on a cancellation. A handle that may name another transaction by now is not used again; and neither is one
    /// without pages after an answer that is none: where it is free by now, it is to be the next one's.
    pub(crate) fn half_verdict(&self, index: Index, verdict: Verdict, class: AnswerClass) -> Verdict {
        let Some(Duty::Half { handle: Some(handle), held, .. }) = self.duties[index.get()].duty else {
            return verdict;
        };
        let is_none = matches!(class, AnswerClass::Malformed | AnswerClass::MsgWait);
        match verdict {
            Verdict::GiveUp => Verdict::GiveUp,
            _ if Arena::names_another(&self.duties, handle, index) => Verdict::Unknown,
            Verdict::Limited(_) if held == Held::No && is_none => Verdict::GiveUp,
            verdict => verdict,
        }
    }

    /// Makes of a half-sent transaction what the verdict on its cancellation says. Its state is left to the caller.
    pub(crate) fn end_half(&mut self, vm: Index, index: Index, verdict: Verdict) -> HalfEnd {
        let Some(Duty::Half { handle, held, .. }) = self.duties[index.get()].duty else {
            return HalfEnd::InDoubt;
        };
        match verdict {
            Verdict::Done => {
                self.set_share(vm, index, handle, false);
                HalfEnd::CameAbout
            }
            Verdict::GiveUp => self.half_gone(index),
            // Without pages there is nothing that it could be asked for.
            Verdict::Unknown | Verdict::Gone if held == Held::No => self.half_gone(index),
            Verdict::Unknown | Verdict::Gone => {
                self.set_share(vm, index, None, false);
                HalfEnd::InDoubt
            }
            Verdict::Retry(_) | Verdict::Limited(_) | Verdict::Resume => HalfEnd::Stays,
        }
    }

    /// It is over, also if an SP was preempted over its cancellation.
    fn half_gone(&mut self, index: Index) -> HalfEnd {
        self.forget_target(index);
        HalfEnd::Gone
    }

    /// Whether `handle` is that of the transaction at `index`, which is `known` or learnt now.
    fn is_its_handle(&mut self, index: Index, known: Option<Handle>, handle: Handle) -> bool {
        match known {
            Some(known) => known == handle,
            None => self.learn_handle(handle, index),
        }
    }

    /// The secure world has begun the transaction, or still waits for the rest of it. Unless it goes on it is to be
    /// cancelled.
    fn set_half(
        &mut self,
        vm: VmKey,
        share: ShareId,
        handle: Handle,
        fragment: Fragment,
        will_be: WillBe,
    ) -> SendOutcome {
        let Fragment { sent, total, room, holds_pages } = fragment;
        let missing = total.saturating_sub(sent);
        let held = if holds_pages { Held::Yes } else { Held::No };
        let half = Duty::Half { handle: Some(handle), missing, room, held, will_be };
        self.forget_target(share.0);
        self.duties[share.0.get()].tries = 0;
        Arena::turn_into(&mut self.duties, &mut self.vms[vm.index.get()], share.0, half);
        SendOutcome::Spoilt
    }

    /// The transaction is a share like any other from now on, or nobody knows its name any more.
    pub(crate) fn set_share(&mut self, vm: Index, index: Index, handle: Option<Handle>, named: bool) {
        let slot = &mut self.duties[index.get()];
        slot.tries = 0;
        let Some(duty) = &mut slot.duty else { return };
        let handed_over = matches!(duty, Duty::Half { held: Held::HandedOver, .. });
        let (before, donated) = (duty.handle(), duty.is_to_be_donated());
        let known = match handle {
            Some(_) if named => KnownTo::Guest,
            Some(_) => KnownTo::Us,
            None => KnownTo::Nobody,
        };
        self.forget_target(index);
        if let Some(before) = before.filter(|_| handle.is_none()) {
            Arena::forget_handle(&mut self.duties, before, index);
        }
        let share = Duty::Share { handle, known, handed_over, donated };
        Arena::turn_into(&mut self.duties, &mut self.vms[vm.get()], index, share);
    }

    /// Notes that `target` was preempted over the call of the duty at `index`. Returns whether to run it at once.
    fn is_resumed_again(&mut self, index: Index, target: ffa_abi::RunTarget, verdict: Verdict) -> bool {
        let slot = &mut self.duties[index.get()];
        let again = verdict == Verdict::Resume && slot.tries < self.policy.tries;
        slot.tries = slot.tries.saturating_add(1);
        self.works_for(target, index);
        again
    }
}

/// What has become of a transaction that may have come about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whole {
    /// It had come about, and the secure world has let go of it.
    Back,
    /// It is half-sent.
    No,
    /// It is to be asked for as a share.
    Perhaps(Handle),
}

/// How a half-sent transaction ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HalfEnd {
    /// The secure world has nothing of it.
    Gone,
    /// Nobody knows, and it has no name any more.
    InDoubt,
    /// It is a share by now.
    CameAbout,
    /// It is half-sent as before.
    Stays,
}
