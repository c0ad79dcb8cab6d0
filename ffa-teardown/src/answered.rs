//! What answers to the engine's own calls bring about.

use ffa_abi::Answer;

use crate::duty::{Duty, DutySlot, LastAnswer, Resume, Standing, State, Told};
use crate::half_sent::{HalfEnd, Whole};
use crate::index::Index;
use crate::running::preempted_target;
use crate::vm::{Phase, VmKey, VmSlot};
use crate::{
    AnswerClass, Decision, Disposal, Engine, Judgement, Pace, SecureCall, ShareId, Span, Storage, Time,
    Unexpected, Verdict,
};

impl<V: Storage<VmSlot>, D: Storage<DutySlot>> Engine<V, D> {
    /// Reports the answer to the call that [`Action::Call`](crate::Action::Call) asked for.
    ///
    /// # Errors
    /// [`Unexpected`] if that call is not in flight for this VM.
    pub fn answered(
        &mut self,
        vm: VmKey,
        call: SecureCall,
        answer: &Answer,
        now: Time,
    ) -> Result<Judgement, Unexpected> {
        let phase = self.phase(vm)?;
        let stale = Unexpected::NotInFlight { vm: vm.id };
        let index = self.vms[vm.index.get()].in_flight.ok_or(stale)?;
        let slot = &mut self.duties[index.get()];
        let mut duty = slot.duty.ok_or(stale)?;
        if slot.state != State::InFlight || duty.call(vm.id, slot.run()) != Some(call) {
            return Err(stale);
        }
        let class = duty.classify(vm.id, answer);
        let last = LastAnswer::new(class, answer);
        let preempted = matches!(class, AnswerClass::Preempted | AnswerClass::Yielded);
        if let Some(drained @ false) = duty.drained().filter(|_| !preempted) {
            *drained = true;
            duty.doubt(false);
            (slot.duty, slot.state) = (Some(duty), State::Owed);
            self.forget_target(index);
            return Ok(Judgement { answer: last, decision: self.call_behind(vm.index, index) });
        }
        if duty.is_half() {
            let whole = self.judge_whole(index, class);
            let goes_on = match whole {
                Some(whole) => whole == Whole::No,
                None => self.wants_more(index, answer),
            };
            if goes_on {
                let slot = &mut self.duties[index.get()];
                slot.set_last(last);
                slot.state = State::Owed;
                // As many fragments as are missing, and a few: SPs wait for that to hear of the VM's end, since OP-TEE knows
                // it no more when it has, and refuses the next one for that.
                self.call_next(vm.index, index);
                return Ok(Judgement { answer: last, decision: Decision::GoesOn });
            }
            if let Some(whole) = whole {
                let decision = self.settle_whole(vm.index, index, whole, last, now);
                return Ok(Judgement { answer: last, decision });
            }
        }
        let slot = &mut self.duties[index.get()];
        let is_own = slot.resume != Resume::Lost || duty.is_named_by(class, answer);
        let (verdict, keep_running) = if is_own {
            duty.judge(&self.policy.answers, class, slot.resume, answer)
        } else {
            duty.lose();
            (duty.verdict_lost(), false)
        };
        if preempted {
            duty.begun();
        }
        slot.duty = Some(duty);
        slot.set_last(last);
        let verdict = if duty.is_half() { self.half_verdict(index, verdict, class) } else { verdict };
        if let Some(target) = preempted_target(answer).filter(|_| is_own && preempted) {
            self.works_for(target, index);
        }
        // What is given up of a direct request can only be had back by running its SP once more.
        let may_be_run = keep_running || verdict == Verdict::Resume || duty.is_call();
        if verdict == Verdict::Done || !may_be_run {
            self.forget_target(index);
        }
        let slot = &mut self.duties[index.get()];
        if verdict != Verdict::Done && slot.resume == Resume::Anew {
            if let Some(drained) = slot.duty.as_mut().and_then(Duty::drained) {
                *drained = false;
            }
        }
        let lost = verdict != Verdict::Done && self.lose_handle(index);
        // A handle is given out anew when a donation was retrieved.
        let verdict = if lost && duty.is_donation() { Verdict::Gone } else { verdict };
        let slot = &mut self.duties[index.get()];
        // The VM may have died meanwhile, so that nothing needs to be said to this SP any more.
        let moot = lost || Self::is_void(&self.vms[vm.index.get()], slot);
        let rest = match answer {
            Answer::Yield { timeout, .. } => Span::from_nanos(*timeout),
            _ => Span::ZERO,
        };
        if verdict == Verdict::Resume
            && !moot
            && rest <= self.policy.first
            && slot.step < self.policy.runs_first
        {
            slot.step += 1;
            let decision = self.run_first(vm.index, index, now, rest);
            return Ok(Judgement { answer: last, decision });
        }
        // A creation must come to an end; a dead VM's duty is tried as often as it takes.
        let limited = phase == Phase::Creating || matches!(verdict, Verdict::Limited(_));
        if limited {
            slot.tries = slot.tries.saturating_add(1);
        }
        let spent = limited && slot.tries >= self.policy.tries;
        let wait = match verdict {
            _ if moot || spent => None,
            Verdict::Done | Verdict::GiveUp | Verdict::Gone | Verdict::Unknown => None,
            Verdict::Retry(pace) | Verdict::Limited(pace) => Some(self.policy.wait(pace, slot.step)),
            // It works whenever it is run: no reason to wait longer each time.
            Verdict::Resume => {
                let (first, _) = self.policy.wait(Pace::BackOff, 0);
                Some((first.max(rest).min(self.policy.longest), slot.step))
            }
        };
        let decision = match wait {
            Some((span, step)) => {
                let until = now + span;
                (slot.state, slot.step) = (State::Waiting { until }, step);
                Decision::TryAgain { until }
            }
            None => self.settle(vm.index, index, duty, verdict, last, now),
        };
        if !matches!(
            decision,
            Decision::Confirmed { .. }
                | Decision::Returned { .. }
                | Decision::HandOver { .. }
                | Decision::Gone { .. }
        ) {
            let (vm_slot, slot) = (&mut self.vms[vm.index.get()], &self.duties[index.get()]);
            vm_slot.in_flight = None;
            // The walk is past this duty. While the VM is being created, what is owed for its end does not count.
            let at_end = vm_slot.phase == Some(Phase::Creating) && slot.state == State::Owed;
            if slot.duty.is_some() && !at_end {
                vm_slot.note(slot);
            }
            self.queue.ready(&mut self.vms, vm.index);
        }
        Ok(Judgement { answer: last, decision })
    }

