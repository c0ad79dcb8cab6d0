//! VMs come and go, and time passes.

use ffa_abi::{Answer, PartitionId, Status};
use ffa_mem::RangeStore;
use ffa_teardown::{
    Action, CreateError, Decision, End, LastAnswer, Obligation, Phase, Progress, ShareId, Subject,
    Unexpected, VmKey,
};

use crate::mediator::{Guard, RecordOf, State};
use crate::named::Named;
use crate::notification::SOON;
use crate::record::{Mailbox, Record, tag};
use crate::rxtx::release_both;
use crate::{
    DraftSlot, Event, EventKind, Mediator, Occupancy, Platform, Quarantined, Stores, VcpuSlot, VmReferences,
    VmReport,
};

/// How far a VM's creation has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Creation {
    /// It may run.
    Live,
    /// Some SP has yet to take note, or the SPMC to keep notifications: ask [`Mediator::creation`] again after each tick, or
    /// when [`EventKind::Live`] or [`EventKind::CreationFailed`] is reported. The timer is armed until then.
    Pending,
    /// An SP did not want it, or nobody knows. It is being torn down; destroy nothing.
    Failed(Option<LastAnswer>),
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Tells the secure world of a new VM. `ranges` is room for the page ranges that it may share,
    /// `vcpus` a slot for each of its vCPUs, `drafts` one for each memory transaction that it may have sent a part of at
    /// the same time. The content of all of these does not matter.
    ///
    /// The guest must not run before creation is [`Creation::Live`]. If it fails, or the hypervisor
    /// gives it up with [`destroy_vm`](Self::destroy_vm), teardown undoes what was done by then.
    ///
    /// # Errors
    /// [`CreateError`]: nothing was done.
    pub fn create_vm(
        &self,
        hyp: &mut P,
        vm: PartitionId,
        ranges: S::Ranges,
        mut vcpus: S::Vcpus,
        mut drafts: S::Drafts,
    ) -> Result<(VmKey, Creation), CreateError> {
        if self.find(vm).is_some() {
            return Err(CreateError::IdTaken { vm });
        }
        vcpus.as_mut().fill(VcpuSlot::IDLE);
        drafts.as_mut().fill(DraftSlot::VACANT);
        self.follow_spmc(hyp);
        // The first obligation comes with the record that holds the reference: whoever ends the VM finds both. Whether
        // there is one is known only under the lock, where no reference can be taken.
        let mut reference = Some(hyp.take(vm));
        let mut state = self.lock();
        let State { engine, records, partitions, .. } = &mut *state;
        let created = if self.served.spmc_notifies() {
            engine.create_with_bitmap(vm, partitions.subscriptions(), vcpus.as_mut().len() as u32)
        } else {
            engine.create(vm, partitions.subscriptions())
        };
        let created = created.inspect(|created| match records.as_mut().get_mut(created.vm.position()) {
            Some(record) => {
                *record = Some(Record {
                    reference: reference.take_if(|_| created.take_reference),
                    ..Record::new(created.vm, ranges, vcpus, drafts)
                });
            }
            None => debug_assert!(false, "fewer records than VM slots"),
        });
        let lives = created.is_ok_and(|created| state.engine.phase(created.vm) == Ok(Phase::Live));
        drop(state);
        if let Some(reference) = reference {
            hyp.give_back(vm, reference);
        }
        let key = created?.vm;
        hyp.event(&Event::new(vm, EventKind::Creating));
        if lives {
            // Whoever has nothing to wait for is not told of by the engine.
            hyp.event(&Event::new(vm, EventKind::Live));
        }
        self.run(hyp, Some(key));
        let now = hyp.now();
        let mut state = self.lock();
        let creation = state.creation(key);
        if creation == Creation::Pending {
            if state.next_deadline().is_none() {
                // Another CPU has the call for it in hand, and the last word.
                state.look_at = Some(now + SOON);
            }
            hyp.arm(state.next_deadline());
        }
        Ok((key, creation))
    }

    /// How far a VM's creation has come.
    pub fn creation(&self, vm: VmKey) -> Creation {
        self.lock().creation(vm)
    }

    /// The VM is dead, its vCPUs make no new calls, or its creation is given up. Returns at once; ticks do the rest.
    ///
    /// Calls that are in progress on other CPUs are left to end; teardown begins when the last one has.
    ///
    /// # Errors
    /// [`Unexpected`] if it was dead already.
    pub fn destroy_vm(&self, hyp: &mut P, vm: VmKey) -> Result<(), Unexpected> {
        let mut state = self.lock();
        let phase = state.engine.phase(vm)?;
        let Ok(record) = state.record(vm) else { return Err(Unexpected::UnknownVm { vm: vm.id() }) };
        if record.dying || matches!(phase, Phase::Dying | Phase::Over) {
            return Err(Unexpected::Phase { vm: vm.id(), phase });
        }
        record.dying = true;
        let (shares, calls) = (record.shares, record.calls);
        state.vms_changed(&self.settings);
        if calls == 0 {
            self.begin_teardown(hyp, state, vm);
        } else {
            drop(state);
        }
        hyp.event(&Event::new(vm.id(), EventKind::Destroyed { shares }));
        Ok(())
    }

    /// The VM is dead and makes no calls any more, nor does anybody else call on its behalf.
    pub(crate) fn begin_teardown<'a>(&'a self, hyp: &mut P, mut state: Guard<'a, P, S>, vm: VmKey) {
        let Ok(record) = state.record(vm) else { return };
        record.drop_drafts();
        state.drop_offers(vm);
        let Ok(record) = state.record(vm) else { return };
        record.torn_down = true;
        let mailbox = core::mem::replace(&mut record.mailbox, Mailbox::Unmapped);
        let own = match mailbox {
            Mailbox::Mapped { buffers, forwarded: None, .. } => {
                record.untrack_buffers(None);
                Some(buffers)
            }
            // What the SPMC has it gives back like a share.
            _ => None,
        };
        let signals_vms = record.signals_vms;
        let may_lend = !state.loans.as_ref().is_empty();
        if own.is_some() || signals_vms || may_lend {
            drop(state);
            // Before the engine knows: from then on another CPU may end the VM, which is not touched afterwards.
            if let Some(buffers) = own {
                release_both(hyp, vm.id(), &buffers);
            }
            if signals_vms {
                self.forget_sender(vm);
            }
            if may_lend {
                self.settle_loans_of(hyp, vm);
            }
            state = self.lock();
        }
        // A creation that failed by itself is dying already.
        let _already_dying = state.engine.destroy(vm);
        hyp.arm(state.next_deadline());
    }

    /// Does what is due, [`Settings::budget`](crate::Settings::budget) secure calls at most, and arms the timer for
    /// what is due next. To be called when the timer that [`Timer::arm`](crate::Timer::arm) set fires; early, late or needless calls do
    /// no harm.
    ///
    /// FFA_RUN of an SP that has a vCPU per CPU works on the CPU of that number alone. [`EventKind::SecureCall`] names the vCPU: the next
    /// tick is to be on that CPU, before [`Policy::tries`](ffa_teardown::Policy::tries) are used up.
    pub fn tick(&self, hyp: &mut P) {
        self.run(hyp, None);
    }

    /// Tries once more all that was given up for a dead VM, or with `None` for all of them. Returns how many
    /// obligations are due again; ticks do the rest.
    ///
    /// An SP that was preempted is run once more: if it has a vCPU per CPU, the next tick is to be on the CPU of the one that
    /// was, or it will look as if there was nothing left to resume.
    ///
    /// # Errors
    /// [`Unexpected`] if the VM is not dead.
    pub fn retry(&self, hyp: &mut P, vm: Option<VmKey>) -> Result<u32, Unexpected> {
        let mut state = self.lock();
        let due = match vm {
            Some(vm) => state.engine.retry(vm)?,
            None => state.engine.retry_quarantined(),
        };
        hyp.arm(state.next_deadline());
        drop(state);
        let id = vm.map_or(PartitionId::HYPERVISOR, VmKey::id);
        hyp.event(&Event::new(id, EventKind::Retried { due }));
        Ok(due)
    }

    /// Steps until the budget is used up, nothing is due, or `until_created` is no longer being created.
    fn run(&self, hyp: &mut P, until_created: Option<VmKey>) {
        let mut budget = self.settings.budget;
        if until_created.is_none() && self.go_on_scheduling(hyp) {
            budget = budget.saturating_sub(1);
        }
        for _ in 0..budget {
            let now = hyp.now();
            let mut state = self.lock();
            if until_created.is_some_and(|vm| state.engine.phase(vm) != Ok(Phase::Creating)) {
                break;
            }
            let action = state.engine.next(now);
            if let Action::Created { vm } = action {
                // Who began to create it may wait for a tick.
                if until_created != Some(vm) {
                    state.look_at = Some(now + SOON);
                }
            }
            // Under the same lock, before another VM can move into the slot.
            let ended = state.take_ended(&action);
            let donation = matches!(action, Action::Call { vm, .. } if state.engine.asks_for_donation(vm));
            drop(state);
            match action {
                Action::Call { vm, call } => {
                    let (tx, named) =
                        if donation { self.begin_donation_call(hyp, vm) } else { (false, Named::Own) };
                    let answer = match named {
                        Named::Own => self.make(hyp, call),
                        Named::Later => Answer::Error(Status::Busy.into()),
                        Named::NotOwn => {
                            self.donation_lost(hyp, vm);
                            continue;
                        }
                    };
                    let now = hyp.now();
                    let mut state = self.lock();
                    let judged = state.engine.answered(vm, call, &answer, now);
                    if tx {
                        self.tx_read();
                    }
                    let Ok(judgement) = judged else {
                        debug_assert!(false, "the engine asked for this call");
                        continue;
                    };
                    let decision = judgement.decision;
                    if decision == Decision::CreationFailed && until_created != Some(vm) {
                        state.look_at = Some(now + SOON);
                    }
                    if let (Decision::BitmapCreated, Ok(record)) = (decision, state.record(vm)) {
                        // Before another CPU finds the VM live, and its guest asks for it.
                        record.has_bitmap = true;
                    }
                    // What a VM still has of it is taken from it at this moment, by whoever gives the pages back then.
                    let is_lent =
                        matches!(decision, Decision::Confirmed { share } if state.is_lent(vm, share));
                    drop(state);
                    hyp.event(&Event::of_call(vm.id(), call, judgement.answer, decision));
                    if !is_lent {
                        self.decided(hyp, vm, decision);
                    }
                }
                Action::Created { vm } => hyp.event(&Event::new(vm.id(), EventKind::Live)),
                Action::Gone { vm, share } => self.gone(hyp, vm, share),
                Action::Finished { vm, end, .. } => {
                    hyp.event(&Event::new(vm.id(), EventKind::Finished { end }));
                    drop(ended.record);
                    if let Some(reference) = ended.reference {
                        hyp.give_back(vm.id(), reference);
                    }
                }
                Action::Continue => {}
                Action::Idle { .. } => break,
            }
        }
        let state = self.lock();
        hyp.arm(state.next_deadline());
    }

    /// Sees to it that nothing is sent while a call about a donation is made: whoever sends has our TX page. Returns
    /// whether we have it, to be [given back](Self::tx_read) when the answer is reported, and what the handle of the
    /// donation names: the call is made if that is the donation.
    #[cold]
    fn begin_donation_call(&self, hyp: &mut P, vm: VmKey) -> (bool, Named) {
        if !self.take_tx() {
            return (false, Named::Later);
        }
        let state = self.lock();
        let (may, in_doubt) = (state.engine.may_ask_for_donation(vm), state.engine.must_ask_first());
        let asked_for = state.engine.donation_asked_for(vm);
        drop(state);
        let named = match asked_for {
            Some((share, handle)) if may && in_doubt => self.ask_what_it_names(hyp, vm, share, handle),
            _ if may => Named::Own,
            _ => Named::Later,
        };
        (true, named)
    }

    /// Ends a dead VM's donation, whose handle names something else by now.
    #[cold]
    fn donation_lost(&self, hyp: &mut P, vm: VmKey) {
        let lost = self.lock().engine.donation_lost(vm);
        self.tx_read();
        debug_assert!(lost.is_ok(), "its call is in flight");
        if let Ok(share) = lost {
            self.gone(hyp, vm, share);
        }
    }

    fn decided(&self, hyp: &mut P, vm: VmKey, decision: Decision) {
        match decision {
            Decision::Confirmed { share } => {
                self.release(hyp, vm, share);
                let pages = self.lock().released(vm, share).map_or(0, |record| record.forget(share));
                hyp.event(&Event::new(vm.id(), EventKind::Released { pages }));
            }
            Decision::Gone { share } => self.gone(hyp, vm, share),
            Decision::Returned { pages } => {
                self.release(hyp, vm, pages);
                self.lock().buffers_are_back(vm, pages);
            }
            Decision::HandOver { share } => {
                self.hand_over(hyp, vm, share);
                let mut state = self.lock();
                let pages = state.pages(vm, share);
                let noted = state.engine.handed_over(vm, share);
                debug_assert_eq!(noted, Ok(()));
                drop(state);
                hyp.event(&Event::new(vm.id(), EventKind::Quarantined { pages }));
            }
            Decision::GivenUp { share: Some(share) } => {
                let pages = self.lock().pages(vm, share);
                hyp.event(&Event::new(vm.id(), EventKind::Quarantined { pages }));
            }
            Decision::NoBitmap => hyp.event(&Event::new(vm.id(), EventKind::WithoutNotifications)),
            Decision::CreationFailed => hyp.event(&Event::new(vm.id(), EventKind::CreationFailed)),
            Decision::Met
            | Decision::Told
            | Decision::BitmapCreated
            | Decision::Drained
            | Decision::TryAgain { .. }
            | Decision::GoesOn
            | Decision::GivenUp { share: None } => {}
        }
    }

    /// A dead VM's donation is its receiver's.
    fn gone(&self, hyp: &mut P, vm: VmKey, share: ShareId) {
        let pages = self.take_away(hyp, vm, share);
        hyp.event(&Event::new(vm.id(), EventKind::Gone { pages }));
    }

    /// The hypervisor gets the pages of a given-up share for its own list.
    pub(crate) fn hand_over(&self, hyp: &mut P, vm: VmKey, share: ShareId) {
        self.each_range(hyp, vm, share, |hyp, range| hyp.quarantine(vm.id(), range));
    }

    /// The key of the VM with this ID, dead ones and retired ones included.
    pub fn find(&self, vm: PartitionId) -> Option<VmKey> {
        self.lock().engine.find(vm)
    }

    /// How a VM stands; `None` if it is gone.
    pub fn report(&self, vm: VmKey) -> Option<VmReport> {
        let mut state = self.lock();
        let phase = state.engine.phase(vm).ok()?;
        let (mut shares, mut quarantined, mut open) = (0, 0, 0);
        let (engine, record) = state.engine_and_record(vm).ok()?;
        for obligation in engine.obligations(vm) {
            let given_up = matches!(obligation.progress, Progress::GivenUp(_));
            open += u32::from(!given_up);
            // A loan has no pages of its own where SPs have a part in it, and is a share then.
            let is_share = match obligation.subject {
                Subject::Loan(loan) => !record.ranges.run(tag(loan)).is_empty(),
                subject => subject.share().is_some(),
            };
            shares += u32::from(is_share);
            quarantined += u32::from(given_up && obligation.subject.pages().is_some());
        }
        let referenced = record.reference.is_some();
        let (pages, ranges) = (record.shared_pages(), record.ranges.len());
        Some(VmReport { vm, phase, shares, pages, ranges, quarantined, open, referenced })
    }

    /// How much of the memory that was lent to [`new`](Self::new) is in use. Looks at every slot.
    pub fn occupancy(&self) -> Occupancy {
        let state = self.lock();
        Occupancy {
            vms: state.engine.vms().count(),
            duties: state.engine.taken_duties(),
            loans: state.loans.as_ref().iter().filter(|slot| slot.is_taken()).count(),
        }
    }

    /// The quarantined share or pair of buffers after the first `skip` ones; `None` after the last.
    pub fn quarantined(&self, skip: usize) -> Option<Quarantined> {
        let mut state = self.lock();
        let Obligation { vm, subject, progress, last } = state.engine.quarantined().nth(skip)?;
        let Progress::GivenUp(since) = progress else { return None };
        let ranges = state.record(vm).ok()?.ranges.ranges(tag(subject.pages()?));
        let pages = ranges.map(|range| u64::from(range.pages())).sum();
        Some(Quarantined { vm: vm.id(), subject, pages, last, since })
    }
}

