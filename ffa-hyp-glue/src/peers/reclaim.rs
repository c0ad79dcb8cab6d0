//! FFA_MEM_RECLAIM of memory that VMs were to have.

use ffa_abi::{Handle, RunTarget, Status};
use ffa_teardown::{ShareId, VmKey};

use super::loan::{InUse, Terms};
use crate::dispatch::Reply;
use crate::mediator::{Guard, State};
use crate::reclaim::{Content, Parts};
use crate::{Event, EventKind, Mediator, Platform, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// Gives the owner back what no borrower has.
    ///
    /// # Errors
    /// INVALID_PARAMETERS if it has no such transaction with VMs; DENIED while a borrower has it, or is about to, or if the
    /// owner itself cannot write where it wants zeros.
    #[cold]
    pub(crate) fn reclaim_lent(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        handle: Handle,
        content: Content,
    ) -> Result<Reply, Status> {
        let terms = state.loans().named(vm, handle).ok_or(Status::InvalidParameters)?;
        let withheld = state.loans().withhold(&terms).ok_or(Status::InvalidParameters)?;
        withheld.map_err(|InUse| Status::Denied)?;
        state.record(vm)?.enter();
        drop(state);
        let reclaimed = self.give_back(hyp, &terms, content);
        self.leave(hyp, self.lock(), vm);
        reclaimed
    }

    fn give_back(&self, hyp: &mut P, terms: &Terms, content: Content) -> Result<Reply, Status> {
        let Terms { owner, pages, .. } = *terms;
        if content == Content::Zeroed {
            if !self.owner_writes(hyp, owner, pages) {
                self.lock().offer(owner, pages, terms.handle);
                return Err(Status::Denied);
            }
            self.each_range(hyp, owner, pages, |hyp, range| hyp.zero(owner.id(), range));
        }
        self.return_lent(hyp, terms);
        Ok(Reply::DONE)
    }

    /// Asks the secure world for what VMs were to have as well, if none of them has it. The engine has begun.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "those of every reclaim")]
    pub(crate) fn reclaim_mixed(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
        handle: Handle,
        share: ShareId,
        resumed: Option<RunTarget>,
        content: Content,
    ) -> Result<Reply, Status> {
        let parts = match state.loans().terms(vm, share) {
            None => Parts::Sps,
            Some(terms) if matches!(state.loans().withhold(&terms), Some(Ok(()))) => Parts::SpsAndVms,
            Some(_) => {
                drop(state);
                return self.deny(hyp, vm, share, Parts::Sps);
            }
        };
        drop(state);
        match parts {
            Parts::Sps => self.reclaim_of(hyp, vm, handle, share, resumed, content, Parts::Sps),
            Parts::SpsAndVms => self.reclaim_of(hyp, vm, handle, share, resumed, content, Parts::SpsAndVms),
        }
    }

    /// Releases the pages of a transaction that is withheld from all borrowers, and forgets it. What the secure world has a
    /// part of comes back when that lets go of it, if it has not yet.
    pub(crate) fn return_lent(&self, hyp: &mut P, terms: &Terms) {
        let Terms { owner, pages, .. } = *terms;
        let is_back = if terms.has_sps() {
            let mut state = self.lock();
            state.forget_offer(terms);
            let is_back = state.engine.is_returning(owner, pages);
            if !is_back {
                hyp.arm(state.next_deadline());
            }
            is_back
        } else {
            true
        };
        if !is_back {
            return;
        }
        self.release(hyp, owner, pages);
        let mut state = self.lock();
        let total = if terms.has_sps() {
            state.released(owner, pages).map_or(0, |record| record.forget(pages))
        } else {
            state.loans().remove(terms);
            state.loan_over(owner, pages)
        };
        if state.is_torn_down(owner) {
            hyp.arm(state.next_deadline());
        }
        drop(state);
        let handle = Some(terms.handle);
        hyp.event(&Event { handle, ..Event::new(owner.id(), EventKind::Released { pages: total }) });
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// Forgets pages that were lent or borrowed. Returns their number.
    pub(crate) fn loan_over(&mut self, vm: VmKey, pages: ShareId) -> u32 {
        let Ok((engine, record)) = self.engine_and_record(vm) else { return 0 };
        let forgotten = record.forget(pages);
        let ended = engine.end_loan(vm, pages);
        debug_assert_eq!(ended, Ok(()));
        forgotten
    }
}
