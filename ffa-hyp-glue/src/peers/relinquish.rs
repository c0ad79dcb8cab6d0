//! FFA_MEM_RELINQUISH.

use ffa_abi::{Status, Transaction};
use ffa_mem::{IpaRange, RelinquishDescriptor};
use ffa_teardown::VmKey;

use super::loan::{Borrowed, Stage};
use crate::mediator::{Guard, State};
use crate::{Event, EventKind, Mediator, Platform, Stores};

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    pub(crate) fn mem_relinquish(
        &self,
        hyp: &mut P,
        mut state: Guard<'_, P, S>,
        vm: VmKey,
    ) -> Result<(), Status> {
        let record = state.record(vm)?;
        let tx = record.tx().ok_or(Status::InvalidParameters)?;
        record.enter();
        drop(state);
        let relinquished = self.relinquish(hyp, vm, tx);
        self.leave(hyp, self.lock(), vm);
        relinquished
    }

    fn relinquish(&self, hyp: &mut P, vm: VmKey, tx: IpaRange) -> Result<(), Status> {
        let mut bytes = [0; RelinquishDescriptor::LEN];
        hyp.read(vm.id(), tx.base(), &mut bytes).map_err(|_| Status::InvalidParameters)?;
        let descriptor = RelinquishDescriptor::parse(&bytes).map_err(|error| error.status())?;
        let (at, borrowed) = self.lock().begin_relinquishing(vm, &descriptor)?;
        let pages = self.unmap(hyp, at, vm, borrowed);
        // Its owner may have died, and wait for nothing else.
        self.settle(hyp, self.lock(), at);
        hyp.event(&Event {
            handle: descriptor.handle,
            ..Event::new(vm.id(), EventKind::Relinquished { pages })
        });
        Ok(())
    }
}

impl<P: Platform, S: Stores<P>> State<P, S> {
    /// Keeps everybody else from what the borrower lets go of.
    ///
    /// # Errors
    /// INVALID_PARAMETERS if it knows of no such loan, speaks for somebody else, wants what others have as well to be zeroed,
    /// or is about to have it as its own; DENIED if it does not have it, or has zeroed what it may not write to.
    fn begin_relinquishing(
        &mut self,
        vm: VmKey,
        descriptor: &RelinquishDescriptor,
    ) -> Result<(usize, Borrowed), Status> {
        if descriptor.endpoint != vm.id() {
            return Err(Status::InvalidParameters);
        }
        let at = descriptor.handle.and_then(|handle| self.loans().find(handle, vm));
        let at = at.ok_or(Status::InvalidParameters)?;
        let terms = self.loans().get(at).ok_or(Status::InvalidParameters)?.terms;
        let is_alone = terms.transaction != Transaction::Share && self.loans().of(&terms).count() == 1;
        if descriptor.zero && !is_alone || terms.transaction == Transaction::Donate {
            return Err(Status::InvalidParameters);
        }
        let loan = self.loans().get(at).ok_or(Status::InvalidParameters)?;
        let Stage::Retrieved(borrowed) = loan.stage else { return Err(Status::Denied) };
        if descriptor.zero && !borrowed.writable {
            return Err(Status::Denied);
        }
        loan.stage = Stage::Ending;
        Ok((at, Borrowed { zero_after: borrowed.zero_after || descriptor.zero, ..borrowed }))
    }
}
