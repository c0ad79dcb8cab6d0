//! FFA_MEM_RECLAIM.

use ffa_abi::{Answer, Call, Handle, MemReclaim, ReclaimFlags, Regs, RunTarget, Status};
use ffa_teardown::{BeginError, ReclaimOutcome, ShareId, VmKey};

use crate::dispatch::Reply;
use crate::mediator::{Guard, refusal};
use crate::memory::report;
use crate::message::status;
use crate::named::Named;
use crate::{EventKind, Mediator, Platform, Stores};

/// What a guest finds in the pages that it has back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    /// Whatever is in them.
    Kept,
    /// Zeros. No SPMC is relied on for that: some refuse it.
    Zeroed,
}

/// Who was to have something of what is reclaimed, and is to be kept from it, or offered it again if it does not come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Parts {
    /// SPs.
    Sps,
    /// VMs as well.
    SpsAndVms,
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn mem_reclaim(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        reclaim: MemReclaim,
    ) -> Result<Reply, Status> {
        if reclaim.flags != ReclaimFlags::NONE {
            return self.reclaim_with_flags(hyp, state, vm, reclaim);
        }
        self.reclaim(hyp, state, vm, reclaim.handle, Content::Kept)
    }

    #[cold]
    fn reclaim_with_flags(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        reclaim: MemReclaim,
    ) -> Result<Reply, Status> {
        if reclaim.flags.contains(ReclaimFlags::TIME_SLICE) {
            return Err(Status::InvalidParameters);
        }
        self.reclaim(hyp, state, vm, reclaim.handle, Content::Zeroed)
    }

    #[inline(always)] // twice, so that only those who ask for it pay for zeroing
    fn reclaim(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        handle: Handle,
        content: Content,
    ) -> Result<Reply, Status> {
        let (engine, record) = state.engine_and_record(vm)?;
        match engine.begin_reclaim(vm, handle) {
            Ok((share, resumed)) => {
                record.enter();
                if record.mixes {
                    return self.reclaim_mixed(hyp, state, vm, handle, share, resumed, content);
                }
                drop(state);
                self.reclaim_of(hyp, vm, handle, share, resumed, content, Parts::Sps)
            }
            Err(_) if engine.has_donation(vm, handle) => {
                drop(state);
                self.reclaim_donation(hyp, vm, handle, content)
            }
            Err(BeginError::NotFound) => self.reclaim_lent(hyp, state, vm, handle, content),
            Err(error) => Err(status(&error)),
        }
    }

    /// Has a donation back, if its receiver has not retrieved it. Nothing may be sent meanwhile, or success might be about
    /// what has its handle by then: whoever sends has our TX page.
    #[cold]
    fn reclaim_donation(
        &self,
        hyp: &mut P,
        vm: VmKey,
        handle: Handle,
        content: Content,
    ) -> Result<Reply, Status> {
        if !self.take_tx() {
            return Err(Status::Busy);
        }
        let mut state = self.lock();
        let begun = match state.engine_and_record(vm) {
            Ok((engine, record)) => engine
                .begin_donation_reclaim(vm, handle)
                .map_err(|error| reclaim_status(&error))
                .inspect(|_| record.enter()),
            Err(status) => Err(status),
        };
        let in_doubt = state.engine.must_ask_first();
        drop(state);
        let reply = begun.and_then(|(share, resumed)| {
            let named = if in_doubt { self.ask_what_it_names(hyp, vm, share, handle) } else { Named::Own };
            match named {
                Named::Own => self.reclaim_of(hyp, vm, handle, share, resumed, content, Parts::Sps),
                // As for a handle that is another's for certain.
                Named::NotOwn => self.deny(hyp, vm, share, Parts::Sps).or(Err(Status::InvalidParameters)),
                Named::Later => self.deny(hyp, vm, share, Parts::Sps).or(Err(Status::Busy)),
            }
        });
        self.tx_read();
        reply
    }

    /// Makes the call, or lets the SP go on that was preempted over it, and ends by the answer the call that the guest
    /// made.
    #[inline(always)] // hardly more than the call
    #[expect(clippy::too_many_arguments, reason = "those of every reclaim")]
    pub(crate) fn reclaim_of(
        &self,
        hyp: &mut P,
        vm: VmKey,
        handle: Handle,
        share: ShareId,
        resumed: Option<RunTarget>,
        content: Content,
        parts: Parts,
    ) -> Result<Reply, Status> {
        if content == Content::Zeroed && !self.owner_writes(hyp, vm, share) {
            return self.deny(hyp, vm, share, parts);
        }
        let call = MemReclaim { handle, flags: ReclaimFlags::NONE };
        let mut regs = match resumed {
            None => hyp.call(&call.to_regs()),
            Some(target) => resume(hyp, target),
        };
        loop {
            let answer = Answer::from_regs(&regs);
            let mut state = self.lock();
            let refused = match state.engine.reclaim_answered(vm, share, &answer) {
                Ok(ReclaimOutcome::Confirmed) => {
                    if parts == Parts::SpsAndVms {
                        state.withdraw(vm, share);
                    }
                    if content == Content::Zeroed {
                        drop(state);
                        self.each_range(hyp, vm, share, |hyp, range| hyp.zero(vm.id(), range));
                        state = self.lock();
                    }
                    let pages = self.release_and_leave(hyp, state, vm, share);
                    report(hyp, vm, Some(handle), EventKind::Released { pages });
                    return Ok(Reply::DONE);
                }
                Ok(ReclaimOutcome::Resume(target)) => {
                    drop(state);
                    regs = resume(hyp, target);
                    continue;
                }
                Ok(ReclaimOutcome::Gone(status)) => {
                    drop(state);
                    self.gone_and_leave(hyp, vm, handle, share);
                    return Err(status.for_guest());
                }
                Ok(ReclaimOutcome::Refused(status)) => status.for_guest(),
                Err(_) => refusal(&answer),
            };
            drop(state);
            self.reclaim_refused(hyp, vm, share, parts);
            return Err(refused);
        }
    }

    /// Whether the guest could write to all pages of a share before it sent them.
    pub(crate) fn owner_writes(&self, hyp: &mut P, vm: VmKey, share: ShareId) -> bool {
        let mut writes = true;
        self.each_range(hyp, vm, share, |hyp, range| writes = writes && hyp.owner_writes(vm.id(), range));
        writes
    }

    /// Ends the call of a guest that asks for what it has no right to. The share stands as before.
    #[cold]
    pub(crate) fn deny<T>(&self, hyp: &mut P, vm: VmKey, share: ShareId, parts: Parts) -> Result<T, Status> {
        let abandoned = self.lock().engine.abandon_reclaim(vm, share);
        debug_assert_eq!(abandoned, Ok(()), "the call that it was begun for is not over");
        self.reclaim_refused(hyp, vm, share, parts);
        Err(Status::Denied)
    }

    /// Ends the call for a reclaim that did not work. If the secure world has given the handle to another transaction by
    /// now, nobody can ask for the share any more: its pages are quarantined.
    #[cold]
    fn reclaim_refused(&self, hyp: &mut P, vm: VmKey, share: ShareId, parts: Parts) {
        let now = hyp.now();
        let mut state = self.lock();
        let is_lost = state.engine.give_up_nameless(vm, share, now);
        if parts == Parts::SpsAndVms {
            match state.loans().terms(vm, share) {
                Some(terms) if is_lost => state.forget_offer(&terms),
                Some(terms) => state.loans().offer(&terms, terms.handle),
                None => {}
            }
        }
        if is_lost {
            let pages = state.pages(vm, share);
            drop(state);
            self.quarantine(hyp, vm, share, pages);
            state = self.lock();
        }
        self.leave(hyp, state, vm);
    }

    /// Takes a donation from the guest for good, which its receiver has, and ends the call.
    #[cold]
    fn gone_and_leave(&self, hyp: &mut P, vm: VmKey, handle: Handle, share: ShareId) {
        let pages = self.take_away(hyp, vm, share);
        report(hyp, vm, Some(handle), EventKind::Gone { pages });
        self.leave(hyp, self.lock(), vm);
    }

    /// Takes donations from the guest for good whose handles are others' by now: it could not ask for them any more.
    pub(crate) fn end_lost_donations(&self, hyp: &mut P, vm: VmKey) {
        loop {
            let Some(share) = self.lock().engine.next_lost_donation(vm) else { return };
            let pages = self.take_away(hyp, vm, share);
            report(hyp, vm, None, EventKind::Gone { pages });
        }
    }

    /// Takes the pages of a donation from their VM for good, and forgets it. Returns the number of pages.
    pub(crate) fn take_away(&self, hyp: &mut P, vm: VmKey, share: ShareId) -> u32 {
        self.each_range(hyp, vm, share, |hyp, range| hyp.donated(vm.id(), range));
        self.lock().released(vm, share).map_or(0, |record| record.forget(share))
    }

    /// Gives the pages of a share back that the secure world let go of, only then forgets it, and ends the call. Returns
    /// the number of pages.
    #[inline(always)] // a reclaim is hardly more than this
    pub(crate) fn release_and_leave(
        &self,
        hyp: &mut P,
        state: Guard<'_, P, S>,
        vm: VmKey,
        share: ShareId,
    ) -> u32 {
        drop(state);
        self.release(hyp, vm, share);
        let mut state = self.lock();
        let Ok(record) = state.released(vm, share) else { return 0 };
        let pages = record.forget(share);
        if record.leave() {
            self.begin_teardown(hyp, state, vm);
        }
        pages
    }
}

/// Lets the secure partition go on that was preempted in a call.
#[cold]
pub(crate) fn resume<P: Platform>(hyp: &mut P, target: RunTarget) -> Regs {
    hyp.call(&Call::Run(target).to_regs())
}

/// What a guest is told of a share that it cannot reclaim.
#[cold]
fn reclaim_status(error: &BeginError) -> Status {
    match error {
        // A foreign handle and an unknown one look the same.
        BeginError::NotFound => Status::InvalidParameters,
        _ => status(error),
    }
}