/// What is left of a VM that has ended, to be dropped outside the lock.
struct Ended<P: VmReferences, R> {
    record: Option<R>,
    reference: Option<P::Reference>,
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    fn creation(&self, vm: VmKey) -> Creation {
        match self.engine.phase(vm) {
            Ok(Phase::Live) => Creation::Live,
            Ok(Phase::Creating) => Creation::Pending,
            Ok(Phase::Dying | Phase::Over) | Err(_) => Creation::Failed(self.engine.failure(vm)),
        }
    }

    fn take_ended(&mut self, action: &Action) -> Ended<P, RecordOf<P, S>> {
        let mut ended = Ended { record: None, reference: None };
        if let Action::Finished { vm, end, give_back } = *action {
            if let Some(slot) = self.records.as_mut().get_mut(vm.position()) {
                if give_back {
                    ended.reference = slot.as_mut().and_then(|record| record.reference.take());
                }
                if end == End::Gone {
                    ended.record = slot.take();
                }
            }
        }
        ended
    }
}

impl<P: VmReferences, R: RangeStore, C, F> Record<P, R, C, F> {
    /// Pages of all shares, RX and TX not included.
    fn shared_pages(&self) -> u64 {
        let all: u64 = self.ranges.as_slice().iter().map(|range| u64::from(range.pages())).sum();
        let buffers = match self.mailbox {
            Mailbox::Mapped { buffers, .. } => u64::from(buffers.tx.pages()) + u64::from(buffers.rx.pages()),
            Mailbox::Unmapped | Mailbox::Changing => 0,
        };
        all.saturating_sub(buffers)
    }
}