    /// An SP was preempted and takes no message about any other VM until it has finished: this VM does nothing else
    /// before, and when its time has come it goes ahead of all others.
    fn run_first(&mut self, vm: Index, at: Index, now: Time, rest: Span) -> Decision {
        let until = now + rest;
        self.duties[at.get()].state = State::Waiting { until };
        let slot = &mut self.vms[vm.get()];
        slot.in_flight = None;
        slot.pass.cursor = Some(at);
        if rest == Span::ZERO {
            self.queue.ready_first(&mut self.vms, vm);
        } else {
            slot.first = true;
            self.queue.wait(&mut self.vms, vm, until);
        }
        Decision::TryAgain { until }
    }

    /// What stood in the way of a duty's own call was dealt with: that call is the next for this VM. Whatever became
    /// of it, the answer to the call itself is what counts.
    fn call_behind(&mut self, vm: Index, at: Index) -> Decision {
        self.call_next(vm, at);
        Decision::Drained
    }

    /// The next call for this VM is that of the duty at `at`, which is owed.
    fn call_next(&mut self, vm: Index, at: Index) {
        let slot = &mut self.vms[vm.get()];
        (slot.in_flight, slot.pass.cursor) = (None, Some(at));
        self.queue.ready(&mut self.vms, vm);
    }

    /// Ends what an answer ended: `verdict` is final, or its tries are used up.
    fn settle(
        &mut self,
        vm: Index,
        index: Index,
        duty: Duty,
        verdict: Verdict,
        last: LastAnswer,
        now: Time,
    ) -> Decision {
        let done = verdict == Verdict::Done;
        let slot = &mut self.duties[index.get()];
        match duty {
            Duty::Sp { sp, told: told @ (Told::NotYet | Told::Perhaps), destroyed } => {
                let creating = self.vms[vm.get()].phase == Some(Phase::Creating);
                let resumes = slot.resume != Resume::Anew;
                // Refused, or not ready to the end: it never took note of the VM. Anything else it may have.
                let unheard = matches!(verdict, Verdict::GiveUp | Verdict::Limited(_) | Verdict::Retry(_))
                    && told == Told::NotYet
                    && !resumes;
                if creating && resumes {
                    // It still has the message in hand: teardown lets it finish.
                    slot.state = State::Owed;
                } else if destroyed && !unheard {
                    slot.duty = Some(Duty::Sp { sp, told: Told::MaySo, destroyed });
                    slot.state = State::Owed;
                    self.forget_target(index);
                } else {
                    self.remove(vm, index);
                }
                let slot = &mut self.duties[index.get()];
                (slot.tries, slot.step) = (0, 0);
                match (done, creating) {
                    (true, _) => Decision::Told,
                    (false, false) => Decision::Met,
                    (false, true) => {
                        self.vms[vm.get()].failure = Some(last);
                        self.die(vm);
                        Decision::CreationFailed
                    }
                }
            }
            Duty::NewBitmap { in_doubt, .. } => {
                let creating = self.vms[vm.get()].phase == Some(Phase::Creating);
                if done || in_doubt || verdict == Verdict::Unknown {
                    self.bitmap_may_be_there(vm, index, !done);
                } else {
                    self.remove(vm, index);
                }
                match (done, creating) {
                    (true, _) => Decision::BitmapCreated,
                    (false, true) => Decision::NoBitmap,
                    (false, false) => Decision::Met,
                }
            }
            Duty::Share { .. } if done => {
                slot.state = State::Returning { vm };
                Decision::Confirmed { share: ShareId(index) }
            }
            Duty::Half { .. }
                if !matches!(verdict, Verdict::Retry(_) | Verdict::Limited(_) | Verdict::Resume) =>
            {
                self.settle_half(vm, index, verdict, now)
            }
            Duty::Share { .. } if verdict == Verdict::Gone && duty.is_donation() => {
                slot.state = State::Returning { vm };
                Decision::Gone { share: ShareId(index) }
            }
            _ if done && duty.holds_pages() => {
                slot.state = State::Returning { vm };
                self.unowned_with_mapping(vm);
                Decision::Returned { pages: ShareId(index) }
            }
            Duty::Standing { what: Standing::Bitmap, .. } if done => {
                self.remove(vm, index);
                self.unbound_with_bitmap(vm);
                Decision::Met
            }
            _ if done => {
                self.remove(vm, index);
                Decision::Met
            }
            _ => self.give_up(index, now),
        }
    }

