//! FFA_MEM_RECLAIM of memory that was lent to VMs.

use ffa_abi::{Handle, Status};
use ffa_teardown::{ShareId, VmKey};

use super::loan::{InUse, Terms};
use crate::dispatch::Reply;
use crate::mediator::{Guard, State};
use crate::reclaim::Content;
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
        let withheld = state.loans().withhold(handle, vm);
        let terms = withheld.ok_or(Status::InvalidParameters)?.map_err(|InUse| Status::Denied)?;
        state.record(vm)?.enter();
        drop(state);
        let reclaimed = self.give_back(hyp, vm, &terms, content);
        self.leave(hyp, self.lock(), vm);
        reclaimed
    }

    fn give_back(&self, hyp: &mut P, vm: VmKey, terms: &Terms, content: Content) -> Result<Reply, Status> {
        if content == Content::Zeroed {
            if !self.owner_writes(hyp, vm, terms.pages) {
                self.lock().loans().offer(terms.handle);
                return Err(Status::Denied);
            }
            self.each_range(hyp, vm, terms.pages, |hyp, range| hyp.zero(vm.id(), range));
        }
        self.return_lent(hyp, terms);
        Ok(Reply::DONE)
    }

    /// Releases the pages of a transaction that is withheld from all borrowers, and forgets it.
    pub(crate) fn return_lent(&self, hyp: &mut P, terms: &Terms) {
        self.release(hyp, terms.owner, terms.pages);
        let mut state = self.lock();
        let pages = state.transaction_over(terms);
        if state.is_torn_down(terms.owner) {
            hyp.arm(state.next_deadline());
        }
        drop(state);
        let owner = terms.owner.id();
        let handle = Some(terms.handle);
        hyp.event(&Event { handle, ..Event::new(owner, EventKind::Released { pages }) });
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// Forgets a transaction of which no page is held any more. Returns the number of its pages.
    pub(crate) fn transaction_over(&mut self, terms: &Terms) -> u32 {
        self.loans().remove(terms.handle);
        self.loan_over(terms.owner, terms.pages)
    }

    /// Forgets pages that were lent or borrowed. Returns their number.
    pub(crate) fn loan_over(&mut self, vm: VmKey, pages: ShareId) -> u32 {
        let Ok((engine, record)) = self.engine_and_record(vm) else { return 0 };
        let forgotten = record.forget(pages);
        let ended = engine.end_loan(vm, pages);
        debug_assert_eq!(ended, Ok(()));
        forgotten
    }
}