    /// Nothing more is tried about the duty at `index`.
    fn give_up(&mut self, index: Index, now: Time) -> Decision {
        let slot = &mut self.duties[index.get()];
        slot.state = State::GivenUp { at: now };
        if let Some(duty) = &mut slot.duty {
            // Its answers have said nothing, or too often the same.
            duty.doubt(true);
        }
        let Some(duty) = slot.duty.as_mut().filter(|duty| duty.holds_pages()) else {
            return Decision::GivenUp { share: None };
        };
        let share = ShareId(index);
        if self.policy.disposal == Disposal::HandOver && duty.hand_over() == Some(false) {
            Decision::HandOver { share }
        } else {
            Decision::GivenUp { share: Some(share) }
        }
    }

    /// Ends the doubt whether a transaction has come about that may have.
    #[cold]
    fn settle_whole(
        &mut self,
        vm: Index,
        index: Index,
        whole: Whole,
        last: LastAnswer,
        now: Time,
    ) -> Decision {
        if let Whole::Perhaps(handle) = whole {
            self.set_share(vm, index, Some(handle), false);
            let slot = &mut self.duties[index.get()];
            slot.set_last(last);
            slot.state = State::Waiting { until: now };
            let vm_slot = &mut self.vms[vm.get()];
            vm_slot.in_flight = None;
            vm_slot.note(&self.duties[index.get()]);
            self.queue.ready(&mut self.vms, vm);
            return Decision::TryAgain { until: now };
        }
        self.forget_target(index);
        let slot = &mut self.duties[index.get()];
        slot.set_last(last);
        slot.state = State::Returning { vm };
        Decision::Confirmed { share: ShareId(index) }
    }

    /// Ends a half-sent transaction, by its cancellation or by having come about.
    #[cold]
    fn settle_half(&mut self, vm: Index, index: Index, verdict: Verdict, now: Time) -> Decision {
        let ended = self.end_half(vm, index, verdict);
        let slot = &mut self.duties[index.get()];
        match ended {
            HalfEnd::Gone => {
                slot.state = State::Returning { vm };
                Decision::Confirmed { share: ShareId(index) }
            }
            HalfEnd::CameAbout => {
                (slot.state, slot.step) = (State::Owed, 0);
                Decision::TryAgain { until: now }
            }
            HalfEnd::InDoubt | HalfEnd::Stays => self.give_up(index, now),
        }
    }

    /// The hypervisor has the pages of a share on its list: the VM may go.
    ///
    /// # Errors
    /// [`Unexpected`] if they were not to be handed over.
    pub fn handed_over(&mut self, vm: VmKey, share: ShareId) -> Result<(), Unexpected> {
        self.phase(vm)?;
        let stale = Unexpected::NotInFlight { vm: vm.id };
        let vm_slot = &mut self.vms[vm.index.get()];
        let slot =
            self.duties.get(share.0.get()).filter(|_| vm_slot.in_flight == Some(share.0)).ok_or(stale)?;
        // Owed if somebody has asked for a retry meanwhile.
        if !matches!(slot.state, State::GivenUp { .. } | State::Owed) {
            return Err(stale);
        }
        vm_slot.in_flight = None;
        vm_slot.note(slot);
        self.queue.ready(&mut self.vms, vm.index);
        Ok(())
    }

    /// The pages of a share are back where they belong, or gone for good: the share is no more.
    ///
    /// # Errors
    /// [`Unexpected`] if its pages were not on their way.
    #[inline(always)] // ends every share
    pub fn released(&mut self, vm: VmKey, share: ShareId) -> Result<(), Unexpected> {
        self.phase(vm)?;
        let stale = Unexpected::NotInFlight { vm: vm.id };
        let slot = self.duties.get(share.0.get()).ok_or(stale)?;
        if !matches!(slot.state, State::Returning { vm: whose } if whose == vm.index) {
            return Err(stale);
        }
        debug_assert_eq!(slot.resume, Resume::Anew, "nobody is run for what is over");
        let vm_slot = &mut self.vms[vm.index.get()];
        self.arena.remove(&mut self.duties, vm_slot, share.0);
        if vm_slot.in_flight == Some(share.0) {
            vm_slot.in_flight = None;
            self.queue.ready(&mut self.vms, vm.index);
        } else {
            self.wake(vm.index);
        }
        Ok(())
    }
}
